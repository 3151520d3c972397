"""Turn DuckDB's and sqlglot's complaints into BigQuery's words.

Whoever lets either of them look at a query passes their errors through here. What leaves is a WarehouseError: 400 for
what BigQuery refuses too, 501 for what only the sandbox can not do. Their own texts, which speak of functions and types
that the caller never wrote, stay inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb
from sqlglot.errors import SqlglotError

from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid, Stopped, WarehouseError

_TYPES = {
    "VARCHAR": "STRING",
    "BIGINT": "INT64",
    "INTEGER": "INT64",
    "HUGEINT": "INT64",
    "DOUBLE": "FLOAT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "BLOB": "BYTES",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "TIMESTAMP": "DATETIME",
    "DECIMAL(38,9)": "NUMERIC",
}


def type_name(duckdb_name: str) -> str:
    """Return GoogleSQL's name of a plain type of DuckDB."""
    return _TYPES.get(duckdb_name.strip(), duckdb_name.strip())


def _signature(found: re.Match[str]) -> str:
    types = ", ".join(type_name(part) for part in re.split(r",\s*(?![^(]*\))", found[2])) if found[2] else ""
    name = found[1].removeprefix("bq_").upper()
    return f"No matching signature for function {name} for argument types: {types}"


def _bad_value(found: re.Match[str]) -> str:
    kind = type_name(found[2])
    if kind in {"DATE", "TIME", "DATETIME", "TIMESTAMP"}:
        return f"Invalid {kind.lower()}: '{found[1]}'"
    return f"Bad {kind.lower()} value: {found[1]}"


_WORDINGS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (
        r'column "([^"]+)" must appear in the GROUP BY',
        lambda m: f"SELECT list expression references column {m[1]} which is neither grouped nor aggregated",
    ),
    (r'Referenced column "([^"]+)" (?:was )?not found', lambda m: f"Unrecognized name: {m[1]}"),
    (r"aggregate function calls cannot be nested", lambda _: "Aggregations of aggregations are not allowed"),
    (r"WHERE clause cannot contain aggregates", lambda _: "Aggregate function not allowed in WHERE clause"),
    (r"No function matches the given name and argument types '(\w+)\(([^']*)\)'", _signature),
    (r"Division by zero", lambda _: "division by zero"),
    (r"Overflow in \w+ of INT64 \(([^)]*)\)", lambda m: f"int64 overflow: {m[1]}"),
    (r"(\w+) field value out of range: \"([^\"]*)\"", lambda m: f"Invalid {m[1].lower()}: '{m[2]}'"),
    (r"invalid (\w+) field format: \"([^\"]*)\"", lambda m: f"Invalid {m[1].lower()}: '{m[2]}'"),
    (r"[Cc]ould not convert string [\"'](.*?)[\"'] to '?([A-Z0-9() ,]+)", _bad_value),
    (r"Could not parse string \"(.*?)\" according to format", lambda m: f'Failed to parse input string "{m[1]}"'),
    (r"[Mm]alformed JSON", lambda _: "syntax error while parsing JSON value"),
    (r"Type INT64 with value (\S+) can't be cast", lambda m: f"Value {m[1]} is out of range"),
)
_OF_VALUES = {"Conversion", "Out of Range", "Invalid Input"}


def translate_error(error: Exception) -> WarehouseError:
    """Return the refusal that an error of DuckDB's amounts to; it comes by pyarrow where rows are read in batches."""
    text = str(error)
    kind, _, reason = text.split("\n", maxsplit=1)[0].partition(" Error: ")
    if isinstance(error, duckdb.InterruptException) or kind == "INTERRUPT":
        return Stopped("Job execution was cancelled: User requested cancellation")
    for pattern, wording in _WORDINGS:
        if (found := re.search(pattern, text)) is not None:
            return QueryInvalid(wording(found))
    if reason.startswith("not supported:"):
        return NotSupported(reason.removeprefix("not supported:").strip())
    if "TRY can not be used" in text:
        return NotSupported("SAFE. before that function.")
    if kind == "Invalid Input":
        return QueryInvalid(reason)  # by `error()` in the macros, or the query's own ERROR()
    if kind in _OF_VALUES:
        return QueryInvalid("A value can not be converted to the type that is wanted")
    return NotSupported("an expression in this query, or its combination of types.")


@contextmanager
def complaints_translated() -> Iterator[None]:
    """Let nothing of DuckDB's and sqlglot's own errors out."""
    try:
        yield
    except duckdb.Error as error:
        raise translate_error(error) from error
    except SqlglotError as error:
        raise not_followed() from error


def not_followed() -> NotSupported:
    """Return the refusal of a query that sqlglot can not resolve, though it may well be one for BigQuery."""
    return NotSupported("a name or a clause in this query that it can not follow.")
