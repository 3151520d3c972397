"""Read and write JSON texts without losing a digit.

Used for every body that the gate reads and writes again. A number that Python would round, or write in another way,
stays a JsonNumber: the text that the sender wrote. BigQuery takes the value of a NUMERIC parameter out of that text.
So does what is too large to be taken apart and only handed on: it is a JsonText (json_slices.py).
JSON is RFC 8259: NaN and Infinity are not numbers, and a lone surrogate is no character.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

# What is read must be written again, from deeper within the program and inside other objects, where Python would give
# up. BigQuery's rows and parameters, of 15 levels of STRUCT at most, stay below 100.
DEPTH_MAX = 200
# Stands before a number in what the encoder writes. No document holds it: read_json refuses lone surrogates.
_MARK = "\udc00"
_KEPT = re.compile(rf'"{_MARK}#([0-9]+)"')
# No integer type of Google's has more digits; of more than 4,300 Python would make none.
_DIGITS_MAX = 20
_MARKED = re.compile(rf'"{_MARK}(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"')


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
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def write_json(value: Any, *, sort_keys: bool = False, with_digests: bool = False) -> str:
    """The JSON text of a value, as short as it can be, with every JsonNumber and JsonText as it came.

    `with_digests`: to be hashed, with the digest of each JsonText alone.
    """
    kept: list[str] = []

    def marked(value: object) -> str:
        if isinstance(value, JsonNumber):
            return _MARK + value.text
        if isinstance(value, JsonText):
            kept.append(f"#{value.digest}" if with_digests else value.text)
            return f"{_MARK}#{len(kept) - 1}"
        raise TypeError(f"{type(value).__name__} is not JSON")

    # Nothing that was read holds itself, so that nobody need look.
    text = json.dumps(
        value,
        ensure_ascii=False,
        check_circular=False,
        separators=(",", ":"),
        sort_keys=sort_keys,
        default=marked,
    )
    if _MARK not in text:
        return text
    text = "".join(_MARKED.split(text))
    return _KEPT.sub(lambda match: kept[int(match[1])], text) if kept else text


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
    return JsonNumber(text) if text == "-0" or len(text) > _DIGITS_MAX else int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _nothing(_: object) -> None:
    """Stand for a number, which holds no surrogate, or for what is not looked into."""


_DECODER = json.JSONDecoder(parse_float=JsonNumber, parse_int=_integer, parse_constant=_refuse_constant)
