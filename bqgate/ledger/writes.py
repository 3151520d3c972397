"""Say what one transaction of the ledger does: open, attach, book and close, and what goes with it, at once.

`Writes` is run by writer.GroupCommit through sql_ledger, inside one transaction of connections. Unique indexes decide
every race, never a look before a write: an INSERT that meets a conflict does nothing, and only then is it asked which
conflict it was. Each write may be done twice without harm. Results come back in the order of the writes.

On PostgreSQL this rests on READ COMMITTED: an INSERT waits for the other transaction, and the question after it sees
what that one committed (https://www.postgresql.org/docs/current/transaction-iso.html).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.cost_breaker import BreakerEvent
from bqgate.domain.entry import Booking, Entry, EntryKind
from bqgate.domain.hold import Hold, HoldState
from bqgate.domain.job import JobRef
from bqgate.domain.pricing import PriceList
from bqgate.ledger.rows import (
    breaker_event_row,
    ended_hold_row,
    entry_row,
    hold_row,
    job_columns,
    price_list_row,
    to_micros,
)
from bqgate.ledger.schema import breaker_events, entries, holds, price_lists


@dataclass(frozen=True, slots=True)
class OpenHold:
    """Record a hold as open, unless its id is known."""

    hold: Hold

    @property
    def hold_id(self) -> str:
        return self.hold.id


@dataclass(frozen=True, slots=True)
class AttachJob:
    """Note the job of a hold that is open."""

    hold_id: str
    job: JobRef


@dataclass(frozen=True, slots=True)
class CloseHold:
    """End an open hold without an entry. No hold has the id "": that one only asks whether one may write."""

    hold_id: str
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Book:
    """Write an entry and end its hold."""

    entry: Entry
    ended_at: datetime

    @property
    def hold_id(self) -> str | None:
        return self.entry.hold_id


@dataclass(frozen=True, slots=True)
class RecordBreakerEvent:
    """Remember a grace's start, or what became of a breaker. Written twice it says nothing more."""

    event: BreakerEvent
    hold_id: None = None


@dataclass(frozen=True, slots=True)
class KeepPrices:
    """Keep a price list, unless its id is known: a hold that names it comes after."""

    prices: PriceList
    used_at: datetime
    hold_id: None = None


Write = KeepPrices | OpenHold | AttachJob | CloseHold | Book | RecordBreakerEvent
# Opened before attached before ended, so that a group of writes can be sorted and sent as six statements.
_KINDS: tuple[type[Write], ...] = (KeepPrices, OpenHold, AttachJob, CloseHold, Book, RecordBreakerEvent)


def prices_id_of(write: Write) -> str | None:
    """The price list that a write names."""
    match write:
        case OpenHold():
            return write.hold.prices_id
        case Book():
            return write.entry.prices_id
        case _:
            return None


