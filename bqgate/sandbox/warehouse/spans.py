"""Say how INTERVAL and RANGE of GoogleSQL are written in DuckDB.

Two more tables of rewritings beside `functions`; `lowering` applies them. An INTERVAL is DuckDB's own; its parts are
never carried into each other by either engine. A RANGE is a struct of its two ends, NULL where it is unbounded.

Sources: https://cloud.google.com/bigquery/docs/reference/standard-sql/interval_functions and
https://cloud.google.com/bigquery/docs/reference/standard-sql/range-functions.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from bqgate.sandbox.warehouse.datatypes import RANGE_END, RANGE_START
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.functions import Kind, Rewrite, call, kind_of, to_type
from bqgate.sandbox.warehouse.incoming import range_ends
from bqgate.sandbox.warehouse.intervals import PARTS, IntervalValue, parse_interval
from bqgate.sandbox.warehouse.parsing import position

# What makes an interval of a number of each date part, and the type it takes.
MAKERS = {
    "YEAR": ("to_years", "INTEGER"),
    "QUARTER": ("to_quarters", "INTEGER"),
    "MONTH": ("to_months", "INTEGER"),
    "WEEK": ("to_weeks", "INTEGER"),
    "DAY": ("to_days", "INTEGER"),
    "HOUR": ("to_hours", "BIGINT"),
    "MINUTE": ("to_minutes", "BIGINT"),
    "SECOND": ("to_seconds", "BIGINT"),
    "MILLISECOND": ("to_milliseconds", "DOUBLE"),
    "MICROSECOND": ("to_microseconds", "BIGINT"),
}
_POINTS = {
    Kind.DATE: "DATE",
    Kind.DATETIME: "TIMESTAMP",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.TIMESTAMPTZ: "TIMESTAMPTZ",
}


def interval_literal(text: str, first: str = "YEAR", last: str = "SECOND") -> exp.Expr:
    """Return DuckDB's expression of an interval's text."""
    try:
        value = parse_interval(text, first, last)
    except ValueError:
        raise QueryInvalid(f"Invalid INTERVAL value '{text}'") from None
    return _of_value(value)


def _of_value(value: IntervalValue) -> exp.Expr:
    numbers = zip(("to_months", "to_days", "to_microseconds"), value, strict=True)
    return _sum([call(name, _number(number)) for name, number in numbers])


def _number(value: int) -> exp.Expr:
    literal = exp.Literal.number(abs(value))
    return exp.Neg(this=literal) if value < 0 else literal


def _sum(parts: Sequence[exp.Expr]) -> exp.Expr:
    total = parts[0]
    for part in parts[1:]:
        total = exp.Add(this=total, expression=part)
    return exp.Paren(this=total)


def _interval(node: exp.Expr) -> exp.Expr:
    unit = node.args.get("unit")
    if isinstance(unit, exp.IntervalSpan):
        if not node.this.is_string:
            raise QueryInvalid(f"INTERVAL from one part to another takes a STRING literal{position(node)}")
        return interval_literal(node.this.name, unit.this.name.upper(), unit.expression.name.upper())
    name = "" if unit is None else unit.name.upper()
    if name not in MAKERS:
        raise QueryInvalid(f"A valid date part is required in INTERVAL; found {name or 'none'}{position(node)}")
    if node.this.is_string and name in PARTS:
        return interval_literal(node.this.name, name, name)
    maker, kind = MAKERS[name]
    return call(maker, to_type(node.this, kind))


def _make_interval(node: exp.Expr) -> exp.Expr:
    parts = []
    for name in PARTS:
        value = node.args.get(name.lower())
        if value is not None:
            maker, kind = MAKERS[name]
            parts.append(call(maker, to_type(value.expression if isinstance(value, exp.Kwarg) else value, kind)))
    return _sum(parts or [call("to_days", exp.Literal.number(0))])


INTERVALS: dict[type[exp.Expr], Rewrite] = {
    exp.Interval: _interval,
    exp.MakeInterval: _make_interval,
    exp.JustifyDays: lambda n: call("bq_justify_days", n.this),
    exp.JustifyHours: lambda n: call("bq_justify_hours", n.this),
    exp.JustifyInterval: lambda n: call("bq_justify_interval", n.this),
}


def range_cast(value: exp.Expr, kind: exp.DataType) -> exp.Expr:
    """Return a range whose text is a literal; NULL stays NULL."""
    point = point_type(kind)
    if kind_of(value) == Kind.RANGE:
        return value.copy()
    if isinstance(value, exp.Null):
        return exp.Cast(this=exp.null(), to=range_type(point))
    if not isinstance(value, exp.Literal):
        raise NotSupported("CAST to RANGE of other than a literal.")
    try:
        ends = range_ends(value.name)
    except ValueError:
        raise QueryInvalid(f"Invalid RANGE literal: {value.name}") from None
    made = [to_type(exp.null() if end is None else exp.Literal.string(end), point) for end in ends]
    return call("bq_range", *made)


def point_type(kind: exp.DataType) -> str:
    """Return DuckDB's type of the ends of a RANGE."""
    point = _POINTS.get(kind.expressions[0].this) if kind.expressions else None
    if point is None:
        raise QueryInvalid(f"Invalid type: {kind.sql(dialect='bigquery')}; a RANGE is of DATE, DATETIME or TIMESTAMP")
    return point


