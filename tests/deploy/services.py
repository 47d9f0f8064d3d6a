"""The services of deploy/compose/compose.yaml as plain processes.

Each has exactly the command, the environment, the files and the health check of the compose file. Only
three things are another's: a service's name is an address of loopback of its own (127.0.1.1, …), so that
ports stay as they are; folders of volumes lie below one folder; Kafka and other engines are where the
caller says.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import compose_spec
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy/compose/compose.yaml"
# What the image holds, see deploy/docker/Dockerfile.
IMAGE = "tannin"
ENTRYPOINT = "tannin"
IN_IMAGE = {"tannin-health": str(ROOT / "deploy/docker/health.sh")}


def described():
    """The compose file with what is merged into its services, as the specification wants it."""
    found = yaml.safe_load(COMPOSE.read_text())
    compose_spec.PyCompose.from_json(json.dumps(found)).validate()
    return found


def is_job(services, name):
    """Others wait for its end: whoever calls does it."""
    waits = [one.get("depends_on", {}).get(name) for one in services.values()]
    return {"condition": "service_completed_successfully"} in waits


def filled_in(text):
    """`${NAME:-default}` from the environment, as compose does it."""
    named = re.compile(r"\$\{(\w+):-([^}]*)\}")
    return named.sub(lambda found: os.environ.get(found[1]) or found[2], text)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * (60 if unit == "m" else 1)


class Services:
    def __init__(self, binary, folder, engines):
        """`engines`: `service:port` of what is no Tannin, and where it is instead."""
        all_services = described()["services"]
        own = {name: one for name, one in all_services.items() if one["image"] == IMAGE}
        foreign = {name for name in set(all_services) - set(own) if not is_job(all_services, name)}
        unknown = foreign - {place.split(":")[0] for place in engines}
        assert not unknown, f"nothing stands for the services {sorted(unknown)}"
        self.engines = engines
        self.addresses = {name: f"127.0.1.{at}" for at, name in enumerate(sorted(own), 1)}
        self.all = {}
        for name in in_order(own):
            self.all[name] = Service(self, name, own[name], binary, Path(folder))

    def moved(self, text, own=None):
        """With the addresses of this machine in the place of names of services."""
        for place, instead in self.engines.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(place)}(?!\w)", instead, text)
        for name, address in self.addresses.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w-])", address, text)
        return text if own is None else text.replace("0.0.0.0", self.addresses[own])

    def start(self):
        for service in self.all.values():
            for other, how in service.spec.get("depends_on", {}).items():
                if other in self.all and how["condition"] == "service_healthy":
                    self.all[other].wait_healthy()
            service.start()
        for service in self.all.values():
            service.wait_healthy()

    def stop(self):
        """Those that others need stop last. Exit codes by name."""
        return {name: service.stop() for name, service in reversed(self.all.items())}

    def kill(self):
        for service in self.all.values():
            service.kill()

    def lose_disks(self, roles):
        """Empties the data dirs of these roles; what services share stays."""
        for service in self.all.values():
            if service.role in roles:
                folder = service.files["/var/lib/tannin"]
                shutil.rmtree(folder)
                folder.mkdir()

    def of_role(self, role):
        return [one for one in self.all.values() if one.role == role]


def in_order(services):
    """Names, each after those that it depends on."""
    done = []

    def add(name):
        for other in services[name].get("depends_on", {}):
            if other in services:
                add(other)
        if name not in done:
            done.append(name)

    for name in services:
        add(name)
    return done


class Service:
    def __init__(self, services, name, spec, binary, folder):
        self.name, self.spec, self.binary = name, spec, binary
        self.services, self.process = services, None
        self.log = folder / f"{name}.log"
        self.files = dict(self._volume(one, folder) for one in spec["volumes"])
        command = spec["command"]
        self.role = command[command.index("--role") + 1]
        self.address = services.addresses[name]

    def _volume(self, text, folder):
        """(folder in the container, folder here)"""
        source, inside, *mode = text.split(":")
        if not source.startswith("."):
            here = folder / "volumes" / source
            here.mkdir(parents=True, exist_ok=True)
            return inside, here
        assert mode == ["ro"], f"{self.name} may write to {source}"
        original = (COMPOSE.parent / source).resolve()
        here = folder / f"{self.name}-{original.name}"
        here.write_text(original.read_text())
        return inside, here

    def _here(self, text):
        """Folders and names of the container as they are here."""
        text = self.services.moved(text, own=self.name)
        for inside, here in sorted(self.files.items(), key=lambda pair: -len(pair[0])):
            text = re.sub(rf"{re.escape(inside)}(?![\w-])", str(here), text)
        return text

    def _environment(self):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TANNIN_")}
        own = self.spec.get("environment", {})
        return kept | {key: self._here(filled_in(value)) for key, value in own.items()}

    def _data_dir(self):
        return str(self.files["/var/lib/tannin"])

    def start(self):
        for inside, here in self.files.items():
            if here.is_file():
                here.write_text(self._here(here.read_text()))
        words = [self._here(word) for word in self.spec["command"]]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [self.binary, *words],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def is_healthy(self):
        kind, program, *words = self.spec["healthcheck"]["test"]
        assert kind == "CMD", f"{self.name}: {kind} is not understood"
        limit = seconds(self.spec["healthcheck"]["timeout"])
        environment = self._environment() | {"TANNIN_NODE__DATA_DIR": self._data_dir()}
        command = [IN_IMAGE[program], *words]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=limit * 4
        )
        self.said = done.stdout.strip() + done.stderr.strip()
        return done.returncode == 0

    def wait_healthy(self):
        check = self.spec["healthcheck"]
        patience = seconds(check["start_period"]) + check["retries"] * seconds(check["interval"])
        end = time.monotonic() + patience
        while not self.is_healthy():
            ended = self.process.poll()
            assert ended is None, f"{self.name} ended with {ended}:\n{self.tail()}"
            assert time.monotonic() < end, f"{self.name} is not healthy: {self.said}\n{self.tail()}"
            time.sleep(0.2)

    def tail(self):
        return "\n".join(self.log.read_text().splitlines()[-15:])

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds(self.spec["stop_grace_period"]))
        except subprocess.TimeoutExpired:
            self.process.kill()
            return f"killed after {self.spec['stop_grace_period']}:\n{self.tail()}"

    def port(self):
        ports = json.loads((Path(self._data_dir()) / "ports.json").read_text())
        return ports[f"{self.role}_http"].rsplit(":", 1)[1]

    def ask(self, path, body=None, timeout=20):
        """(status, text) of its HTTP door."""
        url = f"http://{self.address}:{self.port()}{path}"
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
