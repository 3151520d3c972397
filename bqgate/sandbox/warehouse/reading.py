"""Work out what a resolved query reads of each table: which columns, and which constant filters stand on them.

The planner sizes a query by this. It works on a copy of the tree: unused CTEs are dropped, filters and projections are
pushed down into subqueries and views, and then every scope is asked for its base tables. What runs is the unchanged
tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.optimizer.eliminate_ctes import eliminate_ctes
from sqlglot.optimizer.pushdown_predicates import pushdown_predicates
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.scope import Scope, traverse_scope

from bqgate.sandbox.warehouse.parsing import DIALECT


@dataclass(frozen=True)
class Reading:
    """One mention of a table: the columns that it needs (lower case) and the conditions that rows must meet."""

    key: tuple[str, str]
    alias: str
    columns: frozenset[str]
    conditions: tuple[exp.Expr, ...]


def readings(tree: exp.Expr) -> list[Reading]:
    """Return every mention of a base table in a qualified query."""
    slim = eliminate_ctes(tree.copy())
    slim = pushdown_projections(pushdown_predicates(slim, dialect=DIALECT))
    return [reading for scope in traverse_scope(slim) for reading in _of_scope(scope)]


def _of_scope(scope: Scope) -> Iterator[Reading]:
    for alias, source in scope.sources.items():
        if not isinstance(source, exp.Table) or source.find_ancestor(exp.Select) is not scope.expression:
            continue
        columns = {column.name.lower() for column in scope.columns if column.table == alias}
        whole_rows = {part.name for part in scope.expression.find_all(exp.TableColumn)}
        if alias in whole_rows:
            columns.add("*")
        conditions = tuple(_conditions(scope.expression, alias))
        yield Reading((source.db, source.name), alias, frozenset(columns), conditions)


def _conditions(select: exp.Expr, alias: str) -> Iterator[exp.Expr]:
    where = select.args.get("where")
    if where is not None:
        yield from where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    for join in select.args.get("joins") or []:
        on = join.args.get("on")
        inner = not join.side
        if on is not None and (inner or (join.side == "LEFT" and join.alias_or_name == alias)):
            yield from on.flatten() if isinstance(on, exp.And) else [on]
