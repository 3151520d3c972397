"""Look in a query's text for what no dry run tells: CREATE MODEL, dynamic SQL, @@reservation, calls of other systems.

Used where a request is read; always on the safe side: a text that cannot be read to its end, or that some read
otherwise than BigQuery's parser, may do anything. What no text shows: calls inside views, table functions, stored
procedures and remote functions; a dry run at best says that it names some. Pure.
"""

import re
from dataclasses import replace
from io import StringIO

from bqgate.domain.sql_facts import ANYTHING, FEDERATED, REMOTE, SqlFacts
from bqgate.wire.sql_names import Path, names_and_marks
from bqgate.wire.sql_text import Kind, Token, odd_character, value_of

# None of what is looked for is there without one of these: keywords have no other spelling, and a quoted name has
# another one only by a backslash.
_WORTH_READING = re.compile(
    r"MODEL|CALL|IMMEDIATE|EXTERNAL_QUERY|(?<![A-Za-z0-9_])(?:AI|ML)(?![A-Za-z0-9_])|@@|;\s*+[^\s;]|\\",
    re.IGNORECASE | re.ASCII,
)
_REMOTE_WORD = re.compile(r"(?<![A-Za-z0-9_])(?:AI|ML)(?![A-Za-z0-9_])", re.IGNORECASE | re.ASCII)
_FEDERATED_WORD = re.compile(r"EXTERNAL_QUERY|`[^`\\]*+\\", re.IGNORECASE | re.ASCII)
# What a text is searched for is its outline: names and keywords in capitals, quoted ones behind a backquote, strings as
# an apostrophe and their number, all else as it stands, one blank behind each.
_CREATE_MODEL = re.compile(r"(?<!\S)CREATE(?: (?:OR|REPLACE|TEMP|TEMPORARY|PUBLIC|PRIVATE|IF|NOT|EXISTS))* MODEL ")
# CALL is no reserved word: a statement begins with it, elsewhere it is a name.
_DYNAMIC = re.compile(r"(?:\A|; |(?<!\S)(?:THEN|ELSE|BEGIN|DO|LOOP|REPEAT) )CALL |(?<!\S)EXECUTE IMMEDIATE ")
_FEDERATED_CALL = re.compile(r"(?<![A-Z0-9_])EXTERNAL_QUERY \(")
# With SAFE before it, and in parentheses where it is chained to its first argument: x.(AI.SCORE)().
_REMOTE_CALL = re.compile(r"(?<!\S)`?(?:\S*-)?(?:SAFE\.)?(?:AI|ML)\.[A-Z0-9_]++ (?:\) )?\(")
# A system variable, and what is said of it where that is a plain assignment of a text, a statement of its own.
_SYSTEM_VARIABLE = re.compile(r"(?P<set>(?<!\S)SET )?@@ `?(?P<name>\S++) (?:= '(?P<value>\d+) (?:; |\Z))?")
_MORE = re.compile(r"; [^;]")
_READING = frozenset({"SELECT", "WITH", "FROM"})
_ODD_IN_NAME = re.compile(r"[^\w.-]", re.ASCII)
_RESERVATION = re.compile(r"[\w/:.-]{1,1024}", re.ASCII)
_RESERVATION_TOKEN_CHARS_MAX = 2_000


def read_facts(sql: str) -> SqlFacts:
    """What may occur when this text runs. Of one that cannot be read, all."""
    if _WORTH_READING.search(sql) is None:
        return SqlFacts(only_reads=_begins_reading(sql))
    values: list[str | None] = []
    outline = None if odd_character(sql) is not None else _outline(sql, values)
    if outline is None:
        return replace(ANYTHING, unbounded_because=_unbounded(_FEDERATED_WORD, _REMOTE_WORD, sql))
    is_dynamic = _DYNAMIC.search(outline) is not None
    is_one_statement = _MORE.search(outline) is None
    uses = [(use["name"], use) for use in _SYSTEM_VARIABLE.finditer(outline)]
    return SqlFacts(
        is_one_statement=is_one_statement,
        may_create_model=is_dynamic or _CREATE_MODEL.search(outline) is not None,
        is_dynamic=is_dynamic,
        unbounded_because=_unbounded(_FEDERATED_CALL, _REMOTE_CALL, outline),
        sets_labels=any(name == "QUERY_LABEL" for name, _ in uses),
        reservations=tuple(_value(use, values) for name, use in uses if name == "RESERVATION"),
        only_reads=is_one_statement and _begins_reading(sql),
    )


def _begins_reading(sql: str) -> bool:
    """Whether a statement begins as those do that change nothing; what a pipe ends in (|>) is not looked at."""
    items = (item for item in names_and_marks(sql) if not (isinstance(item, Token) and item.text == "("))
    first = next(items, None)
    return isinstance(first, Path) and first.word in _READING and "|>" not in sql


def _outline(sql: str, values: list[str | None]) -> str | None:
    """The text's outline, and what its short strings say; None: it cannot be read to its end."""
    outline = StringIO()
    for item in names_and_marks(sql):
        if isinstance(item, Path):
            # A label and what it stands before are no name: x: CALL p().
            name = (" " if item.has_project else ".").join(item.parts).upper()
            outline.write(f"{'`' if item.is_quoted else ''}{_ODD_IN_NAME.sub('?', name) if item.is_quoted else name} ")
        elif item.kind == Kind.TEXT:
            outline.write(f"'{len(values)} ")
            is_short = len(item.text) <= _RESERVATION_TOKEN_CHARS_MAX
            values.append(value_of(item) if is_short and item.text[0] in "rR'\"" else None)
        elif item.kind == Kind.FAULT:
            return None
        else:
            outline.write(f"{item.text} ")
    return outline.getvalue()


def _value(use: re.Match[str], values: list[str | None]) -> str | None:
    """The plain text that the reservation is set to; None: it is used in another way."""
    if not use["set"] or use["value"] is None:
        return None
    value = values[int(use["value"])]
    return value if value is not None and _RESERVATION.fullmatch(value) else None


def _unbounded(federated: re.Pattern[str], remote: re.Pattern[str], text: str) -> str | None:
    if federated.search(text) is not None:
        return FEDERATED
    return REMOTE if remote.search(text) is not None else None
