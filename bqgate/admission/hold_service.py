"""Place holds on the budgets, record them in the ledger, and keep their leases while their queries are under way.

Called by admit.py; gate/holds.py says when a query is no longer under way. While both stores answer, a hold takes two
calls. While one is away, domain/degradation.py decides by the customer's mode: refuse (the port's error leaves, with
nothing held) or go on, bounded by the allowance where the table says so.

From placement until its query has left this gate, `run` extends a hold's lease every second, by which other gates see
that the query may yet be sent, and puts the hold back where the store lost it; also one whose query has left, as long
as other gates cannot read its record. Holds that the ledger does not know are recorded as soon as it answers; that list
is bounded, and no query goes on without the ledger once it is full.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from bqgate.admission.allowance import Allowance
from bqgate.domain.budget import Window
from bqgate.domain.cost_breaker import NO_GRACE, GracePolicy
from bqgate.domain.degradation import Degradation, System
from bqgate.domain.errors import AttemptEnded, AttemptUnderWay, BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import LEASE_S, Hold, Placement, PlacementOutcome
from bqgate.domain.tier import Customer
from bqgate.ports import BudgetStore, Clock, Ledger, Telemetry

UNRECORDED_MAX = 1_000
# How often leases are extended: a fraction of a lease, and for how long a wiped store may lack a hold.
KEEP_EVERY_S = 1.0
# For how long a hold is kept once its query is answered: a store that fails over may lose its last second.
_LINGER_S = 10.0
_KEPT_AT_ONCE = 500
# While the ledger's database is away, holds that have ended are kept up to so many.
_KEPT_MAX = 20_000


class HoldService:
    """Places, records and keeps holds, and decides what to do while a store is away."""

    def __init__(
        self,
        *,
        budgets: BudgetStore,
        ledger: Ledger,
        under_way: dict[str, Hold],
        degradation: Degradation,
        allowance: Allowance,
        clock: Clock,
        telemetry: Telemetry,
        lease_s: float = LEASE_S,
    ) -> None:
        """Take the ports. `under_way` is filled with the holds under way at this gate, for a store that is refilled."""
        self._budgets = budgets
        self._ledger = ledger
        self._degradation = degradation
        self._allowance = allowance
        self._clock = clock
        self._telemetry = telemetry
        self._unrecorded: OrderedDict[str, Hold] = OrderedDict()
        self._under_way = under_way
        self._lingering: dict[str, float] = {}  # until when a hold is kept whose query is answered
        self._recorded: dict[str, int] = {}  # by which mark of the ledger's each is recorded
        self._lease_s = lease_s
        self._alive_at_s = clock.monotonic_s()
        self._lapsed: set[str] = set()

    async def place(
        self, hold: Hold, windows: tuple[Window, ...], customer: Customer, grace: GracePolicy = NO_GRACE
    ) -> Placement:
        """Place a hold on every budget or on none, or join the hold that it repeats.

        Raises:
            BudgetStoreUnavailable: the budgets cannot be asked, and the table says closed.
            LedgerUnavailable: a window had to be filled and the ledger did not answer.
        """
        try:
            placement = await self._budgets.place_hold(hold, windows, grace)
        except BudgetStoreUnavailable:
            if not self.may_go_on(System.BUDGETS, customer, hold.amount_nanos):
                raise
            placement = Placement(PlacementOutcome.PLACED, hold.id, balances=(), is_degraded=True)
        if placement.outcome is PlacementOutcome.PLACED:
            self._note_standstill()
            self._keep(hold, leased_at=hold.placed_at)
        elif placement.outcome is PlacementOutcome.REPLAYED and hold.is_joined_by_repeats:
            self._note_standstill()
            if not self._is_over(hold.placed_at):  # found open, and leased anew by this call
                self._lapsed.discard(placement.hold_id or "")
        return placement

    async def record(self, hold: Hold, placement: Placement, customer: Customer) -> Hold:
        """Record a placed hold before anything is forwarded: from here on a crash loses no money.

        Returns:
            the hold as it stands; of a repeat, the one that it repeats.

        Raises:
            LedgerUnavailable: it cannot be, and the table says closed.
            AttemptEnded: what it repeats has just ended.
            AttemptUnderWay: it repeats a requestId: BigQuery would run a SELECT again, and one hold covers one run.
        """
        if placement.outcome is PlacementOutcome.REPLAYED and not hold.is_joined_by_repeats:
            message = "An earlier attempt of this request is still running. Send it again when it has ended."
            raise AttemptUnderWay(message)
        leased_at = hold.placed_at
        if placement.hold_id not in {None, hold.id}:
            hold = replace(hold, id=placement.hold_id)
        try:
            if placement.outcome is PlacementOutcome.REPLAYED:
                hold = await self._record_again(hold)
            else:
                await self._ledger.open_hold(hold)
        except LedgerUnavailable:
            # The record may or may not be there; nothing was forwarded, so that giving the hold back is right in both
            # cases. Without both stores nothing would know of it.
            if placement.is_degraded or len(self._unrecorded) >= UNRECORDED_MAX:
                raise
            if not self.may_go_on(System.LEDGER, customer, hold.amount_nanos):
                raise
            self._unrecorded[hold.id] = hold
        self._recorded[hold.id] = self._ledger.mark()
        self._keep(hold, leased_at=leased_at)
        return hold

    async def give_back(self, hold: Hold, placement: Placement) -> None:
        """Undo a placement whose query is not forwarded. Where others have joined the hold, it stays.

        Raises:
            BudgetStoreUnavailable: whether it was given back is unknown; reconcile does it, no ledger knows the hold.
        """
        if placement.outcome is not PlacementOutcome.PLACED:
            return
        if self._under_way.get(hold.id) is hold:  # else a repeat has joined it here, which is still under way
            self.forget(hold.id)
        if not placement.is_degraded:
            await self._budgets.void(hold, attempts=1)

    def stay(self, hold_id: str) -> None:
        """Note that a query is under way under a hold, which another may have left since it was recorded."""
        self._lingering.pop(hold_id, None)

    def leave(self, hold_id: str) -> None:
        """Note that a hold's last query here is answered: its lease is kept a little longer."""
        if hold_id in self._under_way:
            self._lingering[hold_id] = self._clock.monotonic_s() + _LINGER_S

    def forget(self, hold_id: str) -> None:
        """Stop keeping a hold that has ended. One that the ledger does not know is kept until it does."""
        self._lingering.pop(hold_id, None)
        if hold_id in self._unrecorded:
            self._lingering[hold_id] = self._clock.monotonic_s()
        else:
            self._under_way.pop(hold_id, None)
            self._recorded.pop(hold_id, None)
            self._lapsed.discard(hold_id)

    def may_go_on(self, system: System, customer: Customer, amount_nanos: int) -> bool:
        """Whether a query of this cost runs although a system is away; takes from the allowance where there is one."""
        row = self._degradation.row(system, customer.mode)
        goes_on = row.goes_on
        if goes_on and row.takes_allowance:
            limit_nanos = self._degradation.allowance_nanos
            goes_on = self._allowance.take(customer.id, amount_nanos, limit_nanos=limit_nanos)
        conduct = self._degradation.conduct(system, customer.mode).value
        self._telemetry.count(
            "degraded_total", system=system.value, conduct=conduct, outcome="went_on" if goes_on else "refused"
        )
        return goes_on

    async def run(self) -> None:
        """Keep what is under way and record what the ledger missed, for ever."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._repeat(self.keep_alive))
            loops.create_task(self._repeat(self.record_missed))  # may take long, and leases must not wait for it

    def has_lapsed(self, hold_id: str) -> bool:
        """Whether this gate stood still for longer than a lease while it kept a hold: others may have ended it."""
        self._note_standstill()
        return hold_id in self._lapsed

    async def keep_alive(self) -> None:
        """Extend the lease of every hold that is kept, and put back what the store has lost."""
        self._note_standstill()
        now_s = self._clock.monotonic_s()
        for hold_id in [each for each, until_s in self._lingering.items() if until_s <= now_s]:
            if self._is_written(hold_id):
                self.forget(hold_id)
        kept = tuple(self._under_way.values())
        for start in range(0, len(kept), _KEPT_AT_ONCE):
            try:
                restored = await self._budgets.keep_holds(kept[start : start + _KEPT_AT_ONCE])
            except BudgetStoreUnavailable:
                self._telemetry.count("failures_total", system="budgets", step="keep")
                return
            if restored:
                self._telemetry.count("holds_total", len(restored), event="restored")

    async def record_missed(self) -> None:
        """Record what the ledger missed, oldest first, until it fails again. Twice changes nothing.

        What failed comes last the next time: one that cannot be written keeps back none of the others.
        """
        for hold_id, hold in list(self._unrecorded.items()):
            try:
                if await self._ledger.fetch_entry(hold_id) is None:  # its job may have ended and been booked first
                    await self._ledger.open_hold(hold)
            except LedgerUnavailable:
                self._unrecorded.move_to_end(hold_id)
                return
            del self._unrecorded[hold_id]

    def _keep(self, hold: Hold, *, leased_at: datetime) -> None:
        """Keep a hold that an attempt has leased. Where that lease is over by now, others may have ended it."""
        if hold.id not in self._under_way and self._is_over(leased_at):
            self._lapsed.add(hold.id)
        self.stay(hold.id)
        self._under_way[hold.id] = hold

    def _is_written(self, hold_id: str) -> bool:
        """Whether other gates can read a hold in the ledger; it need not be kept for them."""
        return self._ledger.is_written(self._recorded.get(hold_id, 0)) or len(self._under_way) > _KEPT_MAX

    def _is_over(self, leased_at: datetime) -> bool:
        """Whether a lease that was taken then has run out."""
        return self._clock.now() - leased_at >= timedelta(seconds=self._lease_s)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await step()
            await self._clock.sleep(KEEP_EVERY_S)

    def _note_standstill(self) -> None:
        """Mark what was under way when this process was stopped, or its machine, until the leases were over."""
        now_s = self._clock.monotonic_s()
        if now_s - self._alive_at_s >= self._lease_s:
            self._lapsed |= self._under_way.keys()
        self._alive_at_s = now_s

    async def _record_again(self, hold: Hold) -> Hold:
        """A repeat's hold, which its first attempt may not have recorded yet, and may fail to."""
        try:
            recorded = await self._ledger.fetch_open_hold(hold.id)
        except LedgerUnavailable:
            own = self._under_way.get(hold.id)
            if own is None or hold.id in self._lingering:
                raise
            return own  # recorded here, and its first attempt is under way
        if recorded is None:
            await self._ledger.open_hold(hold)
            recorded = await self._ledger.fetch_open_hold(hold.id)
        if recorded is None:
            await self._end_as_recorded(hold)
            raise AttemptEnded("The attempt that this request repeats has just ended. Send it again.")
        # The ledger does not say which budgets it falls under; whose query it is says so.
        return replace(recorded, scopes=hold.scopes) if recorded.spender == hold.spender else recorded

    async def _end_as_recorded(self, hold: Hold) -> None:
        """End in the budgets what the ledger has ended, where they missed it: else its repeats would keep it alive."""
        try:
            entry = await self._ledger.fetch_entry(hold.id)
            await self._budgets.capture(hold, 0 if entry is None else entry.cost_nanos)
        except LedgerUnavailable:
            self._telemetry.count("failures_total", system="ledger", step="repeat")
        except BudgetStoreUnavailable:
            self._telemetry.count("failures_total", system="budgets", step="repeat")
