"""Packs the dashboard into a file that Superset imports (Dashboards, Import).

    python pack.py flights.zip [--broker HOST:PORT] [--controller HOST:PORT]
"""

import argparse
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = HERE / "dashboard"
BROKER, CONTROLLER = "localhost:8099", "localhost:9000"


def pack(target, broker=BROKER, controller=CONTROLLER):
    """`target` is a path or an open file; addresses take the place of quickstart's."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(FILES.rglob("*.yaml")):
            text = file.read_text(encoding="utf-8")
            text = text.replace(BROKER, broker).replace(CONTROLLER, controller)
            packed.writestr(str(Path("flights") / file.relative_to(FILES)), text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--broker", default=BROKER, metavar="HOST:PORT")
    parser.add_argument("--controller", default=CONTROLLER, metavar="HOST:PORT")
    options = parser.parse_args()
    pack(options.target, options.broker, options.controller)
