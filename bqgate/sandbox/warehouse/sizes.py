"""Measure the logical bytes of tables: by column, by partition, by value of the leading clustering column.

The planner asks for a TableSizes once per version of a table; everything after that is addition. BigQuery's sizes
(https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#data_type_sizes): 8 bytes for INT64, FLOAT64,
TIMESTAMP, DATETIME, TIME and DATE, 1 for BOOL, 16 for NUMERIC, INTERVAL and RANGE, 32 for BIGNUMERIC, 40 for a point,
2 + UTF-8 length for STRING, the length alone for JSON, 2 + length for BYTES, 0 for NULL, arrays and structs the sum of
their parts. A column of a struct is counted whole, also when only a part is read.

A clustered table is modelled as blocks that hold one value of the leading clustering column each; past MAX_BLOCKS of
them per table the model gives up and clustering saves nothing. Declared sizes are spread over the columns and blocks
in proportion to the measured ones, and add up exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from bqgate.sandbox.warehouse.datatypes import quote
from bqgate.sandbox.warehouse.tables import Field, TableInfo

MAX_BLOCKS = 100_000
_FIXED = {"BOOLEAN": 1, "NUMERIC": 16, "BIGNUMERIC": 32, "INTERVAL": 16, "RANGE": 16, "GEOGRAPHY": 16 + 24}
_TRUNCATION = {"HOUR": "hour", "DAY": "day", "MONTH": "month", "YEAR": "year"}

Keep = Callable[[Any], bool]


@dataclass(frozen=True)
class Block:
    """A run of rows that is read or skipped as one: its partition (start, None for NULL), its cluster value, bytes."""

    partition: Any
    cluster: Any
    bytes_by_column: tuple[int, ...]


@dataclass(frozen=True)
class TableSizes:
    """The bytes of a table, by block; `clustered` tells whether blocks are per cluster value."""

    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    clustered: bool

    @property
    def total(self) -> int:
        return sum(sum(block.bytes_by_column) for block in self.blocks)

    def partitions(self) -> frozenset[Any]:
        return frozenset(block.partition for block in self.blocks)

    def read(self, columns: Collection[str], partitions: Collection[Any] | None, keep: Keep | None) -> dict[Any, int]:
        """Return bytes by (block number, column number) of what a scan reads.

        Args:
            columns: Lower-case names of the columns that are referenced.
            partitions: The ones that are not pruned; None: all.
            keep: Whether blocks of a cluster value are read; None: all are.
        """
        wanted = [i for i, name in enumerate(self.columns) if name in columns]
        return {
            (number, i): block.bytes_by_column[i]
            for number, block in enumerate(self.blocks)
            if (partitions is None or block.partition in partitions)
            and (keep is None or not self.clustered or keep(block.cluster))
            for i in wanted
        }


def measure(cursor: duckdb.DuckDBPyConnection, table_sql: str, info: TableInfo) -> TableSizes:
    """Read a stored table once and return its sizes."""
    names = tuple(field.name.lower() for field in info.schema)
    partition = _partition_sql(info)
    cluster = _cluster_sql(info)
    if cluster is not None:
        counted = f"SELECT count(*) FROM (SELECT DISTINCT {partition}, {cluster} FROM {table_sql})"
        if (cursor.execute(counted).fetchone() or (0,))[0] > MAX_BLOCKS:
            cluster = None
    sums = ", ".join(f"sum({size_sql(field, quote(field.name))})" for field in info.schema)
    rows = cursor.execute(
        f"SELECT {partition} AS p, {cluster or 'NULL'} AS c, {sums} FROM {table_sql} GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    blocks = [Block(row[0], row[1], tuple(int(v or 0) * info.row_multiplier for v in row[2:])) for row in rows]
    if info.declared_bytes is not None:
        blocks = _declare(blocks, info.schema, info.declared_bytes)
    return TableSizes(names, tuple(blocks), cluster is not None)


def measure_arrow(cursor: duckdb.DuckDBPyConnection, table_sql: str, schema: Sequence[Field]) -> int:
    """Return the logical bytes of all rows of a relation."""
    sums = " + ".join(f"coalesce(sum({size_sql(field, quote(field.name))}), 0)" for field in schema) or "0"
    return int((cursor.execute(f"SELECT {sums} FROM {table_sql}").fetchone() or (0,))[0])


def size_sql(field: Field, value: str) -> str:
    """Return the DuckDB expression of a value's logical bytes."""
    if field.mode == "REPEATED":
        item = field.item
        return f"coalesce(list_sum(list_transform({value}, lambda e: {size_sql(item, 'e')})), 0)"
    if field.type == "RECORD":
        parts = [size_sql(part, f"{value}.{quote(part.name)}") for part in field.fields]
        return f"({' + '.join(parts) or '0'})"
    if field.type == "STRING":
        return f"coalesce(2 + strlen({value}), 0)"
    if field.type == "JSON":
        return f"coalesce(strlen(CAST({value} AS VARCHAR)), 0)"
    if field.type == "BYTES":
        return f"coalesce(2 + octet_length({value}), 0)"
    return f"(CASE WHEN {value} IS NULL THEN 0 ELSE {_FIXED.get(field.type, 8)} END)"


def _partition_sql(info: TableInfo) -> str:
    spec = info.time_partitioning
    if spec is None:
        return "NULL"
    kind = next(field.type for field in info.schema if field.name.lower() == spec.field.lower())
    truncated = f"date_trunc('{_TRUNCATION[spec.type]}', CAST({quote(spec.field)} AS TIMESTAMP))"
    return f"CAST({truncated} AS DATE)" if kind == "DATE" else truncated


def _cluster_sql(info: TableInfo) -> str | None:
    if not info.clustering:
        return None
    name = info.clustering[0]
    kind = next(field.type for field in info.schema if field.name.lower() == name.lower())
    return f"CAST({quote(name)} AS TIMESTAMP)" if kind == "TIMESTAMP" else quote(name)


def _declare(blocks: Sequence[Block], schema: Sequence[Field], declared: int) -> list[Block]:
    """Spread the declared bytes over blocks and columns so that they add up exactly."""
    if not any(any(block.bytes_by_column) for block in blocks):
        blocks = [Block(None, None, tuple(_FIXED.get(field.type, 8) for field in schema))]
    weights = [weight for block in blocks for weight in block.bytes_by_column]
    shares = _shares(declared, weights)
    return [Block(b.partition, b.cluster, tuple(next(shares) for _ in schema)) for b in blocks]


def _shares(total: int, weights: Sequence[int]) -> Iterator[int]:
    whole = sum(weights)
    seen = 0
    before = 0
    for weight in weights:
        seen += weight
        upto = total * seen // whole
        yield upto - before
        before = upto
