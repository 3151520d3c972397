"""Implement ports.Ledger on SQLite and PostgreSQL.

Opened by app, called by admission (open_hold, attach_job, fetch_slot_history), settlement (book, close_hold,
fetch_open_holds), the budget stores (SpendSource) and the control plane (the other fetches, and the reports that it
is). Writes go through a LedgerWriter: the journal of this process, or a DatabaseWriter, whose writes are on the
database's disk when they return. Reads go through connections of their own, and those that money hangs on see what was
written here before. All end within `timeout_s`. What leaves: values of the domain, LedgerUnavailable, and
MalformedRequest for a page token of somebody else.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa

from bqgate.domain.budget import Window, WindowId
from bqgate.domain.cost_breaker import BreakerEvent
from bqgate.domain.entry import (
    BookedCharge,
    Booking,
    CustomerSpend,
    Entry,
    EntryKind,
    EntryLookup,
)
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold, RecordedHold
from bqgate.domain.job import JobRef
from bqgate.domain.pricing import PriceList, SlotHistory
from bqgate.ledger import account_spend, bookings, queries, window_queries, writes
from bqgate.ledger.connections import TIMEOUT_S, Connections
from bqgate.ledger.database_writer import DatabaseWriter
from bqgate.ledger.journal import Journal, JournalPlace
from bqgate.ledger.migrate import check_revision, migrate
from bqgate.ledger.reports import SqlReports
from bqgate.ledger.rows import entry_of, hold_of
from bqgate.ledger.writer import LedgerWriter
from bqgate.ports import Clock

# At a few thousand writes a second a full queue is about a second's work: whoever comes later would wait in vain.
WAITING_MAX = 4_096
# How long a report waits for what was written a moment ago.
_A_MOMENT_S = 1.0
_INTO_THE_JOURNAL = frozenset({"open_hold", "attach_job", "book", "close_hold", "record_breaker_event"})


class SqlLedger(SqlReports):
    """The ledger in a database. Any number of them, in any number of processes, may share it.

    Args:
        connections: to a database whose tables are of this version; `open` sees to that.
        clock: says when a hold ended.
        database: writes to it.
        journal: what writes go to first; None: to the database alone.
    """

    def __init__(
        self, connections: Connections, clock: Clock, *, database: DatabaseWriter, journal: Journal | None
    ) -> None:
        super().__init__(self._rows_so_far)
        self._connections = connections
        self._clock = clock
        self._database = database
        self._journal = journal
        self._writer: LedgerWriter = journal or database

    @classmethod
    async def open(
        cls,
        url: str,
        clock: Clock,
        *,
        timeout_s: float = TIMEOUT_S,
        waiting_max: int = WAITING_MAX,
        journal: JournalPlace | None = None,
    ) -> Self:
        """Connect. SQLite's tables are made or upgraded; PostgreSQL's must be (`bqgate migrate`).

        With a journal, what processes that are gone have left in its folder is in the database when this returns.

        Raises:
            LedgerUnavailable: no connection, PostgreSQL's tables are of another version, or no journal can be kept.
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        connections = Connections(url, timeout_s=timeout_s)
        if connections.dialect == "sqlite":
            await migrate(url)
        else:
            await check_revision(url, timeout_s=timeout_s)
        database = DatabaseWriter(connections, clock, timeout_s=timeout_s, waiting_max=waiting_max)
        opened = None if journal is None else await Journal.open(journal, url, clock, timeout_s=timeout_s)
        return cls(connections, clock, database=database, journal=opened)

    @property
    def journal(self) -> Journal | None:
        """What writes go to first; None: to the database alone."""
        return self._journal

    @property
    def unguarded(self) -> frozenset[str]:
        """The calls that wait for no database: they work while it is away, and tell nothing about it."""
        return frozenset() if self._journal is None else _INTO_THE_JOURNAL

    def mark(self) -> int:
        """Mark this moment: once `is_written(mark)`, the database has all that was recorded before."""
        return self._writer.taken

    def is_written(self, mark: int) -> bool:
        """Whether other gates can read what was recorded before a mark."""
        return self._writer.written_count >= mark

    def register_prices(self, prices: PriceList) -> None:
        """Know a price list that holds and entries will name: it is written before the first of them."""
        self._writer.price_lists.register(prices)

    async def fetch_prices(self, prices_id: str) -> PriceList | None:
        """A price list that a hold or an entry named; None: there is none of this id."""
        rows = await self._own_rows(queries.price_list(prices_id))
        return PriceList.from_document(rows[0].document) if rows else None

    async def open_hold(self, hold: Hold) -> None:
        """Record a hold as open, unless its id is known: one that ended is never opened again.

        Raises:
            LedgerUnavailable: not recorded, or unknown.
        """
        await self._writer.post(writes.open_hold(hold))

    async def attach_job(self, hold_id: str, job: JobRef) -> None:
        """Note which job runs under a hold; nothing changes where it is not open. A later note replaces an earlier.

        Raises:
            LedgerUnavailable: not recorded, or unknown.
        """
        await self._writer.post(writes.attach_job(hold_id, job))

    async def book(self, entry: Entry) -> Booking:
        """Write an entry and end its hold in one transaction.

        A charge leaves the hold captured, anything else void. Where another hold's entry covers the job, no entry is
        written and the hold is void. An entry without a hold is unique by its id. What it says is in the database, of
        a refusal perhaps in the journal only.

        Raises:
            LedgerUnavailable: not booked, or unknown; book again.
        """
        write = writes.book(entry, self._clock.now())
        # No rival can book a refusal, and its caller waits.
        is_awaited = entry.kind is not EntryKind.REFUSAL
        booking = await (self._writer.submit(write) if is_awaited else self._writer.post(write))
        return booking or Booking.BOOKED

    async def close_hold(self, hold_id: str) -> None:
        """End an open hold without an entry; nothing changes where it is not open.

        Raises:
            LedgerUnavailable: not closed, or unknown.
        """
        await self._writer.post(writes.close_hold(hold_id, self._clock.now()))

    async def record_breaker_event(self, event: BreakerEvent) -> None:
        """Remember a grace's start, or what became of a breaker.

        Raises:
            LedgerUnavailable: not recorded, or unknown.
        """
        await self._writer.post(writes.record_breaker_event(event))

    async def fetch_open_hold(self, hold_id: str) -> Hold | None:
        """A hold that is open; None: unknown, or ended."""
        rows = await self._own_rows(queries.open_hold(hold_id))
        return hold_of(rows[0]) if rows else None

    async def find_open_hold(self, job: JobRef) -> Hold | None:
        """The open hold that names a job."""
        rows = await self._own_rows(queries.open_holds_of_job(job))
        return hold_of(rows[0]) if rows else None

    async def is_booked_already(self, hold: Hold, *, key_prefix: str, since: datetime) -> bool:
        """Whether another hold of the same request was booked; see ports.Ledger."""
        return bool(await self._own_rows(queries.charges_of_repeats(hold, key_prefix, since)))

    async def fetch_entry(self, hold_id: str) -> Entry | None:
        """The entry that ended a hold, None where there is none."""
        rows = await self._own_rows(queries.entry_of_hold(hold_id))
        return entry_of(rows[0]) if rows else None

    async def find_booked(
        self, *, jobs: Sequence[JobRef] = (), hold_ids: Sequence[str] = (), charge_ids: Sequence[str] = ()
    ) -> tuple[BookedCharge, ...]:
        """Charges of these jobs, holds and ids, each with what has corrected it."""
        return await bookings.find_booked(self._own_rows, jobs, hold_ids, charge_ids)

    async def fetch_holds(self, hold_ids: Sequence[str]) -> tuple[RecordedHold, ...]:
        """Holds by their ids, ended or not, as far as they are known."""
        return await bookings.fetch_holds(self._own_rows, hold_ids)

    async def find_entries(self, wanted: EntryLookup) -> tuple[Entry, ...]:
        """Entries of one job or one decision, oldest first, 100 at most."""
        found = (entry_of(row) for row in await self._rows_so_far(queries.entries_of(wanted)))
        return tuple(sorted(found, key=lambda entry: (entry.booked_at, entry.id)))

    async def fetch_spend(self, windows: Sequence[Window]) -> CustomerSpend:
        """Booked spend of each window, all of one moment; then what is remembered of grace and breaker."""
        return await account_spend.fetch_spend(self._own_rows, windows)

    async def fetch_spend_of_each(self, window: Window) -> Mapping[str, int]:
        """Booked spend of each principal, project or workload in a window, of whoever has any."""
        return {row.value: int(row.cost_nanos) for row in await self._own_rows(window_queries.spend_of_each(window))}

    async def fetch_adjusted(self, windows: Sequence[Window]) -> Mapping[WindowId, int]:
        """What adjustments come to in each window, all of one moment."""
        return await account_spend.fetch_adjusted(self._own_rows, windows)

    async def fetch_open_holds(self, customer: str | None = None) -> tuple[Hold, ...]:
        """Holds that have not ended, oldest first, with the job that was attached."""
        return tuple(hold_of(row) for row in await self._own_rows(queries.open_holds(customer)))

    async def fetch_slot_history(self, customer: str) -> SlotHistory:
        """Slots and bytes of the customer's last 1,000 jobs that ran: done or stopped, not from the cache."""
        row = (await self._rows_so_far(queries.slot_history_of(customer)))[0]
        return SlotHistory(slot_ms=int(row.slot_ms), bytes_processed=int(row.bytes_processed))

    async def check(self) -> None:
        """Ask the database for a write that changes nothing: a full queue, a lost disk or a standby is noticed.

        Raises:
            LedgerUnavailable: it can not be written.
        """
        await self._database.submit(writes.close_hold("", self._clock.now()))

    async def close(self) -> None:
        """Finish the writes that wait, refuse new ones, give back connections."""
        if self._journal is not None:
            await self._journal.close()
        await self._database.close()
        await self._connections.close()

    async def _own_rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Rows that have all that was written here before."""
        await self._writer.written()
        return await self._connections.fetch_rows(statement)

    async def _rows_so_far(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Rows for a reader to whom a little less is better than nothing, where the database has much to catch up."""
        with suppress(LedgerUnavailable):
            await self._writer.written(at_most_s=_A_MOMENT_S)
        return await self._connections.fetch_rows(statement)
