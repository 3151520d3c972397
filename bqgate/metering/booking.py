"""Book measured costs, each once, and correct those that are measured otherwise by now.

Called by metering.py with all that a metric measured at a place; calls the ledger. Entries are never edited: a
difference is an adjustment, whose id two gates that measure at once have in common. Budgets learn from the ledger: the
windows of those who pay are dropped, and their next use fills them.
"""

import asyncio
from collections.abc import Sequence

from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.entry import Booking, Entry, EntryKind
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.place import Place
from bqgate.domain.tier import Mode
from bqgate.metering.entries import adjustment_of, charge_of
from bqgate.ports import BudgetStore, Clock, Ledger, PolicySource, Telemetry
from bqgate.ports.cost_metrics import MeteredCost

# Written as few transactions.
_AT_ONCE = 50


class MeteredBooking:
    """Books what metrics measure."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        policies: PolicySource,
        clock: Clock,
        telemetry: Telemetry,
        is_open: bool,
    ) -> None:
        """Take the ports. `is_open`: every caller is trusted, so that a project may be called like its customer."""
        self._ledger = ledger
        self._budgets = budgets
        self._policies = policies
        self._clock = clock
        self._telemetry = telemetry
        self._is_open = is_open

    async def book(self, metric: str, place: Place, costs: Sequence[MeteredCost], *, counts: bool) -> None:
        """Book what is new, and what differs. Nothing for a customer whose mode is off.

        Raises:
            LedgerUnavailable: not all is booked; measure again.
        """
        registry = self._policies.customer_registry
        customer = registry.customer(registry.payer_of(place.project_id, is_open=self._is_open))
        if customer.mode is Mode.OFF:
            return
        now = self._clock.now()
        charges = [
            charge_of(cost, metric=metric, place=place, customer=customer, now=now, counts=counts) for cost in costs
        ]
        due = await self._due(charges)
        booked: list[Entry] = []
        try:
            for start in range(0, len(due), _AT_ONCE):
                await self._book_some(due[start : start + _AT_ONCE], booked)
        finally:  # of what is booked by then nobody else tells
            for entry in booked:
                self._report(metric, entry)
            await self._tell_budgets({entry.customer for entry in booked if entry.window_keys})

    async def _book_some(self, entries: Sequence[Entry], booked: list[Entry]) -> None:
        """Write entries; those that are new go to `booked`, also where one beside them fails."""
        ends = await asyncio.gather(*(self._ledger.book(entry) for entry in entries), return_exceptions=True)
        booked += [entry for entry, end in zip(entries, ends, strict=True) if end is Booking.BOOKED]
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _due(self, charges: Sequence[Entry]) -> list[Entry]:
        """What is to be written for these charges: nothing for those that are booked as they are."""
        known = {
            each.charge.id: each
            for each in await self._ledger.find_booked(charge_ids=[charge.id for charge in charges])
        }
        due: list[Entry] = []
        for charge in charges:
            booked = known.get(charge.id)
            if booked is None and charge.cost_nanos:
                due.append(charge)
            elif booked is not None and booked.cost_nanos != charge.cost_nanos:
                due.append(adjustment_of(booked, charge))
        return due

    def _report(self, metric: str, entry: Entry) -> None:
        if entry.kind is EntryKind.CHARGE:
            self._telemetry.count("metered_nanos_total", entry.cost_nanos, metric=metric, customer=entry.customer)
            return
        way = "up" if entry.cost_nanos > 0 else "down"
        self._telemetry.count("metered_adjusted_nanos_total", abs(entry.cost_nanos), metric=metric, way=way)

    async def _tell_budgets(self, customers: set[str]) -> None:
        """Have the windows filled anew of those for whom something counts. Where the store is away, reconcile does."""
        try:
            for account in sorted(customers) + ([DEPLOYMENT_ACCOUNT] if customers else []):
                await self._budgets.forget_windows(account)
        except BudgetStoreUnavailable:
            self._telemetry.count("failures_total", system="budgets", step="metering")
