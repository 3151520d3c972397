"""Say how arrays, structs and bytes of GoogleSQL are written in DuckDB.

One more table of rewritings beside `functions`; `lowering` applies them. Sources: the array and lexical pages of
https://cloud.google.com/bigquery/docs/reference/standard-sql. A subscript beyond the end is an error, or NULL with
SAFE_; NULL in ARRAY_CONCAT makes the whole NULL.
"""

from __future__ import annotations

from sqlglot import exp

from bqgate.sandbox.warehouse.constructors import own_name
from bqgate.sandbox.warehouse.errors import NotSupported
from bqgate.sandbox.warehouse.functions import Kind, Rewrite, call, kind_of
from bqgate.sandbox.warehouse.json_values import member_of_json


def _bracket(node: exp.Expr) -> exp.Expr:
    if kind_of(node.this) == Kind.JSON:
        node.type = exp.DataType(this=Kind.JSON)
        return member_of_json(node.this, node.expressions[0])
    index = node.expressions[0]
    if node.args.get("offset") == 1:
        index = exp.Paren(this=exp.Sub(this=index.copy(), expression=exp.Literal.number(1)))
    return call("bq_at_or_null" if node.args.get("safe") else "bq_at", node.this, index)


def _array_concat(node: exp.Expr) -> exp.Expr:
    joined = node.this.copy()
    for part in node.expressions:
        joined = exp.DPipe(this=joined, expression=part.copy())
    return exp.Paren(this=joined)


def _array_agg(node: exp.Expr) -> exp.Expr:
    limit = node.this
    if not isinstance(limit, exp.Limit):
        return node
    whole = exp.ArrayAgg(this=limit.this.copy())
    return call("list_slice", whole, exp.Literal.number(1), limit.expression)


def _byte_string(node: exp.Expr) -> exp.Expr:
    if not node.name.isascii():
        raise NotSupported("bytes literals beyond ASCII; use FROM_BASE64.")
    return call("unhex", exp.Literal.string(node.name.encode().hex()))


def _struct(node: exp.Expr) -> exp.Expr:
    """Name the fields; BigQuery leaves them without names, which a record of the REST API shows as _field_1."""
    parts = []
    for number, part in enumerate(node.expressions, 1):
        value = part.expression if isinstance(part, exp.PropertyEQ) else part.unalias()
        key = exp.to_identifier(own_name(part) or f"_field_{number}", quoted=True)
        parts.append(exp.PropertyEQ(this=key, expression=value.copy()))
    return exp.Struct(expressions=parts)


STRUCTURES: dict[type[exp.Expr], Rewrite] = {
    exp.ByteString: _byte_string,
    exp.Bracket: _bracket,
    exp.ArraySize: lambda n: call("len", n.this),
    exp.ArrayConcat: _array_concat,
    exp.ArrayReverse: lambda n: call("list_reverse", n.this),
    exp.ArrayToString: lambda n: call("array_to_string", *n.iter_expressions()),
    exp.GenerateSeries: lambda n: call("generate_series", *n.iter_expressions()),
    exp.ArrayAgg: _array_agg,
    exp.Struct: _struct,
}
