"""Read a JSON text of megabytes bit by bit, so that whoever runs beside it gets a turn in between.

Used for bodies and answers that are too large to be read at one go. What the gate only hands on, a query's parameters,
is passed over and stays the text that its sender wrote (JsonText); of what is left the number of values is bounded.
Nothing outside strings is passed over but JSON's own characters, so that no other reader can see a value end elsewhere.
Whether the characters make sense there is for BigQuery to say. Pure: the callers give the turns.
"""

import re
from collections.abc import Generator, Iterator
from hashlib import sha256
from typing import Any

from bqgate.wire.json_text import DEPTH_MAX, JsonText, read_json_with

# Up to here a text is read at one go, which takes a few milliseconds.
SMALL_CHARS_MAX = 64 * 1024
# Ten thousand columns, each with its name, type, mode, description and policy tags, have 80,000.
VALUES_MAX = 100_000
PARAMETERS = ("queryParameters", "query_parameters")
# After so many steps, or characters, others have their turn: well below a millisecond.
_STEPS = 250
_CHARS = 128 * 1024

_PLAIN = r"[-+0-9.,: \t\r\neEtrufalsn]"
_BRACKETED = r"[-+0-9.,: \t\r\neEtrufalsn\[\]{}]"
# A string of moderate length, and whatever is flat or nearly so. All is possessive and bounded: nothing is tried twice,
# and one step takes far less than a millisecond.
_STRING = r'"[^"\\]{0,1000}+(?:\\.[^"\\]{0,1000}+){0,16}+"'


def _nested(levels: int) -> str:
    run = rf"{_PLAIN}{{1,1000}}+|{_STRING}"
    for _ in range(levels):
        inside = rf"(?:{run}){{0,16}}+"
        run = rf"{_PLAIN}{{1,1000}}+|{_STRING}|\{{{inside}\}}|\[{inside}\]"
    return rf"(?:{run}){{1,64}}+"


_RUN = re.compile(_nested(3), re.DOTALL)
_OPENING = re.compile(r"[\[{]{1,64}+")
_CLOSING = re.compile(r"[\]}]{1,64}+")
_BLANKS = re.compile(r"[ \t\r\n]*+")
_OUTSIDE = re.compile(rf"{_BRACKETED}{{1,1000}}+")
_SHORT_STRING = re.compile(_STRING, re.DOTALL)
_IN_STRING = re.compile(r'(?:[^"\\]{1,4096}+|\\.){0,128}+', re.DOTALL)


class TooManyValues(ValueError):
    """A text has more values, beside what is kept as text, than are read."""

    def __init__(self, values_max: int) -> None:
        super().__init__(f"it has more than {values_max} values")
        self.values_max = values_max


class _Pace:
    """Says when others are to have their turn."""

    def __init__(self) -> None:
        self._steps = 0
        self._since = 0

    def is_due(self, at: int) -> bool:
        self._steps += 1
        if self._steps < _STEPS and at - self._since < _CHARS:
            return False
        self._steps, self._since = 0, at
        return True


def end_of_value(text: str, at: int) -> int:
    """Where the list or object ends that begins at a place.

    Raises:
        ValueError: it does not end, is nested deeper than DEPTH_MAX, or has what is no JSON.
    """
    passing = _passed(text, at, _Pace())
    while True:
        try:
            next(passing)
        except StopIteration as end:
            return int(end.value)


def elements_of(text: str) -> Iterator[str | None]:
    """The text of each element of a list, and None wherever others may have their turn.

    Raises:
        ValueError: as end_of_value, or an element is neither an object nor a list.
    """
    pace, at = _Pace(), _blanks_passed(text, 1)
    while text[at : at + 1] != "]":
        start = at
        if text[at : at + 1] not in {"{", "["}:
            raise ValueError("an element is no object")
        at = yield from _passed(text, start, pace)
        yield text[start:at]
        at = _blanks_passed(text, at)
        if text[at : at + 1] == ",":
            at = _blanks_passed(text, at + 1)
        elif text[at : at + 1] != "]":
            raise ValueError("a list without commas")


