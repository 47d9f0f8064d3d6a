"""Superset's REST API and our own, as far as the tests here need them."""

import itertools
import math
import sys

import requests


class Superset:
    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        who = {"username": "admin", "password": "admin", "provider": "db"}
        token = self.post("security/login", json=who)["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method, path, **options):
        response = self.session.request(method, f"{self.url}/api/v1/{path}", timeout=120, **options)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, **options):
        return self.call("POST", path, **options)

    def find(self, kind, name, value):
        """The id of the only one of its kind that is called so."""
        query = f"(filters:!((col:{name},opr:eq,value:'{value}')))"
        [found] = self.get(f"{kind}/?q={query}")["result"]
        return found["id"]

    def chart_data(self, body):
        """The results of a chart's queries; none may have failed."""
        results = self.post("chart/data", json=body)["result"]
        for result in results:
            assert not result["error"], result["error"]
            assert result["status"] == "success", result
        return results


class Node:
    def __init__(self, broker):
        self.url = f"http://{broker}/v1/sql"

    def rows(self, sql):
        answer = requests.post(self.url, json={"sql": sql}, timeout=120).json()
        assert "rows" in answer, f"{sql}: {answer}"
        return [tuple(row) for row in answer["rows"]]


def text(value):
    """The same for 5, 5.0 and a 5 that was added up in another order."""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else f"{value:.12g}"
    return str(value)


def same(found, wanted, what):
    """The same rows in any order; digits at the end of a mean may differ."""
    found, wanted = (sorted(map(tuple, rows), key=lambda row: list(map(text, row))) for rows in (found, wanted))
    assert wanted, f"{what}: nothing is expected, so nothing is compared"
    for pair in itertools.zip_longest(found, wanted):
        assert None not in pair and len(pair[0]) == len(pair[1]), f"{what}: {pair[0]} instead of {pair[1]}"
        for one, other in zip(*pair):
            near = isinstance(other, float) and one is not None and math.isclose(one, other, rel_tol=1e-9)
            assert near or one == other, f"{what}: {pair[0]} instead of {pair[1]}"


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def run_checks():
    """In the order of the file; the first that fails ends the run with its name and why."""
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            function()
        except Exception as error:
            print(f"FAIL  {name}: {type(error).__name__}: {error}")
            sys.exit(1)
        print(f"ok    {name}", flush=True)
    print(f"{len(CHECKS)} checks, all passed")
