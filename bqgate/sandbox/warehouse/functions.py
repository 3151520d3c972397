"""Say how each GoogleSQL expression is written in DuckDB, where it is not written the same.

A table from sqlglot's node classes to rewriting functions; `lowering` walks the tree and applies it. What stands in
neither table is refused there. Each entry was compared with the function's page in
https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all; where DuckDB's namesake differs in a
corner (rounding, NULL, negative positions), the rewriting goes to a macro of `macros.sql`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlglot import exp

from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.parsing import position

Rewrite = Callable[[exp.Expr], exp.Expr]
Kind = exp.DType

INTEGERS = {Kind.BIGINT, Kind.INT, Kind.SMALLINT, Kind.TINYINT}
FLOATS = {Kind.DOUBLE, Kind.FLOAT}
DECIMALS = {Kind.DECIMAL, Kind.BIGDECIMAL}


def kind_of(node: exp.Expr | None) -> exp.DType | None:
    """Return the type that was inferred for a node; None when nothing is known."""
    found = None if node is None or isinstance(node, exp.Null) else node.type
    if found is None or found.this in {Kind.UNKNOWN, Kind.NULL}:
        return None
    return found.this  # type: ignore[no-any-return]  # sqlglot leaves the argument untyped


def call(name: str, *arguments: exp.Expr | None) -> exp.Expr:
    """Return a DuckDB call that sqlglot passes on as it is; an argument that the text left out is refused."""
    given = [argument for argument in arguments if argument is not None]
    if len(given) != len(arguments):
        raise QueryInvalid(f"No matching signature for {name.upper()}: an argument is missing")
    return exp.Anonymous(this=name, expressions=[a.copy() for a in given])


def to_type(node: exp.Expr | None, duckdb_type: str) -> exp.Expr:
    """Return a cast to a DuckDB type."""
    if node is None:
        raise QueryInvalid("No matching signature: an argument is missing")
    return exp.Cast(this=node.copy(), to=exp.DataType.build(duckdb_type, dialect="duckdb"))


def _named(name: str) -> Rewrite:
    return lambda node: call(name, *node.iter_expressions())


def _only_float(name: str) -> Rewrite:
    """Functions that give NUMERIC for NUMERIC in BigQuery and have only FLOAT64 here."""

    def rewrite(node: exp.Expr) -> exp.Expr:
        if DECIMALS & {kind_of(part) for part in node.iter_expressions()}:
            raise NotSupported(f"{name.upper()} of NUMERIC.")
        return call(name, *node.iter_expressions())

    return rewrite


def _sign(node: exp.Expr) -> exp.Expr:
    kind = kind_of(node.this)
    target = "DECIMAL(38,9)" if kind in DECIMALS else "BIGINT" if kind in INTEGERS else "DOUBLE"
    return to_type(call("sign", node.this), target)


def _of_float(name: str) -> Rewrite:
    """Functions that give FLOAT64 for INT64 in BigQuery."""

    def rewrite(node: exp.Expr) -> exp.Expr:
        value = node.this
        if kind_of(value) in INTEGERS:
            value = to_type(value, "DOUBLE")
        rest = [to_type(a, "INTEGER") for a in (node.args.get("decimals"),) if a is not None]
        return call(name, value, *rest)

    return rewrite


def _average(node: exp.Expr) -> exp.Expr:
    if kind_of(node.this) in DECIMALS:
        raise NotSupported("AVG of NUMERIC.")
    if kind_of(node.this) == Kind.INTERVAL:
        raise NotSupported("AVG of INTERVAL.")
    return node


def _sum(node: exp.Expr) -> exp.Expr:
    return call("bq_sum_interval", node.this) if kind_of(node.this) == Kind.INTERVAL else node


def _divide(node: exp.Expr) -> exp.Expr:
    if kind_of(node.this) == Kind.INTERVAL:
        return node
    if DECIMALS & {kind_of(node.this), kind_of(node.expression)}:
        raise NotSupported("division of NUMERIC.")
    return call("bq_safe_divide" if isinstance(node, exp.SafeDivide) else "bq_divide", node.this, node.expression)


def _times(node: exp.Expr) -> exp.Expr:
    if DECIMALS & {kind_of(node.this), kind_of(node.expression)}:
        return to_type(exp.Paren(this=node.copy()), "DECIMAL(38,9)")
    return node


def _like(node: exp.Expr) -> exp.Expr:
    if isinstance(node.expression, (exp.Any, exp.All)):
        return _like_each(node)
    plain = exp.Like(this=node.this.copy(), expression=node.expression.copy())
    escaped = exp.Escape(this=plain, expression=exp.Literal.string("\\"))
    return exp.Not(this=exp.Paren(this=escaped)) if node.args.get("negate") else exp.Paren(this=escaped)


def _like_each(node: exp.Expr) -> exp.Expr:
    patterns = node.expression.this
    if not isinstance(patterns, (exp.Tuple, exp.Paren)) or node.args.get("negate"):
        raise NotSupported("LIKE ANY and LIKE ALL of other than a list.")
    values = patterns.expressions if isinstance(patterns, exp.Tuple) else [patterns.this]
    tests = [_like(exp.Like(this=node.this.copy(), expression=value.copy())) for value in values]
    join = exp.or_ if isinstance(node.expression, exp.Any) else exp.and_
    return exp.Paren(this=join(*tests, copy=False))


def _hex_number(node: exp.Expr) -> exp.Expr:
    return exp.Literal.number(int(node.name.lower().removeprefix("0x"), 16))


def _tried(operator: type[exp.Expr]) -> Rewrite:
    """SAFE_ADD and its like: NULL where the operator overflows."""
    return lambda n: call("try", operator(this=exp.Paren(this=n.this.copy()), expression=n.expression.copy()))


def _concat(node: exp.Expr) -> exp.Expr:
    parts = list(node.iter_expressions())
    for part in parts:
        if kind_of(part) not in {None, Kind.TEXT, Kind.VARCHAR, Kind.BINARY, Kind.VARBINARY, Kind.ARRAY}:
            raise QueryInvalid(f"No matching signature for operator || or function CONCAT{position(part)}")
    joined = parts[0].copy()
    for part in parts[1:]:
        joined = exp.DPipe(this=joined, expression=part.copy())
    return exp.Paren(this=joined)


def _substring(node: exp.Expr) -> exp.Expr:
    length = node.args.get("length")
    if length is None:
        return call("bq_substr", node.this, node.args["start"])
    return call("bq_substr_of", node.this, node.args["start"], length)


def _trim(node: exp.Expr) -> exp.Expr:
    name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or "").upper(), "trim")
    return call(name, node.this, node.expression) if node.args.get("expression") else call(f"bq_{name}", node.this)


def _length(node: exp.Expr) -> exp.Expr:
    is_bytes = kind_of(node.this) in {Kind.BINARY, Kind.VARBINARY}
    return call("octet_length" if is_bytes else "length", node.this)


def _pad(node: exp.Expr) -> exp.Expr:
    fill = node.args.get("fill_pattern") or exp.Literal.string(" ")
    return call("lpad" if node.args.get("is_left") else "rpad", node.this, to_type(node.expression, "INTEGER"), fill)


def _regexp_extract(node: exp.Expr) -> exp.Expr:
    if any(node.args.get(arg) for arg in ("position", "occurrence", "parameters")):
        raise NotSupported("REGEXP_EXTRACT with a position.")
    return call("bq_regexp_extract", node.this, node.expression, _group(node.expression))


def _regexp_extract_all(node: exp.Expr) -> exp.Expr:
    return call("regexp_extract_all", node.this, node.expression, _group(node.expression))


def _group(pattern: exp.Expr) -> exp.Expr:
    """Return 1 when the pattern has a capturing group, as BigQuery extracts that then; else 0."""
    if not isinstance(pattern, exp.Literal):
        raise NotSupported("REGEXP_EXTRACT with a pattern that is not a literal.")
    bare = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "", pattern.name)
    groups = len(re.findall(r"\((?!\?)|\(\?P?<", bare))
    if groups > 1:
        raise QueryInvalid("Regular expression has more than one capturing group")
    return exp.Literal.number(groups)


def _regexp_replace(node: exp.Expr) -> exp.Expr:
    return call("regexp_replace", node.this, node.expression, node.args["replacement"], exp.Literal.string("g"))


def _any_value(node: exp.Expr) -> exp.Expr:
    having = node.this
    if isinstance(having, exp.HavingMax):
        return call("arg_max_null" if having.args.get("max") else "arg_min_null", having.this, having.expression)
    return call("any_value", node.this)


def _quantiles(node: exp.Expr) -> exp.Expr:
    if not isinstance(node.expression, exp.Literal):
        raise NotSupported("APPROX_QUANTILES with a number that is not a literal.")
    count = int(node.expression.name)
    steps = [exp.Literal.number(repr(i / count)) for i in range(count + 1)]
    return call("quantile_disc", node.this, exp.Array(expressions=steps))


def _aggregate_distinct(node: exp.Expr) -> exp.Expr:
    return exp.Count(this=exp.Distinct(expressions=[node.this.copy()]))


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Avg: _average,
    exp.Sum: _sum,
    exp.Div: _divide,
    exp.SafeDivide: _divide,
    exp.Mul: _times,
    exp.IntDiv: lambda n: call("divide", n.this, n.expression),
    exp.Mod: lambda n: call("mod", n.this, n.expression),
    exp.Like: _like,
    exp.Concat: _concat,
    exp.DPipe: _concat,
    exp.Substring: _substring,
    exp.Trim: _trim,
    exp.Length: _length,
    exp.ByteLength: lambda n: call("strlen", n.this),
    exp.Pad: _pad,
    exp.Left: lambda n: call("bq_left", n.this, n.expression),
    exp.Right: lambda n: call("bq_right", n.this, n.expression),
    exp.Repeat: lambda n: call("repeat", n.this, n.args["times"]),
    exp.Split: lambda n: call("string_split", n.this, n.expression),
    exp.StrPosition: lambda n: call("strpos", n.this, n.args["substr"]),
    exp.RegexpLike: lambda n: call("regexp_matches", n.this, n.expression),
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpExtractAll: _regexp_extract_all,
    exp.RegexpReplace: _regexp_replace,
    exp.LowerHex: lambda n: call("lower", call("hex", n.this)),
    exp.RawString: lambda n: exp.Literal.string(n.name),
    exp.MD5: lambda n: call("md5", n.this),
    exp.MD5Digest: lambda n: call("unhex", call("md5", n.this)),
    exp.FromBase64: _named("from_base64"),
    exp.ToBase64: _named("to_base64"),
    exp.Round: _of_float("round"),
    exp.Trunc: _of_float("trunc"),
    exp.Floor: _of_float("floor"),
    exp.Ceil: _of_float("ceil"),
    exp.Pow: _only_float("pow"),
    exp.Sqrt: _only_float("sqrt"),
    exp.Exp: _only_float("exp"),
    exp.Ln: _only_float("ln"),
    exp.Log: _only_float("log"),
    exp.IsNan: _named("isnan"),
    exp.BitwiseXor: lambda n: call("xor", n.this, n.expression),
    exp.AnyValue: _any_value,
    exp.ArgMax: _named("arg_max_null"),
    exp.ArgMin: _named("arg_min_null"),
    exp.PercentileCont: lambda n: call("quantile_cont", n.this, n.expression),
    exp.PercentileDisc: lambda n: call("quantile_disc", n.this, n.expression),
    exp.ApproxDistinct: _aggregate_distinct,
    exp.ApproxQuantiles: _quantiles,
    exp.CountIf: _named("count_if"),
    exp.LogicalAnd: _named("bool_and"),
    exp.LogicalOr: _named("bool_or"),
    exp.Sign: _sign,
    exp.Uuid: lambda _: to_type(call("uuid"), "VARCHAR"),
    exp.Pi: lambda _: call("pi"),
    exp.HexString: _hex_number,
    exp.SafeAdd: _tried(exp.Add),
    exp.SafeSubtract: _tried(exp.Sub),
    exp.SafeMultiply: _tried(exp.Mul),
    exp.SafeNegate: lambda n: call("try", exp.Neg(this=exp.Paren(this=n.this.copy()))),
    exp.SHA1Digest: lambda n: call("unhex", call("sha1", n.this)),
    exp.BitwiseAndAgg: _named("bit_and"),
    exp.BitwiseOrAgg: _named("bit_or"),
    exp.BitwiseXorAgg: _named("bit_xor"),
    exp.Cbrt: _only_float("cbrt"),
    exp.SafeFunc: lambda n: call("try", n.this),
    exp.Rand: lambda _: call("random"),
}
