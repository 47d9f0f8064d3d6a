"""DuckDB as an oracle: requests and answers are lines of JSON on stdin and stdout.

    {"load": FILE, "name": T, "columns": [[NAME, TYPE, DEFAULT], …]}   tables `T`, `T_defaults` and `T_pinot` from JSON lines
    {"sql": TEXT}                                                      {"rows": [[…], …]} or {"error": TEXT}

`NAME__missing` tells what IS NULL finds. In `T_defaults` every null is its column's default; in `T_pinot` too, where IS NULL
finds them all the same. DuckDB has no literal of bytes: X'00ff' is one here.
"""

import datetime
import decimal
import json
import math
import re
import sys
import uuid

import duckdb

TYPES = {
    "BOOLEAN": "BOOLEAN",
    "INT": "INTEGER",
    "LONG": "BIGINT",
    "FLOAT": "FLOAT",
    "DOUBLE": "DOUBLE",
    "TIMESTAMP": "TIMESTAMP",
    "STRING": "VARCHAR",
    "BIG_DECIMAL": "DECIMAL(30, 2)",
    "BYTES": "BLOB",
    "UUID": "UUID",
}


BYTES = re.compile(r"\bX'([0-9a-f]*)'")


def typed(name, data_type, is_list):
    if data_type == "TIMESTAMP":
        return f"epoch_ms(CAST({name} AS BIGINT))"
    if data_type == "BYTES":
        return f"unhex({name})"
    return f"CAST({name} AS {TYPES[data_type]}{'[]' if is_list else ''})"


def literal(default, data_type, is_list):
    if data_type == "TIMESTAMP":
        return f"epoch_ms({default})"
    text = "'" + str(default) + "'"
    value = f"CAST({text} AS {TYPES[data_type]})"
    return f"[{value}]" if is_list else value


def load(connection, table, file, columns):
    read = ", ".join(f"{name}: 'VARCHAR{'[]' if is_list else ''}'" for name, _, _, is_list in columns)
    source = f"read_json('{file}', columns={{{read}}}, format='newline_delimited')"
    plain = ", ".join(f"{typed(name, kind, is_list)} AS {name}" for name, kind, _, is_list in columns)
    told = ", ".join(f"{name}__missing" for name, _, _, _ in columns)
    filled = ", ".join(
        f"coalesce({name}, {literal(default, kind, is_list)}) AS {name}"
        for name, kind, default, is_list in columns
    )
    missing = ", ".join(f"{name} IS NULL AS {name}__missing" for name, _, _, _ in columns)
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT *, {missing} FROM (SELECT {plain} FROM {source})")
    connection.execute(f"CREATE OR REPLACE TABLE {table}_pinot AS SELECT {filled}, {told} FROM {table}")
    untold = ", ".join(f"false AS {name}__missing" for name, _, _, _ in columns)
    connection.execute(f"CREATE OR REPLACE TABLE {table}_defaults AS SELECT * REPLACE ({untold}) FROM {table}_pinot")


def shown(value):
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        fraction = f"{value.microsecond // 1000:03}".rstrip("0") or "0"
        return f"{value:%Y-%m-%d %H:%M:%S}.{fraction}"
    if isinstance(value, datetime.date):
        return f"{value:%Y-%m-%d} 00:00:00.0"
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [shown(one) for one in value]
    return value


def answer(connection, request):
    try:
        if "load" in request:
            load(connection, request["name"], request["load"], request["columns"])
            return {"rows": []}
        rows = connection.execute(re.sub(BYTES, r"unhex('\1')", request["sql"])).fetchall()
        return {"rows": [[shown(value) for value in row] for row in rows]}
    except duckdb.Error as error:
        return {"error": str(error)}


def main():
    connection = duckdb.connect()
    connection.execute("SET threads = 1; SET TimeZone = 'UTC'")
    for line in sys.stdin:
        print(json.dumps(answer(connection, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
