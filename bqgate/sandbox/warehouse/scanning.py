"""Price what a query scans: bytes of each table, before it runs and as it turned out.

The session calls `scan` with a compiled query. A table that is mentioned twice is read once, with the columns and the
partitions of both. `before` knows partitions only; `after` knows also the blocks that a filter on the leading
clustering column skips, which BigQuery finds out while it runs. An INFORMATION_SCHEMA view counts 10 MiB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import duckdb
from sqlglot import exp

from bqgate.sandbox.warehouse import billing, pruning
from bqgate.sandbox.warehouse.compiling import Compiled, bind
from bqgate.sandbox.warehouse.complaints import translate_error
from bqgate.sandbox.warehouse.lowering import lower
from bqgate.sandbox.warehouse.names import Source
from bqgate.sandbox.warehouse.plan import Accuracy
from bqgate.sandbox.warehouse.reading import Reading, readings
from bqgate.sandbox.warehouse.sizes import TableSizes
from bqgate.sandbox.warehouse.tables import TableInfo, TableRef

SizesOf = Callable[[Source], TableSizes]


@dataclass
class Scan:
    """Bytes by table, before and after; `targets` are the bytes t of DML on top of what its query reads."""

    before: dict[TableRef, int] = field(default_factory=dict)
    after: dict[TableRef, int] = field(default_factory=dict)
    accuracy: Accuracy = "PRECISE"

    @property
    def bytes_before(self) -> int:
        return sum(self.before.values())

    @property
    def bytes_after(self) -> int:
        return sum(self.after.values())

    @property
    def billed_before(self) -> int:
        return billing.billed(list(self.before.values()))

    @property
    def billed_after(self) -> int:
        return billing.billed(list(self.after.values()))

    def add(self, ref: TableRef, more: int) -> None:
        """Count bytes of a table that the statement touches besides what its query reads."""
        self.before[ref] = self.before.get(ref, 0) + more
        self.after[ref] = self.after.get(ref, 0) + more


def scan(cursor: duckdb.DuckDBPyConnection, compiled: Compiled, sizes_of: SizesOf) -> Scan:
    """Return what a compiled query reads."""
    found = Scan()
    for source in compiled.sources.virtual:
        found.add(source.ref, billing.MINIMUM_BYTES)
    mentions = readings(compiled.qualified)
    for source in compiled.sources.stored:
        before: dict[Any, int] = {}
        after: dict[Any, int] = {}
        sizes = sizes_of(source)
        for reading in mentions:
            if reading.key == source.key:
                upper, exact = _mention(cursor, source, sizes, reading)
                before |= upper
                after |= exact
                if upper is not exact:
                    found.accuracy = "UPPER_BOUND"
        found.before[source.ref] = found.before.get(source.ref, 0) + sum(before.values())
        found.after[source.ref] = found.after.get(source.ref, 0) + sum(after.values())
    return found


def touched(
    cursor: duckdb.DuckDBPyConnection, compiled: Compiled, source: Source, sizes: TableSizes, alias: str
) -> int:
    """Return the bytes of all columns of a DML target, in the partitions that its conditions leave."""
    for reading in readings(compiled.qualified):
        if reading.key == source.key and reading.alias == alias:
            partitions = _partitions(cursor, source, sizes, reading)
            return sum(sizes.read(sizes.columns, partitions, None).values())
    return sizes.total


def _mention(
    cursor: duckdb.DuckDBPyConnection, source: Source, sizes: TableSizes, reading: Reading
) -> tuple[dict[Any, int], dict[Any, int]]:
    columns = set(sizes.columns) if "*" in reading.columns else reading.columns
    partitions = _partitions(cursor, source, sizes, reading)
    upper = sizes.read(columns, partitions, None)
    assert source.found is not None
    info = source.found.info
    if not info.clustering or not sizes.clustered:
        return upper, upper
    found = pruning.tests(
        reading.conditions, reading.alias, info.clustering[0], _evaluator(cursor, info, info.clustering[0])
    )
    if not found:
        return upper, upper
    keep = lambda value: value is not None and all(test(value, value) for test in found)  # noqa: E731 - one line tells it
    return upper, sizes.read(columns, partitions, keep)


def _partitions(
    cursor: duckdb.DuckDBPyConnection, source: Source, sizes: TableSizes, reading: Reading
) -> set[Any] | None:
    assert source.found is not None
    info = source.found.info
    spec = info.time_partitioning
    if spec is None:
        return None
    found = pruning.tests(reading.conditions, reading.alias, spec.field, _evaluator(cursor, info, spec.field))
    if not found:
        return None
    ranges = [(p, p, None if p is None else pruning.last_of(spec.type, p)) for p in sizes.partitions()]
    return pruning.surviving(ranges, found)


def _evaluator(cursor: duckdb.DuckDBPyConnection, info: TableInfo, column: str) -> Callable[[exp.Expr], Any]:
    kind = next(field.type for field in info.schema if field.name.lower() == column.lower())
    target = {"DATE": "DATE", "TIMESTAMP": "TIMESTAMP", "DATETIME": "TIMESTAMP"}.get(kind)

    def evaluate(node: exp.Expr) -> Any:
        sql = lower(node.copy()).sql(dialect="duckdb")
        if kind == "TIMESTAMP":
            sql = f"CAST({sql} AS TIMESTAMPTZ)"
        wanted = f"CAST({sql} AS {target})" if target else sql
        try:
            rows = bind(cursor, f"SELECT {wanted}").fetchall()
        except duckdb.Error as error:
            raise translate_error(error) from error
        return rows[0][0]

    return evaluate
