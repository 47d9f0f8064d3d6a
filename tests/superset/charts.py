"""Whether what Superset's charts show is right: the numbers are our own API's for plain SQL.

    python charts.py http://127.0.0.1:8088 BROKER ANSWERS

ANSWERS is what the charts of the dashboard asked and were told in the browser (web/e2e/superset.mjs).
Every question is then asked again with the filters of the dashboard.
"""

import copy
import json
import sys
import uuid
from datetime import datetime, timedelta
from pathlib import Path

from api import Node, Superset, check, run_checks, same

URL, BROKER, ANSWERS = sys.argv[1:]
SUPERSET, NODE = Superset(URL), Node(BROKER)
DATASET = {"id": SUPERSET.find("dataset", "table_name", "flights"), "type": "table"}
DATABASE = SUPERSET.find("database", "database_name", "Tannin")
[[NEWEST]] = NODE.rows("SELECT MAX(event_time) FROM flights")
LATE = "AVG(CASE WHEN arr_delay > 15 THEN 1.0 WHEN arr_delay <= 15 THEN 0.0 END)"
P95 = "percentile_cont(0.95) WITHIN GROUP (ORDER BY dep_delay)"
MEANS = f"AVG(dep_delay), AVG(arr_delay), {LATE}"


def bucket(grain, column="event_time"):
    """Epoch milliseconds of the beginning of a time's bucket."""
    return f"CAST(extract(epoch FROM date_trunc('{grain}', {column})) * 1000 AS BIGINT)"


def before(days):
    """The midnight so many days before the newest flight."""
    day = datetime.fromisoformat(NEWEST[:10]) - timedelta(days=days)
    return day.isoformat()


FROM, SOON, TO = before(240), before(230), before(150)
MILLISECONDS = bucket("millisecond")
TOP = "SELECT carrier FROM flights {where} GROUP BY carrier ORDER BY COUNT(*) DESC LIMIT 5"
LATEST = f"SELECT {MILLISECONDS}, carrier, flight, origin, dest, dep_delay, arr_delay FROM flights"
# For each chart its question as we ask it. {where} and {and} take the dashboard's filters.
WANTED = {
    "Flights": f"SELECT {bucket('week')}, COUNT(*) FROM flights {{where}} GROUP BY 1",
    "Arrived late": f"SELECT {LATE} FROM flights {{where}}",
    "Airports of departure": "SELECT origin, COUNT(*) FROM flights {where} GROUP BY 1",
    "Flights by carrier and week": f"""SELECT {bucket('week')}, carrier, COUNT(*) FROM flights
        WHERE carrier IN ({TOP}) {{and}} GROUP BY 1, 2""",
    "Carriers": f"SELECT carrier, COUNT(*), {MEANS}, {P95} FROM flights {{where}} GROUP BY 1",
    "Mean arrival delay by carrier and airport": """SELECT origin, carrier, AVG(arr_delay) FROM flights
        {where} GROUP BY 1, 2""",
    "Departure delay by hour and month": """SELECT hour, month, AVG(dep_delay) FROM flights {where}
        GROUP BY 1, 2""",
    "Most flown destinations": """SELECT dest, COUNT(*) FROM flights {where} GROUP BY 1
        ORDER BY 2 DESC LIMIT 15""",
    "Latest flights": f"{LATEST} {{where}} ORDER BY event_time DESC LIMIT 50",
    "filter carrier": "SELECT DISTINCT carrier FROM flights {where}",
    "filter origin": "SELECT DISTINCT origin FROM flights {where}",
}
# What Superset works out itself.
OWN = {"count__contribution", "rank"}
# Several rows have the time of the last one that is shown, and any of them is right.
ANY_OF = {"Latest flights"}


