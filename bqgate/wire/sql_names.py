"""Join the tokens of a query's text into the names that stand in it, dots and dashes included.

BigQuery's dry run is the word on what a query reads, and this is no parser: a name is whatever may be one. Used by
wire/sql_facts.py for what a text may do, and by the gate's isolation for what it may touch. Pure; one pass, nothing is
kept.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from bqgate.wire.sql_text import RESERVED, Kind, Token, tokens, value_of

_NAMES = frozenset({Kind.WORD, Kind.QUOTED})
_UNQUOTED = frozenset({Kind.WORD, Kind.NUMBER})
_ANY = _NAMES | _UNQUOTED
_JOINTS = frozenset({".", ":", "-"})


class Path(NamedTuple):
    """A name of one or more parts, the escapes of quoted ones read.

    `is_quoted`: a part is, or `is_one_quote`: several are within one pair of backquotes, as only tables and routines
    are written; `is_whole`: nothing stands between its parts; `has_project`: a colon joins them, as in legacy SQL;
    `has_escape`: a quoted part is written with a backslash. `before` is the token in front, in capitals; `after` the
    one behind it; `is_called`: a call's arguments follow, also where the function is chained: x.(NET.HOST)(). `name` is
    a name of one part in capitals, empty for others; `word` the same where it may be a keyword, which no quoted one is.
    """

    parts: tuple[str, ...]
    is_quoted: bool
    is_one_quote: bool
    is_whole: bool
    has_project: bool
    has_escape: bool
    before: str
    after: str
    is_called: bool
    name: str
    word: str

    @property
    def kind(self) -> str:
        return Kind.QUOTED if self.is_quoted else Kind.WORD

    @property
    def function(self) -> tuple[str, ...]:
        """What a call calls, in capitals: without SAFE before it, and without what a minus takes it from: a-NET.F()."""
        first, *more = (part.upper() for part in self.parts)
        first = first.rpartition("-")[2]
        return tuple(more) if first == "SAFE" and more else (first, *more)


def names_and_marks(sql: str) -> Iterator[Path | Token]:
    """All of a text in its order: names and keywords as Path, all else as Token; a FAULT, if any, comes last."""
    ahead = _Ahead(tokens(sql))
    earlier, before = "", ""
    while (token := ahead.take()) is not None:
        if token.kind not in _NAMES:
            yield token
            earlier, before = before, token.text.upper()
            continue
        following = ahead.peek(0)
        if token.kind == Kind.WORD and (following is None or following.text not in _JOINTS):  # most of any text
            after = "" if following is None else following.text
            is_called = after == "(" or (before == "(" and earlier == ".")
            word = token.text.upper()
            yield Path((token.text,), False, False, True, False, False, before, after, is_called, word, word)
            earlier, before = before, word
            continue
        spelling = _spelling_from(token, ahead)
        following = ahead.peek(0)
        after = "" if following is None else following.text
        parts = spelling.parts()
        name = parts[0].upper() if len(parts) == 1 else ""
        yield Path(
            parts=parts,
            is_quoted=spelling.is_quoted,
            is_one_quote=spelling.is_one_quote,
            is_whole=spelling.is_whole,
            has_project=spelling.has_project,
            has_escape=spelling.has_escape,
            before=before,
            after=after,
            is_called=after == "(" or (before == "(" and earlier == "."),
            name=name,
            word="" if spelling.is_quoted else name,
        )
        earlier, before = before, spelling.last.text.upper()


class _Ahead:
    """Tokens, with a look at those that come."""

    def __init__(self, rest: Iterator[Token]) -> None:
        self._rest = rest
        self._seen: deque[Token] = deque()

    def take(self) -> Token | None:
        return self._seen.popleft() if self._seen else next(self._rest, None)

    def peek(self, number: int) -> Token | None:
        """The token that comes after `number` others."""
        while len(self._seen) <= number:
            token = next(self._rest, None)
            if token is None:
                return None
            self._seen.append(token)
        return self._seen[number]


class _Spelling:
    """A name as it is put together. `pieces` are those of its last part; `may_have_dash`: it may go on by a dash."""

    __slots__ = (
        *("done", "has_escape", "has_project", "is_one_quote", "is_quoted", "is_whole", "last", "may_have_dash"),
        "pieces",
    )

    def __init__(self, first: Token) -> None:
        self.done: list[str] = []
        self.pieces: list[str] = []
        self.is_quoted = self.is_one_quote = self.has_project = self.has_escape = False
        self.is_whole = self.may_have_dash = True
        self.add(first)

    def add(self, token: Token) -> None:
        """Go on with a token; it may bring several parts."""
        self.last = token
        if token.kind == Kind.QUOTED:
            self.is_quoted = True
            self.has_escape = self.has_escape or "\\" in token.text
        head, *more = _parts(token)
        self.is_one_quote = self.is_one_quote or (token.kind == Kind.QUOTED and bool(more))
        self.pieces.append(head)
        for part in more:
            self.end_part()
            self.pieces.append(part)

    def end_part(self) -> None:
        self.done.append("".join(self.pieces))
        self.pieces = []

    def parts(self) -> tuple[str, ...]:
        self.end_part()
        return tuple(part for part in self.done if part) or ("",)


def _spelling_from(first: Token, ahead: _Ahead) -> _Spelling:
    """The name that begins with a token; what belongs to it is taken."""
    spelling = _Spelling(first)
    while (joint := ahead.peek(0)) is not None:
        if spelling.last.kind == Kind.NUMBER and _goes_on(spelling.last.text, joint):
            spelling.is_whole = spelling.is_whole and joint.gap == joint.start
            spelling.add(joint)
            ahead.take()
            continue
        if joint.text not in _JOINTS:
            break
        following = ahead.peek(1)
        if following is None or not _joins(spelling, joint, following):
            break
        spelling.is_whole = spelling.is_whole and joint.gap == joint.start and following.gap == following.start
        spelling.has_project = spelling.has_project or joint.text == ":"
        if joint.text == "-":
            spelling.pieces.append("-")
        else:
            spelling.end_part()
            spelling.may_have_dash = joint.text == ":"
        spelling.add(following)
        ahead.take()
        ahead.take()
    return spelling


def _goes_on(number: str, following: Token) -> bool:
    """Whether a name goes on behind a number: 12ab of a project called my-12ab, or the dataset of my-12.ds.

    The tokens are "12." and "ds" then, and as with any dot, blanks and quotes may follow.
    """
    if number[-1] == ".":
        return following.kind in _NAMES and following.text.upper() not in RESERVED
    return following.kind == Kind.WORD and following.gap == following.start


def _joins(spelling: _Spelling, joint: Token, following: Token) -> bool:
    """Whether a mark makes one name of what is before it and behind it."""
    if joint.text == ".":
        return following.kind in _NAMES
    if joint.text == ":":
        return following.kind in _ANY
    # A dash does only in a project, and where nothing stands between. Behind a dot it is a minus: t.a-NET.F(b).
    is_tight = joint.gap == joint.start and following.gap == following.start
    is_unquoted = spelling.last.kind in _UNQUOTED and following.kind in _UNQUOTED
    return spelling.may_have_dash and is_tight and is_unquoted


def _parts(token: Token) -> list[str]:
    """The parts that one token brings: a quoted name may hold several. A domain belongs to its project."""
    if token.kind == Kind.WORD:
        return [token.text]
    if token.kind == Kind.NUMBER:
        return token.text.split(".")  # with a dot at its end where a name goes on behind it
    text = value_of(token)
    domain, colon, rest = (token.text[1:-1] if text is None else text).rpartition(":")
    first, *more = rest.split(".")
    return [f"{domain}{colon}{first}", *more]
