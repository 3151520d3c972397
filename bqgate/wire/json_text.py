"""Read and write JSON texts without losing a digit.

Used for every body that the gate reads and writes again. A number that Python would round, or write in another way,
stays a JsonNumber: the text that the sender wrote. BigQuery takes the value of a NUMERIC parameter out of that text.
JSON is RFC 8259: NaN and Infinity are not numbers, and a lone surrogate is no character.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

# What is read must be written again, from deeper within the program and inside other objects, where Python would give
# up. BigQuery's rows and parameters, of 15 levels of STRUCT at most, stay below 100.
DEPTH_MAX = 200
# Stands before a number in what the encoder writes. No document holds it: read_json refuses lone surrogates.
_MARK = "\udc00"
_MARKED = re.compile(rf'"{_MARK}(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"')


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A number with a point, an exponent or a minus before zero, as it was written."""

    text: str


def read_json(text: str) -> Any:
    """The value of a JSON text. Of a name that comes twice the last value counts, as in json.loads.

    Raises:
        ValueError: it is no JSON, has a lone surrogate, is nested deeper than DEPTH_MAX, or has an integer of more
            digits than Python reads (4,300).
        RecursionError: it is nested too deeply to be read at all.
    """
    value = _DECODER.decode(text)
    _check_depth([value], brackets=text.count("[") + text.count("{"))
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False, default=_nothing).encode()
    return value


def read_answer(text: bytes | str) -> dict[str, Any] | None:
    """The JSON object that another system answered; None where it is none, or nested too deeply to be read."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def write_json(value: Any, *, sort_keys: bool = False) -> str:
    """The JSON text of a value, as short as it can be, with every JsonNumber as it came."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys, default=_marked)
    return _MARKED.sub(r"\1", text) if _MARK in text else text


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """The JSON text of a document, as it goes over the wire."""
    return write_json(document).encode()


def _check_depth(value: Any, *, brackets: int) -> None:
    if brackets <= DEPTH_MAX:
        return
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        items = chain.from_iterable(each.values() if isinstance(each, dict) else each for each in level)
        level = [each for each in items if isinstance(each, (dict, list))]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEPTH_MAX} levels")


def _integer(text: str) -> int | JsonNumber:
    return JsonNumber(text) if text == "-0" else int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _marked(value: object) -> str:
    if isinstance(value, JsonNumber):
        return _MARK + value.text
    raise TypeError(f"{type(value).__name__} is not JSON")


def _nothing(_: object) -> None:
    """Stand for a number, which holds no surrogate."""


_DECODER = json.JSONDecoder(parse_float=JsonNumber, parse_int=_integer, parse_constant=_refuse_constant)
