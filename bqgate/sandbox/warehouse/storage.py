"""Keep the rows: one DuckDB database, one schema in it for every dataset, and the sizes of every table.

The Warehouse owns one; sessions take a cursor each, which is a connection of its own to the same database, so that
reads run side by side. Writers hold `writing`. Sizes are measured once per version of a table; those of rows that all
warehouses of a process share, once per process.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from importlib import resources

import duckdb
import pyarrow as pa

from bqgate.sandbox.warehouse.catalog import Found
from bqgate.sandbox.warehouse.datatypes import duckdb_type, quote
from bqgate.sandbox.warehouse.sizes import TableSizes, measure
from bqgate.sandbox.warehouse.tables import Field, TableRef


@dataclass(eq=False)
class SharedRows:
    """Rows that any number of warehouses show and none changes, with their sizes by row multiplier."""

    rows: pa.Table
    sizes: dict[int, TableSizes] = field(default_factory=dict)


class Storage:
    """The DuckDB database behind a warehouse."""

    def __init__(self) -> None:
        self.writing = threading.RLock()
        self._measuring = threading.Lock()
        self._sizes: dict[TableRef, tuple[int, TableSizes]] = {}
        self._shared: dict[TableRef, SharedRows] = {}
        self._connection = duckdb.connect()
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        macros = (resources.files("bqgate.sandbox.warehouse") / "macros.sql").read_text(encoding="utf-8")
        for macro in macros.split(";\n"):
            if macro.strip():
                self._connection.execute(macro)

    def close(self) -> None:
        self._connection.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own to the database; the caller closes it."""
        return self._connection.cursor()

    def sizes(self, cursor: duckdb.DuckDBPyConnection, found: Found) -> TableSizes:
        """Return the sizes of a table at its version."""
        with self._measuring:
            known = self._sizes.get(found.stored)
            if known is None or known[0] != found.info.version:
                known = (found.info.version, self._measured(cursor, found))
                self._sizes[found.stored] = known
            return known[1]

    def _measured(self, cursor: duckdb.DuckDBPyConnection, found: Found) -> TableSizes:
        shared, multiplier = self._shared.get(found.stored), found.info.row_multiplier
        if shared and multiplier in shared.sizes:
            return shared.sizes[multiplier]
        sizes = measure(cursor, table_sql(found.stored), found.info)
        if shared:
            shared.sizes[multiplier] = sizes
        return sizes

    def show(self, cursor: duckdb.DuckDBPyConnection, stored: TableRef, shared: SharedRows) -> None:
        """Show rows as a table that is only read: DuckDB reads them where they are, so that it costs nothing."""
        self.create_schema(cursor, stored)
        name = str(stored)
        cursor.from_arrow(shared.rows).create_view(name)
        cursor.execute(f"CREATE VIEW {table_sql(stored)} AS SELECT * FROM {quote(name)}")
        self._shared[stored] = shared

    def create(self, cursor: duckdb.DuckDBPyConnection, stored: TableRef, schema: tuple[Field, ...]) -> None:
        """Create or replace an empty table."""
        self.create_schema(cursor, stored)
        columns = ", ".join(_column_sql(field) for field in schema)
        cursor.execute(f"CREATE OR REPLACE TABLE {table_sql(stored)} ({columns or 'no_columns BOOLEAN'})")

    def add_columns(self, cursor: duckdb.DuckDBPyConnection, stored: TableRef, fields: tuple[Field, ...]) -> None:
        for each in fields:
            cursor.execute(f"ALTER TABLE {table_sql(stored)} ADD COLUMN {quote(each.name)} {duckdb_type(each)}")

    def create_schema(self, cursor: duckdb.DuckDBPyConnection, stored: TableRef) -> None:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(f'{stored.project}:{stored.dataset}')}")

    def drop(self, cursor: duckdb.DuckDBPyConnection, stored: TableRef) -> None:
        cursor.execute(f"DROP TABLE IF EXISTS {table_sql(stored)}")
        self._sizes.pop(stored, None)

    def count(self, cursor: duckdb.DuckDBPyConnection, stored: TableRef) -> int:
        """Return the number of rows of a table."""
        return int((cursor.execute(f"SELECT count(*) FROM {table_sql(stored)}").fetchone() or (0,))[0])


def _column_sql(field: Field) -> str:
    return f"{quote(field.name)} {duckdb_type(field)}{' NOT NULL' if field.mode == 'REQUIRED' else ''}"


def table_sql(stored: TableRef) -> str:
    """Return the name of a stored table in DuckDB."""
    return f"{quote(f'{stored.project}:{stored.dataset}')}.{quote(stored.table)}"
