"""Say how GoogleSQL's functions of dates and times are written in DuckDB.

One more table of rewritings beside `functions`; `lowering` applies them. Sessions run in UTC, as BigQuery does without
a time zone. Sources: the date, timestamp and datetime pages of
https://cloud.google.com/bigquery/docs/reference/standard-sql. Differences that matter: BigQuery's WEEK begins on
Sunday, DAYOFWEEK counts from Sunday = 1, TIMESTAMP_DIFF counts whole units where DATE_DIFF counts boundaries, and
DATE_ADD gives a DATE.
"""

from __future__ import annotations

import re

from sqlglot import exp

from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.functions import INTEGERS, Kind, Rewrite, call, kind_of, to_type
from bqgate.sandbox.warehouse.parsing import position
from bqgate.sandbox.warehouse.spans import MAKERS

_WEEKDAYS = {"SUNDAY": -1, "MONDAY": 0, "TUESDAY": 1, "WEDNESDAY": 2, "THURSDAY": 3, "FRIDAY": 4, "SATURDAY": 5}
_PARTS = {"YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND"}
_CLOCK = {"DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND"}
_DIRECTIVES = re.compile(r"(?:[^%]|%[YmdHMSjyAaBbFTIpGVuDR%])*")


def _unit(node: exp.Expr | None) -> str:
    return "DAY" if node is None else node.name.upper()


def _text(value: str) -> exp.Expr:
    return exp.Literal.string(value.lower())


def _only_dates(*values: exp.Expr) -> None:
    """BigQuery's DATE functions also take points in time and answer in kind; here they take dates only."""
    if {Kind.TIMESTAMPTZ, Kind.DATETIME, Kind.TIMESTAMP} & {kind_of(value) for value in values}:
        raise NotSupported("DATE functions of a TIMESTAMP or DATETIME; use TIMESTAMP_TRUNC and its like.")


def _date_trunc(node: exp.Expr) -> exp.Expr:
    point = {Kind.TIMESTAMPTZ: "TIMESTAMPTZ", Kind.DATETIME: "TIMESTAMP", Kind.TIMESTAMP: "TIMESTAMP"}
    if (kind := kind_of(node.this)) in point:
        return _trunc_to(point[kind])(node)
    unit = node.args.get("unit")
    if isinstance(unit, exp.WeekStart):
        shift = exp.Literal.number(_WEEKDAYS[unit.this.name.upper()])
        return call("bq_week_trunc", node.this, exp.Paren(this=shift))
    name = {"ISOWEEK": "WEEK", "ISOYEAR": "ISOYEAR"}.get(_unit(unit), _unit(unit))
    if name not in {"YEAR", "QUARTER", "MONTH", "DAY", "WEEK"}:
        raise NotSupported(f"DATE_TRUNC to {name}.")
    if _unit(unit) == "WEEK":
        return call("bq_week_trunc", node.this, exp.Paren(this=exp.Literal.number(-1)))
    return to_type(call("date_trunc", _text(name), node.this), "DATE")


def _trunc_to(result: str) -> Rewrite:
    def rewrite(node: exp.Expr) -> exp.Expr:
        if kind_of(node.this) == Kind.DATE and result == "TIMESTAMP":
            return _date_trunc(node)
        unit, zone = node.args.get("unit"), node.args.get("zone")
        value = to_type(node.this, result)
        if zone is not None:
            value = call("timezone", zone, value)
        if isinstance(unit, exp.WeekStart) or _unit(unit) == "WEEK":
            day = unit.this.name.upper() if isinstance(unit, exp.WeekStart) else "SUNDAY"
            found = call("bq_week_trunc", value, exp.Paren(this=exp.Literal.number(_WEEKDAYS[day])))
        else:
            name = {"ISOWEEK": "WEEK"}.get(_unit(unit), _unit(unit))
            if name not in {*_PARTS, "WEEK"}:
                raise NotSupported(f"truncation to {name}.")
            found = call("date_trunc", _text(name), value)
        if zone is not None:
            return call("timezone", zone, to_type(found, "TIMESTAMP"))
        return to_type(found, result)

    return rewrite


