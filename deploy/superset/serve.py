"""A Superset to try things with: http://localhost:8088, admin and admin.

    python serve.py [--home DIR] [--port 8088]

Everything it knows is in one folder. Not for production: one process, a key and a password that
everybody can read here.
"""

import argparse
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--home", type=Path, default=Path.home() / ".superset-tannin")
    parser.add_argument("--port", type=int, default=8088)
    return parser.parse_args()


def prepare(app):
    """Tables, permissions and a user; what is there already stays."""
    from flask_migrate import upgrade
    from superset.extensions import appbuilder, security_manager
    from superset.migrations import __file__ as migrations

    with app.app_context():
        upgrade(directory=str(Path(migrations).parent))
        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()
        if not security_manager.find_user("admin"):
            role = security_manager.find_role("Admin")
            security_manager.add_user("admin", "Ad", "Min", "admin@localhost", role, "admin")


def main():
    options = arguments()
    options.home.mkdir(parents=True, exist_ok=True)
    os.environ["SUPERSET_HOME"] = str(options.home)
    os.environ["SUPERSET_CONFIG_PATH"] = str(HERE / "superset_config.py")
    from superset.app import create_app

    app = create_app()
    prepare(app)
    print(f"http://localhost:{options.port}  user admin, password admin", flush=True)
    app.run(host="127.0.0.1", port=options.port, threaded=True)


main()
