"""Lower a resolved GoogleSQL tree to one that DuckDB runs with the same meaning, or refuse it.

The compiler calls `lower` after names and types are known. It works by an allow-list: nodes that mean the same in both
dialects (KEPT), nodes that have a rewriting (the tables that make up _REWRITES and _BY_NAME), and NotSupported for all
the rest, because an expression nobody compared could answer wrongly. Types that do not fit are refused by
`signatures`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlglot import exp

from bqgate.sandbox.warehouse.casting import CASTS
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.functions import DECIMALS, REWRITES, Kind, Rewrite, call, kind_of, to_type
from bqgate.sandbox.warehouse.json_values import JSON_VALUES
from bqgate.sandbox.warehouse.parsing import position
from bqgate.sandbox.warehouse.points import POINTS, POINTS_BY_NAME, point_struct
from bqgate.sandbox.warehouse.signatures import check_types
from bqgate.sandbox.warehouse.spans import INTERVALS, RANGES, point_type, range_type
from bqgate.sandbox.warehouse.structures import STRUCTURES
from bqgate.sandbox.warehouse.temporal import TEMPORAL

_SHAPE = (
    "Select From Join Where Group Having Qualify Order Ordered Limit Offset With CTE Subquery Table TableAlias Alias "
    "Column Identifier Star Literal Boolean Null Paren Tuple Union Except Intersect Distinct Window WindowSpec Values "
    "Unnest Var DataType DataTypeParam ColumnDef IntervalSpan TableColumn PropertyEQ Rollup Cube GroupingSets "
    "HavingMax IgnoreNulls RespectNulls WeekStart JSONPath JSONPathRoot JSONPathKey JSONPathSubscript AtTimeZone "
    "TsOrDsToDate TsOrDsToTimestamp TsOrDsToTime Any All Identity JSONKeyValue Kwarg"
)
_OPERATORS = (
    "And Or Not EQ NEQ GT GTE LT LTE Is NullSafeEQ NullSafeNEQ Between In Exists Neg BitwiseAnd BitwiseOr BitwiseNot "
    "Case If Coalesce Nullif Greatest Least"
)
_FUNCTIONS = (
    "Count Min Max Stddev StddevPop StddevSamp Variance VariancePop Corr CovarPop CovarSamp ArrayAgg GroupConcat "
    "RowNumber Rank DenseRank PercentRank CumeDist Ntile Lag Lead FirstValue LastValue NthValue Grouping "
    "Upper Lower Replace Reverse StartsWith EndsWith Abs Sin Cos Tan Asin Acos Atan Array "
    "SHA2Digest"
)
KEPT = {getattr(exp, name) for name in f"{_SHAPE} {_OPERATORS} {_FUNCTIONS}".split() if hasattr(exp, name)}
_REWRITES = {**REWRITES, **STRUCTURES, **JSON_VALUES, **TEMPORAL, **INTERVALS, **POINTS, **CASTS}
_BY_NAME: dict[str, Rewrite] = {**RANGES, **POINTS_BY_NAME, "ERROR": lambda node: call("error", *node.expressions)}
_SET_PLACES = {"this", "expression", "distinct", "order", "limit", "offset", "with_"}
_PLACES: dict[type[exp.Expr], set[str]] = {
    exp.Select: {
        *("expressions", "from_", "joins", "where", "group", "having", "qualify", "order", "limit", "offset"),
        *("with_", "distinct", "windows"),
    },
    exp.Table: {"this", "db", "catalog", "alias"},
    exp.Union: _SET_PLACES,
    exp.Except: _SET_PLACES,
    exp.Intersect: _SET_PLACES,
    exp.Subquery: {"this", "alias", "with_", "order", "limit", "offset"},
}


def fix_time(tree: exp.Expr, now: datetime, user_email: str) -> tuple[exp.Expr, bool]:
    """Put constants for the functions whose value the job fixes; tell whether the tree was deterministic."""
    deterministic = True
    kinds = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentDatetime, exp.CurrentTime, exp.SessionUser)
    for node in list(tree.find_all(*kinds)):
        deterministic = False
        constant = _constant(node, _in_zone(node, now), user_email)
        if node is tree:
            return constant, False
        node.replace(constant)
    return tree, deterministic and tree.find(exp.Rand, exp.Uuid) is None


def _in_zone(node: exp.Expr, now: datetime) -> datetime:
    zone = node.args.get("this")
    if zone is None:
        return now
    try:
        return now.astimezone(ZoneInfo(zone.name))
    except (ValueError, ZoneInfoNotFoundError):
        raise QueryInvalid(f"Invalid time zone: {zone.name}{position(node)}") from None


def _constant(node: exp.Expr, now: datetime, user_email: str) -> exp.Expr:
    if isinstance(node, exp.SessionUser):
        return exp.Literal.string(user_email)
    if isinstance(node, exp.CurrentDate):
        return exp.cast(exp.Literal.string(now.date().isoformat()), Kind.DATE)
    if isinstance(node, exp.CurrentTime):
        return exp.cast(exp.Literal.string(now.time().isoformat()), Kind.TIME)
    if isinstance(node, exp.CurrentDatetime):
        return exp.cast(exp.Literal.string(now.replace(tzinfo=None).isoformat(sep=" ")), Kind.DATETIME)
    return exp.cast(exp.Literal.string(now.isoformat(sep=" ")), Kind.TIMESTAMPTZ)


def lower(tree: exp.Expr) -> exp.Expr:
    """Return DuckDB's tree for a qualified and typed GoogleSQL tree; the argument is used up."""
    _offsets_from_zero(tree)
    for node in reversed(list(tree.walk())):
        _check_places(node)
        check_types(node)
        fresh = _rewritten(node)
        if fresh is not node:
            fresh.type = node.type
            if node is tree:
                return fresh
            node.replace(fresh)
    return tree


