"""Pinot's Python client, DB-API and SQLAlchemy, against a running node: what users of it rely on.

    python pinotdb_client.py http://127.0.0.1:8099 http://127.0.0.1:9000

Expects the tables of `tannin quickstart`. Each check is a function; the first that fails ends the run
with its name and why.
"""

import asyncio
import datetime
import json
import sys
import time
import urllib.parse
import urllib.request

import pinotdb
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

BROKER, CONTROLLER = sys.argv[1], sys.argv[2]
HOST, PORT = urllib.parse.urlsplit(BROKER).hostname, urllib.parse.urlsplit(BROKER).port
PATIENCE_SECONDS = 120
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def connect(**options):
    return pinotdb.connect(host=HOST, port=PORT, path="/query/sql", scheme="http", **options)


def rows(sql, parameters=None, **options):
    cursor = connect(**options).cursor()
    cursor.execute(sql, parameters)
    return [column[0] for column in cursor.description], cursor.fetchall()


def engine():
    return sa.create_engine(f"pinot+http://{HOST}:{PORT}/query/sql?controller={CONTROLLER}/")


def equal(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


@check
def names_types_and_python_values():
    sql = """SELECT carrier, COUNT(*), SUM(distance), MIN(distance), COUNT(DISTINCT origin)
             FROM flights WHERE carrier = 'HA' GROUP BY carrier"""
    names, found = rows(sql)
    wanted = ["carrier", "count(*)", "sum(distance)", "min(distance)", "distinctcount(origin)"]
    equal(names, wanted)
    equal(found, [["HA", 342, 1704186.0, 4983.0, 1]])
    equal([type(value) for value in found[0]], [str, int, float, float, int])


@check
def a_timestamp_is_a_datetime():
    names, found = rows("SELECT time_hour FROM flights ORDER BY time_hour LIMIT 1")
    equal(found, [[datetime.datetime(2013, 1, 1, 10)]])


@check
def parameters_are_bound():
    sql = """SELECT COUNT(*) FROM flights
             WHERE carrier = %(c)s AND distance >= %(d)s AND origin IN (%(o)s) AND carrier LIKE '%%A'"""
    parameters = {"c": "HA", "d": 4983, "o": ["JFK", "O'Brien"]}
    equal(rows(sql, parameters)[1], [[342]])


@check
def ten_rows_unless_more_are_asked_for():
    equal(len(rows("SELECT flight FROM flights")[1]), 10)
    equal(len(rows("SELECT flight FROM flights LIMIT 10001")[1]), 10001)
    equal(len(rows("SELECT flight FROM flights WHERE carrier = 'OO'", use_multistage_engine=True)[1]), 32)


@check
def an_empty_answer_has_its_columns():
    equal(rows("SELECT carrier, distance FROM flights WHERE 1 = 0"), (["carrier", "distance"], []))


@check
def errors_are_database_errors_with_their_code():
    for sql, code in [
        ("SELECT * FROM no_such_table", 190),
        ("SELECT no_such_column FROM flights", 710),
        ("SELEC 1", 150),
        ("SELECT carrier, COUNT(*) FROM flights", 150),
        ("SELECT noSuchFunction(carrier) FROM flights", 700),
    ]:
        try:
            rows(sql)
        except pinotdb.DatabaseError as error:
            assert f"'errorCode': {code}" in str(error).replace('"', "'"), f"{sql}: {error}"
        else:
            raise AssertionError(f"no error for {sql}")


@check
def options_come_in_any_form():
    equal(rows("SELECT 1", query_options="timeoutMs=5000", use_multistage_engine=True)[1], [[1]])
    sql = "SELECT COUNT(*) FROM airlines"
    equal(rows(sql, preserve_types=True)[1], [[16]])
    equal(rows(f"SET timeoutMs=5000; {sql};", username="u", password="p", database="default")[1], [[16]])


@check
def a_native_result_is_complete():
    result = connect().cursor().execute_native("SELECT * FROM airlines ORDER BY carrier LIMIT 20")
    equal(result.metadata.completeness, "complete")


@check
def it_works_asynchronously():
    async def ask():
        options = {"host": HOST, "port": PORT, "path": "/query/sql", "scheme": "http"}
        async with pinotdb.connect_async(**options) as connection:
            await connection.execute("SELECT COUNT(*) FROM airlines")
            return connection.fetchall()

    async def ask_engine():
        address = f"pinot+async://{HOST}:{PORT}/query/sql?controller={CONTROLLER}/"
        async with create_async_engine(address).connect() as connection:
            return (await connection.execute(sa.text("SELECT COUNT(*) FROM airlines"))).scalar()

    equal(asyncio.run(ask()), [[16]])
    equal(asyncio.run(ask_engine()), 16)


@check
def tables_and_columns_are_reflected():
    inspector = sa.inspect(engine())
    equal(inspector.get_schema_names(), ["default"])
    assert {"airlines", "flights"} <= set(inspector.get_table_names()), inspector.get_table_names()
    equal((inspector.has_table("flights"), inspector.has_table("nothing")), (True, False))
    equal(inspector.get_columns("nothing"), [])
    kinds = {column["name"]: type(column["type"]).__name__ for column in inspector.get_columns("flights")}
    equal((kinds["carrier"], kinds["distance"], kinds["event_time"]), ("String", "BigInteger", "TIMESTAMP"))


@check
def compiled_statements_are_answered():
    flights = sa.Table("flights", sa.MetaData(), autoload_with=engine())
    far = sa.case((flights.c.distance > 2000, "far"), else_="near")
    longest = sa.func.sum(flights.c.distance).label("s")
    with engine().connect() as connection:
        statement = sa.select(flights.c.carrier, longest).group_by(flights.c.carrier)
        found = connection.execute(statement.order_by(sa.desc("s")).limit(2)).fetchall()
        equal([row[0] for row in found], ["UA", "DL"])
        statement = sa.select(far.label("k"), sa.func.count()).group_by(far).order_by("k")
        equal([row[0] for row in connection.execute(statement)], ["far", "near"])
        some = sa.select(flights.c.carrier).limit(5).subquery()
        equal(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar(), 5)
        condition = [flights.c.carrier.in_(["HA", "OO"]), flights.c.dest.is_not(None), flights.c.dest.like("%")]
        equal(connection.execute(sa.select(sa.func.count()).where(*condition)).scalar(), 374)
        equal(connection.execute(sa.select(sa.literal(1))).scalar(), 1)


def wait_for_rows():
    """The tables of quickstart are loaded in its first seconds."""
    end = time.monotonic() + PATIENCE_SECONDS
    body = json.dumps({"sql": "SELECT COUNT(*) FROM flights"}).encode()
    while True:
        try:
            with urllib.request.urlopen(f"{BROKER}/query/sql", body, timeout=10) as answer:
                table = json.load(answer).get("resultTable")
            if table and table["rows"][0][0] >= 336_776:
                return
        except OSError:
            pass
        assert time.monotonic() < end, f"the sample was not loaded in {PATIENCE_SECONDS} s"
        time.sleep(0.2)


def main():
    wait_for_rows()
    for function in CHECKS:
        try:
            function()
        except Exception as error:
            sys.exit(f"{function.__name__}: {type(error).__name__}: {error}")
        print(f"ok {function.__name__}")


main()
