"""Answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import pandas
    import polars


class Result:
    """The rows of a query. They are all here: nothing is fetched later."""

    def __init__(self, table: pa.Table, stats: dict[str, Any], warnings: list[str]) -> None:
        self._table = table
        #: What the answer cost: `timeUsedMs`, `docsScanned`, `segmentsProcessed`, ...
        self.stats = stats
        #: What the answer lacks, for people: a partition that is late, a LIMIT that was added.
        self.warnings = warnings

    @property
    def columns(self) -> list[str]:
        return list(self._table.column_names)

    def to_arrow(self) -> pa.Table:
        return self._table

    def to_pandas(self, **options: Any) -> pandas.DataFrame:
        """`options` are those of `pyarrow.Table.to_pandas`."""
        return self._table.to_pandas(**options)

    def to_polars(self) -> polars.DataFrame:
        import polars

        frame = polars.from_arrow(self._table)
        assert isinstance(frame, polars.DataFrame)
        return frame

    def rows(self) -> list[tuple[Any, ...]]:
        """Python values, a tuple a row."""
        columns = [column.to_pylist() for column in self._table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows())

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        return f"<Result: {len(self)} rows of {', '.join(self.columns)}>"


@dataclass(frozen=True)
class Appended:
    """Rows that are durable in the log of a table."""

    rows: int
    #: `Connection.query(…, after=token)` waits until it can see them.
    token: str
