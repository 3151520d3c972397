"""Say how CAST and SAFE_CAST are written in DuckDB, where the two engines read or write values differently.

The third table of rewritings beside `functions` and `temporal`; `lowering` applies them. Differences that matter: a
FLOAT64 becomes an INT64 by rounding half away from zero, '1.5' is no INT64, only true and false are BOOL, a NUMERIC is
written without trailing zeros, and bytes are UTF-8. Source:
https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from bqgate.sandbox.warehouse.errors import NotSupported
from bqgate.sandbox.warehouse.functions import DECIMALS, FLOATS, INTEGERS, Kind, Rewrite, call, kind_of
from bqgate.sandbox.warehouse.points import point_literal
from bqgate.sandbox.warehouse.spans import interval_literal, range_cast

_TEXTS = {Kind.TEXT, Kind.VARCHAR}
_BLOBS = {Kind.BINARY, Kind.VARBINARY}
_TIMES = {Kind.TIMESTAMPTZ, Kind.DATETIME, Kind.TIMESTAMP, Kind.TIME}

# From which kinds to which, the macro of CAST, and that of SAFE_CAST (None: the same).
_TABLE: tuple[tuple[set[exp.DType], set[exp.DType], str, str | None], ...] = (
    (FLOATS | DECIMALS, INTEGERS, "bq_float_to_int", "bq_float_to_int_or_null"),
    (_TEXTS, INTEGERS, "bq_string_to_int", "bq_string_to_int_or_null"),
    (_TEXTS, {Kind.BOOLEAN}, "bq_string_to_bool", "bq_string_to_bool_or_null"),
    (FLOATS, _TEXTS, "bq_float_to_string", None),
    (DECIMALS, _TEXTS, "bq_decimal_to_string", None),
    (_TIMES, _TEXTS, "bq_time_to_string", None),
    ({Kind.INTERVAL}, _TEXTS, "bq_interval_to_string", None),
    (_TEXTS, _BLOBS, "encode", None),
    (_BLOBS, _TEXTS, "decode", None),
)


def _by_kinds() -> Iterator[tuple[tuple[exp.DType, exp.DType], tuple[str, str]]]:
    for sources, targets, strict, safe in _TABLE:
        for source in sources:
            for target in targets:
                yield (source, target), (strict, safe or strict)


_MACROS = dict(_by_kinds())


def _cast(node: exp.Expr) -> exp.Expr:
    if node.args.get("format") is not None:
        raise NotSupported("CAST with FORMAT.")
    to = node.type or node.args["to"]  # the type as GoogleSQL says it; the other is DuckDB's by now
    target = to.this
    if target == Kind.RANGE:
        return range_cast(node.this, to)
    if target in {Kind.INTERVAL, Kind.GEOGRAPHY} and not isinstance(node.this, exp.Null):
        return _of_text(node, target)
    source = kind_of(node.this)
    macros = None if source is None else _MACROS.get((source, target))
    if macros is None:
        return node
    return call(macros[1] if isinstance(node, exp.TryCast) else macros[0], node.this)


def _of_text(node: exp.Expr, target: exp.DType) -> exp.Expr:
    """Read a literal; what DuckDB would make of the texts of a column is not what BigQuery does."""
    value: exp.Expr = node.this
    if kind_of(value) == target:
        return value.copy()
    if not isinstance(value, exp.Literal):
        raise NotSupported(f"CAST to {target.value} of other than a literal.")
    return interval_literal(value.name) if target == Kind.INTERVAL else point_literal(value.name)


CASTS: dict[type[exp.Expr], Rewrite] = {exp.Cast: _cast, exp.TryCast: _cast}
