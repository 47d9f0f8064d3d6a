"""The Python package `tannin` against a running node.

    python tannin_package.py http://127.0.0.1:8099 http://127.0.0.1:9000 CHECKOUT/clients/python

Expects the tables of `tannin quickstart`. Each check is a function; the first that fails ends the run
with its name and why.
"""

import datetime
import decimal
import gzip
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

BROKER, CONTROLLER, PACKAGE = sys.argv[1:4]
sys.path.insert(0, f"{PACKAGE}/src")

import pandas as pd  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
import tannin  # noqa: E402

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def equal(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


@check
def three_lines():
    db = tannin.connect(BROKER)
    sql = "SELECT carrier, COUNT(*) AS c FROM flights WHERE carrier IN ('HA', 'OO') GROUP BY 1 ORDER BY 1"
    equal(db.query(sql).rows(), [("HA", 342), ("OO", 32)])
    equal(db.query(sql).to_pandas()["c"].tolist(), [342, 32])
    equal(db.query(sql).to_polars()["carrier"].to_list(), ["HA", "OO"])
    equal(db.query(sql).to_arrow().column_names, ["carrier", "c"])


@check
def types_are_kept():
    sql = """SELECT CAST(1 AS INT) AS i, CAST(2 AS BIGINT) AS l, CAST(0.5 AS DOUBLE) AS d, true AS b,
             CAST('2013-01-02 03:04:05' AS TIMESTAMP) AS t, 'x' AS s, NULL AS n,
             CAST(12.50 AS DECIMAL(10, 2)) AS m"""
    result = tannin.connect(BROKER).query(sql)
    when = datetime.datetime(2013, 1, 2, 3, 4, 5)
    row = result.rows()[0]
    equal(row[:4] + row[5:], (1, 2, 0.5, True, "x", None, decimal.Decimal("12.50")))
    equal(pd.Timestamp(row[4]).tz_localize(None).to_pydatetime(), when)
    equal(len(result), 1)
    assert result.to_pandas()["t"].dtype.kind == "M", result.to_pandas().dtypes


@check
def an_answer_without_rows_has_its_columns():
    result = tannin.connect(BROKER).query("SELECT carrier, distance FROM flights WHERE 1 = 0")
    equal((result.columns, len(result), result.rows()), (["carrier", "distance"], 0, []))


@check
def stats_and_warnings():
    result = tannin.connect(BROKER).query("SELECT COUNT(*) FROM flights WHERE carrier = 'UA'")
    equal(result.stats["totalDocs"], 336776)
    equal(result.warnings, [])
    odd = tannin.connect(BROKER).query("SELECT 1", options={"noSuchOption": True})
    assert "nosuchoption" in odd.warnings[0].lower(), odd.warnings


@check
def many_rows_come_whole():
    frame = tannin.connect(BROKER).query("SELECT * FROM flights").to_polars()
    equal(frame.height, 336776)
    equal(frame["distance"].sum(), 350217607)


@check
def faults_tell_where():
    db = tannin.connect(BROKER)
    error = raises(tannin.QueryError, lambda: db.query("SELECT carier FROM flights"))
    assert "carrier" in str(error) and error.line == 1, str(error)
    error = raises(tannin.QueryError, lambda: db.query("SELECT * FROM nowhere"))
    equal(error.code, 190)
    nobody = tannin.connect("http://127.0.0.1:1", timeout=0.3)
    error = raises(tannin.Unavailable, lambda: nobody.query("SELECT 1"))
    assert "127.0.0.1:1" in str(error), str(error)
    raises(ValueError, lambda: tannin.connect("localhost:8099"))


@check
def threads_share_a_connection():
    db, found = tannin.connect(BROKER), []

    def ask(month):
        sql = f"SELECT COUNT(*) FROM flights WHERE month = {month}"
        found.append(db.query(sql).rows()[0][0])

    threads = [threading.Thread(target=ask, args=(month,)) for month in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(sum(found), 336776)


def create(name, columns, **schema):
    """A table of its own topic in the node's log."""
    flights = json.load(urllib.request.urlopen(f"{CONTROLLER}/tables/flights"))["REALTIME"]
    stream = flights["ingestionConfig"]["streamIngestionConfig"]["streamConfigMaps"][0]
    fields = [{"name": n, "dataType": t} for n, t in columns if n != "ts"]
    time_field = {"name": "ts", "dataType": "TIMESTAMP", "format": "TIMESTAMP", "granularity": "1:MILLISECONDS"}
    body = {
        "schema": {"schemaName": name, "dimensionFieldSpecs": fields, "dateTimeFieldSpecs": [time_field], **schema},
        "tableConfig": {
            "tableName": name, "tableType": "REALTIME",
            "segmentsConfig": {"timeColumnName": "ts", "replication": "1"},
            "ingestionConfig": {"streamIngestionConfig": {"streamConfigMaps": [{
                "streamType": "kafka", "stream.kafka.topic.name": name,
                "stream.kafka.broker.list": stream["stream.kafka.broker.list"],
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
            }]}},
        },
    }
    request = urllib.request.Request(f"{CONTROLLER}/v1/tables", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    urllib.request.urlopen(request).read()


@check
def appended_rows_are_read_at_once():
    create("clicks", [("ts", "TIMESTAMP"), ("page", "STRING"), ("user", "LONG"), ("price", "DOUBLE")])
    db = tannin.connect(BROKER)
    now = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000)
    rows = [{"ts": now, "page": "/a", "user": 1, "price": 0.5}, {"ts": now, "page": "/ü", "user": 2, "price": None}]
    equal(db.append("clicks", rows).rows, 2)
    sql = "SELECT page, user, price, ts FROM clicks ORDER BY user"
    equal([row[:3] for row in db.query(sql)], [("/a", 1, 0.5), ("/ü", 2, None)])
    equal(pd.Timestamp(db.query(sql).rows()[0][3]).tz_localize(None).to_pydatetime(), now)
    for number in range(3, 53):
        db.append("clicks", pd.DataFrame({"ts": [now], "page": ["/p"], "user": [number], "price": [1.0]}))
        equal(db.query("SELECT COUNT(*) FROM clicks").rows(), [(number,)])
    many = pl.DataFrame({"ts": [now] * 120_000, "page": ["/m"] * 120_000, "user": list(range(120_000))})
    token = db.append("clicks", many).token
    equal(db.query("SELECT COUNT(*) FROM clicks WHERE page = '/m'").rows(), [(120_000,)])
    other = tannin.connect(BROKER)
    equal(other.query("SELECT COUNT(DISTINCT user) FROM clicks", after=token).rows(), [(120_000,)])


@check
def the_same_key_appends_once():
    create("once", [("ts", "TIMESTAMP"), ("n", "LONG")])
    db = tannin.connect(BROKER)
    rows = pa.table({"ts": [datetime.datetime(2026, 1, 1)] * 3, "n": [1, 2, 3]})
    tokens = {db.append("once", rows, key="first").token for _ in range(3)}
    equal((len(tokens), db.query("SELECT COUNT(*), SUM(n) FROM once").rows()), (1, [(3, 6)]))
    db.append("once", rows, key="second")
    equal(db.query("SELECT COUNT(*) FROM once").rows(), [(6,)])


@check
def rows_that_do_not_fit_are_named_and_none_is_appended():
    db = tannin.connect(BROKER)
    error = raises(tannin.AppendError, lambda: post("once", b'[{"ts": 1, "n": 7}, {"ts": 1, "n": "seven"}, {"n": 8}]'))
    assert "row 2" in str(error) and "row 3" in str(error) and "2 of 3" in str(error), str(error)
    equal(db.query("SELECT COUNT(*) FROM once").rows(), [(6,)])
    error = raises(tannin.AppendError, lambda: db.append("nowhere", [{"a": 1}]))
    equal(error.code, 190)
    error = raises(tannin.AppendError, lambda: db.append("airlines", [{"carrier": "XX"}]))
    assert "no stream" in str(error), str(error)
    raises(TypeError, lambda: db.append("once", {"n": 1}))


def post(table, body, **headers):
    """Rows as other programs send them."""
    request = urllib.request.Request(f"{BROKER}/v1/tables/{table}/events", body, headers)
    try:
        return json.load(urllib.request.urlopen(request))
    except urllib.error.HTTPError as refused:
        raise tannin.AppendError(json.load(refused)["error"]["message"]) from refused


@check
def other_forms_of_rows():
    create("forms", [("ts", "TIMESTAMP"), ("n", "LONG"), ("name", "STRING")])
    db = tannin.connect(BROKER)
    lines = b'{"ts": 1, "n": 1, "name": "a"}\n\n{"ts": 1, "n": 2}\n'
    csv = b'ts,n,name\n1,3,"c, d"\n1,4,\n'
    tokens = [
        post("forms", lines, **{"Content-Type": "application/x-ndjson"})["token"],
        post("forms", csv, **{"Content-Type": "text/csv"})["token"],
        post("forms", gzip.compress(b'{"ts": 1, "n": 5, "name": "e"}'), **{"Content-Encoding": "gzip"})["token"],
    ]
    found = db.query("SELECT n, name FROM forms ORDER BY n", after=" ".join(tokens)).rows()
    equal(found, [(1, "a"), (2, None), (3, "c, d"), (4, None), (5, "e")])
    error = raises(tannin.AppendError, lambda: post("forms", b"x", **{"Content-Encoding": "br"}))
    assert "gzip" in str(error), str(error)
    error = raises(tannin.AppendError, lambda: post("forms", b"{", **{"Content-Type": "image/png"}))
    assert "text/csv" in str(error), str(error)


@check
def types_of_the_package_hold():
    command = [sys.executable, "-m", "mypy", "--no-error-summary", f"{PACKAGE}/src"]
    checked = subprocess.run([*command, "--config-file", f"{PACKAGE}/pyproject.toml"],
                             capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def wait_for_flights():
    db, ends = tannin.connect(BROKER), time.monotonic() + 120
    while db.query("SELECT COUNT(*) FROM flights").rows() != [(336776,)]:
        assert time.monotonic() < ends, "the flights are not loaded"
        time.sleep(0.2)


def main():
    wait_for_flights()
    for function in CHECKS:
        try:
            function()
        except Exception as error:
            raise SystemExit(f"{function.__name__}: {type(error).__name__}: {error}") from error
        print(f"ok {function.__name__}")


if __name__ == "__main__":
    main()