def _shift(sign: str, result: str, units: set[str]) -> Rewrite:
    def rewrite(node: exp.Expr) -> exp.Expr:
        unit = _unit(node.args.get("unit"))
        if result == "DATE":
            _only_dates(node.this)
        if unit not in units:
            raise QueryInvalid(f"A valid date part is required; found {unit}{position(node)}")
        maker, kind = MAKERS[unit]
        step = call(maker, to_type(node.expression, kind))
        operator = exp.Add if sign == "+" else exp.Sub
        return to_type(exp.Paren(this=operator(this=to_type(node.this, result), expression=step)), result)

    return rewrite


def _boundaries(kind: str) -> Rewrite:
    """DATE_DIFF and DATETIME_DIFF: how many starts of the unit lie between."""

    def rewrite(node: exp.Expr) -> exp.Expr:
        unit = node.args.get("unit")
        if kind == "DATE":
            _only_dates(node.this, node.expression)
        late, early = to_type(node.this, kind), to_type(node.expression, kind)
        if isinstance(unit, exp.WeekStart) or _unit(unit) == "WEEK":
            day = unit.this.name.upper() if isinstance(unit, exp.WeekStart) else "SUNDAY"
            shift = exp.Paren(this=exp.Literal.number(_WEEKDAYS[day]))
            late, early = call("bq_week_trunc", late, shift), call("bq_week_trunc", early, shift)
            days = exp.Sub(this=late, expression=early)
            return call("divide", exp.Paren(this=days), exp.Literal.number(7))
        name = {"ISOWEEK": "WEEK"}.get(_unit(unit), _unit(unit))
        if name not in {*_PARTS, "WEEK"}:
            raise NotSupported(f"a difference in {name}.")
        return call("date_diff", _text(name), early, late)

    return rewrite


def _whole_units(node: exp.Expr) -> exp.Expr:
    unit = _unit(node.args.get("unit"))
    if unit not in _CLOCK:
        raise QueryInvalid(f"TIMESTAMP_DIFF does not support the {unit} date part{position(node)}")
    late, early = to_type(node.this, "TIMESTAMPTZ"), to_type(node.expression, "TIMESTAMPTZ")
    return call("date_sub", _text(unit), early, late)


def _extract(node: exp.Expr) -> exp.Expr:
    part, value = node.this, node.expression
    if isinstance(value, exp.AtTimeZone):
        value = call("timezone", value.args["zone"], to_type(value.this, "TIMESTAMPTZ"))
    name = part.name.upper()
    if kind_of(value) == Kind.INTERVAL and name not in _PARTS - {"QUARTER"}:
        raise QueryInvalid(f"EXTRACT of {name} from INTERVAL is not supported{position(node)}")
    if isinstance(part, exp.WeekStart) and name == "SUNDAY":
        name = "WEEK"
    if name in {"DATE", "TIME"}:
        return to_type(value, name)
    if name == "WEEK":
        return to_type(call("strftime", to_type(value, "TIMESTAMP"), exp.Literal.string("%U")), "BIGINT")
    if name == "DAYOFWEEK":
        return exp.Paren(this=exp.Add(this=call("dayofweek", value), expression=exp.Literal.number(1)))
    if name in {"MILLISECOND", "MICROSECOND"}:
        found = call("date_part", _text(name), value)
        return call("mod", found, exp.Literal.number(1_000 if name == "MILLISECOND" else 1_000_000))
    duckdb = {"ISOWEEK": "WEEK", "DAYOFYEAR": "DOY"}.get(name, name)
    if duckdb not in {*_PARTS, "WEEK", "DOY", "ISOYEAR"}:
        raise NotSupported(f"EXTRACT of {name}.")
    return call("date_part", _text(duckdb), value)


