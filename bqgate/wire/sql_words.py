"""Look in a query's text for what no dry run tells: CREATE MODEL, dynamic SQL, the system variable @@reservation.

And, of a query that is not dry-run, for whether it only reads and which projects it may name.

Used by admission to size holds and to judge reservations; pure, and always on the safe side. It cuts the text into the
tokens of GoogleSQL (https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical), so that a word in a string
or a comment is none; a text that it cannot cut to its end may contain anything.
"""

import re
from dataclasses import dataclass

_LITERAL = re.compile(
    r"""
      (?P<comment>\#[^\r\n]*|--[^\r\n]*|/\*.*?\*/)
    | (?P<text>'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\r\n])*'|"(?:\\.|[^"\\\r\n])*")
    | (?P<quoted>`(?:\\.|[^`\\\r\n])*`)
    | (?P<odd>['"`]|/\*|\r(?!\n)|[^\t-\r -~])
    """,
    re.VERBOSE | re.DOTALL,
)
_OPTIONS = re.IGNORECASE | re.ASCII
# None of what is looked for is there without one of these: keywords have no other spelling.
_WORTH_A_LOOK = re.compile(r"MODEL|CALL|IMMEDIATE|@@", _OPTIONS)
_CREATE_MODEL = re.compile(
    r"\bCREATE(?:\s+(?:OR|REPLACE|TEMP|TEMPORARY|PUBLIC|PRIVATE|IF|NOT|EXISTS))*\s+MODEL\b", _OPTIONS
)
_DYNAMIC = re.compile(r"\bCALL\b|\bEXECUTE\s+IMMEDIATE\b", _OPTIONS)
# A system variable, and what is said of it where that is a plain assignment of a text, a statement of its own.
_SYSTEM_VARIABLE = re.compile(
    r"(?P<set>\bSET\s*)?@@\s*(?:(?P<name>\w+)|`(?P<quoted>\d+)`)(?:\s*=\s*['\"](?P<value>\d+)['\"]\s*(?=;|\Z))?",
    _OPTIONS,
)
_MORE = re.compile(r";\s*[^\s;]")
# One statement that changes nothing but the table that its result may go to.
_READING = re.compile(r"[\s(]*(?:SELECT|WITH|FROM)\b[^;]*;?\s*", _OPTIONS)
# A project may be called example.com:sales; legacy SQL writes project:dataset.table.
_BEFORE_A_DOT = re.compile(r"(?<![\w:-])([\w:-]++)[`\]\s]*+\.")
_OF_A_DOMAIN = re.compile(r"(?<![\w.-])[\w-]++(?:\.[\w-]++)++:[\w-]++")
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
    literals: list[str] = []
    code = _code(sql, literals)
    if code is None:
        return ANYTHING
    is_dynamic = _DYNAMIC.search(code) is not None
    uses = [use for use in _SYSTEM_VARIABLE.finditer(code) if _is_reservation(use, literals)]
    return SqlWords(
        may_create_model=is_dynamic or _CREATE_MODEL.search(code) is not None,
        is_dynamic=is_dynamic,
        reservations=tuple(_value(use, literals) for use in uses),
    )


def is_one_statement(sql: str) -> bool:
    """Whether a text is no script: nothing but blanks and comments follows a semicolon. In doubt it is one."""
    code = _code(sql, [])
    return code is not None and _MORE.search(code) is None


def only_reads(sql: str) -> bool:
    """Whether a text is one statement that changes nothing. In doubt it is not."""
    code = _code(sql, [])
    return code is not None and _READING.fullmatch(code) is not None


def words_before_dots(sql: str) -> frozenset[str]:
    """All that may be the project of a name in a text, and much that is not."""
    words = _BEFORE_A_DOT.findall(sql)
    return frozenset((*words, *(word.partition(":")[0] for word in words), *_OF_A_DOMAIN.findall(sql))) - {""}


def _code(sql: str, literals: list[str]) -> str | None:
    """The text without comments, each string and quoted name moved to `literals` and its number in its place.

    None: it was not understood. An end is missing, or a mark may be a blank or the end of a comment for some readers
    and not for others.
    """
    pieces: list[str] = []
    at = 0
    for match in _LITERAL.finditer(sql):
        pieces.append(sql[at : match.start()])
        at = match.end()
        if match.lastgroup == "odd":
            return None
        if match.lastgroup == "comment":
            pieces.append(" ")
        else:
            quote = match.group()[0]
            pieces.append(f"{quote}{len(literals)}{quote}")
            literals.append(match.group())
    return "".join((*pieces, sql[at:]))


def _is_reservation(use: re.Match[str], literals: list[str]) -> bool:
    """Whether a system variable is, or by its escapes may be, the reservation."""
    name = use["name"] or literals[int(use["quoted"])]
    return "\\" in name or name.strip("`").upper() == "RESERVATION"


def _value(use: re.Match[str], literals: list[str]) -> str | None:
    """The plain text that it is set to; None: it is used in another way."""
    if not use["set"] or use["value"] is None:
        return None
    literal = _PLAIN_TEXT.fullmatch(literals[int(use["value"])])
    return None if literal is None else literal[1] or literal[2]
