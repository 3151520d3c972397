"""Write values in BigQuery's REST encoding: every cell a string, records as `f`, arrays as lists of `v`.

`rows` calls `row_texts` with a part of an Arrow table and gets one JSON text a row. Columns of plain kinds are written
by Arrow's kernels, since a page may hold a hundred thousand rows; the others value by value, by `encode`, which says
what is right for both.

Encoding: https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/list and what the official clients parse.
TIMESTAMP is seconds since 1970 with six decimals, or whole microseconds where the caller asked for int64.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bqgate.sandbox.warehouse.datatypes import GEOGRAPHY_TEXT, RANGE_END, RANGE_START
from bqgate.sandbox.warehouse.intervals import IntervalValue, format_interval
from bqgate.sandbox.warehouse.tables import Field

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
# Characters that JSON writes as an escape.
_MAY_NEED_ESCAPES = {"STRING", "JSON", "RECORD", "GEOGRAPHY"}
_ESCAPED = '["\\\\\\x00-\\x1f]'


def row_texts(part: pa.Table, fields: Sequence[Field], *, use_int64_timestamp: bool) -> pa.Array:
    """Return the JSON text of every row of a table whose columns are those fields."""
    pieces: list[Any] = ['{"f":[']
    for number, (field, column) in enumerate(zip(fields, part.columns, strict=True)):
        cells = _cell_texts(field, _whole(column), use_int64_timestamp=use_int64_timestamp)
        pieces += [',{"v":' if number else '{"v":', pc.fill_null(cells, "null"), "}"]
    return pc.binary_join_element_wise(*pieces, "]}", "")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def _cell_texts(field: Field, column: pa.Array, *, use_int64_timestamp: bool) -> pa.Array:
    """Return the JSON text of every cell of a column, NULL for NULL."""
    if field.mode != "REPEATED":
        if field.type in {"INTEGER", "BOOLEAN", "DATE"}:
            return _quoted(pc.cast(column, pa.string()))
        if field.type == "TIMESTAMP":
            micros = pc.cast(pc.cast(column, pa.timestamp("us", tz="UTC")), pa.int64())
            if use_int64_timestamp:
                return _quoted(pc.cast(micros, pa.string()))
            return _quoted(pa.array([None if n is None else _seconds(n) for n in micros.to_pylist()], pa.string()))
        if field.type == "STRING" and not pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py():
            return _quoted(column)
    values = [encode(field, value, use_int64_timestamp=use_int64_timestamp) for value in column.to_pylist()]
    if field.mode == "REPEATED" or field.type in _MAY_NEED_ESCAPES:
        return pa.array([None if v is None else json.dumps(v, ensure_ascii=False) for v in values], pa.string())
    return _quoted(pa.array(values, pa.string()))


def _quoted(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', texts, '"', "")


def encode(field: Field, value: Any, *, use_int64_timestamp: bool = False) -> Any:
    """Return what stands under `v` for one cell."""
    if field.mode == "REPEATED":
        return [{"v": encode(field.item, v, use_int64_timestamp=use_int64_timestamp)} for v in value or ()]
    if value is None:
        return None
    if field.type == "RECORD":
        cells = [encode(f, value[f.name], use_int64_timestamp=use_int64_timestamp) for f in field.fields]
        return {"f": [{"v": cell} for cell in cells]}
    if field.type == "TIMESTAMP":
        return _timestamp(value, use_int64_timestamp=use_int64_timestamp)
    if field.type == "RANGE":
        return _range(field, value, use_int64_timestamp=use_int64_timestamp)
    return _ENCODERS[field.type](value)


def _range(field: Field, value: dict[str, Any], *, use_int64_timestamp: bool) -> str:
    of = Field(field.name, field.element)
    ends = [encode(of, value[name], use_int64_timestamp=use_int64_timestamp) for name in (RANGE_START, RANGE_END)]
    start, end = ("UNBOUNDED" if each is None else each for each in ends)
    return f"[{start}, {end})"


def _timestamp(value: dt.datetime, *, use_int64_timestamp: bool) -> str:
    micros = (value - _EPOCH) // _MICROSECOND
    return str(micros) if use_int64_timestamp else _seconds(micros)


def _seconds(micros: int) -> str:
    sign = "-" if micros < 0 else ""
    seconds, rest = divmod(abs(micros), 1_000_000)
    return f"{sign}{seconds}.{rest:06d}"


def _float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _decimal(value: Decimal) -> str:
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _interval(value: Any) -> str:
    return format_interval(IntervalValue(value.months, value.days, value.nanoseconds // 1_000))


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "STRING": str,
    "INTEGER": str,
    "FLOAT": _float,
    "BOOLEAN": lambda value: "true" if value else "false",
    "DATE": lambda value: str(value.isoformat()),
    "TIME": lambda value: str(value.isoformat()),
    "DATETIME": lambda value: str(value.isoformat()),
    "NUMERIC": _decimal,
    "BIGNUMERIC": _decimal,
    "BYTES": lambda value: base64.b64encode(value).decode("ascii"),
    "JSON": _json,
    "INTERVAL": _interval,
    "GEOGRAPHY": lambda value: str(value[GEOGRAPHY_TEXT]),
}
