"""Say how arrays, structs, JSON and bytes of GoogleSQL are written in DuckDB.

One more table of rewritings beside `functions`; `lowering` applies them. Sources: the array, JSON and lexical pages of
https://cloud.google.com/bigquery/docs/reference/standard-sql. A subscript beyond the end is an error, or NULL with
SAFE_; JSON_VALUE of an object is NULL; NULL in ARRAY_CONCAT makes the whole NULL.
"""

from __future__ import annotations

import re

from sqlglot import exp

from bqgate.sandbox.warehouse.constructors import own_name
from bqgate.sandbox.warehouse.errors import NotSupported
from bqgate.sandbox.warehouse.functions import Kind, Rewrite, call, kind_of, to_type


def _bracket(node: exp.Expr) -> exp.Expr:
    if kind_of(node.this) not in {None, Kind.ARRAY}:
        raise NotSupported("subscripts of JSON.")
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


def _json(name: str) -> Rewrite:
    def rewrite(node: exp.Expr) -> exp.Expr:
        path = node.args.get("expression")
        text = "$" if path is None else path.sql(dialect="bigquery").strip("'")
        if not re.fullmatch(r"\$(\.\w+|\[\d+\])*", text):
            raise NotSupported(f"the JSON path {text}.")
        found = call(name, node.this, exp.Literal.string(text))
        return found if name != "json_extract" or kind_of(node.this) == Kind.JSON else to_type(found, "VARCHAR")

    return rewrite


def _byte_string(node: exp.Expr) -> exp.Expr:
    if not node.name.isascii():
        raise NotSupported("bytes literals beyond ASCII; use FROM_BASE64.")
    return call("unhex", exp.Literal.string(node.name.encode().hex()))


def _parse_json(node: exp.Expr) -> exp.Expr:
    if len(list(node.iter_expressions())) > 1:
        raise NotSupported("PARSE_JSON with wide_number_mode.")
    return call("json", node.this)


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
    exp.ParseJSON: _parse_json,
    exp.Bracket: _bracket,
    exp.ArraySize: lambda n: call("len", n.this),
    exp.ArrayConcat: _array_concat,
    exp.ArrayReverse: lambda n: call("list_reverse", n.this),
    exp.ArrayToString: lambda n: call("array_to_string", *n.iter_expressions()),
    exp.GenerateSeries: lambda n: call("generate_series", *n.iter_expressions()),
    exp.ArrayAgg: _array_agg,
    exp.JSONExtractScalar: _json("bq_json_value"),
    exp.JSONExtract: _json("json_extract"),
    exp.Struct: _struct,
}
