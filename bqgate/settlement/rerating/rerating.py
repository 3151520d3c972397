"""Go through the charges of a span of time and bring each to what it costs by other prices.

Used by the command line; calls the Ledger, and BigQuery through repricing.py. An adjustment bears the charge's next id,
so that of any number who correct what they have all read one wins and the others look again: twice, by two people at
once, broken off and begun anew, each charge ends at the last prices, exactly. Budgets follow the ledger by reconcile.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bqgate.domain.booking_check import BookingState
from bqgate.domain.entry import BookedCharge, Booking, EntryFilter, EntryKind
from bqgate.domain.hold import RecordedHold
from bqgate.domain.pricing import PriceList
from bqgate.ports import BigQuery, Clock, Ledger
from bqgate.settlement.held_prices import HeldPrices
from bqgate.settlement.rerating.report import LeftOut, RerateReport
from bqgate.settlement.rerating.repricing import Repricing
from bqgate.settlement.sweep.entries import adjustment_entry

# The reason that an adjustment bears.
RERATED = "rerate"
_PAGE = 500
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Span:
    """Charges booked at `since` or later and before `until`; of one customer, or of all."""

    since: datetime
    until: datetime
    customer: str | None = None


class Rerating:
    """Prices charges again by one price list."""

    def __init__(
        self, *, ledger: Ledger, bigquery: BigQuery, known_prices: HeldPrices, prices: PriceList, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._repricing = Repricing(bigquery=bigquery, known_prices=known_prices, prices=prices)
        self._prices = prices
        self._clock = clock

    async def look(self, span: Span, on_page: Callable[[datetime], None] | None = None) -> RerateReport:
        """What would change. `on_page` hears how far back it has come, from the end of the span to its beginning.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        return await self._go(span, on_page, books=False)

    async def book(self, span: Span, on_page: Callable[[datetime], None] | None = None) -> RerateReport:
        """Write the adjustments; what was changed.

        Raises:
            LedgerUnavailable: not all are written. Call again; what is written is not written twice.
        """
        self._ledger.register_prices(self._prices)
        return await self._go(span, on_page, books=True)

    async def _go(self, span: Span, on_page: Callable[[datetime], None] | None, *, books: bool) -> RerateReport:
        report = RerateReport()
        wanted = EntryFilter(
            customer=span.customer, since=span.since, until=span.until, kind=EntryKind.CHARGE, page_size=_PAGE
        )
        while True:
            page = await self._ledger.fetch_entries(wanted)
            ids = [entry.id for entry in page.entries]
            charges = await self._ledger.find_booked(charge_ids=ids) if ids else ()
            holds = await self._holds_of(charges)

            # A page at once: what is written together is one transaction.
            await asyncio.gather(
                *(self._one(booked, holds.get(booked.charge.hold_id or ""), report, books=books) for booked in charges)
            )
            if on_page is not None and page.entries:
                on_page(page.entries[-1].booked_at)
            if page.next_page_token is None:
                return report
            wanted = replace(wanted, page_token=page.next_page_token)

    async def _holds_of(self, charges: Sequence[BookedCharge]) -> dict[str, RecordedHold]:
        ids = [each.charge.hold_id for each in charges if each.charge.hold_id is not None]
        return {each.hold.id: each for each in await self._ledger.fetch_holds(ids)}

    async def _one(self, booked: BookedCharge, hold: RecordedHold | None, report: RerateReport, *, books: bool) -> None:
        """One charge. Where somebody else corrects it first, it is read and priced again."""
        customer = booked.charge.customer
        for _ in range(_TRIES):
            before_nanos = booked.cost_nanos
            found = await self._repricing.reprice(booked, hold)
            if isinstance(found, LeftOut):
                report.add(customer, before_nanos=before_nanos, after_nanos=before_nanos, left_out=found)
                return
            report.asked_count += found.was_asked
            assert found.job.usage is not None, "only what has ended is priced"
            assert found.check.due is not None, "what is priced has a cost"
            after_nanos = found.check.due.cost_nanos
            if found.check.state is BookingState.AGREES or not books:
                report.add(customer, before_nanos=before_nanos, after_nanos=after_nanos)
                return
            entry = adjustment_entry(
                booked, found.job, found.job.usage, found.check, prices_id=self._prices.id, now=self._clock.now()
            )
            if await self._ledger.book(replace(entry, reason=RERATED)) is Booking.BOOKED:
                report.add(customer, before_nanos=before_nanos, after_nanos=after_nanos)
                return
            (booked,) = await self._ledger.find_booked(charge_ids=[booked.charge.id])
        before_nanos = booked.cost_nanos
        report.add(customer, before_nanos=before_nanos, after_nanos=before_nanos, left_out=LeftOut.CONTENDED)
