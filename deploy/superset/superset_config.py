"""Settings of serve.py: a Superset for one developer, on one machine."""

import os

SECRET_KEY = "for trying things only"
SQLALCHEMY_DATABASE_URI = "sqlite:///" + os.path.join(os.environ["SUPERSET_HOME"], "superset.db")
# Scripts sign in without a form.
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
