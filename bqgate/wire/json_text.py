"""Read and write JSON texts without losing a digit.

Used for every body that the gate reads and writes again. A number that Python would round, or write in another way,
stays a JsonNumber: the text that the sender wrote. BigQuery takes the value of a NUMERIC parameter out of that text.
So does what is too large to be taken apart and only handed on: it is a JsonText (json_slices.py).
JSON is RFC 8259: NaN and Infinity are not numbers, and a lone surrogate is no character.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import orjson

# What is read must be written again, from deeper within the program and inside other objects, where Python would give
# up. BigQuery's rows and parameters, of 15 levels of STRUCT at most, stay below 100.
DEPTH_MAX = 200
# Longer ones, with their minus, may have more than 64 bits, which is what is written of a number.
_DIGITS_MAX = 19
_AS_IT_CAME = orjson.OPT_PASSTHROUGH_DATACLASS  # a JsonNumber is one, and would be written as an object


@dataclass(slots=True, unsafe_hash=True)  # not frozen: a body may have a hundred thousand, and freezing takes time
class JsonNumber:
    """A number with a point, an exponent, a minus before zero or very many digits, as it was written."""

    text: str


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value as it was written. `digest` is what a fingerprint has in its place."""

    text: str
    digest: str


def read_json(text: str) -> Any:
    """The value of a JSON text. Of a name that comes twice the last value counts, as in json.loads.

    Raises:
        ValueError: it is no JSON, has a lone surrogate, or is nested deeper than DEPTH_MAX.
        RecursionError: it is nested too deeply to be read at all.
    """
    return _checked(_DECODER.decode(text), text)


def read_json_with(text: str, kept: Iterable[JsonText]) -> Any:
    """The same of a text that has NaN in place of each kept value.

    Raises:
        ValueError, RecursionError: as read_json; or it has another NaN.
    """
    left = iter(kept)

    def take(name: str) -> JsonText:
        found = next(left, None) if name == "NaN" else None
        if found is None:
            _refuse_constant(name)
        return found

    decoder = json.JSONDecoder(parse_float=JsonNumber, parse_int=_integer, parse_constant=take)
    return _checked(decoder.decode(text), text)


def _checked(value: Any, text: str) -> Any:
    _check_depth([value], brackets=text.count("[") + text.count("{"))
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False, default=_nothing).encode()
    return value


def read_answer(text: bytes | str) -> dict[str, Any] | None:
    """The JSON object that another system answered; None where it is none, or nested too deeply to be read."""
    try:
        document = orjson.loads(text)
    except ValueError:
        try:
            document = json.loads(text)  # which takes NaN, and halves of characters
        except (ValueError, RecursionError):
            return None
    return document if isinstance(document, dict) else None


def write_json(value: Any, *, sort_keys: bool = False, with_digests: bool = False) -> str:
    """The JSON text of a value, as short as it can be, with every JsonNumber and JsonText as it came.

    `with_digests`: to be hashed, with the digest of each JsonText alone.

    Raises:
        TypeError: it has what is not JSON, half a character, or a number of more than 64 bits that is no JsonNumber.
    """
    options = _AS_IT_CAME | orjson.OPT_SORT_KEYS if sort_keys else _AS_IT_CAME
    return orjson.dumps(value, default=_written_for_hash if with_digests else _written, option=options).decode()


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """The JSON text of a document, as it goes over the wire."""
    return orjson.dumps(document, default=_written, option=_AS_IT_CAME)


def _written(value: object) -> orjson.Fragment:
    """What is no value of Python's, as it came."""
    if isinstance(value, JsonNumber | JsonText):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _written_for_hash(value: object) -> orjson.Fragment:
    return orjson.Fragment(f"#{value.digest}") if isinstance(value, JsonText) else _written(value)


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
    return JsonNumber(text) if text == "-0" or len(text) > _DIGITS_MAX else int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _nothing(_: object) -> None:
    """Stand for a number, which holds no surrogate, or for what is not looked into."""


_DECODER = json.JSONDecoder(parse_float=JsonNumber, parse_int=_integer, parse_constant=_refuse_constant)
