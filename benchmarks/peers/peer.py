"""One database in this process, driven by lines of JSON on stdin, answering on stdout.

    python peer.py ENGINE FOLDER THREADS

    {"load": "events", "files": "/data/events/*.parquet"}   -> {"seconds": 12.3, "cpu": 20.1}
    {"run": "SELECT 1", "warm": 2, "runs": 31, "budget_ms": 700, "runs_min": 7, "slow_ms": 1000,
     "slow_runs_min": 3}                   -> {"ms": [0.2, ...], "cpu_ms": 0.3, "rows": [[1]]}
    {"size": "events"}                                      -> {"bytes": 123456}

Anything that fails is answered with {"error": "..."}. What is timed is the statement and its
result in the engine's own form; cells are made comparable afterwards.
"""

import datetime
import decimal
import importlib
import json
import math
import os
import sys
import time

MODULES = {
    "duckdb": "duck",
    "duckdb-enum": "duck",
    "clickhouse": "click",
    "datafusion": "fusion",
}


def cell(value):
    """Times as epoch milliseconds, decimals as doubles; lists sorted, as sets are."""
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=datetime.timezone.utc)
        return round(value.timestamp() * 1000)
    if isinstance(value, datetime.date):
        midnight = datetime.datetime(value.year, value.month, value.day)
        return round(midnight.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000)
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) >= 2**63:
        return float(value)
    if isinstance(value, (list, tuple)):
        return sorted(map(cell, value), key=str)
    if isinstance(value, bytes):
        return value.decode()
    return value


def enough(times, request):
    """The same rule as of tests/src/bin/bench/engine/measure.rs."""
    is_slow = times and times[-1] > request["slow_ms"]
    least = request["slow_runs_min" if is_slow else "runs_min"]
    done = len(times) >= least and sum(times) > request["budget_ms"]
    return len(times) >= request["runs"] or done


def run(engine, request):
    for _ in range(request["warm"]):
        result = engine.run(request["run"])
    times, cpu = [], time.process_time()
    while not enough(times, request):
        begin = time.perf_counter()
        result = engine.run(request["run"])
        times.append((time.perf_counter() - begin) * 1000)
    cpu = (time.process_time() - cpu) * 1000 / len(times)
    rows = [[cell(value) for value in row] for row in engine.rows(result)]
    return {"ms": times, "cpu_ms": cpu, "rows": rows}


def load(engine, request):
    wall, cpu = time.perf_counter(), time.process_time()
    engine.load(request["load"], request["files"])
    return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def answer(engine, request):
    if "load" in request:
        return load(engine, request)
    if "size" in request:
        return {"bytes": engine.size(request["size"])}
    return run(engine, request)


def main():
    name, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # What an engine prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.makedirs(folder, exist_ok=True)
    engine = importlib.import_module(MODULES[name]).Engine(name, folder, threads)
    for line in sys.stdin:
        try:
            said = answer(engine, json.loads(line))
        except Exception as error:  # noqa: BLE001  (every fault is the reader's to judge)
            said = {"error": f"{type(error).__name__}: {error}"[:2000]}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
