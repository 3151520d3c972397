"""Read values that come in as JSON into Python values of a field's type.

`insert_rows` calls `read_row` for every row, and so do loads of JSON files. What leaves: a dict for Arrow, or Invalid
with the place of the fault, in the wording of tabledata.insertAll
(https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/insertAll).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from bqgate.sandbox.warehouse.datatypes import GEOGRAPHY_TEXT, RANGE_END, RANGE_START
from bqgate.sandbox.warehouse.errors import Invalid
from bqgate.sandbox.warehouse.geography import canonical
from bqgate.sandbox.warehouse.intervals import parse_interval
from bqgate.sandbox.warehouse.tables import Field

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_ALL_DIGITS = Context(prec=100)


def read_row(
    schema: Sequence[Field], row: Mapping[str, Any], *, ignore_unknown_values: bool, path: str = ""
) -> dict[str, Any]:
    """Return a row with values of its fields' types; names are the same in any case."""
    known = {field.name.lower(): field for field in schema}
    found: dict[str, Any] = {}
    for name, value in row.items():
        field = known.get(name.lower())
        if field is None:
            if not ignore_unknown_values:
                raise Invalid(f"no such field: {path}{name}.", location=f"{path}{name}")
            continue
        found[field.name] = _read(field, value, ignore_unknown_values, f"{path}{name}")
    for field in schema:
        if field.mode == "REQUIRED" and found.get(field.name) is None:
            raise Invalid(f"Missing required field: {path}{field.name}.", location=f"{path}{field.name}")
    return found


def _read(field: Field, value: Any, ignore_unknown_values: bool, path: str) -> Any:  # noqa: FBT001 - private
    if field.mode == "REPEATED":
        if value is None:
            return []
        if not isinstance(value, list):
            raise Invalid("Array specified for non-repeated field or the reverse.", location=path)
        item = field.item
        return [_read(item, part, ignore_unknown_values, f"{path}[{i}]") for i, part in enumerate(value)]
    if value is None:
        return None
    if isinstance(value, list):
        raise Invalid("Array specified for non-repeated field.", location=path)
    if field.type == "RECORD":
        if not isinstance(value, Mapping):
            raise Invalid("This field is a record.", location=path)
        return read_row(field.fields, value, ignore_unknown_values=ignore_unknown_values, path=f"{path}.")
    if isinstance(value, Mapping) and field.type not in {"JSON", "RANGE"}:
        raise Invalid("This field is not a record.", location=path)
    try:
        return _range(field, value) if field.type == "RANGE" else _READERS[field.type](value)
    except (ValueError, TypeError, OverflowError, InvalidOperation, binascii.Error):
        kind = {"INTEGER": "integer", "FLOAT": "double", "BOOLEAN": "boolean"}.get(field.type, field.type.lower())
        raise Invalid(f"Cannot convert value to {kind} (bad value): {value}", location=path) from None


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    number = int(value)
    if not INT64_MIN <= number <= INT64_MAX:
        raise ValueError(value)
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    return float(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}
    if str(value).lower() not in known:
        raise ValueError(value)
    return known[str(value).lower()]


def _timestamp(value: Any) -> dt.datetime:
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return epoch + dt.timedelta(microseconds=round(value * 1_000_000))
    text = str(value).strip()
    try:
        seconds = float(text)
    except ValueError:
        at = dt.datetime.fromisoformat(text.removesuffix(" UTC").replace("/", "-"))
        return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)
    if not math.isfinite(seconds):
        raise ValueError(value)
    return epoch + dt.timedelta(microseconds=round(seconds * 1_000_000))


def _datetime(value: Any) -> dt.datetime:
    at = dt.datetime.fromisoformat(str(value))
    if at.tzinfo is not None:
        raise ValueError(value)
    return at


def _decimal(scale: int) -> Callable[[Any], Decimal]:
    """Read a number that DECIMAL(38, scale) holds to its last digit."""

    def read(value: Any) -> Decimal:
        number = Decimal(str(value))
        if not number.is_finite():
            raise ValueError(value)
        exponent = int(number.normalize(_ALL_DIGITS).as_tuple().exponent)
        if exponent < -scale or number.adjusted() >= 38 - scale:
            raise ValueError(value)
        return number

    return read


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _range(field: Field, value: Any) -> dict[str, Any]:
    """Read `{"start": …, "end": …}` or the text `[start, end)`; NULL and UNBOUNDED are no end."""
    ends = (value.get("start"), value.get("end")) if isinstance(value, Mapping) else range_ends(str(value))
    start, end = (None if each is None else _READERS[field.element](each) for each in ends)
    if start is not None and end is not None and start >= end:
        raise ValueError(value)
    return {RANGE_START: start, RANGE_END: end}


def range_ends(text: str) -> tuple[str | None, str | None]:
    """Return the two ends of a range's text, None where it is unbounded.

    Raises:
        ValueError: The text is no range.
    """
    found = re.fullmatch(r"\s*\[\s*([^,\[\])]+?)\s*,\s*([^,\[\])]+?)\s*\)\s*", text)
    if found is None:
        raise ValueError(text)
    start, end = (None if each.upper() in {"NULL", "UNBOUNDED"} else each for each in found.groups())
    return start, end


def _interval(value: Any) -> tuple[int, int, int]:
    months, days, micros = parse_interval(str(value))
    return months, days, micros * 1_000


def _json(value: Any) -> str:
    return json.dumps(json.loads(value) if isinstance(value, str) else value, separators=(",", ":"))


_READERS: dict[str, Callable[[Any], Any]] = {
    "STRING": _string,
    "INTEGER": _integer,
    "FLOAT": _float,
    "BOOLEAN": _boolean,
    "TIMESTAMP": _timestamp,
    "DATE": lambda value: dt.date.fromisoformat(str(value)),
    "TIME": lambda value: dt.time.fromisoformat(str(value)),
    "DATETIME": _datetime,
    "NUMERIC": _decimal(9),
    "BIGNUMERIC": _decimal(10),
    "BYTES": lambda value: base64.b64decode(str(value), validate=True),
    "JSON": _json,
    "INTERVAL": _interval,
    "GEOGRAPHY": lambda value: {GEOGRAPHY_TEXT: canonical(str(value))},
}