def _rewritten(node: exp.Expr) -> exp.Expr:
    kind = type(node)
    if isinstance(node, exp.Literal):
        return _literal(node)
    if isinstance(node, exp.In) and node.args.get("unnest") is not None:
        return node
    if isinstance(node, exp.IgnoreNulls) and isinstance(node.this, exp.ArrayAgg):
        return _array_agg_without_nulls(node.this)
    if isinstance(node, exp.DataType):
        return _data_type(node)
    if isinstance(node, exp.SHA2Digest):
        return exp.func("unhex", exp.func("sha256", node.this.copy()), dialect="duckdb")
    rewrite = _REWRITES.get(kind)
    if rewrite is not None:
        return rewrite(node)
    if kind in KEPT:
        return node
    if isinstance(node, exp.Anonymous):
        by_name = _BY_NAME.get(node.name.upper())
        if by_name is not None:
            return by_name(node)
        raise _unknown_function(node)
    what = f"the function {_sql_name(node)}" if isinstance(node, exp.Func) else node.key.upper()
    raise NotSupported(f"{what}{position(node)}.")


def _sql_name(function: exp.Func) -> str:
    names: list[str] = function.sql_names()
    return names[0]


def _unknown_function(node: exp.Anonymous) -> Exception:
    name = node.name
    known = {"IEEE_DIVIDE", "IFERROR", "NULLIFERROR", "ISERROR", "DATE_BUCKET", "TIMESTAMP_BUCKET"}
    prefixes = (
        "ST_",
        "S2_",
        "ML",
        "AI",
        "HLL",
        "KLL",
        "KEYS",
        "AEAD",
        "BIT_",
        "RANGE",
        "JSON",
        "LAX",
        "APPROX",
        "VECTOR",
    )
    if name.upper() in known or name.upper().startswith(prefixes):
        return NotSupported(f"the function {name.upper()}.")
    return QueryInvalid(f"Function not found: {name}{position(node)}")


def _check_places(node: exp.Expr) -> None:
    """Refuse clauses that would be dropped or read otherwise: AS STRUCT, TABLESAMPLE, PIVOT, FOR SYSTEM_TIME…."""
    places = _PLACES.get(type(node))
    if places is None:
        return
    for name, value in node.args.items():
        if value and name not in places:
            raise NotSupported(f"{name.upper().rstrip('_')} in {node.key.upper()}.")


def _literal(node: exp.Literal) -> exp.Expr:
    parent = node.parent
    if node.is_string or parent is None:
        return node
    if not node.this.isdigit():
        beside = [kind_of(n) for n in parent.iter_expressions()]
        return to_type(node, "DECIMAL(38,9)" if DECIMALS & set(beside) else "DOUBLE")
    arithmetic = (exp.Add, exp.Sub, exp.Mul, exp.Alias, exp.Array, exp.PropertyEQ)
    return to_type(node, "BIGINT") if isinstance(parent, arithmetic) else node


def _data_type(node: exp.DataType) -> exp.Expr:
    if node.this == Kind.RANGE:
        return range_type(point_type(node))
    if node.this == Kind.GEOGRAPHY:
        return point_struct()
    exact = {Kind.DECIMAL: "DECIMAL(38,9)", Kind.BIGDECIMAL: "DECIMAL(38,10)"}.get(node.this)
    if exact is None:
        return node
    if node.expressions:
        raise NotSupported("NUMERIC with a precision.")
    return exp.DataType.build(exact, dialect="duckdb")


def _array_agg_without_nulls(aggregate: exp.ArrayAgg) -> exp.Expr:
    value = aggregate.this
    while isinstance(value, (exp.Limit, exp.Order, exp.Distinct)):
        value = value.expressions[0] if isinstance(value, exp.Distinct) else value.this
    if aggregate.find(exp.Limit) is not None:
        raise NotSupported("ARRAY_AGG with IGNORE NULLS and LIMIT.")
    condition = exp.Not(this=exp.Is(this=value.copy(), expression=exp.null()))
    plain = exp.Anonymous(this="array_agg", expressions=[aggregate.this.copy()])
    return exp.Filter(this=plain, expression=exp.Where(this=condition))


def _offsets_from_zero(tree: exp.Expr) -> None:
    """DuckDB counts WITH ORDINALITY from 1 where BigQuery counts WITH OFFSET from 0."""
    for table, name in _offset_columns(tree):
        for column in list(tree.find_all(exp.Column)):
            if (column.table, column.name) == (table, name):
                column.replace(exp.Paren(this=exp.Sub(this=column.copy(), expression=exp.Literal.number(1))))


def _offset_columns(tree: exp.Expr) -> Iterator[tuple[str, str]]:
    for unnest in tree.find_all(exp.Unnest):
        offset = unnest.args.get("offset")
        if isinstance(offset, exp.Identifier):
            yield unnest.alias, offset.name
        elif offset:
            columns = unnest.args["alias"].args.get("columns") or []
            yield unnest.alias, columns[-1].name if columns else "offset"