def shown(chart, result):
    """The rows of a chart's answer, without what Superset added; series are rows again."""
    names = [name for name in result["colnames"] if name not in OWN]
    rows = [[row[name] for name in names] for row in result["data"]]
    if chart != "Flights by carrier and week":
        return rows
    series = [(row[0], name, value) for row in rows for name, value in zip(names[1:], row[1:])]
    return [one for one in series if one[2] is not None]


def without_digests(found, wanted):
    """A digest is near the percentile where there are rows enough."""
    exact = {row[0]: row[-1] for row in wanted}
    for carrier, flights, *_, digest in found:
        near = abs(digest - exact[carrier]) <= max(2, 0.03 * exact[carrier])
        assert near or flights < 500, f"95 % of {carrier} depart within {digest}, not {exact[carrier]} minutes"
    return ([row[:-1] for row in rows] for rows in (found, wanted))


def compare(chart, result, condition=""):
    where, and_ = (f"WHERE {condition}", f"AND {condition}") if condition else ("", "")
    sql = WANTED[chart].replace("{where}", where).replace("{and}", and_)
    found, wanted = shown(chart, result), NODE.rows(sql)
    if chart == "Carriers":
        found, wanted = without_digests(found, wanted)
    if chart in ANY_OF:
        assert [row[0] for row in found] == [row[0] for row in wanted], f"{chart}: {found}"
        last = wanted[-1][0]
        found, wanted = ([row for row in rows if row[0] != last] for rows in (found, wanted))
    same(found, wanted, f"{chart} ({condition or 'no filter'})")


def in_browser():
    answers = json.loads(Path(ANSWERS).read_text())
    return [answer for answer in answers if answer["chart"] in WANTED]


def ask_again(answer, change):
    body = copy.deepcopy(answer["asked"])
    body["force"] = True
    for query in body["queries"]:
        change(query)
    return SUPERSET.chart_data(body)


@check
def what_the_browser_was_told_is_right():
    answers = in_browser()
    assert {answer["chart"] for answer in answers} == set(WANTED), [a["chart"] for a in answers]
    for answer in answers:
        compare(answer["chart"], answer["told"]["result"][0])


@check
def totals_are_of_all_rows():
    [carriers] = [answer for answer in in_browser() if answer["chart"] == "Carriers"]
    [totals] = carriers["told"]["result"][1]["data"]
    wanted = NODE.rows(f"SELECT COUNT(*), {MEANS} FROM flights")
    same([list(totals.values())[:-1]], wanted, "totals")


@check
def filters_of_the_dashboard_are_obeyed():
    def filtered(query):
        query["filters"] = [
            {"col": "event_time", "op": "TEMPORAL_RANGE", "val": f"{FROM} : {TO}"},
            {"col": "carrier", "op": "IN", "val": ["UA", "DL", "B6", "AA"]},
            {"col": "origin", "op": "IN", "val": ["JFK", "EWR"]},
        ]

    condition = f"""event_time >= TIMESTAMP '{FROM}' AND event_time < TIMESTAMP '{TO}'
        AND carrier IN ('UA', 'DL', 'B6', 'AA') AND origin IN ('JFK', 'EWR')"""
    for answer in in_browser():
        compare(answer["chart"], ask_again(answer, filtered)[0], condition)


@check
def every_time_grain_has_its_buckets():
    [flights] = [answer for answer in in_browser() if answer["chart"] == "Flights"]
    grains = {"PT1S": "second", "PT1M": "minute", "PT1H": "hour", "P1D": "day", "P1W": "week"}
    grains |= {"P1M": "month", "P3M": "quarter", "P1Y": "year"}
    wanted = {name: bucket(grain) for name, grain in grains.items()}
    for minutes in (5, 10, 15, 30):
        step = minutes * 60_000
        wanted[f"PT{minutes}M"] = f"{MILLISECONDS} - {MILLISECONDS} % {step}"
    for grain, expression in wanted.items():

        def with_grain(query):
            query["columns"][0]["timeGrain"] = grain
            query["filters"] = [{"col": "event_time", "op": "TEMPORAL_RANGE", "val": f"{FROM} : {SOON}"}]

        where = f"WHERE event_time >= TIMESTAMP '{FROM}' AND event_time < TIMESTAMP '{SOON}'"
        sql = f"SELECT {expression}, COUNT(*) FROM flights {where} GROUP BY 1"
        [result] = ask_again(flights, with_grain)
        same(shown("Flights", result), NODE.rows(sql), grain)


