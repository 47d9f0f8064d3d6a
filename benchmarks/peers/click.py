"""ClickHouse through chdb: MergeTree, LowCardinality where the values are few."""

import datetime
import json

from chdb import session

import layout

FEW = "LowCardinality(String)"
FEW_OR_NONE = "LowCardinality(Nullable(String))"

COLUMNS = {
    "events": f"""ts DateTime64(3, 'UTC'), tenant {FEW}, country {FEW}, city {FEW}, device {FEW},
        browser {FEW}, url String, referrer {FEW_OR_NONE}, status Int32, campaign {FEW_OR_NONE},
        user_id Int64, latency_ms Int32, revenue Float64, bytes Int64, is_bot Bool,
        tags Array({FEW})""",
    "messages": f"ts DateTime64(3, 'UTC'), tenant {FEW}, level {FEW}, message String",
    "tenants": "tenant String, plan String, region String, seats Int32",
    "hits": """WatchID Int64, EventTime DateTime('UTC'), EventDate Date, CounterID Int32,
        UserID Int64, URL String, Title String, Referer String, SearchPhrase String,
        MobilePhoneModel String, ClientIP Int32,
        RegionID Int32, MobilePhone Int16,
        TraficSourceID Int16, SearchEngineID Int16, AdvEngineID Int16, ResolutionWidth Int16,
        WindowClientWidth Int16, WindowClientHeight Int16, IsRefresh Int16, IsLink Int16,
        IsDownload Int16, DontCountHits Int16, URLHash Int64, RefererHash Int64""",
}

# Answers must be computed: no cache of results, none of which parts a filter matched.
SETTINGS = (
    "use_query_cache = 0, use_query_condition_cache = 0, join_use_nulls = 1, "
    "output_format_json_quote_64bit_integers = 0"
)


class Engine:
    def __init__(self, _name, folder, threads):
        self.session = session.Session(folder)
        self.session.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        self.session.query("USE bench")
        self.settings = f" SETTINGS max_threads = {threads}, {SETTINGS}"

    def load(self, table, files):
        query = self.session.query
        order = ", ".join(layout.ORDER[table])
        query(f"DROP TABLE IF EXISTS bench.{table} SYNC")
        query(
            f"CREATE TABLE bench.{table} ({COLUMNS[table]}) ENGINE = MergeTree ORDER BY ({order})"
        )
        query(f"INSERT INTO bench.{table} SELECT * FROM file('{files}', Parquet)")
        query(f"OPTIMIZE TABLE bench.{table} FINAL")

    def run(self, sql):
        return self.session.query(sql + self.settings, "JSONCompact")

    def rows(self, result):
        answer = json.loads(result.bytes())
        kinds = [column["type"] for column in answer["meta"]]
        return [list(map(value, kinds, row)) for row in answer["data"]]

    def size(self, table):
        answer = self.session.query(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'bench' "
            f"AND table = '{table}'",
            "TabSeparated",
        )
        return int(answer.bytes())


def value(kind, cell):
    if cell is not None and kind.removeprefix("Nullable(").startswith("Date"):
        return datetime.datetime.fromisoformat(cell)
    return cell
