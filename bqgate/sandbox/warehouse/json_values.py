"""Say how GoogleSQL's JSON functions are written in DuckDB.

One more table of rewritings beside `functions`; `lowering` applies them. How a value looks in JSON hangs on its type,
so TO_JSON is written out by the type that was inferred: points in time in RFC 3339, bytes in base64, INT64 beyond 2^53
as a number by TO_JSON and as a string by TO_JSON_STRING. A type that is not known is refused.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings
"""

from __future__ import annotations

from sqlglot import exp

from bqgate.sandbox.warehouse.datatypes import RANGE_END, RANGE_START
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.functions import DECIMALS, FLOATS, INTEGERS, Kind, Rewrite, call, kind_of, to_type

_AS_IT_IS = {Kind.TEXT, Kind.VARCHAR, Kind.BOOLEAN}
_BY_MACRO = {
    Kind.TIMESTAMPTZ: "bq_json_timestamp",
    Kind.DATETIME: "bq_json_datetime",
    Kind.TIMESTAMP: "bq_json_datetime",
    Kind.DATE: "bq_json_date",
    Kind.TIME: "bq_json_date",
    Kind.BINARY: "bq_json_bytes",
    Kind.VARBINARY: "bq_json_bytes",
}


def _to_json(node: exp.Expr) -> exp.Expr:
    options = node.args.get("options")
    if options is not None and not (isinstance(options, exp.Boolean) and not options.this):
        raise NotSupported("TO_JSON with stringify_wide_numbers and TO_JSON_STRING with pretty_print.")
    as_text = not node.args.get("to_json")
    found = json_of(node.this, as_text=as_text)
    return to_type(found, "VARCHAR") if as_text else found


def json_of(value: exp.Expr, *, as_text: bool) -> exp.Expr:
    """Return the JSON of a value, whose NULL is JSON's null.

    Args:
        value: A value that is already lowered and keeps its GoogleSQL type.
        as_text: Numbers that JSON readers would round become strings, as TO_JSON_STRING writes them.
    """
    if isinstance(value, exp.Null):
        return _null()
    if value.type is None or value.type.this in {Kind.UNKNOWN, Kind.NULL}:
        raise NotSupported("JSON of a value whose type is not known; CAST it.")
    return _or_null(_written(value, value.type, as_text, 0))


def _null() -> exp.Expr:
    return call("json", exp.Literal.string("null"))


def _or_null(value: exp.Expr) -> exp.Expr:
    return exp.Coalesce(this=value, expressions=[_null()])


def _written(value: exp.Expr, kind: exp.DataType, as_text: bool, depth: int) -> exp.Expr:  # noqa: FBT001 - private
    of = kind.this
    if of == Kind.NULL:
        return _null()
    if of == Kind.STRUCT:
        return _object(value, kind, as_text, depth)
    if of == Kind.ARRAY:
        name = f"item_{depth}"
        item = exp.column(name)
        body = _or_null(_written(item, kind.expressions[0], as_text, depth + 1))
        lambda_ = exp.Lambda(this=body, expressions=[exp.to_identifier(name)])
        return call("to_json", exp.Anonymous(this="list_transform", expressions=[value.copy(), lambda_]))
    if of == Kind.RANGE:
        ends = {"start": RANGE_START, "end": RANGE_END}
        pairs = [(key, _member(value, member), kind.expressions[0]) for key, member in ends.items()]
        return _pairs(value, [(k, _or_null(_written(v, t, as_text, depth))) for k, v, t in pairs])
    if of in INTEGERS or of in DECIMALS or of in FLOATS:
        name = "integer" if of in INTEGERS else "decimal" if of in DECIMALS else "float"
        return call(f"bq_json_{name}{'_text' if as_text else ''}", value)
    if of == Kind.JSON:
        return to_type(value, "JSON")
    if of in _AS_IT_IS:
        return call("to_json", value)
    if of not in _BY_MACRO:
        raise NotSupported(f"JSON of {kind.sql(dialect='bigquery')}.")
    return call(_BY_MACRO[of], value)


def _object(value: exp.Expr, kind: exp.DataType, as_text: bool, depth: int) -> exp.Expr:  # noqa: FBT001 - private
    if not all(isinstance(field, exp.ColumnDef) for field in kind.expressions):
        raise NotSupported("JSON of a STRUCT whose fields' names are not known.")
    return _pairs(
        value,
        [
            (field.name, _or_null(_written(_member(value, field.name), field.args["kind"], as_text, depth)))
            for field in kind.expressions
        ],
    )


def _member(value: exp.Expr, name: str) -> exp.Expr:
    return call("struct_extract", value, exp.Literal.string(name))