class Writes:
    """The statements of one dialect, built once."""

    def __init__(self, dialect: str) -> None:
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        self._keep_prices = insert(price_lists).on_conflict_do_nothing()
        self._open = insert(holds).on_conflict_do_nothing()
        # An INSERT's count of rows is kept on request only; with psycopg it would read -1.
        self._book = insert(entries).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
        end = insert(holds)
        self._end = end.on_conflict_do_update(
            index_elements=[holds.c.id],
            set_={"state": end.excluded.state, "ended_at": end.excluded.ended_at},
            where=holds.c.ended_at.is_(None),
        )
        of_open_hold = holds.update().where(holds.c.id == sa.bindparam("hold_id"), holds.c.ended_at.is_(None))
        columns = ("job_project_id", "job_id", "job_location")
        self._attach = of_open_hold.values({name: sa.bindparam(name) for name in columns})
        self._close = of_open_hold.values(state=HoldState.VOIDED.value, ended_at=sa.bindparam("now_micros"))
        self._conflict = sa.select(entries.c.hold_id, entries.c.id).where(
            sa.or_(entries.c.hold_id == sa.bindparam("hold_id"), entries.c.id == sa.bindparam("id"))
        )

    async def apply(self, connection: AsyncConnection, writes: Sequence[Write]) -> list[Booking | None]:
        """Do the writes; a Booking for each Book, None for the rest."""
        results: list[Booking | None] = [None] * len(writes)
        for kind, group in groupby(_in_order(writes), key=lambda place: _KINDS.index(type(writes[place]))):
            places = list(group)
            run = [writes[place] for place in places]
            if _KINDS[kind] is Book:
                outcomes = await self._book_all(connection, [write for write in run if isinstance(write, Book)])
                for place, outcome in zip(places, outcomes, strict=True):
                    results[place] = outcome
            else:
                await self._send(connection, run)
        return results

    async def _send(self, connection: AsyncConnection, run: Sequence[Write]) -> None:
        """Writes of one kind as one statement with many rows."""
        match run[0]:
            case KeepPrices():
                lists = [price_list_row(each.prices, each.used_at) for each in run if isinstance(each, KeepPrices)]
                await connection.execute(self._keep_prices, lists)
            case OpenHold():
                rows = [hold_row(write.hold) for write in run if isinstance(write, OpenHold)]
                await connection.execute(self._open, rows)
            case AttachJob():
                jobs = [
                    {"hold_id": write.hold_id, **job_columns(write.job)}
                    for write in run
                    if isinstance(write, AttachJob)
                ]
                await connection.execute(self._attach, jobs)
            case CloseHold():
                ends = [
                    {"hold_id": write.hold_id, "now_micros": to_micros(write.ended_at)}
                    for write in run
                    if isinstance(write, CloseHold)
                ]
                await connection.execute(self._close, ends)
            case RecordBreakerEvent():
                events = [breaker_event_row(write.event) for write in run if isinstance(write, RecordBreakerEvent)]
                await connection.execute(breaker_events.insert(), events)

    async def _book_all(self, connection: AsyncConnection, books: Sequence[Book]) -> list[Booking]:
        outcomes: list[Booking] = []
        ends: list[dict[str, Any]] = []
        for book in books:
            outcome = await self._book_one(connection, book.entry)
            outcomes.append(outcome)
            if book.hold_id is not None and outcome is not Booking.HOLD_ALREADY_BOOKED:
                ends.append(ended_hold_row(book.entry, state=_state_after(book.entry, outcome), ended_at=book.ended_at))
        if ends:
            await connection.execute(self._end, ends)
        return outcomes

    async def _book_one(self, connection: AsyncConnection, entry: Entry) -> Booking:
        inserted = await connection.execute(self._book, entry_row(entry))
        assert inserted.rowcount in {0, 1}, f"the driver counted {inserted.rowcount} rows"
        if inserted.rowcount == 1:
            return Booking.BOOKED
        found = (await connection.execute(self._conflict, {"hold_id": entry.hold_id, "id": entry.id})).all()
        if not found:
            return Booking.JOB_ALREADY_BOOKED  # the only other unique indexes are those of the job
        # An id that stands for two holds would lose the second one's money; ids are made at random.
        assert all(row.hold_id == entry.hold_id for row in found), f"entry id {entry.id} is used for two holds"
        return Booking.HOLD_ALREADY_BOOKED


def _state_after(entry: Entry, outcome: Booking) -> HoldState:
    """How a hold ends: a charge captures it; a job that another hold's entry covers leaves it void."""
    if outcome is Booking.BOOKED and entry.kind is EntryKind.CHARGE:
        return HoldState.CAPTURED
    return HoldState.VOIDED


def _in_order(writes: Sequence[Write]) -> list[int]:
    """The places of the writes in the order in which they are done.

    As they came, where one hold has several writes among them. Else by kind, for few statements, and within a kind by
    what is locked (a job, a hold), so that two processes rarely wait for each other in a circle; when they do,
    PostgreSQL ends one of the two transactions and the writer goes on one by one.
    """
    places = list(range(len(writes)))
    if max(Counter(write.hold_id for write in writes).values()) > 1:
        return places
    return sorted(places, key=lambda place: _lock_order(writes[place]))


def _lock_order(write: Write) -> tuple[int, str, str]:
    job_id = write.entry.job.job_id if isinstance(write, Book) and write.entry.job is not None else ""
    return _KINDS.index(type(write)), job_id, write.hold_id or ""