def _format(node: exp.Expr) -> exp.Expr:
    if node.args.get("culture") is not None:
        raise NotSupported("FORMAT_DATE and its like in a language.")
    value, zone = node.this, node.args.get("zone")
    target = "DATE" if isinstance(value, exp.TsOrDsToDate) else "TIMESTAMP"
    if isinstance(value, exp.TsOrDsToTime):
        value = exp.Paren(this=exp.Add(this=to_type(_text("1970-01-01"), "DATE"), expression=value.this.copy()))
    if isinstance(value, (exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.TsOrDsToDatetime)):
        value = value.this
    if zone is not None:
        value = call("timezone", zone, to_type(value, "TIMESTAMPTZ"))
    return call("strftime", to_type(value, target), _directives(node.args["format"]))


def _parse(result: str) -> Rewrite:
    def rewrite(node: exp.Expr) -> exp.Expr:
        form = _directives(node.args["format"])
        if node.args.get("zone") is not None or not re.search("%Y|%F", form.name):
            raise NotSupported("parsing in a time zone or without a year.")
        return to_type(call("strptime", node.this, form), result)

    return rewrite


def _directives(form: exp.Expr) -> exp.Expr:
    if not isinstance(form, exp.Literal) or not _DIRECTIVES.fullmatch(form.name):
        raise NotSupported(
            "that format of dates; known are %Y %m %d %H %M %S %j %y %A %a %B %b %F %T %I %p %G %V %u %D %R."
        )
    whole = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%D": "%m/%d/%y", "%R": "%H:%M"}
    return exp.Literal.string(re.sub("%.", lambda found: whole.get(found[0], found[0]), form.name))


def _to(result: str) -> Rewrite:
    """DATE(x), TIMESTAMP(x), DATETIME(x) of one argument, and of a TIMESTAMP with a time zone."""

    def rewrite(node: exp.Expr) -> exp.Expr:
        zone = node.args.get("zone") or node.args.get("expression")
        if zone is None:
            return to_type(node.this, result)
        if result == "TIMESTAMPTZ":
            return call("timezone", zone, to_type(node.this, "TIMESTAMP"))
        return to_type(call("timezone", zone, to_type(node.this, "TIMESTAMPTZ")), result)

    return rewrite


def _from_epoch(node: exp.Expr) -> exp.Expr:
    scale = node.args.get("scale")
    factor = 10 ** (6 - (0 if scale is None else int(scale.name)))
    scaled = exp.Mul(this=to_type(node.this, "BIGINT"), expression=exp.Literal.number(factor))
    return call("make_timestamptz", scaled)


def _since_epoch(divisor: int) -> Rewrite:
    return lambda n: call("bq_floor_div", call("epoch_us", to_type(n.this, "TIMESTAMPTZ")), exp.Literal.number(divisor))


def _last_day(node: exp.Expr) -> exp.Expr:
    if _unit(node.args.get("unit") or exp.var("MONTH")) != "MONTH":
        raise NotSupported("LAST_DAY of other than months.")
    return call("last_day", node.this)


def _date_array(node: exp.Expr) -> exp.Expr:
    ends = [to_type(node.args[name], "DATE") for name in ("start", "end")]
    series = call("generate_series", *ends, node.args["step"])
    return to_type(series, "DATE[]")


def _timestamp_array(node: exp.Expr) -> exp.Expr:
    ends = [to_type(node.args[name], "TIMESTAMPTZ") for name in ("start", "end")]
    return call("generate_series", *ends, node.args["step"])


def _time_trunc(node: exp.Expr) -> exp.Expr:
    name = _unit(node.args.get("unit"))
    if name not in _CLOCK - {"DAY"}:
        raise QueryInvalid(f"A valid time part is required; found {name}{position(node)}")
    since = exp.Add(this=to_type(_text("1970-01-01"), "DATE"), expression=to_type(node.this, "TIME"))
    return to_type(call("date_trunc", _text(name), exp.Paren(this=since)), "TIME")


def _timestamp_from_parts(node: exp.Expr) -> exp.Expr:
    return call("make_timestamp", *(node.args[p] for p in ("year", "month", "day", "hour", "min", "sec")))


