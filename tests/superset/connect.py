"""What a user of Superset does first: a database, its tables, a dataset; then our dashboard.

    python connect.py http://127.0.0.1:8088 BROKER CONTROLLER

Addresses are HOST:PORT. Expects the tables of `tannin quickstart` and an empty Superset.
"""

import io
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "superset"))

import pack
from api import Node, Superset, check, run_checks

URL, BROKER, CONTROLLER = sys.argv[1:]
ROWS = 336_776
PATIENCE_SECONDS = 120
SUPERSET, NODE = Superset(URL), Node(BROKER)
DATABASE = {
    "database_name": "by hand",
    "sqlalchemy_uri": f"pinot://{BROKER}/query/sql?controller=http://{CONTROLLER}/",
    "configuration_method": "sqlalchemy_form",
}
TABLES = {"airlines", "airports", "flights", "planes", "weather"}
TIMES = {"event_time", "time_hour"}


def database():
    return SUPERSET.find("database", "database_name", DATABASE["database_name"])


@check
def all_flights_have_arrived():
    end = time.monotonic() + PATIENCE_SECONDS
    count = lambda: NODE.rows("SELECT COUNT(*) FROM flights")[0][0]
    while count() < ROWS:
        assert time.monotonic() < end, f"{count()} of {ROWS} flights after {PATIENCE_SECONDS} s"
        time.sleep(1)


@check
def the_connection_is_tested_and_kept():
    assert SUPERSET.post("database/test_connection/", json=DATABASE)["message"] == "OK"
    SUPERSET.post("database/", json=DATABASE)


@check
def schemas_tables_and_columns_are_listed():
    place = f"database/{database()}"
    assert SUPERSET.get(f"{place}/schemas/")["result"] == ["default"]
    tables = SUPERSET.get(f"{place}/tables/?q=(schema_name:default)")["result"]
    assert {table["value"] for table in tables} == TABLES, tables
    columns = SUPERSET.get(f"{place}/table_metadata/?name=flights&schema=default")["columns"]
    types = {column["name"]: column["type"] for column in columns}
    assert types["carrier"] == "VARCHAR" and types["distance"] == "BIGINT", types
    assert {name for name, kind in types.items() if kind == "TIMESTAMP"} == TIMES, types


@check
def a_dataset_has_its_columns_synchronized():
    body = {"database": database(), "schema": "default", "table_name": "flights"}
    place = f"dataset/{SUPERSET.post('dataset/', json=body)['id']}"
    SUPERSET.call("PUT", f"{place}/refresh")
    columns = SUPERSET.get(place)["result"]["columns"]
    assert {column["column_name"] for column in columns if column["is_dttm"]} == TIMES, columns
    assert len(columns) == 20, columns
    # Names of tables are unique over all databases where metadata is in SQLite.
    SUPERSET.call("DELETE", place)


@check
def the_dashboard_is_imported():
    file = io.BytesIO()
    pack.pack(file, BROKER, CONTROLLER)
    files = {"formData": ("flights.zip", file.getvalue(), "application/zip")}
    assert SUPERSET.post("dashboard/import/", files=files)["message"] == "OK"


run_checks()