@check
def every_operator_of_a_filter_is_obeyed():
    cases = [
        (("carrier", "==", "UA"), "carrier = 'UA'"),
        (("carrier", "!=", "UA"), "carrier <> 'UA'"),
        (("carrier", "NOT IN", ["UA", "O'Brien"]), "carrier NOT IN ('UA', 'O''Brien')"),
        (("dest", "LIKE", "S%"), "dest LIKE 'S%'"),
        (("dest", "NOT LIKE", "S%"), "dest NOT LIKE 'S%'"),
        (("dest", "ILIKE", "s%"), "lower(dest) LIKE 's%'"),
        (("distance", ">", 1000), "distance > 1000"),
        (("distance", "<=", 1000), "distance <= 1000"),
        (("arr_delay", "IS NULL", None), "arr_delay IS NULL"),
        (("arr_delay", "IS NOT NULL", None), "arr_delay IS NOT NULL"),
    ]
    for (column, operator, value), condition in cases:
        query = {
            "columns": ["carrier"],
            "metrics": ["count"],
            "filters": [{"col": column, "op": operator, "val": value}],
            "row_limit": 100,
        }
        [result] = SUPERSET.chart_data({"datasource": DATASET, "force": True, "queries": [query]})
        sql = f"SELECT carrier, COUNT(*) FROM flights WHERE {condition} GROUP BY 1"
        same([list(row.values()) for row in result["data"]], NODE.rows(sql), condition)


def sql_lab(sql):
    body = {
        "client_id": uuid.uuid4().hex[:11],
        "database_id": DATABASE,
        "sql": sql,
        "schema": "default",
        "runAsync": False,
        "queryLimit": 100,
    }
    answer = SUPERSET.post("sqllab/execute/", json=body)
    assert answer["status"] == "success", answer
    return [tuple(row.values()) for row in answer["data"]]


@check
def sql_lab_answers():
    # Superset puts a LIMIT of its own in the place of a user's.
    statements = [
        "SELECT carrier, COUNT(*) AS flights FROM flights GROUP BY carrier ORDER BY flights DESC",
        "SELECT COUNT(DISTINCT dest) AS places, MIN(distance) AS least FROM flights WHERE origin = 'JFK'",
        """SELECT a.name AS airline, COUNT(*) AS flights FROM flights AS f
           JOIN airlines AS a ON f.carrier = a.carrier WHERE f.dest = 'BOS' GROUP BY a.name""",
        """SELECT origin, MAX(flights) AS most FROM (SELECT origin, dest, COUNT(*) AS flights FROM flights
           GROUP BY origin, dest) AS pairs GROUP BY origin""",
        """WITH late AS (SELECT carrier, dest FROM flights WHERE arr_delay > 300)
           SELECT dest, COUNT(*) AS late FROM late GROUP BY dest ORDER BY late DESC""",
    ]
    for sql in statements:
        # Our own API has numbers where Pinot's contract has doubles.
        plain = lambda rows: [[float(v) if isinstance(v, int) else v for v in row] for row in rows]
        same(plain(sql_lab(sql)), plain(NODE.rows(sql)), sql)
    assert sql_lab("SET useMultistageEngine = TRUE") == []


@check
def a_wrong_statement_says_what_is_wrong():
    try:
        sql_lab("SELECT carier FROM flights")
    except AssertionError as error:
        assert "carier" in str(error) and "710" in str(error), error
    else:
        raise AssertionError("a column that does not exist was answered")


run_checks()
