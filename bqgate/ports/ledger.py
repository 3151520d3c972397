"""Say where money is remembered: the ledger, which is the truth about it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from bqgate.domain.budget import Window, WindowId
from bqgate.domain.cost_breaker import BreakerEvent
from bqgate.domain.entry import BookedCharge, Booking, CostRow, Entry, EntryFilter, EntryLookup, EntryPage
from bqgate.domain.hold import Hold, RecordedHold
from bqgate.domain.job import JobRef
from bqgate.domain.pricing import PriceList, SlotHistory
from bqgate.domain.spend import SpendQuery, SpendTable
from bqgate.ports.budgets import SpendSource


class LedgerReports(Protocol):
    """What people look at. It decides nothing about money, so that it may come from a replica, some seconds late."""

    async def fetch_entries(self, wanted: EntryFilter) -> EntryPage:
        """Entries newest first, a page at a time.

        Raises:
            LedgerUnavailable: the database did not answer.
            MalformedRequest: the page token is not one of ours.
        """

    async def fetch_spending(self, wanted: SpendQuery) -> SpendTable:
        """Spend by period, customer and group, latest and most expensive first, with the totals of all rows.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_costs(self, *, since: datetime, customer: str | None = None) -> tuple[CostRow, ...]:
        """Spend booked since a moment, by customer, principal and origin, most expensive first.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_swept_until(self) -> datetime | None:
        """Up to which moment of their making the sweep has looked at all jobs of every project; None: it never has.

        Raises:
            LedgerUnavailable: the database did not answer.
        """


class Ledger(SpendSource, LedgerReports, Protocol):
    """The truth about money: open holds and booked entries. What it has answered for survives a crash."""

    def mark(self) -> int:
        """Mark this moment: once `is_written(mark)`, whoever shares the ledger can read what was recorded before."""

    def is_written(self, mark: int) -> bool:
        """Whether all that was recorded before a mark can be read by whoever shares the ledger."""

    def register_prices(self, prices: PriceList) -> None:
        """Know a price list before a hold or an entry names it; it is written with the first of them."""

    async def fetch_prices(self, prices_id: str) -> PriceList | None:
        """A price list that a hold or an entry named, None where there is none of this id.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def open_hold(self, hold: Hold) -> None:
        """Record a hold as open, before its query is forwarded. Again with the same id: nothing changes.

        Raises:
            LedgerUnavailable: not recorded, or unknown.
        """

    async def attach_job(self, hold_id: str, job: JobRef) -> None:
        """Note which job runs under an open hold.

        Raises:
            LedgerUnavailable: not recorded, or unknown.
        """

    async def book(self, entry: Entry) -> Booking:
        """Write an entry and end its hold, in one transaction. Unique by hold, and by job for charges.

        What it says is written where all can read it; a refusal is recorded as open_hold does.

        Raises:
            LedgerUnavailable: not booked, or unknown; book again.
        """

    async def close_hold(self, hold_id: str) -> None:
        """End an open hold without an entry: its query was never run. Again: nothing changes.

        Raises:
            LedgerUnavailable: not closed, or unknown.
        """

    async def record_breaker_event(self, event: BreakerEvent) -> None:
        """Remember that a grace began, or a cost breaker tripped, closed or was reset. Twice is as good as once.

        Raises:
            LedgerUnavailable: not recorded, or unknown; record it again.
        """

    async def fetch_open_hold(self, hold_id: str) -> Hold | None:
        """A hold that is recorded open; None: it is not known, or has ended.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def find_open_hold(self, job: JobRef) -> Hold | None:
        """The open hold under which a job is known to run; a location that either does not say fits any.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def is_booked_already(self, hold: Hold, *, key_prefix: str, since: datetime) -> bool:
        """Whether another hold of the same customer and query, whose idempotency key begins so, was booked since.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_entry(self, hold_id: str) -> Entry | None:
        """The entry that ended a hold, None where there is none.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def find_booked(
        self, *, jobs: Sequence[JobRef] = (), hold_ids: Sequence[str] = (), charge_ids: Sequence[str] = ()
    ) -> tuple[BookedCharge, ...]:
        """Charges of these jobs, those that ended these holds, and those of these ids, each once, with adjustments.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_holds(self, hold_ids: Sequence[str]) -> tuple[RecordedHold, ...]:
        """Holds by their ids, ended or not, as far as they are known.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def find_entries(self, wanted: EntryLookup) -> tuple[Entry, ...]:
        """Entries of one job or one decision, oldest first.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_spend_of_each(self, window: Window) -> Mapping[str, int]:
        """Booked spend in the window of a budget of each principal, project or workload, of whoever has any.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_adjusted(self, windows: Sequence[Window]) -> Mapping[WindowId, int]:
        """What adjustments come to in each of an account's windows, all of one moment.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_slot_history(self, customer: str) -> SlotHistory:
        """What the customer's last jobs used (at most 1,000 of them, cached and failed ones left out).

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def check(self) -> None:
        """Return when the ledger can be written.

        Raises:
            LedgerUnavailable: it can not.
        """

    async def close(self) -> None:
        """Finish what is under way and give back connections."""
