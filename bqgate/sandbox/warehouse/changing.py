"""Prepare INSERT, UPDATE, DELETE and TRUNCATE: rows that change in place.

Each becomes one SELECT (of the new rows, or of the row ids and the new values), which is compiled and sized like any
query and put in a temporary table; the write is then done by row id. So GoogleSQL's meaning is decided in one place.
`merging` does the same for MERGE. Callers hold the storage's write lock.

Bytes: INSERT costs what its query reads; UPDATE and DELETE that plus all columns of the target in the partitions that
the WHERE clause leaves (https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import duckdb
from sqlglot import exp

from bqgate.sandbox.warehouse.catalog import Found
from bqgate.sandbox.warehouse.compiling import ROWID, Compiled
from bqgate.sandbox.warehouse.complaints import translate_error
from bqgate.sandbox.warehouse.constructors import typed
from bqgate.sandbox.warehouse.datatypes import duckdb_type, quote, standard_type
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.names import Source
from bqgate.sandbox.warehouse.parsing import position
from bqgate.sandbox.warehouse.plan import DmlStats, Plan
from bqgate.sandbox.warehouse.prepared import Outcome, Prepared
from bqgate.sandbox.warehouse.scanning import Scan, touched
from bqgate.sandbox.warehouse.session import Session
from bqgate.sandbox.warehouse.storage import table_sql
from bqgate.sandbox.warehouse.tables import Field

DUPLICATE_MATCH = "UPDATE/MERGE must match at most one source row for each target row"
_CHANGES = "changes_of_this_statement"
_NUMBERS = {"INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC"}
_FROM_TEXT = {"DATE", "DATETIME", "TIMESTAMP", "TIME", "JSON", "BYTES"}


def target_of(session: Session, table: exp.Expr) -> tuple[Found, str]:
    """Return the table that DML is about and the alias it goes by; refuse views and the shared data."""
    if not isinstance(table, exp.Table):
        raise NotSupported("DML on other than a table.")
    found = session.catalog.find(session.resolver().ref(table))
    if found.info.view_query is not None:
        raise QueryInvalid(f"Cannot modify {found.info.ref}: it is a view")
    session.catalog.writable(found.info.ref)
    return found, (table.alias or found.info.ref.table).lower()


def field_of(found: Found, name: exp.Expr) -> Field:
    """Return the column of the target that a SET or an INSERT list names."""
    if not isinstance(name, (exp.Column, exp.Identifier)):
        raise NotSupported("changing a part of a STRUCT.")
    for field in found.info.schema:
        if field.name.lower() == name.name.lower():
            return field
        if isinstance(name, exp.Column) and field.name.lower() == name.table.lower():
            raise NotSupported("changing a part of a STRUCT.")
    raise QueryInvalid(f"Column {name.name} is not present in table {found.info.ref}{position(name)}")


def check_assignable(target: Field, source: Field, *, untyped: bool, constant: bool) -> None:
    """Refuse a value whose type BigQuery would not coerce to the column's."""
    same = (target.type, target.mode == "REPEATED") == (source.type, source.mode == "REPEATED")
    widening = {source.type, target.type} <= _NUMBERS and target.type != "INTEGER"
    if same or untyped or widening or (constant and source.type == "STRING" and target.type in _FROM_TEXT):
        return
    raise QueryInvalid(
        f"Value has type {standard_type(source)} which cannot be inserted into column {target.name}, "
        f"which has type {standard_type(target)}"
    )


def check_all(compiled: Compiled, targets: Sequence[Field], *, first: int = 0, constant: bool = False) -> None:
    """Check every value of a compiled query against its column; values start at column `first`."""
    for number, (target, source) in enumerate(zip(targets, compiled.schema[first:], strict=True), first):
        literal = constant or _is_literal(compiled.qualified, number)
        check_assignable(target, source, untyped=source.name in compiled.untyped, constant=literal)


def _is_literal(query: exp.Expr, number: int) -> bool:
    selects = query.selects if isinstance(query, exp.Query) else []
    return number < len(selects) and isinstance(selects[number].unalias(), exp.Literal)


