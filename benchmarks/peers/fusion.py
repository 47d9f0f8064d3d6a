"""DataFusion over Parquet: sorted as in the other peers, in the page cache, LZ4."""

import os
import shutil

import duckdb
from datafusion import SessionConfig, SessionContext

import layout


class Engine:
    def __init__(self, _name, folder, threads):
        self.folder = folder
        self.threads = threads
        config = SessionConfig().with_target_partitions(threads)
        self.context = SessionContext(config)
        for table in os.listdir(folder):
            self.register(table)

    def register(self, table):
        self.context.register_parquet(table, os.path.join(self.folder, table))

    def load(self, table, files):
        folder = os.path.join(self.folder, table)
        shutil.rmtree(folder, ignore_errors=True)
        connection = duckdb.connect()
        connection.execute(f"SET threads = {self.threads}")
        order = ", ".join(f'"{column}"' for column in layout.ORDER[table])
        connection.execute(
            f"COPY (FROM read_parquet('{files}') ORDER BY {order}) TO '{folder}' "
            "(FORMAT parquet, COMPRESSION lz4_raw, PER_THREAD_OUTPUT false, "
            "FILE_SIZE_BYTES '200MB', ROW_GROUP_SIZE 500000)"
        )
        if self.context.table_exist(table):
            self.context.deregister_table(table)
        self.register(table)

    def run(self, sql):
        return self.context.sql(sql).collect()

    def rows(self, result):
        for batch in result:
            columns = [column.to_pylist() for column in batch.columns]
            yield from zip(*columns)

    def size(self, table):
        folder = os.path.join(self.folder, table)
        return sum(entry.stat().st_size for entry in os.scandir(folder))
