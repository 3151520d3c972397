"""Check that operands are of types BigQuery has a signature for.

`lowering` calls `check_types` on every node. DuckDB casts where BigQuery refuses (`carrier = 5`, `COALESCE(1, 'a')`);
without this the sandbox would answer queries that fail at Google. Only types that are known are judged.

Rules: https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules (coercion). What leaves:
QueryInvalid "No matching signature for operator = for argument types: STRING, INT64 at [line:column]".
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from bqgate.sandbox.warehouse.errors import QueryInvalid
from bqgate.sandbox.warehouse.functions import DECIMALS, FLOATS, INTEGERS, Kind, kind_of
from bqgate.sandbox.warehouse.parsing import position

_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_NUMBERS = INTEGERS | FLOATS | DECIMALS
_TEXTS = {Kind.TEXT, Kind.VARCHAR}
_FAMILIES = {
    **dict.fromkeys(_NUMBERS, "number"),
    **dict.fromkeys(_TEXTS, "STRING"),
    Kind.BOOLEAN: "BOOL",
    Kind.DATE: "DATE",
    Kind.TIMESTAMPTZ: "TIMESTAMP",
    Kind.ARRAY: "ARRAY",
    Kind.STRUCT: "STRUCT",
}
_SIGNS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
}


def check_types(node: exp.Expr) -> None:
    """Refuse operands of one node that BigQuery has no signature for and DuckDB would cast."""
    for sign, left, right in _pairs(node):
        one, other = _family(left), _family(right)
        if one and other and one != other and not _coerces(left, right):
            raise _no_signature(sign, node, left, right)
    if isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div)) and _TEXTS & {
        kind_of(node.this),
        kind_of(node.expression),
    }:
        raise _no_signature(_SIGNS[type(node)], node, node.this, node.expression)


def _pairs(node: exp.Expr) -> Iterator[tuple[str, exp.Expr, exp.Expr]]:
    """Return the operands of a node that must be of one family, two by two, with the operator's name."""
    if isinstance(node, _COMPARISONS):
        yield _SIGNS[type(node)], node.this, node.expression
    elif isinstance(node, exp.Between):
        yield "BETWEEN", node.this, node.args["low"]
        yield "BETWEEN", node.this, node.args["high"]
    elif isinstance(node, exp.In):
        yield from (("IN", node.this, value) for value in node.expressions)
    elif isinstance(node, exp.SetOperation):
        for left, right in zip(node.left.selects, node.right.selects, strict=False):
            yield node.key.upper(), left.unalias(), right.unalias()
    elif isinstance(node, _ALIKE):
        results = _results(node)
        yield from ((node.key.upper(), results[0], other) for other in results[1:])


_ALIKE = (exp.Coalesce, exp.If, exp.Case, exp.Nullif, exp.Greatest, exp.Least, exp.Array)


def _results(node: exp.Expr) -> list[exp.Expr]:
    """Return the operands of a node that must be of one type, the ones without a type left out."""
    if isinstance(node, exp.If):
        parts = [node.args.get("true"), node.args.get("false")]
    elif isinstance(node, exp.Case):
        parts = [*(branch.args.get("true") for branch in node.args["ifs"]), node.args.get("default")]
    else:
        parts = list(node.iter_expressions())
    return [part for part in parts if part is not None and _family(part) is not None]


def _no_signature(sign: str, node: exp.Expr, left: exp.Expr, right: exp.Expr) -> QueryInvalid:
    types = f"{_type_name(left)}, {_type_name(right)}"
    return QueryInvalid(f"No matching signature for operator {sign} for argument types: {types}{position(node)}")


def _family(node: exp.Expr) -> str | None:
    kind = kind_of(node)
    return None if kind is None else _FAMILIES.get(kind)


def _coerces(left: exp.Expr, right: exp.Expr) -> bool:
    """A STRING literal becomes a DATE or TIMESTAMP beside one; nothing else changes its family."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, exp.Literal) and one.is_string and _family(other) in {"DATE", "TIMESTAMP"}:
            return True
    return False


def _type_name(node: exp.Expr) -> str:
    return str(node.type.sql(dialect="bigquery")) if node.type else "UNKNOWN"