def _pairs(value: exp.Expr, pairs: list[tuple[str, exp.Expr]]) -> exp.Expr:
    made = call("json_object", *(part for name, each in pairs for part in (exp.Literal.string(name), each)))
    is_null = exp.Is(this=value.copy(), expression=exp.null())
    return exp.Case(ifs=[exp.If(this=is_null, true=exp.null())], default=made)


def _json_object(node: exp.Expr) -> exp.Expr:
    pairs = [part for part in node.expressions if isinstance(part, exp.JSONKeyValue)]
    if len(pairs) != len(node.expressions) or any(node.args.get(name) for name in ("null_handling", "unique_keys")):
        raise NotSupported("JSON_OBJECT of arrays.")
    parts = [each for pair in pairs for each in (pair.this, json_of(pair.expression, as_text=False))]
    return call("json_object", *parts)


def _json_array(node: exp.Expr) -> exp.Expr:
    return call("json_array", *(json_of(part, as_text=False) for part in node.expressions))


def path_of(node: exp.Expr | None) -> str:
    """Return a JSONPath as DuckDB writes it, with every key in quotes."""
    if node is None:
        return "$"
    if not isinstance(node, exp.JSONPath):
        raise NotSupported(f"the JSON path {node.sql(dialect='bigquery')}.")
    text = ""
    for part in node.expressions:
        if isinstance(part, exp.JSONPathRoot):
            text += "$"
        elif isinstance(part, (exp.JSONPathKey, exp.JSONPathSubscript)) and isinstance(part.this, str):
            text += _key(part.this)
        elif isinstance(part, exp.JSONPathSubscript) and isinstance(part.this, int):
            text += f"[{part.this}]"
        else:
            raise NotSupported(f"the JSON path {node.sql(dialect='bigquery')}.")
    return text


def _key(name: str) -> str:
    if '"' in name:
        raise NotSupported("a JSON path with quotes in a key.")
    return f'."{name}"'


def _extract(name: str) -> Rewrite:
    def rewrite(node: exp.Expr) -> exp.Expr:
        path = exp.Literal.string(path_of(node.args.get("expression")))
        is_json = kind_of(node.this) == Kind.JSON
        if name == "bq_json_array":
            return to_type(call(name, node.this, path), "JSON[]" if is_json else "VARCHAR[]")
        found = call(name, node.this, path)
        return to_type(found, "VARCHAR") if name == "json_extract" and not is_json else found

    return rewrite


def member_of_json(value: exp.Expr, key: exp.Expr) -> exp.Expr:
    """Return a member of a JSON object by its name, or an element of a JSON array by its number."""
    if isinstance(key, exp.Identifier) or (isinstance(key, exp.Literal) and key.is_string):
        return call("json_extract", value, exp.Literal.string("$" + _key(key.name)))
    if not isinstance(key, exp.Literal):
        raise NotSupported("a subscript of JSON that is not a literal.")
    return call("json_extract", value, exp.Literal.string(f"$[{key.name}]"))


def _dot(node: exp.Expr) -> exp.Expr:
    if kind_of(node.this) != Kind.JSON:
        return node
    node.type = exp.DataType(this=Kind.JSON)
    return member_of_json(node.this, node.expression)


def _from_json(macro: str, name: str) -> Rewrite:
    def rewrite(node: exp.Expr) -> exp.Expr:
        if kind_of(node.this) == Kind.TIMESTAMPTZ and name == "STRING":
            return call("bq_timestamp_to_string", node.this)
        if kind_of(node.this) != Kind.JSON:
            raise QueryInvalid(f"No matching signature for function {name}; it takes JSON")
        return call(macro, node.this)

    return rewrite


def _parse_json(node: exp.Expr) -> exp.Expr:
    if isinstance(node.this, exp.Dot):
        raise NotSupported("a field of a JSON literal; use JSON_QUERY.")
    if node.args.get("expression") is not None:
        raise NotSupported("PARSE_JSON with wide_number_mode.")
    return call("json", node.this)


JSON_VALUES: dict[type[exp.Expr], Rewrite] = {
    exp.JSONFormat: _to_json,
    exp.JSONObject: _json_object,
    exp.JSONArray: _json_array,
    exp.JSONExtractScalar: _extract("bq_json_value"),
    exp.JSONExtract: _extract("json_extract"),
    exp.JSONExtractArray: _extract("bq_json_array"),
    exp.JSONValueArray: _extract("bq_json_value_array"),
    exp.JSONType: lambda n: call("bq_json_type", n.this),
    exp.JSONBool: _from_json("bq_json_to_bool", "BOOL"),
    exp.Int64: _from_json("bq_json_to_int64", "INT64"),
    exp.Float64: _from_json("bq_json_to_float64", "FLOAT64"),
    exp.String: _from_json("bq_json_to_string", "STRING"),
    exp.ParseJSON: _parse_json,
    exp.Dot: _dot,
}