def run_changes(session: Session, compiled: Compiled, apply: Callable[[str], DmlStats], found: Found) -> Outcome:
    """Run the query into a temporary table, apply it, and note the change, all or nothing."""
    cursor = session.cursor
    try:
        cursor.begin()
        cursor.execute(f"CREATE OR REPLACE TEMP TABLE {_CHANGES} AS {compiled.sql}")
        stats = apply(_CHANGES)
        count = session.storage.count(cursor, found.stored)
        cursor.execute(f"DROP TABLE {_CHANGES}")
        cursor.commit()
    except duckdb.Error as error:
        cursor.rollback()
        raise _constraint(error) from error
    except QueryInvalid:
        cursor.rollback()
        raise
    session.catalog.touch(found.stored, num_rows=count)
    return Outcome(dml=stats)


def _constraint(error: duckdb.Error) -> Exception:
    if isinstance(error, duckdb.ConstraintException):
        column = str(error).rpartition(".")[2].strip()
        return QueryInvalid(f"Required field {column} cannot be null")
    return translate_error(error)


def changed_rows(cursor: duckdb.DuckDBPyConnection, sql: str) -> int:
    """Run a write and return how many rows it touched."""
    return int((cursor.execute(sql).fetchone() or (0,))[0])


def prepare_insert(session: Session, tree: exp.Insert) -> Prepared:
    into = tree.this
    found, _ = target_of(session, into.this if isinstance(into, exp.Schema) else into)
    listed = into.expressions if isinstance(into, exp.Schema) else []
    targets = [field_of(found, name) for name in listed] or list(found.info.schema)
    query = tree.expression
    from_values = isinstance(query, exp.Values)
    if from_values:
        query = _select_values(query, targets)
    compiled = session.compile(query, unique_names=False)
    if len(compiled.schema) != len(targets):
        raise QueryInvalid(
            f"Inserted row has wrong column count; Has {len(compiled.schema)}, expected {len(targets)}{position(tree)}"
        )
    check_all(compiled, targets, constant=from_values)
    scanned = session.scan(compiled)
    plan = dml_plan(session, "INSERT", compiled, scanned, found)

    def apply(changes: str) -> DmlStats:
        columns = ", ".join(quote(field.name) for field in targets)
        values = ", ".join(f"CAST(v{i} AS {duckdb_type(field)})" for i, field in enumerate(targets))
        names = ", ".join(f"v{i}" for i in range(len(targets)))
        sql = f"INSERT INTO {table_sql(found.stored)} ({columns}) SELECT {values} FROM {changes} AS q({names})"
        return DmlStats(inserted=changed_rows(session.cursor, sql))

    return Prepared(plan, scanned, lambda: run_changes(session, compiled, apply, found))


def _select_values(values: exp.Values, targets: Sequence[Field]) -> exp.Expr:
    width = len(targets)
    for row in values.expressions:
        cells = row.expressions if isinstance(row, exp.Tuple) else [row]
        if len(cells) != width:
            raise QueryInvalid(
                f"Inserted row has wrong column count; Has {len(cells)}, expected {width}{position(row)}"
            )
        if any(isinstance(cell, exp.Column) and cell.name.upper() == "DEFAULT" for cell in cells):
            raise NotSupported("DEFAULT in VALUES.")
    selects = [
        exp.Select(
            expressions=[
                exp.alias_(_value(c, targets[i]), f"v{i}") for i, c in enumerate(getattr(row, "expressions", [row]))
            ]
        )
        for row in values.expressions
    ]
    joined: exp.Expr = selects[0]
    for one in selects[1:]:
        joined = exp.Union(this=joined, expression=one, distinct=False)
    return joined


def _value(cell: exp.Expr, target: Field) -> exp.Expr:
    """Return a cell of VALUES; a struct takes its column's names and types."""
    if target.type == "RECORD" and isinstance(cell, (exp.Struct, exp.Tuple, exp.Array)):
        return typed(cell, exp.DataType.build(standard_type(target), dialect="bigquery"))
    return cell.copy()


def prepare_update(session: Session, tree: exp.Update) -> Prepared:
    found, alias = target_of(session, tree.this)
    where = tree.args.get("where")
    if where is None:
        raise QueryInvalid("UPDATE must have a WHERE clause at [1:1]")
    if not all(isinstance(assignment, exp.EQ) for assignment in tree.expressions):
        raise QueryInvalid(f"Syntax error: Expected an assignment in SET{position(tree)}")
    targets = [field_of(found, assignment.this) for assignment in tree.expressions]
    values = [exp.alias_(a.expression.copy(), f"v{i}") for i, a in enumerate(tree.expressions)]
    query = _select_from(tree, alias, values)
    compiled = session.compile(query, with_rowid=True)
    check_all(compiled, targets, first=1)
    scanned = session.scan(compiled)
    add_target(session, compiled, found, alias, scanned)
    plan = dml_plan(session, "UPDATE", compiled, scanned, found)

    def apply(changes: str) -> DmlStats:
        refuse_double_matches(session.cursor, changes, "")
        return DmlStats(updated=update_by_rowid(session.cursor, found, targets, changes, "v", ""))

    return Prepared(plan, scanned, lambda: run_changes(session, compiled, apply, found))


