"""Look in a query's text for what no dry run tells: CREATE MODEL, dynamic SQL, the system variable @@reservation.

Used by admission to size holds and to judge reservations; pure, and always on the safe side. It cuts the text into the
tokens of GoogleSQL (https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical), so that a word in a string
or a comment is none; a text that it cannot cut to its end may contain anything.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+|\#[^\n]*|--[^\n]*|/\*.*?\*/)
    | (?P<text>(?:[rR][bB]?|[bB][rR]?)?
        (?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\r\n])*'|"(?:\\.|[^"\\\r\n])*"))
    | (?P<quoted>`(?:\\.|[^`\\\r\n])*`)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<system>@@)
    | (?P<open>/\*)
    | (?P<number>[0-9]\w*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
# None of what is looked for is there without one of these: keywords have no other spelling.
_WORTH_A_LOOK = re.compile(r"MODEL|CALL|IMMEDIATE|@@", re.IGNORECASE | re.ASCII)
# A line that ends in a bare carriage return may end a comment for some readers and not for others.
_BARE_RETURN = re.compile(r"\r(?!\n)")
_BETWEEN_CREATE_AND_MODEL = frozenset(
    {"OR", "REPLACE", "TEMP", "TEMPORARY", "PUBLIC", "PRIVATE", "IF", "NOT", "EXISTS"}
)
_PLAIN_TEXT = re.compile(r"'([\w/:.-]+)'|\"([\w/:.-]+)\"", re.ASCII)


@dataclass(frozen=True, slots=True)
class SqlWords:
    """What may occur when a text runs.

    `may_create_model`: a CREATE MODEL stands in it, or may be made by what it runs. `is_dynamic`: it runs text or
    procedures that do not stand in it. `reservations` are what it sets @@reservation to, in words that can be read;
    None among them: something else.
    """

    may_create_model: bool
    is_dynamic: bool
    reservations: tuple[str | None, ...]


NOTHING = SqlWords(may_create_model=False, is_dynamic=False, reservations=())
ANYTHING = SqlWords(may_create_model=True, is_dynamic=True, reservations=(None,))


def read_sql_words(sql: str) -> SqlWords:
    """What may occur when this text runs. Of one that cannot be read, all."""
    if _WORTH_A_LOOK.search(sql) is None:
        return NOTHING
    tokens: list[tuple[str, str]] = []
    for match in _TOKEN.finditer(sql):
        kind, text = match.lastgroup or "", match.group()
        if kind == "open" or (kind == "mark" and _is_odd(text)):
            return ANYTHING  # at once: reading on would take long for a text that is made to take long
        if kind != "blank":
            tokens.append((kind, text))
    if _BARE_RETURN.search(sql):
        return ANYTHING
    words = [text.upper() if kind == "word" else "" for kind, text in tokens]
    is_dynamic = any(word == "CALL" or words[at : at + 2] == ["EXECUTE", "IMMEDIATE"] for at, word in enumerate(words))
    creates_model = any(_creates_model(words, at) for at, word in enumerate(words) if word == "CREATE")
    return SqlWords(
        may_create_model=is_dynamic or creates_model,
        is_dynamic=is_dynamic,
        reservations=tuple(_value_at(tokens, at) for at in range(len(tokens)) if _is_reservation(tokens[at : at + 2])),
    )


def _is_odd(mark: str) -> bool:
    """Whether a mark shows that the text was not understood: an end is missing, or it may be a blank to others."""
    return mark in "'\"`" or not mark.isascii() or not mark.isprintable()


def _creates_model(words: list[str], at: int) -> bool:
    """Whether the CREATE at a place goes on to MODEL."""
    at += 1
    while at < len(words) and words[at] in _BETWEEN_CREATE_AND_MODEL:
        at += 1
    return words[at : at + 1] == ["MODEL"]


def _is_reservation(tokens: list[tuple[str, str]]) -> bool:
    """Whether a system variable begins here that is, or by its escapes may be, the reservation."""
    if len(tokens) < 2 or tokens[0][0] != "system":
        return False
    return "\\" in tokens[1][1] or tokens[1][1].strip("`").upper() == "RESERVATION"


def _value_at(tokens: list[tuple[str, str]], at: int) -> str | None:
    """The plain string in `SET @@reservation = '...'`, a statement of its own; None: it is used in another way."""
    before, following = tokens[at - 1 : at], tokens[at + 2 : at + 5]
    texts = [text.upper() for _, text in (*before, *following)]
    if texts[:2] != ["SET", "="] or texts[3:] not in ([], [";"]):
        return None
    literal = _PLAIN_TEXT.fullmatch(following[1][1]) if len(following) > 1 else None
    return None if literal is None else literal[1] or literal[2]
