"""Clients of a node that wants to know who asks: Pinot's Python client, and the project's own package.

    python guarded.py TANNIN pinotdb
    python guarded.py TANNIN package clients/python

Starts a node with TLS and principals, and ends it.
"""

import importlib
import json
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

TANNIN, WHAT = sys.argv[1:3]
PATIENCE_SECONDS = 120
PORTS = [
    "controller.http_port",
    "controller.grpc_port",
    "broker.http_port",
    "server.http_port",
    "server.grpc_port",
    "minion.http_port",
    "log.port",
]


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


def certificates(folder):
    """Of an authority of its own, as docs/operations/security.md makes them."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    at = {"cwd": folder}
    run("openssl", "req", "-x509", *key, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem", **at)
    run("openssl", "req", *key, "-subj", "/CN=node", "-keyout", "node.key", "-out", "node.csr", **at)
    (folder / "node.ext").write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    run(
        *["openssl", "x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key"],
        *["-CAcreateserial", "-days", "1", "-extfile", "node.ext", "-out", "node.pem"],
        **at,
    )


def principals(folder):
    mark = run(TANNIN, "access", "password", input="secret\n").strip()
    token, token_hash = run(TANNIN, "access", "token").split()
    (folder / "principals.toml").write_text(
        f"[principals.ann]\npassword = '{mark}'\ntables = {{ '*' = ['*'] }}\ncluster = ['read']\n"
        f"[principals.robot]\ntoken = '{token_hash}'\n"
    )
    return token


def settings(folder):
    given = {port: "0" for port in PORTS} | {
        "node.data_dir": folder / "data",
        "security.principals_file": folder / "principals.toml",
        "security.certificate_file": folder / "node.pem",
        "security.key_file": folder / "node.key",
        "security.ca_file": folder / "ca.pem",
    }
    return [word for name, value in given.items() for word in ("--set", f"{name}={value}")]


def wait_for_ports(folder, node):
    ends = time.monotonic() + PATIENCE_SECONDS
    trust = ssl.create_default_context(cafile=folder / "ca.pem")
    while time.monotonic() < ends and node.poll() is None:
        try:
            ports = json.loads((folder / "data/ports.json").read_text())
            ready = f"https://{ports['broker_http']}/ready"
            with urllib.request.urlopen(ready, context=trust, timeout=5):
                return ports
        except (OSError, ValueError):
            time.sleep(0.1)
    raise AssertionError(f"the node does not serve: {(folder / 'log').read_text()}")


def refused(error, call):
    try:
        call()
    except error as found:
        return str(found)
    raise AssertionError(f"{error.__name__} was not raised")


def pinotdb_client(ports, folder, token):
    import pinotdb

    host, port = ports["broker_http"].split(":")

    def ask(sql, **login):
        connection = pinotdb.connect(
            host=host, port=int(port), path="/query/sql", scheme="https", verify_ssl=False, **login
        )
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall()

    assert ask("SELECT 1 AS one", username="ann", password="secret") == [[1]]
    wrong = refused(Exception, lambda: ask("SELECT 1", username="ann", password="wrong"))
    assert "401" in wrong or "wrong" in wrong, wrong
    nobody = refused(Exception, lambda: ask("SELECT 1"))
    assert "401" in nobody or "who are you" in nobody, nobody


def package(ports, folder, token):
    sys.path.insert(0, str(Path(sys.argv[3]) / "src"))
    tannin = importlib.import_module("tannin")
    url, ca = f"https://{ports['broker_http']}", str(folder / "ca.pem")
    ann = tannin.connect(url, user="ann", password="secret", ca_file=ca)
    assert ann.query("SELECT 1 AS one").to_arrow().to_pylist() == [{"one": 1}]
    robot = tannin.connect(url, token=token, ca_file=ca)
    assert robot.query("SELECT 1 AS one").to_arrow().num_rows == 1
    denied = refused(tannin.AccessError, lambda: robot.query("SELECT * FROM anything"))
    assert "may not read table" in denied, denied
    denied = refused(tannin.AccessError, lambda: robot.append("anything", [{"a": 1}]))
    assert "may not write table" in denied, denied
    nobody = tannin.connect(url, ca_file=ca)
    assert "who are you" in refused(tannin.AccessError, lambda: nobody.query("SELECT 1"))
    begun = time.monotonic()
    untrusted = tannin.connect(url, user="ann", password="secret")
    assert "not trusted" in refused(tannin.Unavailable, lambda: untrusted.query("SELECT 1"))
    assert time.monotonic() - begun < 10, "a certificate that is not trusted was asked again"


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    certificates(folder)
    token = principals(folder)
    with open(folder / "log", "w") as log:
        node = subprocess.Popen([TANNIN, "start", *settings(folder)], stdout=log, stderr=log)
        try:
            ports = wait_for_ports(folder, node)
            {"pinotdb": pinotdb_client, "package": package}[WHAT](ports, folder, token)
        finally:
            node.terminate()
            node.wait(60)
print(f"{WHAT}: a node that wants to know who asks was asked")