def range_type(point: str) -> exp.DataType:
    return exp.DataType.build(f"STRUCT({RANGE_START} {point}, {RANGE_END} {point})", dialect="duckdb")


def _range(node: exp.Expr) -> exp.Expr:
    start, end = _arguments(node, 2)
    point = next((p for p in (_POINTS.get(k) for k in (kind_of(start), kind_of(end)) if k) if p), None)
    if point is None:
        raise QueryInvalid(f"No matching signature for function RANGE{position(node)}")
    element = next(kind for kind in (kind_of(start), kind_of(end)) if kind in _POINTS)
    node.type = exp.DataType(this=Kind.RANGE, expressions=[exp.DataType(this=element)], nested=True)
    return call("bq_range", to_type(start, point), to_type(end, point))


def _arguments(node: exp.Expr, count: int) -> list[exp.Expr]:
    if len(node.expressions) != count:
        raise QueryInvalid(
            f"Number of arguments does not match for function {node.name.upper()}; expected {count}{position(node)}"
        )
    return list(node.expressions)


def _end(name: str) -> Rewrite:
    def rewrite(node: exp.Expr) -> exp.Expr:
        (value,) = _arguments(node, 1)
        if kind_of(value) == Kind.RANGE and value.type is not None:
            node.type = value.type.expressions[0].copy()
        return call("struct_extract", value, exp.Literal.string(name))

    return rewrite


def _contains(node: exp.Expr) -> exp.Expr:
    outer, inner = _arguments(node, 2)
    return call("bq_range_contains_range" if kind_of(inner) == Kind.RANGE else "bq_range_contains", outer, inner)


def _intersect(node: exp.Expr) -> exp.Expr:
    one, other = _arguments(node, 2)
    node.type = one.type
    return call("bq_range_intersect", one, other)


def _generate(node: exp.Expr) -> exp.Expr:
    if len(node.expressions) == 3:
        raise NotSupported("GENERATE_RANGE_ARRAY with include_last_partial_range.")
    whole, step = _arguments(node, 2)
    if kind_of(whole) != Kind.RANGE or whole.type is None:
        raise NotSupported("GENERATE_RANGE_ARRAY of that range.")
    made = call("bq_range_array", whole, step)
    element = range_type(point_type(whole.type))
    return exp.Cast(this=made, to=exp.DataType(this=Kind.ARRAY, expressions=[element], nested=True))


# By the names of functions that sqlglot does not know.
RANGES: dict[str, Rewrite] = {
    "RANGE": _range,
    "RANGE_START": _end(RANGE_START),
    "RANGE_END": _end(RANGE_END),
    "RANGE_CONTAINS": _contains,
    "RANGE_OVERLAPS": lambda n: call("bq_range_overlaps", *_arguments(n, 2)),
    "RANGE_INTERSECT": _intersect,
    "GENERATE_RANGE_ARRAY": _generate,
}
