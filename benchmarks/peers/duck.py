"""DuckDB with its own types, or with ENUM columns where the values are few."""

import os

import duckdb

import layout


class Engine:
    def __init__(self, name, folder, threads):
        self.enums = name == "duckdb-enum"
        self.folder = folder
        self.file = os.path.join(folder, f"{name}.db")
        self.connection = duckdb.connect(self.file)
        self.connection.execute(f"SET threads = {threads}")
        self.connection.execute("SET memory_limit = '7GB'")
        self.connection.execute("SET TimeZone = 'UTC'")

    def load(self, table, files):
        execute = self.connection.execute
        execute(f"CREATE OR REPLACE VIEW source AS FROM read_parquet('{files}')")
        # A new table may not use the types of the one it replaces.
        execute(f"DROP TABLE IF EXISTS {table}")
        order = ", ".join(f'"{column}"' for column in layout.ORDER[table])
        changed = self.changed(table) if self.enums else []
        replaced = f"REPLACE ({', '.join(changed)})" if changed else ""
        execute(f"CREATE TABLE {table} AS SELECT * {replaced} FROM source ORDER BY {order}")
        execute("DROP VIEW source")
        execute("CHECKPOINT")

    def changed(self, table):
        """Makes the types; the expressions that take their columns into them."""
        lists = layout.ENUM_LISTS.get(table, [])
        changed = []
        for column in [*layout.ENUMS[table], *lists]:
            kind = f"{table}_{column}"
            value = f'unnest("{column}")' if column in lists else f'"{column}"'
            suffix = "[]" if column in lists else ""
            self.connection.execute(f"DROP TYPE IF EXISTS {kind}")
            self.connection.execute(
                f"CREATE TYPE {kind} AS ENUM (SELECT v FROM (SELECT DISTINCT {value} v FROM source)"
                " WHERE v IS NOT NULL ORDER BY v)"
            )
            changed.append(f'"{column}"::{kind}{suffix} AS "{column}"')
        return changed

    def run(self, sql):
        return self.connection.execute(sql).fetchall()

    def rows(self, result):
        return result

    def size(self, table):
        # Blocks of its columns; the file holds other tables too.
        blocks = self.connection.execute(
            f"SELECT count(DISTINCT block) * 262144 FROM (SELECT unnest([block_id] || "
            f"additional_block_ids) block FROM pragma_storage_info('{table}') "
            "WHERE persistent AND block_id >= 0)"
        )
        return blocks.fetchone()[0]
