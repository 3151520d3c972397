"""Build Arrow tables from Python values and BigQuery fields.

INFORMATION_SCHEMA, loads of JSON and `insert_rows` hand rows to DuckDB this way. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from bqgate.sandbox.warehouse.datatypes import GEOGRAPHY_TEXT, RANGE_END, RANGE_START
from bqgate.sandbox.warehouse.tables import Field

_ARROW: dict[str, pa.DataType] = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal128(38, 10),
    "BYTES": pa.binary(),
    "JSON": pa.string(),
    "INTERVAL": pa.month_day_nano_interval(),
    "GEOGRAPHY": pa.struct([pa.field(GEOGRAPHY_TEXT, pa.string())]),
}


def arrow_type(field: Field) -> pa.DataType:
    """Return the Arrow type of a field's values."""
    if field.type == "RECORD":
        inner = pa.struct([pa.field(part.name, arrow_type(part)) for part in field.fields])
    elif field.type == "RANGE":
        end = _ARROW[field.element]
        inner = pa.struct([pa.field(RANGE_START, end), pa.field(RANGE_END, end)])
    else:
        inner = _ARROW[field.type]
    return pa.list_(inner) if field.mode == "REPEATED" else inner


def arrow_table(schema: Sequence[Field], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return a table of the rows; a missing key is NULL, a key that is no field is ignored."""
    columns = {field.name: pa.array([row.get(field.name) for row in rows], arrow_type(field)) for field in schema}
    return pa.table(columns)
