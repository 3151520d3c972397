"""Translate types: BigQuery's REST words, GoogleSQL's words and DuckDB's types, each into the other.

Called by the catalog (to create tables), the compiler (schema of a result) and the parameters. Pure. A type that the
sandbox cannot hold exactly is refused with NotSupported: GEOGRAPHY, INTERVAL, RANGE.

REST types: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema. DuckDB's TIMESTAMP has no
time zone and is BigQuery's DATETIME; TIMESTAMPTZ is BigQuery's TIMESTAMP. NUMERIC is DECIMAL(38,9) exactly; BIGNUMERIC
is kept as DECIMAL(38,10), which holds 28 digits before the point, and values beyond are refused when they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
}
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
}
_INTEGERS = {"tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "hugeint", "ubigint"}


def rest_type(name: str) -> str:
    """Return the REST word of a type in either dialect, or raise when the sandbox cannot hold it."""
    upper = name.upper()
    known = _REST_NAMES.get(upper, upper)
    if known == "RECORD" or known in _DUCKDB:
        return known
    if known in {"GEOGRAPHY", "INTERVAL", "RANGE"}:
        raise NotSupported(f"columns of type {known}.", location="")
    raise Invalid(f"Invalid value for type: {name} is not a valid value")


def standard_type(field: Field) -> str:
    """Return the GoogleSQL spelling of a field's type: ARRAY<STRUCT<a INT64>>."""
    if field.type == "RECORD":
        inner = f"STRUCT<{', '.join(f'{f.name} {standard_type(f)}' for f in field.fields)}>"
    else:
        inner = _STANDARD.get(field.type, field.type)
    return f"ARRAY<{inner}>" if field.mode == "REPEATED" else inner


def duckdb_type(field: Field) -> str:
    """Return the DuckDB type that stores a field."""
    if field.type == "RECORD":
        inner = f"STRUCT({', '.join(f'{quote(f.name)} {duckdb_type(f)}' for f in field.fields)})"
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
        return Field(name, item.type, "REPEATED", item.fields)
    if kind == "struct":
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
        return Field(name, item.type, "REPEATED", item.fields)
    if kind.this == exp.DType.STRUCT:
        parts = tuple(field_from_sql(part.name, part.args["kind"]) for part in kind.expressions)
        return Field(name, "RECORD", fields=parts)
    return Field(name, rest_type(kind.sql(dialect="bigquery").split("(")[0]))


def fields_from_rest(items: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
    """Return the fields of a REST `TableSchema.fields` list."""
    return tuple(
        Field(
            str(item["name"]),
            rest_type(str(item["type"])),
            str(item.get("mode") or "NULLABLE").upper(),
            fields_from_rest(item.get("fields") or ()),
            str(item.get("description") or ""),
        )
        for item in items
    )
