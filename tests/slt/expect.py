"""Writes the answers of DuckDB into the .slt files, over the rows that the tests load.

    pip install duckdb==2.0.1
    python expect.py

A statement that DuckDB spells otherwise has it in a comment before it: `# duckdb: SELECT …`. In `pinot/`
only those are asked: the other answers there are Pinot's own.
"""

import datetime
import decimal
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "schemas" / "examples" / "flights"
ROWS = 20_000  # tests/src/flights.rs


def connect():
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for table in ("airlines", "airports", "planes", "weather"):
        connection.execute(f"CREATE TABLE {table} AS FROM '{DATA / table}.parquet'")
    connection.execute(f"CREATE TABLE flights AS FROM '{DATA / 'flights'}.parquet' LIMIT {ROWS}")
    return connection


def letter(name):
    name = str(name)
    if name in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT"):
        return "I"
    return "R" if name in ("FLOAT", "DOUBLE") or name.startswith("DECIMAL") else "T"


def shown(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (float, decimal.Decimal)):
        return f"{value:.4f}"
    if isinstance(value, datetime.datetime):
        fraction = f"{value.microsecond // 1000:03}".rstrip("0") or "0"
        return f"{value:%Y-%m-%d %H:%M:%S}.{fraction}"
    return str(value) or "(empty)"


def answered(connection, sql):
    cursor = connection.execute(sql)
    types = "".join(letter(column[1]) for column in cursor.description)
    return types, ["\t".join(map(shown, row)).replace("\t", " ") for row in cursor.fetchall()]


def rewritten(connection, text, all_of_them):
    """Blocks are separated by empty lines; those that begin with `query` get their answer."""
    blocks = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        comments = [line for line in lines if line.startswith("#")]
        rest = [line for line in lines if not line.startswith("#")]
        if not rest or not rest[0].startswith("query"):
            blocks.append(block)
            continue
        sort = rest[0].split()[2:]
        sql = "\n".join(rest[1:]).split("\n----")[0]
        own = [line.removeprefix("# duckdb: ") for line in comments if line.startswith("# duckdb: ")]
        if not own and not all_of_them:
            blocks.append(block)
            continue
        types, rows = answered(connection, own[0] if own else sql)
        if sort == ["rowsort"]:
            rows.sort(key=lambda row: row.split(" "))
        head = " ".join(["query", types, *sort])
        blocks.append("\n".join([*comments, head, sql, "----", *rows]))
    return "\n\n".join(blocks) + "\n"


def main():
    connection = connect()
    for file in sorted(HERE.glob("*/*.slt")):
        text = file.read_text()
        file.write_text(rewritten(connection, text, file.parent.name == "standard"))
        print(f"{file.name}: {text.count('query')} statements")


main()
