"""Trim an answer to what the caller asked for with `fields=`.

The server applies it to every answer that is not an error. The grammar is that of Google's partial responses:
`a,b(c,d),e/f,*`. Names that are not in the answer select nothing; a mask that can not be parsed is a 400.

Source: https://cloud.google.com/bigquery/docs/api-performance#partial-response
"""

from __future__ import annotations

import re
from typing import Any

from bqgate.sandbox.replies import ApiError, RowsText

# A parsed mask: name → what is wanted below it; an empty one means all of it.
Mask = dict[str, "Mask"]

TOKEN = re.compile(r"[A-Za-z0-9_$.\-*]+|[(),/]")


def parse(text: str) -> Mask:
    """Parse a mask.

    Raises:
        ApiError: 400 `invalidParameter`.
    """
    tokens = TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text) or not tokens:
        raise invalid(text)
    mask, rest = _parse_list(tokens, text)
    if rest:
        raise invalid(text)
    return mask


def invalid(text: str) -> ApiError:
    return ApiError(
        400, "invalidParameter", f"Invalid field selection {text}", location="fields", location_type="parameter"
    )


def _parse_list(tokens: list[str], text: str) -> tuple[Mask, list[str]]:
    mask: Mask = {}
    while True:
        tokens = _parse_path(tokens, mask, text)
        if not tokens or tokens[0] != ",":
            return mask, tokens
        tokens = tokens[1:]


def _parse_path(tokens: list[str], mask: Mask, text: str) -> list[str]:
    if not tokens or tokens[0] in "(),/":
        raise invalid(text)
    below = mask.setdefault(tokens[0], {})
    tokens = tokens[1:]
    if tokens and tokens[0] == "/":
        return _parse_path(tokens[1:], below, text)
    if tokens and tokens[0] == "(":
        inner, tokens = _parse_list(tokens[1:], text)
        if not tokens or tokens[0] != ")":
            raise invalid(text)
        below.update(inner)
        tokens = tokens[1:]
    return tokens


def apply(mask: Mask, value: Any) -> Any:
    """Return the part of a JSON value that the mask names; lists are looked through."""
    if not mask:
        return value
    if isinstance(value, RowsText):
        value = value.parsed()
    if isinstance(value, list):
        return [apply(mask, each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, part in value.items():
        below = mask.get(name, mask.get("*"))
        if below is not None:
            kept[name] = apply(below, part)
    return kept
