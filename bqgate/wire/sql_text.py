r"""Cut a query's text into the tokens of GoogleSQL: the one reader of SQL that everything else here builds on.

Written against the lexical rules of BigQuery's own parser (https://github.com/google/zetasql, flex_tokenizer.l and
public/strings.cc; https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical), because a blank, the end of a
comment or a quote that BigQuery sees elsewhere than the gate is a way past it: a lone carriage return ends a comment, a
no-break space separates words, a backslash keeps a quote even in a raw string, and behind a dot every word is a name.
Pure. One pass, in a time that grows with the length alone: nothing is tried twice, and what cannot be read ends it.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from bqgate.domain.errors import MalformedRequest

# BigQuery's own bounds (https://cloud.google.com/bigquery/quotas#query_jobs, "unresolved query length").
SQL_CHARS_MAX = 1024 * 1024
LEGACY_SQL_CHARS_MAX = 256 * 1024

_BLANKS = r" \t\n\r\x08\f\v\xa0\u2000-\u200a\u202f\u205f\u3000"
_COMMENT = r"(?:--|\#)[^\r\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/"
# A backslash and whatever follows, a line end as one. The common case comes first: this is what long texts are made of.
_ESCAPE, _ESCAPED_END = r"\\[^\r]", r"\\\r\n?"
_STRING = (
    rf"'''(?:{_ESCAPE}|[^'\\]++|'(?!'')|{_ESCAPED_END})*+'''"
    rf'|"""(?:{_ESCAPE}|[^"\\]++|"(?!"")|{_ESCAPED_END})*+"""'
    rf"|'(?!'')(?:{_ESCAPE}|[^'\\\r\n]++|{_ESCAPED_END})*+'"
    rf'|"(?!"")(?:{_ESCAPE}|[^"\\\r\n]++|{_ESCAPED_END})*+"'
)
_QUOTED = rf"`(?:{_ESCAPE}|[^`\\\r\n]++|{_ESCAPED_END})*+`"
_GAP = rf"(?:[{_BLANKS}]++|{_COMMENT})*+"
_TOKEN = re.compile(
    rf"{_GAP}(?:"
    rf"(?P<text>(?:[rR][bB]?|[bB][rR]?)?(?:{_STRING}))"
    rf"|(?P<quoted>{_QUOTED})"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*+)"
    r"|(?P<number>0[xX][0-9A-Fa-f]++|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)"
    r"|(?P<mark>=>|->|@@|!=|<=|>=|<>|<<|>>|\|\||\|>|\+=|-=|/(?!\*)|[-()\[\]{}.,;:=<>|^&+~?!%@*$])"
    r"|(?P<end>\Z))"
)
# What a name may be behind a dot: keywords and digits are names there, but the prefix of a string is none.
_AFTER_DOT = re.compile(rf"{_GAP}(?:(?P<word>(?!(?:[rR][bB]?|[bB][rR]?)['\"])[A-Za-z0-9_]++)|(?P<quoted>{_QUOTED}))")
_BEFORE_DOT = frozenset({")", "]", "?"})
# Words that are never names unless quoted, or behind a dot
# (https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords).
RESERVED = frozenset(
    {
        *("ALL", "AND", "ANY", "ARRAY", "AS", "ASC", "ASSERT_ROWS_MODIFIED", "AT", "BETWEEN", "BY", "CASE", "CAST"),
        *("COLLATE", "CONTAINS", "CREATE", "CROSS", "CUBE", "CURRENT", "DEFAULT", "DEFINE", "DESC", "DISTINCT"),
        *("ELSE", "END", "ENUM", "ESCAPE", "EXCEPT", "EXCLUDE", "EXISTS", "EXTRACT", "FALSE", "FETCH", "FOLLOWING"),
        *("FOR", "FROM", "FULL", "GRAPH_TABLE", "GROUP", "GROUPING", "GROUPS", "HASH", "HAVING", "IF", "IGNORE"),
        *("IN", "INNER", "INTERSECT", "INTERVAL", "INTO", "IS", "JOIN", "LATERAL", "LEFT", "LIKE", "LIMIT", "LOOKUP"),
        *("MERGE", "NATURAL", "NEW", "NO", "NOT", "NULL", "NULLS", "OF", "ON", "OR", "ORDER", "OUTER", "OVER"),
        *("PARTITION", "PRECEDING", "PROTO", "QUALIFY", "RANGE", "RECURSIVE", "RESPECT", "RIGHT", "ROLLUP", "ROWS"),
        *("SELECT", "SET", "SOME", "STRUCT", "TABLESAMPLE", "THEN", "TO", "TREAT", "TRUE", "UNBOUNDED", "UNION"),
        *("UNNEST", "USING", "WHEN", "WHERE", "WINDOW", "WITH", "WITHIN"),
    }
)

# Outside of strings and quoted names: what some readers of SQL take for a blank or for the end of a line, and some not.
_MAY_BE_ODD = re.compile(
    r"[\x00-\x08\v\f\x0e-\x1f\x7f-\xa0\u1680\u2000-\u200f\u2028\u2029\u202f\u205f\u3000\ufeff]|\r(?!\n)"
)
_ODD_IN_COMMENT = re.compile(r"[\x00-\x08\v\f\x0e-\x1f\x7f-\x9f\u2028\u2029]|\r(?!\n)")
_ODD_IN_BLANKS = re.compile(r"[^ \t\r\n]|\r(?!\n)")
_GAP_PART = re.compile(rf"(?P<blanks>[{_BLANKS}]++)|(?P<comment>{_COMMENT})")

_ESCAPED = re.compile(
    r"\\(?:(?P<octal>[0-3][0-7]{2})|[xX](?P<hex>[0-9A-Fa-f]{2})|u(?P<u4>[0-9A-Fa-f]{4})|U(?P<u8>[0-9A-Fa-f]{8})"
    r"""|(?P<plain>[abfnrtv\\?"'`])|(?P<bad>[\s\S]|\Z))|(?P<line>\r\n?)"""
)
_LINE_END = re.compile(r"\r\n?")
_PLAIN_ESCAPES = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


class Kind(StrEnum):
    """What a token is."""

    TEXT = "text"  # a string or bytes
    QUOTED = "quoted"  # a name in backquotes
    WORD = "word"  # a keyword, or a name
    NUMBER = "number"
    MARK = "mark"
    FAULT = "fault"  # the rest, which cannot be read


class Token(NamedTuple):
    """A token as it is written, and where it begins. `gap` is where the blanks and comments before it begin."""

    kind: str
    text: str
    start: int
    gap: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def tokens(sql: str) -> Iterator[Token]:
    """The tokens of a text, one at a time; of what cannot be read to its end a FAULT is the last."""
    at = 0
    may_be_dotted = False
    while True:
        found = _TOKEN.match(sql, at)
        if found is None:
            yield Token(Kind.FAULT, sql[at : at + 1], at, at)
            return
        kind = found.lastgroup or ""
        if kind == "end":
            return
        start, end = found.span(kind)
        text = sql[start:end]
        if may_be_dotted and text[0] == "." and kind in {Kind.MARK, Kind.NUMBER}:
            yield Token(Kind.MARK, ".", start, at)
            at = start + 1
            found = _AFTER_DOT.match(sql, at)
            if found is None:
                may_be_dotted = False
                continue
            kind = found.lastgroup or ""
            start, end = found.span(kind)
            text = sql[start:end]
            may_be_dotted = True
        elif kind == Kind.WORD:
            may_be_dotted = text.upper() not in RESERVED
        else:
            may_be_dotted = kind == Kind.QUOTED or text in _BEFORE_DOT
        yield Token(kind, text, start, at)
        at = end


def value_of(token: Token) -> str | None:
    """What a string, bytes or a quoted name says, its escapes read; None where an escape is none of GoogleSQL's.

    Bytes are told as the characters of the same numbers.
    """
    text = token.text
    opened = next(at for at, mark in enumerate(text) if mark in "'\"`")
    prefix, quoted = text[:opened].lower(), text[opened:]
    width = 3 if len(quoted) >= 6 and quoted.startswith(quoted[0] * 3) else 1
    inner = quoted[width:-width]
    if "r" in prefix:
        return _LINE_END.sub("\n", inner)
    if "\\" not in inner and "\r" not in inner:
        return inner
    try:
        return _ESCAPED.sub(partial(_character, is_bytes="b" in prefix), inner)
    except (ValueError, OverflowError):
        return None


def _character(escaped: re.Match[str], *, is_bytes: bool) -> str:
    kind, digits = escaped.lastgroup, escaped[escaped.lastgroup or 0]
    match kind:
        case "line":
            return "\n"
        case "plain":
            return _PLAIN_ESCAPES.get(digits, digits)
        case "octal":
            return chr(int(digits, 8))
        case "hex":
            return chr(int(digits, 16))
        case "u4" | "u8" if not is_bytes:
            return chr(int(digits, 16))  # raises past the last character that there is
        case _:
            raise ValueError(escaped[0])


def odd_character(sql: str) -> int | None:
    """Where a text has a character that is a blank or ends a line for some readers of SQL only; None: nowhere.

    Strings and quoted names may hold any. Comments may hold any letters.
    """
    if _MAY_BE_ODD.search(sql) is None:
        return None
    last = 0
    for token in tokens(sql):
        odd = _odd_in_gap(sql, token.gap, token.start)
        if odd is not None or token.kind == Kind.FAULT:
            return odd
        last = token.end
    return _odd_in_gap(sql, last, len(sql))


def _odd_in_gap(sql: str, begin: int, end: int) -> int | None:
    for part in _GAP_PART.finditer(sql, begin, end):
        pattern = _ODD_IN_COMMENT if part.lastgroup == "comment" else _ODD_IN_BLANKS
        odd = pattern.search(sql, part.start(), part.end())
        if odd is not None and not (odd[0] == "\r" and sql.startswith("\n", odd.end())):
            return odd.start()
    return None


def check_length(sql: str, *, is_legacy: bool, field: str) -> None:
    """Return when a text is no longer than BigQuery takes it.

    Raises:
        MalformedRequest: it is, in BigQuery's words.
    """
    chars_max = LEGACY_SQL_CHARS_MAX if is_legacy else SQL_CHARS_MAX
    if len(sql) > chars_max:
        raise MalformedRequest(
            f"The query is too large. The maximum query length is {chars_max / 1024:.2f}K characters, including "
            "comments and white space characters.",
            field=field,
        )
