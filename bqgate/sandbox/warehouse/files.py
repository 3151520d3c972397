"""Read the rows of a file: CSV, newline-delimited JSON and Parquet.

The loader calls `open_file`. JSON with a schema is read here value by value, by the rules that insertAll has too, since
DuckDB passes over fields that no column has and reads BYTES, NUMERIC and points in time otherwise. The rest DuckDB
reads. What leaves: a relation whose columns are to be cast to the schema's, or Invalid in BigQuery's words.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import duckdb
import pyarrow as pa

from bqgate.sandbox.json_text import Literal
from bqgate.sandbox.warehouse.arrow_types import arrow_table
from bqgate.sandbox.warehouse.errors import Invalid, NotSupported
from bqgate.sandbox.warehouse.incoming import read_row
from bqgate.sandbox.warehouse.tables import Field, TimePartitioning

_ROWS_AT_ONCE = 10_000
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class LoadOptions:
    """How to read a file; names and defaults are those of `configuration.load`."""

    source_format: str = "CSV"
    schema: tuple[Field, ...] | None = None
    autodetect: bool = False
    write_disposition: str = "WRITE_APPEND"
    create_disposition: str = "CREATE_IF_NEEDED"
    field_delimiter: str = ","
    quote: str = '"'
    null_marker: str = ""
    encoding: str = "UTF-8"
    skip_leading_rows: int = 0
    max_bad_records: int = 0
    allow_quoted_newlines: bool = False
    ignore_unknown_values: bool = False
    time_partitioning: TimePartitioning | None = None
    clustering: tuple[str, ...] = ()


def open_file(cursor: duckdb.DuckDBPyConnection, path: Path, options: LoadOptions) -> duckdb.DuckDBPyRelation:
    """Return the file's rows.

    Raises:
        Invalid: The file is not of that format, or does not fit the schema.
        NotSupported: A format that the sandbox does not read.
    """
    name = str(path).replace("'", "''")
    if options.source_format == "PARQUET":
        call = f"read_parquet('{name}')"
    elif options.source_format == "NEWLINE_DELIMITED_JSON":
        if options.schema is not None:
            cursor.register("rows_of_file", _json_rows(path, options.schema, options))
            return cursor.sql("SELECT * FROM rows_of_file")
        call = f"read_json('{name}', format = 'newline_delimited', map_inference_threshold = -1)"
    elif options.source_format == "CSV":
        call = _csv_call(name, options)
    else:
        raise NotSupported(
            f"loading {options.source_format}; known are CSV, NEWLINE_DELIMITED_JSON, PARQUET.", location=""
        )
    try:
        return cursor.sql(f"SELECT * FROM {call}")
    except duckdb.Error as error:
        raise refusal(error) from error


def _json_rows(path: Path, schema: Sequence[Field], options: LoadOptions) -> pa.Table:
    rows = _rows_of_json(path, schema, options)
    tables = [arrow_table(schema, [])]
    while part := list(islice(rows, _ROWS_AT_ONCE)):
        tables.append(arrow_table(schema, part))
    return pa.concat_tables(tables)


def _rows_of_json(path: Path, schema: Sequence[Field], options: LoadOptions) -> Iterator[dict[str, Any]]:
    start = 0
    with _opened(path) as lines:
        for line in lines:
            if line.strip():
                yield _row_of_json(line, start, schema, options)
            start += len(line)


def _opened(path: Path) -> IO[bytes]:
    """The file, unpacked where it is gzip, as BigQuery takes CSV and JSON."""
    with path.open("rb") as file:
        is_packed = file.read(len(_GZIP)) == _GZIP
    return cast("IO[bytes]", gzip.open(path, "rb")) if is_packed else path.open("rb")


def _row_of_json(line: bytes, start: int, schema: Sequence[Field], options: LoadOptions) -> dict[str, Any]:
    where = f"Error while reading data, error message: JSON parsing error in row starting at position {start}"
    try:
        row = json.loads(line, parse_float=Literal)
    except (ValueError, RecursionError):
        raise Invalid(f"{where}: Parser terminated before end of string") from None
    if not isinstance(row, dict):
        raise Invalid(f"{where}: Start of object expected")
    try:
        return read_row(schema, row, ignore_unknown_values=options.ignore_unknown_values)
    except Invalid as error:
        raise Invalid(f"{where}: {error.message[:1].upper()}{error.message[1:]}") from None


def _csv_call(name: str, options: LoadOptions) -> str:
    if options.schema is None and not options.autodetect:
        raise Invalid("No schema specified on job or table.")
    parts = [f"'{name}'", f"delim = {_text(options.field_delimiter.replace(chr(92) + 't', chr(9)))}"]
    parts += [f"quote = {_text(options.quote)}", f"escape = {_text(options.quote)}"]
    parts.append(f"nullstr = {_text(options.null_marker)}")
    if options.schema is None:
        header = "true" if options.skip_leading_rows == 1 else "auto_detect"
        parts.append("header = true" if header == "true" else f"skip = {options.skip_leading_rows}")
        return f"read_csv({', '.join(parts)}, sample_size = -1)"
    columns = ", ".join(f"{_text(field.name)}: 'VARCHAR'" for field in options.schema)
    parts += [
        f"skip = {options.skip_leading_rows}",
        "header = false",
        "auto_detect = false",
        f"columns = {{{columns}}}",
    ]
    parts.append(f"ignore_errors = {str(options.ignore_unknown_values).lower()}")
    return f"read_csv({', '.join(parts)})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_CONVERSIONS = (
    (r"CSV Error on Line: (\d+)", "CSV table encountered too many errors, giving up. Rows: {}; errors: 1"),
    (r"[Cc]ould not convert string '([^\n]*)' to (\w+)", "Could not parse '{}' as {}"),
    (r"NOT NULL constraint failed: (?:.*\.)?(\S+)", "Missing required field: {}"),
    (r"^Malformed JSON", "JSON table encountered too many errors, giving up"),
)


def refusal(error: duckdb.Error) -> Invalid:
    """Return the refusal that an error of DuckDB's readers amounts to."""
    text = re.sub(r"^[A-Z]\w+(?: \w+)* Error: ", "", str(error))
    shown = text.split("\n", maxsplit=1)[0]
    for pattern, wording in _CONVERSIONS:
        if (found := re.search(pattern, text, re.MULTILINE)) is not None:
            shown = wording.format(*found.groups())
            break
    return Invalid(f"Error while reading data, error message: {shown}")
