"""Implement ports.Ledger on SQLite and PostgreSQL.

Opened by app, called by admission (open_hold, attach_job, fetch_slot_history), settlement (book, close_hold,
fetch_open_holds), the budget stores (SpendSource) and the control plane (the other fetches). Writes go through one
GroupCommit, reads through connections of their own; both end within `timeout_s`. What leaves: values of the domain,
LedgerUnavailable, and MalformedRequest for a page token of somebody else. A write that has returned is on disk.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.budget import Window, WindowId
from bqgate.domain.cost_breaker import BreakerEvent
from bqgate.domain.entry import (
    BookedCharge,
    Booking,
    CostRow,
    CustomerSpend,
    Entry,
    EntryFilter,
    EntryLookup,
    EntryPage,
    Origin,
)
from bqgate.domain.errors import MalformedRequest
from bqgate.domain.hold import Hold, RecordedHold
from bqgate.domain.job import JobRef
from bqgate.domain.pricing import PriceList, SlotHistory
from bqgate.domain.shadow_decision import ShadowDecisionRow
from bqgate.domain.spend import SpendQuery, SpendTable
from bqgate.ledger import account_spend, bookings, queries, shadow_decision_queries, spend_queries
from bqgate.ledger.connections import TIMEOUT_S, Connections
from bqgate.ledger.migrate import check_revision, migrate
from bqgate.ledger.page_token import write_page_token
from bqgate.ledger.rows import entry_of, from_micros, hold_of, shadow_decision_row_of, spend_table_of, to_micros
from bqgate.ledger.writer import GroupCommit
from bqgate.ledger.writes import (
    AttachJob,
    Book,
    CloseHold,
    KeepPrices,
    OpenHold,
    RecordBreakerEvent,
    Write,
    Writes,
    prices_id_of,
)
from bqgate.ports import Clock

# At a few thousand writes a second a full queue is about a second's work: whoever comes later would wait in vain.
WAITING_MAX = 4_096


class SqlLedger:
    """The ledger in a database. Any number of them, in any number of processes, may share it.

    Args:
        connections: to a database whose tables are of this version; `open` sees to that.
        clock: says when a hold ended.
        timeout_s: the longest a call may take.
        waiting_max: how many writes may wait for the one that is under way.
    """

    def __init__(
        self, connections: Connections, clock: Clock, *, timeout_s: float = TIMEOUT_S, waiting_max: int = WAITING_MAX
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._writes = Writes(connections.dialect)
        # Those that holds may name, and the ids of those that are written.
        self._price_lists: dict[str, PriceList] = {}
        self._written_prices: set[str] = set()
        self._writer = GroupCommit[Write, Booking | None](self._write_all, timeout_s=timeout_s, waiting_max=waiting_max)

    @classmethod
    async def open(
        cls, url: str, clock: Clock, *, timeout_s: float = TIMEOUT_S, waiting_max: int = WAITING_MAX
    ) -> Self:
        """Connect. SQLite's tables are made or upgraded; PostgreSQL's must be (`bqgate migrate`).

        Raises:
            LedgerUnavailable: no connection, or PostgreSQL's tables are of another version.
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        connections = Connections(url, timeout_s=timeout_s)
        if connections.dialect == "sqlite":
            await migrate(url)
        else:
            await check_revision(url, timeout_s=timeout_s)
        return cls(connections, clock, timeout_s=timeout_s, waiting_max=waiting_max)

    def register_prices(self, prices: PriceList) -> None:
        """Know a price list that holds and entries will name: it is written with the first, in its transaction."""
        if prices.id not in self._price_lists:
            self._price_lists[prices.id] = prices

    async def fetch_prices(self, prices_id: str) -> PriceList | None:
        """A price list that a hold or an entry named; None: there is none of this id."""
        rows = await self._rows(queries.price_list(prices_id))
        return PriceList.from_document(rows[0].document) if rows else None

    async def open_hold(self, hold: Hold) -> None:
        """Record a hold as open, on disk, unless its id is known: one that ended is never opened again.

        Raises:
            LedgerUnavailable: not recorded, or unknown.
        """
        await self._writer.submit(OpenHold(hold))

    async def attach_job(self, hold_id: str, job: JobRef) -> None:
        """Note which job runs under a hold; nothing changes where it is not open. A later note replaces an earlier.

        Raises:
            LedgerUnavailable: not recorded, or unknown.
        """
        await self._writer.submit(AttachJob(hold_id, job))

    async def book(self, entry: Entry) -> Booking:
        """Write an entry and end its hold in one transaction.

        A charge leaves the hold captured, anything else void. Where another hold's entry covers the job, no entry is
        written and the hold is void. An entry without a hold is unique by its id.

        Raises:
            LedgerUnavailable: not booked, or unknown; book again.
        """
        booking = await self._writer.submit(Book(entry, ended_at=self._clock.now()))
        assert booking is not None, "a Book has a Booking"
        return booking

    async def close_hold(self, hold_id: str) -> None:
        """End an open hold without an entry; nothing changes where it is not open.

        Raises:
            LedgerUnavailable: not closed, or unknown.
        """
        await self._writer.submit(CloseHold(hold_id, ended_at=self._clock.now()))

    async def record_breaker_event(self, event: BreakerEvent) -> None:
        """Remember a grace's start, or what became of a breaker.

        Raises:
            LedgerUnavailable: not recorded, or unknown.
        """
        await self._writer.submit(RecordBreakerEvent(event))

    async def fetch_open_hold(self, hold_id: str) -> Hold | None:
        """A hold that is open; None: unknown, or ended."""
        rows = await self._rows(queries.open_hold(hold_id))
        return hold_of(rows[0]) if rows else None

    async def find_open_hold(self, job: JobRef) -> Hold | None:
        """The open hold that names a job."""
        rows = await self._rows(queries.open_holds_of_job(job))
        return hold_of(rows[0]) if rows else None

    async def is_booked_already(self, hold: Hold, *, key_prefix: str, since: datetime) -> bool:
        """Whether another hold of the same request was booked; see ports.Ledger."""
        return bool(await self._rows(queries.charges_of_repeats(hold, key_prefix, since)))

    async def fetch_entry(self, hold_id: str) -> Entry | None:
        """The entry that ended a hold, None where there is none."""
        rows = await self._rows(queries.entry_of_hold(hold_id))
        return entry_of(rows[0]) if rows else None

    async def find_booked(
        self, *, jobs: Sequence[JobRef] = (), hold_ids: Sequence[str] = (), charge_ids: Sequence[str] = ()
    ) -> tuple[BookedCharge, ...]:
        """Charges of these jobs, holds and ids, each with what has corrected it."""
        return await bookings.find_booked(self._rows, jobs, hold_ids, charge_ids)

    async def fetch_holds(self, hold_ids: Sequence[str]) -> tuple[RecordedHold, ...]:
        """Holds by their ids, ended or not, as far as they are known."""
        return await bookings.fetch_holds(self._rows, hold_ids)

    async def fetch_entries(self, wanted: EntryFilter) -> EntryPage:
        """Entries newest first, a page at a time.

        Raises:
            LedgerUnavailable: the database did not answer.
            MalformedRequest: the page token is not one of ours, or the page has no size.
        """
        if wanted.page_size < 1:
            raise MalformedRequest("A page has at least one entry.", field="page_size")
        found = tuple(entry_of(row) for row in await self._rows(queries.entries_page(wanted)))
        if len(found) <= wanted.page_size:
            return EntryPage(entries=found, next_page_token=None)
        last = found[wanted.page_size - 1]
        return EntryPage(
            entries=found[: wanted.page_size], next_page_token=write_page_token(to_micros(last.booked_at), last.id)
        )

    async def find_entries(self, wanted: EntryLookup) -> tuple[Entry, ...]:
        """Entries of one job or one decision, oldest first, 100 at most."""
        found = (entry_of(row) for row in await self._rows(queries.entries_of(wanted)))
        return tuple(sorted(found, key=lambda entry: (entry.booked_at, entry.id)))

    async def fetch_spending(self, wanted: SpendQuery) -> SpendTable:
        """Spend by period, customer and group, latest and most expensive first, with the totals of all rows."""
        return spend_table_of(await self._rows(spend_queries.spend_over_time(wanted)))

    async def fetch_costs(self, *, since: datetime, customer: str | None = None) -> tuple[CostRow, ...]:
        """Spend booked at a moment or later, by customer, principal and origin, most expensive first."""
        return tuple(
            CostRow(
                customer=row.customer,
                principal=row.principal,
                origin=Origin(row.origin),
                cost_nanos=int(row.cost_nanos),
                bytes_billed=int(row.bytes_billed),
                slot_ms=int(row.slot_ms),
                job_count=int(row.job_count),
            )
            for row in await self._rows(queries.costs_since(since, customer))
        )

    async def fetch_swept_until(self) -> datetime | None:
        """Up to which moment the sweep has looked everywhere; None: it never has."""
        micros = (await self._rows(queries.oldest_sweep_mark()))[0].swept_until
        return None if micros is None else from_micros(micros)

    async def fetch_shadow_decisions(
        self, *, since: datetime, until: datetime, customer: str | None = None
    ) -> tuple[ShadowDecisionRow, ...]:
        """Charges of a span of time by what enforcing would have done; see ports.ShadowDecisionSource."""
        rows = await self._rows(shadow_decision_queries.shadow_decisions_between(since, until, customer))
        return tuple(shadow_decision_row_of(row) for row in rows)

    async def fetch_most_expensive_rejections(
        self, *, since: datetime, until: datetime, customer: str | None = None, count: int = 10
    ) -> tuple[Entry, ...]:
        """The most expensive charges that enforcing would have refused."""
        rows = await self._rows(shadow_decision_queries.most_expensive_rejections(since, until, customer, count))
        return tuple(entry_of(row) for row in rows)

    async def fetch_spend(self, windows: Sequence[Window]) -> CustomerSpend:
        """Booked spend of each window, all of one moment; then what is remembered of grace and breaker."""
        return await account_spend.fetch_spend(self._rows, windows)

    async def fetch_spend_of_each(self, window: Window) -> Mapping[str, int]:
        """Booked spend of each principal, project or workload in a window, of whoever has any."""
        return {row.value: int(row.cost_nanos) for row in await self._rows(queries.spend_of_each(window))}

    async def fetch_adjusted(self, windows: Sequence[Window]) -> Mapping[WindowId, int]:
        """What adjustments come to in each window, all of one moment."""
        return await account_spend.fetch_adjusted(self._rows, windows)

    async def fetch_open_holds(self, customer: str | None = None) -> tuple[Hold, ...]:
        """Holds that have not ended, oldest first, with the job that was attached."""
        return tuple(hold_of(row) for row in await self._rows(queries.open_holds(customer)))

    async def fetch_slot_history(self, customer: str) -> SlotHistory:
        """Slots and bytes of the customer's last 1,000 jobs that ran: done or stopped, not from the cache."""
        row = (await self._rows(queries.slot_history_of(customer)))[0]
        return SlotHistory(slot_ms=int(row.slot_ms), bytes_processed=int(row.bytes_processed))

    async def check(self) -> None:
        """Ask through the writer, the way a hold goes: a full queue, a lost disk or a standby is noticed.

        Raises:
            LedgerUnavailable: it can not be written.
        """
        await self._writer.submit(CloseHold("", ended_at=self._clock.now()))

    async def close(self) -> None:
        """Finish the writes that wait, refuse new ones, give back connections."""
        await self._writer.close()
        await self._connections.close()

    async def _write_all(self, writes: Sequence[Write]) -> list[Booking | None]:
        async def apply(connection: AsyncConnection) -> list[Booking | None]:
            return (await self._writes.apply(connection, [*new, *writes]))[len(new) :]

        named = {prices_id_of(write) for write in writes} - self._written_prices
        wanted = [prices for each, prices in self._price_lists.items() if each in named]
        new = [KeepPrices(prices, self._clock.now()) for prices in wanted]
        results = await self._connections.write(apply)
        self._written_prices.update(each.prices.id for each in new)
        return results

    async def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return await self._connections.fetch_rows(statement)
