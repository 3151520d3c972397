"""Read the names in a query's text, for what no dry run tells. Pure, and always on the safe side.

Called by queries.py. BigQuery's dry run is the word on what a query reads; the text is asked only where that word may
be missing: for INFORMATION_SCHEMA, for targets and sources of definitions, and before BigQuery's message about an
invalid query is shown. So this is no parser. It cuts the text into the tokens of GoogleSQL
(https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical) and joins names by their dots; a text that it
cannot cut to its end is not `is_sound`, and whoever asks takes that for the worst.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+|\#[^\n]*|--[^\n]*|/\*.*?\*/)
    | (?P<text>(?:[rR][bB]?|[bB][rR]?)?
        (?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
    | (?P<quoted>`(?:\\.|[^`\\\n])*`)
    | (?P<word>[A-Za-z_]\w*(?:-\w+)*)
    | (?P<number>[0-9][0-9A-Za-z_]*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_OPENERS = frozenset("'\"`")
# Names that show metadata: of a dataset where one stands before them, else of a whole project or region.
METADATA = re.compile(r"information_schema|__(?:tables|partitions|datasets|schemas)\w*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Path:
    """A name of one or more parts.

    `is_whole`: nothing stands between its parts; `has_project`: they are joined by a colon, as legacy SQL does.
    `before` is the token in front, in capitals; `after` the first two letters of what follows.
    """

    parts: tuple[str, ...]
    is_quoted: bool
    is_whole: bool
    has_project: bool
    before: str
    after: str

    @property
    def is_called(self) -> bool:
        return self.after.startswith("(")

    @property
    def word(self) -> str:
        """What may be a keyword, in capitals; empty for what surely is a name."""
        return self.parts[0].upper() if len(self.parts) == 1 and not self.is_quoted else ""


@dataclass(frozen=True, slots=True)
class SqlText:
    """The names of a text in their order, keywords among them."""

    text: str
    paths: tuple[Path, ...]
    is_sound: bool
    has_escaped_name: bool


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


def read_sql(text: str) -> SqlText:
    """The names of a query's text, in either dialect."""
    tokens = [
        _Token(match.lastgroup or "", match.group(), match.start())
        for match in _TOKEN.finditer(text)
        if match.lastgroup != "blank"
    ]
    is_sound = not any(token.kind == "mark" and _is_odd(text, token) for token in tokens)
    escaped = any(token.kind == "quoted" and "\\" in token.text for token in tokens)
    return SqlText(
        text=text,
        paths=tuple(_paths(text, tokens)),
        is_sound=is_sound,
        has_escaped_name=escaped or (not is_sound and "`" in text and "\\" in text),
    )


def _is_odd(text: str, mark: _Token) -> bool:
    """Whether a mark shows that the text was not understood: an end is missing, or it may be a blank to others."""
    return mark.text in _OPENERS or not mark.text.isascii() or text.startswith("/*", mark.start)


def _paths(text: str, tokens: list[_Token]) -> Iterator[Path]:
    at = 0
    while at < len(tokens):
        first = tokens[at]
        if first.kind not in {"word", "quoted"}:
            at += 1
            continue
        end = at + 1
        parts = list(_parts(first))
        has_project = False
        while end + 1 < len(tokens) and tokens[end].text in {".", ":"} and _goes_on(tokens[end + 1]):
            has_project = has_project or tokens[end].text == ":"
            parts += _parts(tokens[end + 1])
            end += 2
        used = tokens[at:end]
        yield Path(
            parts=tuple(parts),
            is_quoted=any(token.kind == "quoted" for token in used),
            is_whole=all(left.start + len(left.text) == right.start for left, right in pairwise(used)),
            has_project=has_project,
            before=tokens[at - 1].text.upper() if at else "",
            after=text[tokens[end].start : tokens[end].start + 2] if end < len(tokens) else "",
        )
        at = end


def _goes_on(token: _Token) -> bool:
    return token.kind in {"word", "quoted", "number"}


def _parts(token: _Token) -> tuple[str, ...]:
    """The parts that one token brings: a quoted name may hold several. A domain belongs to its project."""
    if token.kind != "quoted":
        return (token.text,)
    domain, colon, rest = token.text[1:-1].rpartition(":")
    first, *more = rest.split(".")
    return (f"{domain}{colon}{first}", *more)