def update_by_rowid(
    cursor: duckdb.DuckDBPyConnection, found: Found, targets: Sequence[Field], changes: str, prefix: str, where: str
) -> int:
    """Set the target's columns to the changes' columns `prefix`0, `prefix`1, …."""
    sets = ", ".join(f"{quote(f.name)} = CAST(q.{prefix}{i} AS {duckdb_type(f)})" for i, f in enumerate(targets))
    table = table_sql(found.stored)
    return changed_rows(cursor, f"UPDATE {table} AS t SET {sets} FROM {changes} AS q WHERE t.rowid = q.rid {where}")


def refuse_double_matches(cursor: duckdb.DuckDBPyConnection, changes: str, where: str) -> None:
    """Refuse an update in which two source rows meet the same target row."""
    row = cursor.execute(f"SELECT count(rid), count(DISTINCT rid) FROM {changes} {where}").fetchone() or (0, 0)
    if row[0] != row[1]:
        raise QueryInvalid(DUPLICATE_MATCH)


def _select_from(tree: exp.Update, alias: str, values: Sequence[exp.Expr]) -> exp.Select:
    query = exp.Select(expressions=[row_id(alias), *values]).from_(tree.this.copy())
    others = tree.args.get("from_")
    if others is not None:
        query.append("joins", exp.Join(this=others.this.copy()))
        for join in others.this.args.get("joins") or []:
            query.append("joins", join.copy())
        query.args["joins"][0].this.set("joins", None)
    query.set("where", tree.args["where"].copy())
    return query


def row_id(alias: str) -> exp.Expr:
    """Return the column by which DML finds its rows again."""
    return exp.alias_(exp.column(ROWID, table=alias), "rid")


def prepare_delete(session: Session, tree: exp.Delete) -> Prepared:
    if not tree.this:  # DELETE without FROM, which says the same
        tree.set("this", tree.args["tables"][0])
    found, alias = target_of(session, tree.this)
    where = tree.args.get("where")
    if where is None:
        raise QueryInvalid("DELETE must have a WHERE clause at [1:1]")
    query = exp.Select(expressions=[row_id(alias)]).from_(tree.this.copy())
    query.set("where", where.copy())
    compiled = session.compile(query, with_rowid=True)
    scanned = session.scan(compiled)
    add_target(session, compiled, found, alias, scanned)
    plan = dml_plan(session, "DELETE", compiled, scanned, found)

    def apply(changes: str) -> DmlStats:
        sql = f"DELETE FROM {table_sql(found.stored)} WHERE rowid IN (SELECT rid FROM {changes})"
        return DmlStats(deleted=changed_rows(session.cursor, sql))

    return Prepared(plan, scanned, lambda: run_changes(session, compiled, apply, found))


def prepare_truncate(session: Session, tree: exp.TruncateTable) -> Prepared:
    found, _ = target_of(session, tree.expressions[0])

    def run() -> Outcome:
        deleted = session.storage.count(session.cursor, found.stored)
        session.cursor.execute(f"DELETE FROM {table_sql(found.stored)}")
        session.catalog.touch(found.stored, num_rows=0)
        return Outcome(dml=DmlStats(deleted=deleted))

    return Prepared(Plan("TRUNCATE_TABLE", target=found.info.ref), Scan(), run)


def add_target(session: Session, compiled: Compiled, found: Found, alias: str, scanned: Scan) -> None:
    """Add t, the bytes of the target that a change touches besides what its query reads."""
    key = (f"{found.stored.project}:{found.stored.dataset}", found.stored.table)
    source = Source(key, found.info.ref, found.info.schema, found)
    scanned.add(found.info.ref, touched(session.cursor, compiled, source, session.sizes(found), alias))


def dml_plan(session: Session, statement_type: str, compiled: Compiled, scanned: Scan, found: Found) -> Plan:
    """Return the plan of a DML statement, which has no result columns."""
    plan = session.plan(statement_type, compiled, scanned)
    return Plan(**{**vars(plan), "schema": (), "target": found.info.ref})
