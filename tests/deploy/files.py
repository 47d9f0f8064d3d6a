"""Whether the files of deploy/ hold by themselves: the image, the units, the rules and their alerts.

    python files.py PROMTOOL
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from metrics import check_alerts
from services import described

PROMTOOL = sys.argv[1]
ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
HERE = Path(__file__).resolve().parent
ROLES = ["controller", "broker", "server", "minion"]
# In tenths, by systemd's own measure; below 2 is what it calls OK.
EXPOSURE_MAX = 15


def run(*words, folder=ROOT):
    done = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{Path(words[0]).name}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def image():
    hadolint = Path(sys.executable).with_name("hadolint")
    run(hadolint, DEPLOY / "docker/Dockerfile")
    run("bash", "-n", DEPLOY / "docker/health.sh")


def units():
    """As systemd sees them, with a program that is there in the place of ours."""
    if shutil.which("systemd-analyze") is None:
        raise AssertionError("systemd-analyze is missing: install the package systemd")
    unit = (DEPLOY / "systemd/tannin@.service").read_text()
    assert unit.count("/usr/bin/tannin ") == 1, "the unit starts /usr/bin/tannin"
    with tempfile.TemporaryDirectory() as folder:
        for role in ROLES:
            path = Path(folder) / f"tannin@{role}.service"
            path.write_text(unit.replace("/usr/bin/tannin ", f"{shutil.which('true')} "))
            said = run("systemd-analyze", "verify", path)
            assert not said, said
            rating = ["--offline=true", f"--threshold={EXPOSURE_MAX}", path]
            run("systemd-analyze", "security", "--no-pager", *rating)


def rules():
    folder = DEPLOY / "observability/prometheus"
    run(PROMTOOL, "check", "rules", "rules.yaml", "alerts.yaml", folder=folder)
    run(PROMTOOL, "check", "config", "prometheus.yaml", folder=folder)
    run(PROMTOOL, "test", "rules", "alerts.yaml", folder=HERE)
    check_alerts()


for check in [image, described, units, rules]:
    check()
    print(f"ok  {check.__name__}")