class JsonSlices:
    """A JSON text on its way to a value. Run through `slices`, then ask for `value`.

    Args:
        text: of any length.
        kept: names of members whose lists and objects stay text, wherever they stand.
        values_max: how many values there may be beside those.
    """

    def __init__(self, text: str, *, kept: tuple[str, ...] = PARAMETERS, values_max: int = VALUES_MAX) -> None:
        self._text = text
        self._values_max = values_max
        self._kept_name = re.compile(rf'"(?:{"|".join(map(re.escape, kept))})"[ \t\r\n]*+:[ \t\r\n]*+(?=[\[{{])')
        self._kept: list[JsonText] = []
        self._rest: list[str] = []

    def slices(self) -> Iterator[None]:
        """Read on; each step takes some milliseconds at most.

        Raises:
            TooManyValues: it has.
        ValueError: it is no JSON.
        """
        if len(self._text) <= SMALL_CHARS_MAX:
            self._rest.append(self._text)
            return
        text, pace = self._text, _Pace()
        start = at = values = 0
        while at < len(text):
            if pace.is_due(at):
                yield
            if (found := _OUTSIDE.match(text, at)) is not None:
                plain, at = found.group(), found.end()
                values += plain.count(",") + plain.count("[") + plain.count("{")
                if values > self._values_max:
                    raise TooManyValues(self._values_max)
            elif (found := self._kept_name.match(text, at)) is not None:
                begun = found.end()
                at = yield from _passed(text, begun, pace)
                yield from self._keep(text[begun:at])
                self._rest += (text[start:begun], "NaN")
                start = at
            else:
                at = yield from _string_passed(text, at, pace)
        self._rest.append(text[start:])

    def value(self) -> Any:
        """The value of the whole text.

        Raises:
            ValueError, RecursionError: as read_json.
        """
        return read_json_with("".join(self._rest), self._kept)

    def _keep(self, text: str) -> Iterator[None]:
        digest = sha256()
        for at in range(0, len(text), _CHARS):
            digest.update(text[at : at + _CHARS].encode("utf-8", "surrogatepass"))
            yield
        self._kept.append(JsonText(text, digest.hexdigest()))


def _blanks_passed(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def _passed(text: str, at: int, pace: _Pace) -> Generator[None, None, int]:
    """Pass over a list or an object; leaves where it ends. Raises ValueError as end_of_value."""
    depth = 0
    while True:
        if pace.is_due(at):
            yield
        if depth and (found := _RUN.match(text, at)) is not None:
            at = found.end()
        elif (found := _OPENING.match(text, at)) is not None:
            # At the beginning one bracket alone: what closes it ends the value.
            size = found.end() - at if depth else 1
            at, depth = at + size, depth + size
            if depth > DEPTH_MAX:
                raise ValueError(f"it is nested deeper than {DEPTH_MAX} levels")
        elif (found := _CLOSING.match(text, at)) is not None:
            size = min(found.end() - at, depth)
            at, depth = at + size, depth - size
            if not depth:
                return at
        else:
            at = yield from _string_passed(text, at, pace)


def _string_passed(text: str, at: int, pace: _Pace) -> Generator[None, None, int]:
    """Pass over a string; leaves where it ends. Raises ValueError where none begins here, or it does not end."""
    if (found := _SHORT_STRING.match(text, at)) is not None:
        return found.end()
    if text[at : at + 1] != '"':
        raise ValueError("it has what is no JSON")
    at += 1
    while text[at : at + 1] != '"':
        found = _IN_STRING.match(text, at)
        if found is None or found.end() == at:
            raise ValueError("a string does not end")
        at = found.end()
        if pace.is_due(at):
            yield
    return at + 1
