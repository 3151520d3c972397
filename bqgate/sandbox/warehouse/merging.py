"""Prepare MERGE: one full join decides for every row what happens to it.

The join's SELECT gives the target's row id, the number of the WHEN clause that applies, and every clause's values; the
writes are then done clause by clause. Bytes: what the join reads, plus the whole target unless all clauses insert
(https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax#merge_statement).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
from sqlglot import exp

from bqgate.sandbox.warehouse.catalog import Found
from bqgate.sandbox.warehouse.changing import (
    add_target,
    changed_rows,
    check_assignable,
    dml_plan,
    field_of,
    refuse_double_matches,
    row_id,
    run_changes,
    target_of,
    update_by_rowid,
)
from bqgate.sandbox.warehouse.compiling import ROWID, Compiled
from bqgate.sandbox.warehouse.datatypes import duckdb_type, quote
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.plan import DmlStats
from bqgate.sandbox.warehouse.prepared import Prepared
from bqgate.sandbox.warehouse.session import Session
from bqgate.sandbox.warehouse.storage import table_sql
from bqgate.sandbox.warehouse.tables import Field

_PRESENT = "_source_is_present"


@dataclass(frozen=True)
class _Clause:
    """A WHEN clause: when it applies, what it does, to which columns, with which values."""

    condition: exp.Expr
    action: str
    targets: tuple[Field, ...]
    values: tuple[exp.Expr, ...]


def prepare_merge(session: Session, tree: exp.Merge) -> Prepared:
    found, alias = target_of(session, tree.this)
    using = tree.args["using"]
    source = using.alias_or_name.lower()
    clauses = [_clause(when, found, alias, source) for when in tree.args["whens"].expressions]
    compiled = session.compile(_join(tree, using, source, alias, clauses), with_rowid=True)
    _check_types(compiled, clauses)
    scanned = session.scan(compiled)
    if any(clause.action != "INSERT" for clause in clauses):
        add_target(session, compiled, found, alias, scanned)
    plan = dml_plan(session, "MERGE", compiled, scanned, found)
    return Prepared(
        plan,
        scanned,
        lambda: run_changes(session, compiled, lambda changes: _apply(session.cursor, found, clauses, changes), found),
    )


def _clause(when: exp.Expr, found: Found, alias: str, source: str) -> _Clause:
    then = when.args["then"]
    here = exp.Not(this=exp.Is(this=exp.column(ROWID, table=alias), expression=exp.null()))
    there = exp.Not(this=exp.Is(this=exp.column(_PRESENT, table=source), expression=exp.null()))
    if when.args.get("matched"):
        side = exp.and_(here, there)
    else:
        side = exp.and_(here, exp.not_(there)) if when.args.get("source") else exp.and_(there, exp.not_(here))
    condition = when.args.get("condition")
    if not when.args.get("matched"):
        # Only one side has a row there, so names alone mean its columns.
        _qualify(when, alias if when.args.get("source") else source)
    whole = exp.and_(side, condition.copy()) if condition is not None else side
    if isinstance(then, exp.Insert):
        if not isinstance(then.expression, exp.Tuple):
            raise NotSupported("INSERT ROW in MERGE.")
        names = then.this.expressions if then.this is not None else []
        targets = tuple(field_of(found, name) for name in names) or found.info.schema
        values = tuple(then.expression.expressions)
        if len(targets) != len(values):
            raise QueryInvalid(f"Inserted row has wrong column count; Has {len(values)}, expected {len(targets)}")
        return _Clause(whole, "INSERT", targets, values)
    if isinstance(then, exp.Update):
        targets = tuple(field_of(found, assignment.this) for assignment in then.expressions)
        return _Clause(whole, "UPDATE", targets, tuple(a.expression for a in then.expressions))
    return _Clause(whole, "DELETE", (), ())


def _qualify(when: exp.Expr, table: str) -> None:
    """Name the table of the columns that stand alone in a clause's condition and values."""
    inserted = when.args["then"].expression if isinstance(when.args["then"], exp.Insert) else None
    updated = [each.expression for each in when.args["then"].expressions] if inserted is None else []
    for part in (when.args.get("condition"), inserted, *updated):
        columns = part.find_all(exp.Column) if isinstance(part, exp.Expr) else ()
        for column in list(columns):
            if not column.table and column.find_ancestor(exp.Select) is None:
                column.set("table", exp.to_identifier(table))


def _join(tree: exp.Merge, using: exp.Expr, source: str, alias: str, clauses: Sequence[_Clause]) -> exp.Expr:
    choice = exp.Case()
    for number, clause in enumerate(clauses):
        choice = choice.when(clause.condition, exp.Literal.number(number), copy=False)
    values = [
        exp.alias_(value.copy(), f"v{number}_{i}")
        for number, clause in enumerate(clauses)
        for i, value in enumerate(clause.values)
    ]
    marked = exp.Select(expressions=[exp.Star(), exp.alias_(exp.true(), _PRESENT)]).from_(using.copy())
    query = exp.Select(expressions=[row_id(alias), exp.alias_(choice, "clause"), *values]).from_(tree.this.copy())
    query.append(
        "joins",
        exp.Join(
            this=exp.Subquery(this=marked, alias=exp.TableAlias(this=exp.to_identifier(source))),
            side="FULL",
            kind="OUTER",
            on=tree.args["on"].copy(),
        ),
    )
    return query


def _check_types(compiled: Compiled, clauses: Sequence[_Clause]) -> None:
    targets = [field for clause in clauses for field in clause.targets]
    literals = [isinstance(value, exp.Literal) for clause in clauses for value in clause.values]
    for target, source, literal in zip(targets, compiled.schema[2:], literals, strict=True):
        check_assignable(target, source, untyped=source.name in compiled.untyped, constant=literal)


def _apply(cursor: duckdb.DuckDBPyConnection, found: Found, clauses: Sequence[_Clause], changes: str) -> DmlStats:
    refuse_double_matches(cursor, changes, "WHERE clause IS NOT NULL")
    done = {"INSERT": 0, "UPDATE": 0, "DELETE": 0}
    table = table_sql(found.stored)
    for number, clause in enumerate(clauses):
        if clause.action == "UPDATE":
            where = f"AND q.clause = {number}"
            done["UPDATE"] += update_by_rowid(cursor, found, clause.targets, changes, f"v{number}_", where)
        elif clause.action == "DELETE":
            chosen = f"SELECT rid FROM {changes} WHERE clause = {number}"
            done["DELETE"] += changed_rows(cursor, f"DELETE FROM {table} WHERE rowid IN ({chosen})")
        else:
            columns = ", ".join(quote(field.name) for field in clause.targets)
            values = ", ".join(f"CAST(v{number}_{i} AS {duckdb_type(f)})" for i, f in enumerate(clause.targets))
            sql = f"INSERT INTO {table} ({columns}) SELECT {values} FROM {changes} WHERE clause = {number}"
            done["INSERT"] += changed_rows(cursor, sql)
    return DmlStats(inserted=done["INSERT"], updated=done["UPDATE"], deleted=done["DELETE"])
