"""Translate types: BigQuery's REST words, GoogleSQL's words and DuckDB's types, each into the other.

The catalog (to create tables), the compiler (schema of a result), loads and parameters call it. Pure. Names come in in
either dialect and any case; fields carry the REST API's legacy words, which is what Google's answers say.

REST types: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema. DuckDB's TIMESTAMP has no
time zone and is BigQuery's DATETIME; TIMESTAMPTZ is BigQuery's TIMESTAMP. NUMERIC is DECIMAL(38,9) exactly; BIGNUMERIC
is kept as DECIMAL(38,10), which holds 28 digits before the point, and values beyond are refused when they are stored.
A RANGE is kept as a struct of its two ends and a GEOGRAPHY as a struct of its text, under names that no column has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from bqgate.sandbox.warehouse.errors import Invalid, NotSupported
from bqgate.sandbox.warehouse.tables import Field

NUMERIC = "DECIMAL(38,9)"
BIGNUMERIC = "DECIMAL(38,10)"

_REST_NAMES = {
    "INT64": "INTEGER",
    "INT": "INTEGER",
    "SMALLINT": "INTEGER",
    "BIGINT": "INTEGER",
    "TINYINT": "INTEGER",
    "BYTEINT": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
_DUCKDB = {
    "STRING": "VARCHAR",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMPTZ",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "TIMESTAMP",
    "NUMERIC": NUMERIC,
    "BIGNUMERIC": BIGNUMERIC,
    "BYTES": "BLOB",
    "JSON": "JSON",
    "INTERVAL": "INTERVAL",
}
_MODES = {"NULLABLE", "REQUIRED", "REPEATED"}
RANGE_ELEMENTS = {"DATE", "DATETIME", "TIMESTAMP"}
# The members of the structs that stand for a RANGE and a GEOGRAPHY.
RANGE_START, RANGE_END, GEOGRAPHY_TEXT = "_range_start", "_range_end", "_geography_text"
_STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
_FROM_DUCKDB = {
    "varchar": "STRING",
    "double": "FLOAT",
    "float": "FLOAT",
    "boolean": "BOOLEAN",
    "timestamp with time zone": "TIMESTAMP",
    "timestamp": "DATETIME",
    "timestamp_s": "DATETIME",
    "timestamp_ms": "DATETIME",
    "timestamp_ns": "DATETIME",
    "date": "DATE",
    "time": "TIME",
    "blob": "BYTES",
    "json": "JSON",
    "interval": "INTERVAL",
}
_INTEGERS = {"tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "hugeint", "ubigint"}


def rest_type(name: str) -> str:
    """Return the REST word of a type in either dialect and any case, or raise when there is none such."""
    upper = name.upper()
    known = _REST_NAMES.get(upper, upper)
    if known in {"RECORD", "RANGE", "GEOGRAPHY"} or known in _DUCKDB:
        return known
    raise Invalid(f"Invalid value for type: {name} is not a valid value")


def standard_type(field: Field) -> str:
    """Return the GoogleSQL spelling of a field's type: ARRAY<STRUCT<a INT64>>."""
    if field.type == "RECORD":
        inner = f"STRUCT<{', '.join(f'{f.name} {standard_type(f)}' for f in field.fields)}>"
    elif field.type == "RANGE":
        inner = f"RANGE<{field.element}>"
    else:
        inner = _STANDARD.get(field.type, field.type)
    return f"ARRAY<{inner}>" if field.mode == "REPEATED" else inner


def duckdb_type(field: Field) -> str:
    """Return the DuckDB type that stores a field."""
    if field.type == "RECORD":
        inner = f"STRUCT({', '.join(f'{quote(f.name)} {duckdb_type(f)}' for f in field.fields)})"
    elif field.type == "RANGE":
        inner = f"STRUCT({RANGE_START} {_DUCKDB[field.element]}, {RANGE_END} {_DUCKDB[field.element]})"
    elif field.type == "GEOGRAPHY":
        inner = f"STRUCT({GEOGRAPHY_TEXT} VARCHAR)"
    else:
        inner = _DUCKDB[field.type]
    return f"{inner}[]" if field.mode == "REPEATED" else inner