def rewrite_add(node: exp.Expr) -> exp.Expr:
    """DATE + INT64 is days in BigQuery; the difference of two points is an INTERVAL of days, or of time."""
    left, right = kind_of(node.this), kind_of(node.expression)
    if left == Kind.DATE and right in INTEGERS:
        return type(node)(this=node.this.copy(), expression=to_type(node.expression, "INTEGER"))
    if left == Kind.TIMESTAMPTZ and right == Kind.INTERVAL:
        step = exp.Neg(this=node.expression.copy()) if isinstance(node, exp.Sub) else node.expression
        return call("bq_timestamp_plus", node.this, step)
    points = {Kind.DATE, Kind.DATETIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ}
    if isinstance(node, exp.Sub) and left in points and left == right:
        node.type = exp.DataType(this=Kind.INTERVAL)
        if left == Kind.DATE:
            days = exp.Sub(this=node.this.copy(), expression=node.expression.copy())
            return call("to_days", to_type(exp.Paren(this=days), "INTEGER"))
        ends = [call("epoch_us", part) for part in (node.this, node.expression)]
        return call("to_microseconds", exp.Paren(this=exp.Sub(this=ends[0], expression=ends[1])))
    return node


TEMPORAL: dict[type[exp.Expr], Rewrite] = {
    exp.DateTrunc: _date_trunc,
    exp.TimestampTrunc: _trunc_to("TIMESTAMPTZ"),
    exp.DatetimeTrunc: _trunc_to("TIMESTAMP"),
    exp.DateAdd: _shift("+", "DATE", {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}),
    exp.DateSub: _shift("-", "DATE", {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}),
    exp.TimestampAdd: _shift("+", "TIMESTAMPTZ", _CLOCK),
    exp.TimestampSub: _shift("-", "TIMESTAMPTZ", _CLOCK),
    exp.DatetimeAdd: _shift("+", "TIMESTAMP", {*_PARTS, "WEEK"}),
    exp.DatetimeSub: _shift("-", "TIMESTAMP", {*_PARTS, "WEEK"}),
    exp.DateDiff: _boundaries("DATE"),
    exp.DatetimeDiff: _boundaries("TIMESTAMP"),
    exp.TimestampDiff: _whole_units,
    exp.Extract: _extract,
    exp.TimeToStr: _format,
    exp.StrToDate: _parse("DATE"),
    exp.StrToTime: _parse("TIMESTAMPTZ"),
    exp.ParseDatetime: _parse("TIMESTAMP"),
    exp.Date: _to("DATE"),
    exp.Timestamp: _to("TIMESTAMPTZ"),
    exp.Datetime: _to("TIMESTAMP"),
    exp.TsOrDsToDatetime: _to("TIMESTAMP"),
    exp.DateFromParts: lambda n: call("make_date", n.args["year"], n.args["month"], n.args["day"]),
    exp.TimestampFromParts: _timestamp_from_parts,
    exp.UnixSeconds: _since_epoch(1_000_000),
    exp.UnixMillis: _since_epoch(1_000),
    exp.UnixMicros: _since_epoch(1),
    exp.UnixToTime: _from_epoch,
    exp.UnixDate: lambda n: call("date_diff", _text("day"), to_type(exp.Literal.string("1970-01-01"), "DATE"), n.this),
    exp.LastDay: _last_day,
    exp.GenerateDateArray: _date_array,
    exp.DateFromUnixDate: lambda n: to_type(
        exp.Paren(this=exp.Add(this=to_type(_text("1970-01-01"), "DATE"), expression=to_type(n.this, "INTEGER"))),
        "DATE",
    ),
    exp.GenerateTimestampArray: _timestamp_array,
    exp.TimeFromParts: lambda n: call("make_time", n.args["hour"], n.args["min"], n.args["sec"]),
    exp.TimeAdd: _shift("+", "TIME", _CLOCK - {"DAY"}),
    exp.TimeSub: _shift("-", "TIME", _CLOCK - {"DAY"}),
    exp.TimeDiff: _boundaries("TIME"),
    exp.TimeTrunc: _time_trunc,
    exp.Add: rewrite_add,
    exp.Sub: rewrite_add,
}
