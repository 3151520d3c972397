"""Decide which partitions and blocks a scan can skip, from constant filters on one column.

The planner calls `surviving` with the conditions of one mention of a table. Only comparisons of the bare column with
constants count (=, <, <=, >, >=, BETWEEN, IN, IS NULL, and AND / OR of these); a function of the column, another
column or a subquery prunes nothing (https://cloud.google.com/bigquery/docs/querying-partitioned-tables). Constants are
computed by DuckDB, so literals, casts, parameters and CURRENT_DATE() arithmetic all work.

A filter is turned into a test over a range [low, high] of column values: may some value in it satisfy the filter?
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlglot import exp

Evaluate = Callable[[exp.Expr], Any]
Test = Callable[[Any, Any], bool]

_FLIPPED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.EQ: exp.EQ,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
}
_TESTS: dict[type[exp.Expr], Callable[[Any], Test]] = {
    exp.EQ: lambda c: lambda low, high: bool(low <= c <= high),
    exp.LT: lambda c: lambda low, _: bool(low < c),
    exp.LTE: lambda c: lambda low, _: bool(low <= c),
    exp.GT: lambda c: lambda _, high: bool(high > c),
    exp.GTE: lambda c: lambda _, high: bool(high >= c),
}


class _Unknown(Exception):
    """The condition says nothing about the column that pruning could use."""


def tests(conditions: Sequence[exp.Expr], alias: str, column: str, evaluate: Evaluate) -> list[Test]:
    """Return the tests that the usable ones among the conditions amount to; `evaluate` returns None for NULL."""
    found = []
    for condition in conditions:
        try:
            found.append(_test(condition, alias, column.lower(), evaluate))
        except _Unknown:
            continue
    return found


def last_of(kind: str, start: Any) -> Any:
    """Return the last value of a partition that begins at `start`; DATE counts days, the others microseconds."""
    if isinstance(start, dt.datetime):
        steps = {"HOUR": dt.timedelta(hours=1), "DAY": dt.timedelta(days=1)}
        return _next(kind, start, steps) - dt.timedelta(microseconds=1)
    return _next(kind, start, {"DAY": dt.timedelta(days=1)}) - dt.timedelta(days=1)


def _next(kind: str, start: Any, steps: dict[str, dt.timedelta]) -> Any:
    if kind in steps:
        return start + steps[kind]
    if kind == "YEAR":
        return start.replace(year=start.year + 1)
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def surviving(ranges: Iterable[tuple[Any, Any, Any]], found: Sequence[Test]) -> set[Any]:
    """Return the keys of the (key, low, high) ranges that may hold a row; NULLs (low None) meet no comparison."""
    return {key for key, low, high in ranges if low is not None and all(test(low, high) for test in found)}


def _test(node: exp.Expr, alias: str, column: str, evaluate: Evaluate) -> Test:
    if isinstance(node, exp.Paren):
        return _test(node.this, alias, column, evaluate)
    if isinstance(node, exp.Or):
        parts = [_test(part, alias, column, evaluate) for part in (node.this, node.expression)]
        return lambda low, high: any(part(low, high) for part in parts)
    if isinstance(node, exp.And):
        both = tests([node.this, node.expression], alias, column, evaluate)
        if not both:
            raise _Unknown
        return lambda low, high: all(part(low, high) for part in both)
    if isinstance(node, exp.Between) and _is_column(node.this, alias, column):
        least, most = _constant(node.args["low"], evaluate), _constant(node.args["high"], evaluate)
        return lambda low, high: bool(high >= least and low <= most)
    if isinstance(node, exp.In) and _is_column(node.this, alias, column) and node.expressions:
        values = [_constant(value, evaluate) for value in node.expressions]
        return lambda low, high: any(low <= value <= high for value in values)
    return _comparison(node, alias, column, evaluate)


def _comparison(node: exp.Expr, alias: str, column: str, evaluate: Evaluate) -> Test:
    kind = type(node)
    if kind not in _TESTS:
        raise _Unknown
    if _is_column(node.this, alias, column):
        return _TESTS[kind](_constant(node.expression, evaluate))
    if _is_column(node.expression, alias, column):
        return _TESTS[_FLIPPED[kind]](_constant(node.this, evaluate))
    raise _Unknown


def _is_column(node: exp.Expr, alias: str, column: str) -> bool:
    return isinstance(node, exp.Column) and node.table == alias and node.name.lower() == column


def _constant(node: exp.Expr, evaluate: Evaluate) -> Any:
    """Compute a constant; NULL makes the filter useless for pruning, as an undeclared parameter is one."""
    if node.find(exp.Column, exp.Query, exp.Rand) is not None:
        raise _Unknown
    value = evaluate(node)
    if value is None:
        raise _Unknown
    return value
