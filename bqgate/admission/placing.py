"""Place a hold on the budgets and record it in the ledger, or carry on without one of them (steps 5 and 7).

Called by admit. While both answer this is two calls. While one is away domain.degradation says what happens for the
customer's mode: refuse (the port's error leaves, with nothing held), or go on, bounded by the allowance where the table
says so. What leaves: a Placement whose hold is covered by a record, by the budgets, or by both.

A hold that the budgets do not know is in the ledger: they learn it when their windows are filled anew, or from
reconcile. A hold that the ledger does not know is written down by `keep_recording` as soon as it answers; that list is
bounded, and full it is closed.
"""

from collections import OrderedDict
from dataclasses import dataclass

from bqgate.admission.allowance import Allowance
from bqgate.domain.budget import Window
from bqgate.domain.degradation import Degradation, System
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import Hold, Placement, PlacementOutcome
from bqgate.domain.tier import Customer
from bqgate.ports import BudgetStore, Clock, Journal, Ledger

UNRECORDED_MAX = 1_000
_RECORD_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of an attempt. `is_degraded`: the budgets were not asked."""

    placement: Placement
    is_degraded: bool = False


class Placing:
    """The two stores, and what to do without one."""

    def __init__(
        self,
        *,
        budgets: BudgetStore,
        ledger: Ledger,
        degradation: Degradation,
        allowance: Allowance,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._budgets = budgets
        self._ledger = ledger
        self._degradation = degradation
        self._allowance = allowance
        self._clock = clock
        self._journal = journal
        self._unrecorded: OrderedDict[str, Hold] = OrderedDict()

    async def place(self, hold: Hold, windows: tuple[Window, ...], customer: Customer) -> Placed:
        """Place a hold on every budget, or on none.

        Raises:
            BudgetStoreUnavailable: the budgets cannot be asked, and the table says closed.
            LedgerUnavailable: a window had to be filled and the ledger did not answer.
        """
        try:
            return Placed(await self._budgets.place_hold(hold, windows, customer.terms_at(hold.placed_at)))
        except BudgetStoreUnavailable:
            if not self.may_go_on(System.BUDGETS, customer, hold.amount_nanos):
                raise
        return Placed(Placement(PlacementOutcome.PLACED, hold.id, balances=()), is_degraded=True)

    async def record(self, hold: Hold, customer: Customer, *, is_degraded: bool) -> None:
        """Write a placed hold down before anything is forwarded: after this a crash loses no money.

        Raises:
            LedgerUnavailable: it cannot be, and the table says closed; the hold was given back.
        """
        try:
            await self._ledger.open_hold(hold)
        except LedgerUnavailable:
            # The record may or may not be there; a later void is right in both cases, nothing was forwarded.
            if is_degraded or len(self._unrecorded) >= UNRECORDED_MAX:
                may_go_on = False  # without both nothing would know of the hold
            else:
                may_go_on = self.may_go_on(System.LEDGER, customer, hold.amount_nanos)
            if not may_go_on:
                await self._give_back(hold, is_degraded=is_degraded)
                raise
            self._unrecorded[hold.id] = hold

    def may_go_on(self, system: System, customer: Customer, amount_nanos: int) -> bool:
        """Whether a query of this cost runs although a system is away; takes the allowance where one is meant."""
        row = self._degradation.row(system, customer.mode)
        goes_on = row.goes_on
        if goes_on and row.takes_allowance:
            limit_nanos = self._degradation.allowance_nanos
            goes_on = self._allowance.take(customer.id, amount_nanos, limit_nanos=limit_nanos)
        conduct = self._degradation.conduct(system, customer.mode).value
        self._journal.count(
            "degraded_total", system=system.value, conduct=conduct, outcome="went_on" if goes_on else "refused"
        )
        return goes_on

    async def keep_recording(self) -> None:
        """Write down what the ledger missed, for ever."""
        while True:
            await self.record_missed()
            await self._clock.sleep(_RECORD_AGAIN_S)

    async def record_missed(self) -> None:
        """Write down what the ledger missed, oldest first, until it fails again. Twice changes nothing."""
        for hold_id, hold in list(self._unrecorded.items()):
            try:
                if await self._ledger.fetch_entry(hold_id) is None:  # its job may have ended and been booked first
                    await self._ledger.open_hold(hold)
            except LedgerUnavailable:
                return
            del self._unrecorded[hold_id]

    async def _give_back(self, hold: Hold, *, is_degraded: bool) -> None:
        if not is_degraded:
            await self._budgets.void(hold)
