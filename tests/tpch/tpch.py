"""TPC-H and SSB: the same answers as DuckDB over the same rows, in both dialects.

    python tpch.py BROKER CONTROLLER TANNIN FOLDER [--scale 0.1]
    python tpch.py --servers 3 TANNIN FOLDER [--scale 0.01] [--options useExchanges=true]

TPC-H's tables are made by tpchgen-cli; those of SSB are derived from them in DuckDB, with the
columns, the domains and the correlations that its queries need. FOLDER keeps them.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
TPCH = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"]
SSB = ["dates", "ssb_part", "ssb_supplier", "ssb_customer", "lineorder"]

# A city is the first nine letters of its nation and a digit; a brand is within a category, which is
# within a manufacturer.
DERIVED = {
    "dates": """SELECT CAST(strftime(d, '%Y%m%d') AS INTEGER) AS d_datekey, CAST(year(d) AS INTEGER) AS d_year,
        CAST(strftime(d, '%Y%m') AS INTEGER) AS d_yearmonthnum, strftime(d, '%b%Y') AS d_yearmonth,
        CAST(weekofyear(d) AS INTEGER) AS d_weeknuminyear
        FROM (SELECT CAST(range AS DATE) AS d FROM range(DATE '1992-01-01', DATE '1999-01-01', INTERVAL 1 DAY))""",
    "ssb_part": """SELECT p_partkey, 'MFGR#' || m AS p_mfgr, 'MFGR#' || m || c AS p_category,
        'MFGR#' || m || c || (p_partkey // 25 % 40 + 1) AS p_brand1
        FROM (SELECT p_partkey, p_partkey % 5 + 1 AS m, p_partkey // 5 % 5 + 1 AS c FROM part)""",
    "ssb_supplier": """SELECT s_suppkey, rpad(substr(n_name, 1, 9), 9, ' ') || (s_suppkey % 10) AS s_city, n_name AS s_nation, r_name AS s_region
        FROM supplier JOIN nation ON s_nationkey = n_nationkey JOIN region ON n_regionkey = r_regionkey""",
    "ssb_customer": """SELECT c_custkey, rpad(substr(n_name, 1, 9), 9, ' ') || (c_custkey % 10) AS c_city, n_name AS c_nation, r_name AS c_region
        FROM customer JOIN nation ON c_nationkey = n_nationkey JOIN region ON n_regionkey = r_regionkey""",
    "lineorder": """SELECT l_orderkey AS lo_orderkey, o_custkey AS lo_custkey, l_partkey AS lo_partkey, l_suppkey AS lo_suppkey,
        CAST(strftime(o_orderdate, '%Y%m%d') AS INTEGER) AS lo_orderdate, CAST(l_quantity AS INTEGER) AS lo_quantity,
        CAST(l_extendedprice * 100 AS BIGINT) AS lo_extendedprice, CAST(l_discount * 100 AS INTEGER) AS lo_discount,
        CAST(l_extendedprice * (1 - l_discount) * 100 AS BIGINT) AS lo_revenue, CAST(l_extendedprice * 60 AS BIGINT) AS lo_supplycost
        FROM lineitem JOIN orders ON l_orderkey = o_orderkey""",
}


def made(folder, scale):
    """The tables as Parquet files, and a DuckDB over them."""
    rows = folder / f"tpch-{scale}"
    if not (rows / "made").exists():
        rows.mkdir(parents=True, exist_ok=True)
        generator = Path(sys.executable).parent / "tpchgen-cli"
        subprocess.run([generator, "parquet", "-s", str(scale), f"--output-dir={rows}"], check=True)
    connection = duckdb.connect()
    for table in TPCH:
        connection.execute(f"CREATE VIEW {table} AS FROM '{rows / table}.parquet'")
    for table in SSB:
        file = rows / f"{table}.parquet"
        if not (rows / "made").exists():
            connection.execute(f"COPY ({DERIVED[table]}) TO '{file}'")
        connection.execute(f"CREATE VIEW {table} AS FROM '{file}'")
    (rows / "made").touch()
    return rows, connection


def statements(file):
    """Name and text of each."""
    for block in re.split(r"^-- ", file.read_text(), flags=re.M)[2:]:
        name, sql = block.split("\n", 1)
        yield name.strip(), sql.strip().rstrip(";")


def ask(broker, sql, more):
    options = f"useMultistageEngine=true;enableNullHandling=true;timeoutMs=300000;{more}"
    body = json.dumps({"sql": sql, "queryOptions": options}).encode()
    request = urllib.request.Request(f"{broker}/query/sql", body, {"Content-Type": "application/json"})
    start = time.monotonic()
    answer = json.load(urllib.request.urlopen(request))
    elapsed = time.monotonic() - start
    if answer["exceptions"]:
        raise SystemExit(f"{sql}\n{answer['exceptions'][0]['message']}")
    return answer["resultTable"]["rows"], elapsed


def plain(value):
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d 00:00:00.0")
    if isinstance(value, date):
        return value.strftime("%Y-%m-%d 00:00:00.0")
    return value


def is_same(got, wanted):
    wanted = plain(wanted)
    if isinstance(wanted, (int, float)) and got is not None and not isinstance(wanted, bool):
        return math.isclose(float(got), wanted, rel_tol=1e-9, abs_tol=1e-9)
    return got == wanted


def compare(name, got, wanted):
    if len(got) != len(wanted):
        raise SystemExit(f"{name}: {len(got)} rows, DuckDB has {len(wanted)}")
    for row, (one, other) in enumerate(zip(got, wanted)):
        if len(one) != len(other) or not all(map(is_same, one, other)):
            raise SystemExit(f"{name}, row {row}: {one}\nDuckDB: {[plain(v) for v in other]}")


def host(address):
    return address.removeprefix("http://")


class Cluster:
    """Roles as processes of their own, on ports that are free."""

    def __init__(self, tannin, servers):
        self.folder = tempfile.TemporaryDirectory()
        self.tannin, self.nodes = tannin, []
        first = self.start("first", "controller,broker,minion")
        self.broker, self.controller = (f"http://{first[role]}" for role in ("broker_http", "controller_http"))
        for server in range(servers):
            self.start(f"server-{server}", "server", "--set", f"controller.address={first['controller_grpc']}")
        self.wait_for(servers)

    def start(self, name, roles, *more):
        folder = Path(self.folder.name) / name
        ports = [f"{role}.http_port=0" for role in ("controller", "broker", "server", "minion")]
        settings = ports + ["controller.grpc_port=0", "server.grpc_port=0", "log.enabled=false"]
        settings += [f"node.data_dir={folder}", f"deepstore.url=file://{self.folder.name}/deepstore"]
        command = [self.tannin, "start", "--role", roles]
        command += [word for setting in settings for word in ("--set", setting)]
        with open(f"{folder}.log", "w") as log:
            self.nodes.append(subprocess.Popen([*command, *more], stdout=log, stderr=log))
        for _ in range(600):
            time.sleep(0.1)
            if (folder / "ports.json").exists():
                return json.loads((folder / "ports.json").read_text())
        raise SystemExit(f"{name} does not start: {Path(f'{folder}.log').read_text()}")

    def wait_for(self, servers):
        for _ in range(300):
            instances = json.load(urllib.request.urlopen(f"{self.controller}/v1/cluster"))["instances"]
            if sum(one["role"] == "server" and one["alive"] for one in instances) == servers:
                return
            time.sleep(0.1)
        raise SystemExit(f"not all of {servers} servers are heard: {instances}")

    def stop(self):
        for node in reversed(self.nodes):
            node.terminate()
        for node in self.nodes:
            node.wait()
        self.folder.cleanup()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="*", help="BROKER CONTROLLER TANNIN FOLDER")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--servers", type=int, default=0, help="a cluster is started, of so many servers")
    parser.add_argument("--options", default="", help="of each query")
    args = parser.parse_args()
    if not args.servers:
        broker, controller, tannin, folder = args.addresses
        return compare_all(broker, controller, tannin, Path(folder), args)
    tannin, folder = args.addresses
    cluster = Cluster(tannin, args.servers)
    try:
        compare_all(cluster.broker, cluster.controller, tannin, Path(folder), args)
    finally:
        cluster.stop()