def quote(name: str) -> str:
    """Quote an identifier for DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def field_from_duckdb(name: str, dtype: Any) -> Field:
    """Return the field that describes a DuckDB column; raise NotSupported for types BigQuery has not."""
    kind = dtype.id
    text = str(dtype).lower()
    if kind in {"list", "array"}:
        item = field_from_duckdb(name, dict(dtype.children)["child"])
        if item.mode == "REPEATED":
            raise NotSupported("an array of arrays.")
        return replace(item, mode="REPEATED")
    if kind == "struct":
        members = dict(dtype.children)
        if RANGE_START in members:
            return Field(name, "RANGE", element=field_from_duckdb(name, members[RANGE_START]).type)
        if GEOGRAPHY_TEXT in members:
            return Field(name, "GEOGRAPHY")
        return Field(name, "RECORD", fields=tuple(field_from_duckdb(n, t) for n, t in dtype.children))
    if kind == "decimal":
        return Field(name, "BIGNUMERIC" if text == BIGNUMERIC.lower() else "NUMERIC")
    if kind in _INTEGERS or text == '"null"':
        return Field(name, "INTEGER")
    known = _FROM_DUCKDB.get(text)
    if known is None:
        raise NotSupported(f"a result of type {str(dtype).upper()}.")
    return Field(name, known)


def is_null_type(dtype: Any) -> bool:
    """Tell whether DuckDB knows nothing of a column but that it is NULL."""
    return str(dtype).lower() in {'"null"', '"null"[]'}


def field_from_sql(name: str, kind: exp.DataType) -> Field:
    """Return the field that a GoogleSQL column definition describes."""
    if kind.this == exp.DType.ARRAY:
        item = field_from_sql(name, kind.expressions[0])
        return replace(item, mode="REPEATED")
    if kind.this == exp.DType.STRUCT:
        if not all(isinstance(part, exp.ColumnDef) for part in kind.expressions):
            raise NotSupported("columns that are a STRUCT without names.")
        parts = tuple(field_from_sql(part.name, part.args["kind"]) for part in kind.expressions)
        return Field(name, "RECORD", fields=parts)
    if kind.this == exp.DType.RANGE:
        return Field(name, "RANGE", element=range_element(kind.expressions[0].sql(dialect="bigquery")))
    return Field(name, rest_type(kind.sql(dialect="bigquery").split("(")[0]))


def fields_from_rest(items: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
    """Return the fields of a REST `TableSchema.fields` list.

    Raises:
        Invalid: A field without a name, or a type or mode that BigQuery has not.
    """
    return tuple(_field_from_rest(item) for item in items)


def _field_from_rest(item: Mapping[str, Any]) -> Field:
    name, kind = str(item.get("name") or ""), rest_type(str(item.get("type") or "STRING"))
    mode = str(item.get("mode") or "NULLABLE").upper()
    if not name:
        raise Invalid("Required parameter is missing: schema.fields.name")
    if mode not in _MODES:
        raise Invalid(f"Invalid value for mode: {item['mode']} is not a valid value")
    parts = item.get("fields") or ()
    if kind == "RECORD" and not parts:
        raise Invalid(f"Field {name} is type RECORD but has no schema")
    element = range_element(str((item.get("rangeElementType") or {}).get("type"))) if kind == "RANGE" else ""
    return Field(name, kind, mode, fields_from_rest(parts), str(item.get("description") or ""), element)


def range_element(name: str) -> str:
    """Return the REST word of what a RANGE is of, or raise when there are no ranges of that."""
    known = rest_type(name)
    if known not in RANGE_ELEMENTS:
        raise Invalid(f"Invalid value for rangeElementType: {name} is not one of DATE, DATETIME, TIMESTAMP")
    return known
