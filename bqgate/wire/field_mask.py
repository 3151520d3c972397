"""Read a mask of fields (Google's partial responses) and take out of a document what it names.

Used where a job is submitted: the gate needs the whole answer, so it takes the mask off the call that goes to BigQuery
and applies it to what goes back to the caller. Syntax: names joined by "/" or ".", lists in parentheses, "*" for every
name (https://cloud.google.com/bigquery/docs/api-performance#partial-response). A name that no answer has selects
nothing, where BigQuery would refuse it. Errors: MalformedRequest in Google's words, reason invalidParameter. Pure.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from bqgate.domain.errors import MalformedRequest
from bqgate.wire.fields import camel_name

_TOKEN = re.compile(r"\s*(?:(?P<name>\*|[A-Za-z_$][A-Za-z0-9_$-]*)|(?P<mark>[(),/.]))\s*")
_SHOWN_CHARS_MAX = 64
# BigQuery's largest resource has some 300 fields.
_CHARS_MAX = 16 * 1024
_NAMES_MAX = 500
_ANY = "*"


class _Expected(Enum):
    """What may stand at a place of a mask."""

    NAME = auto()
    ANYTHING = auto()  # behind a name: more of the path, a list below it, or the end of either
    END = auto()  # behind a list


@dataclass(slots=True)
class _Node:
    """What is wanted below a name: all of it, or these names."""

    is_whole: bool = False
    below: dict[str, "_Node"] = field(default_factory=dict)


class _Place:
    """Where a reader of a document stands: at every node of the mask that the names above it lead to.

    "*" lets one name lead to several. What a name leads to is found out once, however many objects have it.
    """

    def __init__(self, nodes: tuple[_Node, ...]) -> None:
        self.is_whole = any(node.is_whole for node in nodes)
        self._nodes = nodes
        self._after: dict[str, _Place | None] = {}

    def after(self, name: str) -> "_Place | None":
        """The place below a name; None: nothing there is wanted."""
        if name not in self._after:
            keys = (camel_name(name), _ANY)
            below = tuple(node.below[key] for node in self._nodes for key in keys if key in node.below)
            self._after[name] = _Place(below) if below else None
        return self._after[name]


@dataclass(frozen=True, slots=True)
class FieldMask:
    """A mask that was understood. `text` is how it was written."""

    text: str
    _root: _Node = field(repr=False, compare=False)

    def applied_to(self, document: Any) -> Any:
        """The part of a JSON value that the mask names. Lists are looked through; nothing is changed in place."""
        return _selected(document, _Place((self._root,)))


def parse_mask(text: str) -> FieldMask:
    """The mask that a text writes.

    Raises:
        MalformedRequest: it writes none.
    """
    root = _Node()
    lists, here = [root], root
    expected = _Expected.NAME
    for is_name, piece in _tokens(text):
        if is_name is not (expected is _Expected.NAME):
            raise _invalid(text)
        if is_name:
            here = here.below.setdefault(camel_name(piece), _Node())
            expected = _Expected.ANYTHING
        elif piece in {",", ")"}:
            here.is_whole = here.is_whole or expected is _Expected.ANYTHING
            if piece == ",":
                here, expected = lists[-1], _Expected.NAME
            elif len(lists) > 1:
                lists.pop()
                expected = _Expected.END
            else:
                raise _invalid(text)
        elif expected is _Expected.ANYTHING:
            if piece == "(":
                lists.append(here)
            expected = _Expected.NAME
        else:
            raise _invalid(text)
    if expected is _Expected.NAME or len(lists) > 1:
        raise _invalid(text)
    here.is_whole = here.is_whole or expected is _Expected.ANYTHING
    return FieldMask(text, root)


def _tokens(text: str) -> Iterator[tuple[bool, str]]:
    """Each token, and whether it is a name."""
    if len(text) > _CHARS_MAX:
        raise _invalid(text)
    at = names = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        names += match is not None and match["name"] is not None
        if match is None or names > _NAMES_MAX:
            raise _invalid(text)
        yield match["name"] is not None, match["name"] or match["mark"]
        at = match.end()


def _selected(value: Any, place: _Place) -> Any:
    if place.is_whole:
        return value
    if isinstance(value, list):
        return [_selected(each, place) for each in value]
    kept = {}
    for name, part in value.items() if isinstance(value, dict) else ():
        below = place.after(name)
        if below is not None and (below.is_whole or isinstance(part, (dict, list))):
            kept[name] = _selected(part, below)
    return kept


def _invalid(text: str) -> MalformedRequest:
    shown = "".join(character if character.isprintable() else "?" for character in text[:_SHOWN_CHARS_MAX])
    return MalformedRequest(f"Invalid field selection {shown}", reason="invalidParameter", field="fields")
