"""Say what is written to the ledger: each write as a kind and a row of plain JSON values.

Made by sql_ledger, put into the journal or handed to the writer as they are, and done in groups by group_statements.
Being JSON, a write survives the process that made it, and a whole group of them goes to the database as one text. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from bqgate.domain.cost_breaker import BreakerEvent
from bqgate.domain.entry import Entry
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef
from bqgate.domain.pricing import PriceList
from bqgate.ledger.rows import breaker_event_row, entry_row, hold_row, job_columns, price_list_row, to_micros


class WriteKind(StrEnum):
    """What a write does. The values stand in journals: they may be added to, and never change."""

    KEEP_PRICES = "keep_prices"
    OPEN_HOLD = "open_hold"
    ATTACH_JOB = "attach_job"
    CLOSE_HOLD = "close_hold"
    BOOK = "book"
    RECORD_BREAKER_EVENT = "record_breaker_event"


@dataclass(frozen=True, slots=True)
class Write:
    """One write. It may be done twice without harm. `row` leaves out what is null, and may name a price list."""

    kind: WriteKind
    row: Mapping[str, Any]


def keep_prices(prices: PriceList, used_at: datetime) -> Write:
    """Keep a price list, unless its id is known: what names it comes after."""
    return Write(WriteKind.KEEP_PRICES, price_list_row(prices, used_at))


def open_hold(hold: Hold) -> Write:
    """Record a hold as open, unless its id is known."""
    return Write(WriteKind.OPEN_HOLD, _without_nulls(hold_row(hold)))


def attach_job(hold_id: str, job: JobRef) -> Write:
    """Note the job of a hold that is open."""
    return Write(WriteKind.ATTACH_JOB, {"id": hold_id, **job_columns(job)})


def close_hold(hold_id: str, ended_at: datetime) -> Write:
    """End an open hold without an entry. No hold has the id "": that one only asks whether one may write."""
    return Write(WriteKind.CLOSE_HOLD, {"id": hold_id, "ended_at": to_micros(ended_at)})


def book(entry: Entry, ended_at: datetime) -> Write:
    """Write an entry and end its hold. The row is the entry's; beside it stands when the hold ended."""
    return Write(WriteKind.BOOK, {**_without_nulls(entry_row(entry)), HOLD_ENDED_AT: to_micros(ended_at)})


# No column: it goes into the row of the hold.
HOLD_ENDED_AT = "hold_ended_at"


def record_breaker_event(event: BreakerEvent) -> Write:
    """Remember a grace's start, or what became of a breaker. Written twice it says nothing more."""
    return Write(WriteKind.RECORD_BREAKER_EVENT, breaker_event_row(event))


def encode_write(write: Write) -> bytes:
    """A write as JSON, [kind, row].

    Raises:
        LedgerUnavailable: no database would take it: half a character, a NUL, or a number too large for a column, which
            SQLite's JSON would round without a word.
    """
    told = (write.kind.value, write.row)
    try:
        body = orjson.dumps(told, option=orjson.OPT_STRICT_INTEGER)  # refuses what has more than 53 bits
    except orjson.JSONEncodeError:
        body = _encode_large(told)
    if b"\\u0000" in body and _has_nul(write.row):
        raise LedgerUnavailable("The ledger cannot write this: a text holds a NUL.")
    return body


def _encode_large(told: tuple[str, Mapping[str, Any]]) -> bytes:
    try:
        body = orjson.dumps(told)
    except orjson.JSONEncodeError as error:
        raise LedgerUnavailable(f"The ledger cannot write this: {error}.") from error
    if any(map(_is_too_large, told[1].values())):
        raise LedgerUnavailable("The ledger cannot write this: a number has more than 64 bits.")
    return body


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(each) for pair in value.items() for each in pair)
    return isinstance(value, str) and "\0" in value


def _is_too_large(value: Any) -> bool:
    return type(value) is int and not -_BIGINT_MAX <= value <= _BIGINT_MAX


def _without_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


_BIGINT_MAX = 2**63 - 1
