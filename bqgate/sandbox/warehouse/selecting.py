"""Prepare SELECT, with or without a destination table, and write query results into tables.

The Warehouse dispatches here for queries; CREATE TABLE AS uses `write_table` too. Results are kept as Arrow tables,
large ones in a file.
"""

from __future__ import annotations

from dataclasses import replace

import duckdb
import pyarrow as pa
from sqlglot import exp

from bqgate.sandbox.warehouse.compiling import Compiled
from bqgate.sandbox.warehouse.complaints import translate_error
from bqgate.sandbox.warehouse.errors import Duplicate, Invalid, NotFound, QueryInvalid
from bqgate.sandbox.warehouse.prepared import Outcome, Prepared
from bqgate.sandbox.warehouse.rows import ArrowRows, kept, refuse_null_elements
from bqgate.sandbox.warehouse.session import Session
from bqgate.sandbox.warehouse.storage import table_sql
from bqgate.sandbox.warehouse.tables import Field, TableInfo, TableRef


def prepare_select(session: Session, tree: exp.Expr) -> Prepared:
    compiled = session.compile(tree)
    scanned = session.scan(compiled)
    plan = session.plan("SELECT", compiled, scanned)
    if session.ctx.destination is not None:
        plan = replace(plan, deterministic=False, target=session.ctx.destination)

    def run() -> Outcome:
        table = fetch(session.cursor, compiled)
        refuse_null_elements(table, compiled.schema)
        if session.ctx.destination is not None:
            _write_destination(session, session.ctx.destination, compiled, table)
        return Outcome(ArrowRows(table, compiled.schema))

    return Prepared(plan, scanned, run)


def fetch(cursor: duckdb.DuckDBPyConnection, compiled: Compiled) -> pa.Table:
    """Run a compiled query and return its rows."""
    try:
        return kept(cursor.sql(compiled.sql).to_arrow_reader())
    except duckdb.CatalogException as error:
        raise NotFound("Not found: a table of the query is gone") from error
    except duckdb.Error as error:
        raise translate_error(error) from error
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the query's
        raise translate_error(error) from error


def _write_destination(session: Session, ref: TableRef, compiled: Compiled, table: pa.Table) -> None:
    stored = session.catalog.writable(ref)
    exists = session.catalog.exists(ref)
    if not exists and session.ctx.create_disposition == "CREATE_NEVER":
        raise NotFound(f"Not found: Table {ref} was not found in location {session.ctx.location}")
    if exists and session.ctx.write_disposition == "WRITE_EMPTY" and session.catalog.find(ref).info.num_rows:
        raise Duplicate(f"Already Exists: Table {ref}")
    with session.storage.writing:
        if exists and session.ctx.write_disposition == "WRITE_APPEND":
            append(session, session.catalog.find(ref).info, stored, compiled.schema, table)
        else:
            known = session.catalog.find(ref).info if exists else TableInfo(ref, ())
            write_table(session, replace(known, schema=compiled.schema, declared_bytes=None), stored, table)


def append(session: Session, info: TableInfo, stored: TableRef, schema: tuple[Field, ...], table: pa.Table) -> None:
    """Add rows to a table whose columns they must match by name."""
    known = {field.name.lower(): (field.type, field.mode == "REPEATED") for field in info.schema}
    for field in schema:
        if known.get(field.name.lower()) != (field.type, field.mode == "REPEATED"):
            raise Invalid(f"Invalid schema update. Cannot add fields (field: {field.name})")
    session.cursor.register("rows_to_append", table)
    session.cursor.execute(f"INSERT INTO {table_sql(stored)} BY NAME SELECT * FROM rows_to_append")
    session.cursor.unregister("rows_to_append")
    session.catalog.touch(stored, num_rows=session.storage.count(session.cursor, stored))


def write_table(session: Session, info: TableInfo, stored: TableRef, table: pa.Table) -> None:
    """Create or replace a table with these rows."""
    check_names(info.schema)
    session.storage.create(session.cursor, stored, info.schema)
    session.cursor.register("rows_to_write", table)
    session.cursor.execute(f"INSERT INTO {table_sql(stored)} SELECT * FROM rows_to_write")
    session.cursor.unregister("rows_to_write")
    session.catalog.put(stored, replace(info, num_rows=table.num_rows))


def check_names(schema: tuple[Field, ...]) -> None:
    """Refuse a schema without columns, with doubles, or with DuckDB's rowid."""
    names = [field.name.lower() for field in schema]
    if len(set(names)) != len(names):
        raise QueryInvalid("Duplicate column names in the schema", location="")
    if "rowid" in names:
        raise Invalid("The sandbox keeps the column name rowid for itself")
