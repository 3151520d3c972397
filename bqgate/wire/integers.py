"""Read whole numbers as Google's JSON writes them, and put them down in plain digits.

Used by the other modules of wire and by whoever reads a number from a URL. An integer travels as a number or in quotes,
and may have an exponent or zeros behind the point (https://protobuf.dev/programming-guides/json/): 1e9, "1000000000.0".
Digits are moved as text, so that nothing is rounded and 1e999999999 costs nothing. Errors: MalformedRequest in
Google's words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bqgate.domain.errors import MalformedRequest
from bqgate.domain.units import INT64_MAX
from bqgate.wire.json_text import JsonNumber, write_json

_NUMBER = re.compile(r"(?P<sign>-?)(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]+))?(?:[eE](?P<exponent>[+-]?[0-9]+))?")
_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")
# No integer type of Google's has more digits.
_DIGITS_MAX = 20
# Larger exponents cannot be made up for by so many digits.
_EXPONENT_DIGITS_MAX = 9
# What is longer is no number that anybody means.
_CHARS_MAX = 100_000
_TEXT_SHOWN_MAX = 64


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer type of protocol buffers, by the name that Google's errors have for it."""

    name: str
    least: int
    most: int


INT64 = Integer("TYPE_INT64", -INT64_MAX - 1, INT64_MAX)
INT32 = Integer("TYPE_INT32", -(2**31), 2**31 - 1)
UINT32 = Integer("TYPE_UINT32", 0, 2**32 - 1)


def whole_number(text: str) -> int | None:
    """The whole number that a text writes; None where it writes none, or one of more than 20 digits."""
    if len(text) <= _DIGITS_MAX and text.isascii() and text.isdigit():
        return int(text)
    match = _NUMBER.fullmatch(text) if len(text) <= _CHARS_MAX else None
    if match is None:
        return None
    whole, part = match["whole"], match["part"] or ""
    digits = (whole + part).lstrip("0").rstrip("0")
    if not digits:
        return 0
    trailing_zeros = len(whole + part) - len((whole + part).rstrip("0"))
    exponent = _exponent(match["exponent"] or "0")
    if exponent is None:
        return None
    zeros = exponent - len(part) + trailing_zeros
    if zeros < 0 or len(digits) + zeros > _DIGITS_MAX:
        return None
    return int(f"{match['sign']}{digits}{'0' * zeros}")


def integer_at(document: Mapping[str, Any], name: str, kind: Integer = INT64, *, path: str = "") -> int | None:
    """The integer in a field; None where it is absent, null or empty (proto JSON's default).

    Raises:
        MalformedRequest: it is no whole number, or not one of this type.
    """
    value = document.get(name)
    if value is None or value == "":
        return None
    number = _number(value)
    if number is None or not kind.least <= number <= kind.most:
        field = f"{path}{name}"
        raise MalformedRequest(
            f"Invalid value at '{proto_path(field)}' ({kind.name}), {shown_value(value)}", field=field
        )
    return number


def settled_integer(holder: dict[str, Any], name: str, kind: Integer = INT64, *, path: str = "") -> int | None:
    """The same, and from here on the field has it in plain digits, so that what is judged is what is sent."""
    number = integer_at(holder, name, kind, path=path)
    if number is not None:
        holder[name] = str(number) if isinstance(holder[name], str) else number
    return number


def _number(value: object) -> int | None:
    if type(value) is str:
        return whole_number(value)
    if type(value) is int:
        return value
    return whole_number(value.text) if type(value) is JsonNumber else None


def _exponent(text: str) -> int | None:
    digits = text.lstrip("+-").lstrip("0")
    if len(digits) > _EXPONENT_DIGITS_MAX:
        return None
    size = int(digits or "0")
    return -size if text.startswith("-") else size


def proto_path(field: str) -> str:
    """A field as protocol buffers name it: maximum_bytes_billed."""
    return _CAPITAL.sub(lambda match: f"_{match.group().lower()}", field)


def shown_value(value: object) -> str:
    """A value as JSON, bounded, for an error."""
    text = write_json(value)
    return text if len(text) <= _TEXT_SHOWN_MAX else f"{text[:_TEXT_SHOWN_MAX]}…"
