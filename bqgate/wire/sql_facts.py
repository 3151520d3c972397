"""Look in a query's text for what no dry run tells: CREATE MODEL, dynamic SQL, @@reservation, calls of other systems.

Used where a request is read; always on the safe side: a text that cannot be read to its end, or that some read
otherwise than BigQuery's parser, may do anything. What no text shows: calls inside views, table functions, stored
procedures and remote functions; a dry run at best says that it names some. Pure.
"""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from bqgate.domain.sql_facts import ANYTHING, FEDERATED, REMOTE, SqlFacts
from bqgate.wire.sql_names import Path, names_and_marks
from bqgate.wire.sql_text import Kind, Token, odd_character, value_of

# None of what is looked for is there without one of these, in capitals: keywords have no other spelling, and a quoted
# name has another one only by a backslash.
_WORTH_READING = ("MODEL", "CALL", "IMMEDIATE", "EXTERNAL_QUERY", "@@", "\\")
# Each by itself and with its letters first, for which alone a text is searched many times as fast.
_AI, _ML = (re.compile(rf"{word}(?![A-Z0-9_])(?<![A-Z0-9_]{word})") for word in ("AI", "ML"))
_ESCAPED_NAME = re.compile(r"`[^`\\]*+\\")
_BETWEEN_CREATE_AND_MODEL = frozenset({"OR", "REPLACE", "TEMP", "TEMPORARY", "PUBLIC", "PRIVATE"})
# CALL is no reserved word: a statement begins with it, perhaps behind a hint (@{…} or @5); elsewhere it is a name.
_BEFORE_A_STATEMENT = frozenset({"", ";", "THEN", "ELSE", "BEGIN", "DO", "LOOP", "REPEAT", "}"})
_PLAIN = SqlFacts()
_REMOTE_NAMESPACES = frozenset({"AI", "ML"})
_READING = frozenset({"SELECT", "WITH", "FROM"})
_RESERVATION = re.compile(r"[\w/:.-]{1,1024}", re.ASCII)
_RESERVATION_TOKEN_CHARS_MAX = 2_000
# No statement has more words between CREATE and MODEL, and none is looked back at further.
_LOOK_BACK = 8


def read_facts(sql: str) -> SqlFacts:
    """What may occur when this text runs. Of one that cannot be read, all."""
    capitals = sql.upper()
    has_remote_word = _AI.search(capitals) is not None or _ML.search(capitals) is not None
    is_one_statement = ";" not in sql.rstrip("; \t\r\n")
    if is_one_statement and not has_remote_word and not _has_any(capitals, _WORTH_READING):
        return _PLAIN
    reading = _Reading()
    is_unread = odd_character(sql) is not None
    for item in () if is_unread else names_and_marks(sql):
        if item.kind == Kind.FAULT:
            is_unread = True
        else:
            reading.take(item)
    if is_unread:
        is_federated = "EXTERNAL_QUERY" in capitals or _ESCAPED_NAME.search(sql) is not None
        unbounded = _unbounded(is_federated=is_federated, is_remote=has_remote_word)
        if "@@" in sql:
            return replace(ANYTHING, unbounded_because=unbounded)
        return replace(ANYTHING, unbounded_because=unbounded, sets_labels=False, reservations=())
    return reading.facts()


def only_reads(sql: str, facts: SqlFacts) -> bool:
    """Whether a text is one statement that changes nothing but the table that its result may go to."""
    return facts.is_one_statement and _begins_reading(sql)


