"""Turn query parameters of the REST API into GoogleSQL literals, and put them where the text names them.

The compiler calls `bind` first, so that pruning, types and execution see constants. Also turns an encoded cell back
into a literal, which is how a script's variables get their values.

Form: https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter. What leaves: the tree with the
parameters replaced, the ones that nobody gave a value for, or QueryInvalid.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlglot import exp

from bqgate.sandbox.warehouse.datatypes import range_element, rest_type, standard_type
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.incoming import range_ends
from bqgate.sandbox.warehouse.tables import Field


@dataclass
class Binding:
    """Values by name and by position, and what was missing.

    Attributes:
        lenient: A dry run: a missing parameter is reported, not refused.
    """

    named: Mapping[str, exp.Expr]
    positional: Sequence[exp.Expr]
    lenient: bool
    undeclared: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def read_parameters(parameters: Sequence[Mapping[str, Any]], *, lenient: bool) -> Binding:
    """Return the literals of `queryParameters`."""
    literals = [
        (str(p.get("name") or ""), literal(p.get("parameterType"), p.get("parameterValue"))) for p in parameters
    ]
    named = {name.lower(): value for name, value in literals if name}
    return Binding(named, [value for name, value in literals if not name], lenient)


def literal(kind: Any, value: Any) -> exp.Expr:
    """Return the GoogleSQL expression of one parameter's type and value."""
    return _literal(parameter_field("", kind), value if isinstance(value, Mapping) else {})


def parameter_field(name: str, kind: Any) -> Field:
    """Return the field that a REST `QueryParameterType` describes."""
    if not isinstance(kind, Mapping) or "type" not in kind:
        raise QueryInvalid("Query parameter has no type; parameterType.type is required")
    word = str(kind["type"]).upper()
    if word == "ARRAY":
        item = parameter_field(name, kind.get("arrayType"))
        return replace(item, mode="REPEATED")
    if word == "STRUCT":
        parts = (parameter_field(str(s.get("name") or ""), s.get("type")) for s in kind.get("structTypes") or ())
        return Field(name, "RECORD", fields=tuple(parts))
    if word == "RANGE":
        return Field(name, "RANGE", element=range_element(str((kind.get("rangeElementType") or {}).get("type"))))
    return Field(name, rest_type(word))


def _literal(kind: Field, value: Mapping[str, Any]) -> exp.Expr:
    to = exp.DataType.build(standard_type(kind), dialect="bigquery")
    if kind.mode == "REPEATED":
        item = kind.item
        items = [_literal(item, v) for v in value.get("arrayValues") or ()]
        return exp.cast(exp.Array(expressions=items), to)
    if kind.type == "RECORD":
        given = value.get("structValues")
        if given is None:
            return exp.cast(exp.null(), to)
        parts = [
            exp.PropertyEQ(this=exp.to_identifier(f.name), expression=_literal(f, given.get(f.name) or {}))
            for f in kind.fields
        ]
        return exp.Struct(expressions=parts)
    if kind.type == "RANGE" and value.get("rangeValue") is not None:
        value = {"value": _range_text(value["rangeValue"])}
    text = value.get("value")
    if text is None:
        return exp.cast(exp.null(), to)
    return _scalar(kind, str(text), to)


def _range_text(ends: Mapping[str, Any]) -> str:
    start, end = ((ends.get(name) or {}).get("value") or "UNBOUNDED" for name in ("start", "end"))
    return f"[{start}, {end})"


def _scalar(kind: Field, text: str, to: exp.DataType) -> exp.Expr:
    if kind.type == "STRING":
        return exp.Literal.string(text)
    if kind.type == "JSON":
        return exp.ParseJSON(this=exp.Literal.string(text))
    if kind.type == "BYTES":
        return exp.func("FROM_BASE64", exp.Literal.string(text), dialect="bigquery")
    if kind.type == "INTEGER":
        try:
            number = int(text)
        except ValueError:
            raise QueryInvalid(f"Invalid value for INT64 query parameter: {text}") from None
        return exp.Literal.number(number) if number >= 0 else exp.cast(exp.Literal.string(str(number)), to)
    if kind.type == "BOOLEAN" and text.lower() in {"true", "false"}:
        return exp.Boolean(this=text.lower() == "true")
    return exp.cast(exp.Literal.string(text), to)


def literal_from_cell(kind: Field, cell: Any) -> exp.Expr:
    """Return the literal of a value in the encoding of `rows.encode` (timestamps in microseconds)."""
    return _literal(kind, _value_from_cell(kind, cell))


def _value_from_cell(kind: Field, cell: Any) -> dict[str, Any]:
    if kind.mode == "REPEATED":
        item = kind.item
        return {"arrayValues": [_value_from_cell(item, c["v"]) for c in cell]}
    if kind.type == "RECORD" and cell is not None:
        pairs = zip(kind.fields, cell["f"], strict=True)
        return {"structValues": {f.name: _value_from_cell(f, c["v"]) for f, c in pairs}}
    if kind.type == "TIMESTAMP" and cell is not None:
        return {"value": _moment(cell)}
    if kind.type == "RANGE" and kind.element == "TIMESTAMP" and cell is not None:
        start, end = ("UNBOUNDED" if each is None else _moment(each) for each in range_ends(cell))
        return {"value": f"[{start}, {end})"}
    return {"value": cell}


def _moment(microseconds: str) -> str:
    at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=int(microseconds))
    return at.isoformat(sep=" ")


def bind(tree: exp.Expr, binding: Binding, column_types: Mapping[str, str]) -> exp.Expr:
    """Return the tree with every parameter replaced by its value.

    The types of undeclared ones are guessed from `column_types`: GoogleSQL types of the columns in sight, by
    lower-case name.
    """
    position = 0
    for node in list(tree.find_all(exp.Parameter, exp.Placeholder, bfs=False)):
        if isinstance(node, exp.Parameter):
            value = _named(node, binding, column_types)
        else:
            value = _positional(position, node, binding, column_types)
            position += 1
        if node is tree:
            return value
        node.replace(value)
    return tree


def _named(node: exp.Parameter, binding: Binding, column_types: Mapping[str, str]) -> exp.Expr:
    if isinstance(node.this, exp.Parameter):
        raise NotSupported("system variables.")
    value = binding.named.get(node.name.lower())
    if value is not None:
        return value.copy()
    if not binding.lenient:
        raise QueryInvalid(f"Query parameter '{node.name}' not found")
    kind = {"type": _likely_type(node, column_types)}
    binding.undeclared[node.name.lower()] = {"name": node.name, "parameterType": kind}
    return exp.null()


def _positional(position: int, node: exp.Expr, binding: Binding, column_types: Mapping[str, str]) -> exp.Expr:
    if position < len(binding.positional):
        return binding.positional[position].copy()
    if not binding.lenient:
        raise QueryInvalid(f"Query parameter number {position + 1} is not defined")
    binding.undeclared[f"?{position}"] = {"parameterType": {"type": _likely_type(node, column_types)}}
    return exp.null()


def _likely_type(node: exp.Expr, column_types: Mapping[str, str]) -> str:
    """Guess from what the parameter is compared with; STRING is what BigQuery says when it cannot tell."""
    for other in [] if node.parent is None else node.parent.iter_expressions():
        if isinstance(other, exp.Column):
            return column_types.get(other.name.lower(), "STRING")
        if isinstance(other, exp.Literal) and not other.is_string:
            return "INT64"
    return "STRING"
