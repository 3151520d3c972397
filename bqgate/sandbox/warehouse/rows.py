"""Write rows in BigQuery's REST encoding: every cell a string, records as `f`, arrays as lists of `v`.

The runner hands over an Arrow table; the HTTP half pages through it from any thread. The table stays in memory until
the result is dropped.

Encoding: https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/list and what the official clients parse.
TIMESTAMP is seconds since 1970 with six decimals, or whole microseconds where the caller asked for int64.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from bqgate.sandbox.warehouse.errors import QueryInvalid
from bqgate.sandbox.warehouse.tables import Field

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class ArrowRows:
    """A RowSource over an Arrow table whose columns are already of the types that the schema says."""

    def __init__(self, table: pa.Table, schema: tuple[Field, ...]) -> None:
        self._table = table
        self._schema = schema

    @property
    def schema(self) -> tuple[Field, ...]:
        return self._schema

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def page(self, start: int, count: int, *, use_int64_timestamp: bool = False) -> list[dict[str, Any]]:
        part = self._table.slice(max(start, 0), max(count, 0))
        columns = [
            [encode(field, value, use_int64_timestamp=use_int64_timestamp) for value in column.to_pylist()]
            for field, column in zip(self._schema, part.columns, strict=True)
        ]
        return [{"f": [{"v": cell} for cell in cells]} for cells in zip(*columns, strict=True)]


def no_rows(schema: tuple[Field, ...] = ()) -> ArrowRows:
    """Return the empty source that DDL and DML answer with."""
    return ArrowRows(pa.table({str(i): pa.array([], pa.string()) for i in range(len(schema))}), schema)


def refuse_null_elements(table: pa.Table, schema: tuple[Field, ...]) -> None:
    """Refuse arrays with NULL in them, which BigQuery can compute but not return."""
    for field, column in zip(schema, table.columns, strict=True):
        if field.mode == "REPEATED" and any(chunk.flatten().null_count for chunk in column.chunks):
            raise QueryInvalid(f"Array cannot have a null element; error in writing field {field.name}")


def encode(field: Field, value: Any, *, use_int64_timestamp: bool = False) -> Any:
    """Return what stands under `v` for one cell."""
    if field.mode == "REPEATED":
        item = Field(field.name, field.type, "NULLABLE", field.fields)
        return [{"v": encode(item, v, use_int64_timestamp=use_int64_timestamp)} for v in value or ()]
    if value is None:
        return None
    if field.type == "RECORD":
        cells = [encode(f, value[f.name], use_int64_timestamp=use_int64_timestamp) for f in field.fields]
        return {"f": [{"v": cell} for cell in cells]}
    if field.type == "TIMESTAMP":
        return _timestamp(value, use_int64_timestamp=use_int64_timestamp)
    return _ENCODERS[field.type](value)


def _timestamp(value: dt.datetime, *, use_int64_timestamp: bool) -> str:
    micros = (value - _EPOCH) // _MICROSECOND
    if use_int64_timestamp:
        return str(micros)
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
}
