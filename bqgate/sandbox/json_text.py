"""Read the JSON of requests with every number as it was written.

Used wherever a body is read. A number with a point or an exponent becomes a Literal, which knows its own text, because
the value of a NUMERIC parameter is taken out of that. JSON is UTF-8 (RFC 8259), with or without a byte order mark.
"""

from __future__ import annotations

import codecs
import json
from decimal import Decimal
from typing import Any, NoReturn, Self


class Literal(float):
    """A number that prints as it was written."""

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text

    def __int__(self) -> int:
        return int(Decimal(self.text)) if self.is_integer() else super().__int__()


def read_json(data: bytes) -> Any:
    """Read a JSON text.

    Raises:
        ValueError: It is none, or no UTF-8.
        RecursionError: It is nested too deeply.
    """
    text = data.removeprefix(codecs.BOM_UTF8).decode()
    return json.loads(text, parse_float=Literal, parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
