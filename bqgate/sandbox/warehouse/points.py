"""Say how the functions of points among GoogleSQL's GEOGRAPHY are written in DuckDB.

One more table of rewritings beside `functions`; `lowering` applies them. Distances are on the sphere of 6,371,010
metres that BigQuery reckons with. Every other shape and function is refused; see `geography`.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/geography_functions
"""

from __future__ import annotations

from sqlglot import exp

from bqgate.sandbox.warehouse.datatypes import GEOGRAPHY_TEXT
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.functions import Kind, Rewrite, call
from bqgate.sandbox.warehouse.geography import canonical
from bqgate.sandbox.warehouse.parsing import position


def point_literal(text: str) -> exp.Expr:
    """Return DuckDB's expression of a point's text."""
    key = exp.to_identifier(GEOGRAPHY_TEXT, quoted=True)
    return exp.Struct(expressions=[exp.PropertyEQ(this=key, expression=exp.Literal.string(canonical(text)))])


def point_struct() -> exp.DataType:
    """Return DuckDB's type of a GEOGRAPHY."""
    return exp.DataType.build(f"STRUCT({GEOGRAPHY_TEXT} VARCHAR)", dialect="duckdb")


def _arguments(node: exp.Expr, count: int) -> list[exp.Expr]:
    if len(node.expressions) != count:
        raise QueryInvalid(f"No matching signature for function {node.name.upper()}{position(node)}")
    return list(node.expressions)


def _point(node: exp.Expr) -> exp.Expr:
    node.type = exp.DataType(this=Kind.GEOGRAPHY)
    return call("bq_point", *_arguments(node, 2))


def _from_text(node: exp.Expr) -> exp.Expr:
    (text,) = _arguments(node, 1)
    if not isinstance(text, exp.Literal):
        raise NotSupported("ST_GEOGFROMTEXT of other than a literal.")
    node.type = exp.DataType(this=Kind.GEOGRAPHY)
    return point_literal(text.name)


def _part(number: int) -> Rewrite:
    return lambda node: call("bq_point_part", *_arguments(node, 1), exp.Literal.number(number))


def _within(node: exp.Expr) -> exp.Expr:
    one, other, metres = _arguments(node, 3)
    return exp.Paren(this=exp.LTE(this=call("bq_point_distance", one, other), expression=metres.copy()))


POINTS: dict[type[exp.Expr], Rewrite] = {
    exp.StDistance: lambda node: call("bq_point_distance", node.this, node.expression),
}
# By the names of functions that sqlglot does not know.
POINTS_BY_NAME: dict[str, Rewrite] = {
    "ST_GEOGPOINT": _point,
    "ST_GEOGFROMTEXT": _from_text,
    "ST_X": _part(1),
    "ST_Y": _part(2),
    "ST_ASTEXT": lambda node: call("struct_extract", *_arguments(node, 1), exp.Literal.string(GEOGRAPHY_TEXT)),
    "ST_DWITHIN": _within,
}