def pieces(rows, connection, table, servers):
    """The table's file, or one for each server: each then has a segment."""
    if not servers:
        return [rows / f"{table}.parquet"]
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    each = -(-count // servers)
    files = [rows / f"{table}-{piece}-of-{servers}.parquet" for piece in range(servers) if piece * each < count]
    for piece, file in enumerate(files):
        if not file.exists():
            connection.execute(f"COPY (FROM {table} LIMIT {each} OFFSET {piece * each}) TO '{file}'")
    return files


def compare_all(broker, controller, tannin, folder, args):
    rows, connection = made(folder, args.scale)
    for table in TPCH + SSB:
        for file in pieces(rows, connection, table, args.servers):
            command = [tannin, "import", file, "--table", table, "--append"]
            command += ["--controller", host(controller), "--broker", host(broker)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    times = []
    for file in ("tpch.sql", "ssb.sql"):
        for name, sql in statements(HERE / file):
            got, elapsed = ask(broker, sql, args.options)
            compare(f"{file} {name}", got, connection.execute(sql).fetchall())
            times.append(elapsed)
            print(f"{file} {name}: {len(got)} rows, {elapsed * 1e3:.0f} ms", flush=True)
    print(f"{len(times)} statements have DuckDB's answers, {sum(times):.1f} s")


main()