class _Reading:
    """What was found so far, and the words and marks that came last, in capitals; quoted names are no words."""

    def __init__(self) -> None:
        self.is_script = False
        self._has_ended = False  # a statement, by a semicolon
        self._creates_model = self._is_dynamic = self._is_federated = self._is_remote = self._sets_labels = False
        self._reservations: list[str | None] = []
        self._assignment: list[str | None] | None = None  # what follows on SET @@reservation, as far as it was read
        self._last: deque[str] = deque(maxlen=_LOOK_BACK)

    def take(self, item: Path | Token) -> None:
        """Go on with a name or a mark."""
        is_end = isinstance(item, Token) and item.text == ";"
        self.is_script = self.is_script or (self._has_ended and not is_end)
        self._has_ended = self._has_ended or is_end
        if self._assignment is not None:
            self._take_assigned(item)
        if isinstance(item, Token):
            self._last.append(item.text)
            return
        # A label and what it stands before are no name: x: CALL p().
        words = tuple(part.upper() for part in item.parts) if item.has_project else (item.word,)
        for word in words:
            self._take_word(word)
            self._last.append(word)
        if item.is_called:
            self._take_call(item)
        if item.before == "@@":
            self._take_variable(item.name)

    def facts(self) -> SqlFacts:
        """All that was found, at the end of the text."""
        self._end_assignment(is_plain=True)
        return SqlFacts(
            is_one_statement=not self.is_script,
            may_create_model=self._creates_model or self._is_dynamic,
            is_dynamic=self._is_dynamic,
            unbounded_because=_unbounded(is_federated=self._is_federated, is_remote=self._is_remote),
            sets_labels=self._sets_labels,
            reservations=tuple(self._reservations),
        )

    def _take_word(self, word: str) -> None:
        before = self._last[-1] if self._last else ""
        if word == "MODEL":
            created = next((each for each in reversed(self._last) if each not in _BETWEEN_CREATE_AND_MODEL), "")
            self._creates_model = self._creates_model or created == "CREATE"
        is_hint = before.isdecimal() and list(self._last)[-2:-1] == ["@"]
        is_call = word == "CALL" and (is_hint or before in _BEFORE_A_STATEMENT)
        self._is_dynamic = self._is_dynamic or is_call or (word == "IMMEDIATE" and before == "EXECUTE")

    def _take_call(self, path: Path) -> None:
        called = path.function
        self._is_federated = self._is_federated or called[-1] == "EXTERNAL_QUERY"
        self._is_remote = self._is_remote or (len(called) == 2 and called[0] in _REMOTE_NAMESPACES)

    def _take_variable(self, name: str) -> None:
        self._sets_labels = self._sets_labels or name == "QUERY_LABEL"
        if name == "RESERVATION":
            self._reservations.append(None)
            before = list(self._last)[-3:-1]  # what stands before its own name
            self._assignment = [] if before == ["SET", "@@"] else None

    def _take_assigned(self, item: Path | Token) -> None:
        """A plain text is read, where nothing but the statement's end follows it; any other value is None."""
        assert self._assignment is not None
        at = len(self._assignment)
        if at == 0 and isinstance(item, Token) and item.text == "=":
            self._assignment.append(None)
        elif at == 1 and isinstance(item, Token) and item.kind == Kind.TEXT:
            is_text = len(item.text) <= _RESERVATION_TOKEN_CHARS_MAX and item.text[0] in "rR'\""
            self._assignment.append(value_of(item) if is_text else None)
        else:
            self._end_assignment(is_plain=isinstance(item, Token) and item.text == ";")

    def _end_assignment(self, *, is_plain: bool) -> None:
        value = self._assignment[1] if self._assignment is not None and len(self._assignment) == 2 else None
        if is_plain and value is not None and _RESERVATION.fullmatch(value) is not None:
            self._reservations[-1] = value
        self._assignment = None


def _begins_reading(sql: str) -> bool:
    """Whether a statement begins as those do that change nothing; what a pipe ends in (|>) is not looked at."""
    items = (item for item in names_and_marks(sql) if not (isinstance(item, Token) and item.text == "("))
    first = next(items, None)
    return isinstance(first, Path) and first.word in _READING and "|>" not in sql


def _has_any(text: str, words: Iterable[str]) -> bool:
    for word in words:  # noqa: SIM110 - any() over a generator takes thrice as long
        if word in text:
            return True
    return False


def _unbounded(*, is_federated: bool, is_remote: bool) -> str | None:
    if is_federated:
        return FEDERATED
    return REMOTE if is_remote else None
