"""Book what a hold's job cost, then end the hold in the budgets: one try, safe to repeat.

Called by the poller, by deletion.py and by an admin's void; calls the Ledger and the BudgetStore. The ledger decides
who was first (invariant 4), so several gates may settle one hold at once. A cost is booked before it is captured: a
crash in between leaves the hold standing, never money missing. A hold that cost nothing is ended by the budget store
first, which alone knows whether a repeat has joined it; a crash then leaves it open in the ledger, and reconcile has
BigQuery asked. Amounts are nano-dollars.
"""

from collections.abc import Callable

from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.decision import PROBE
from bqgate.domain.entry import Booking, Entry, EntryKind, Origin
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import Hold, VoidOutcome
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.pricing import CostUnknown, PriceList
from bqgate.domain.tier import GATE_ITSELF
from bqgate.ports import BudgetStore, Clock, Ledger, PolicySource, Telemetry
from bqgate.ports.ids import new_id
from bqgate.settlement.held_prices import HeldPrices


class Settlement:
    """Prices usage, books it, ends holds.

    `on_usage` is called with customer and usage of each job booked for the first time, `on_end` with each hold before
    it ends, `on_ended` once the ledger has its end; `on_failure` with each hold whose job has failed and billed
    nothing.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        policies: PolicySource,
        clock: Clock,
        telemetry: Telemetry,
        on_usage: Callable[[str, Usage], None] | None = None,
        on_end: Callable[[Hold], None] | None = None,
        on_ended: Callable[[Hold], None] | None = None,
        on_failure: Callable[[Hold], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._budgets = budgets
        self._policies = policies
        self._held_prices = HeldPrices(ledger, policies)
        self._clock = clock
        self._telemetry = telemetry
        self._on_usage = on_usage
        self._on_end = on_end
        self._on_ended = on_ended
        self._on_failure = on_failure

    async def settle(self, hold: Hold, usage: Usage) -> Entry | None:
        """Book the job and capture its cost. None: nothing stands for this hold, it cost nothing.

        A budget store that is away is no error: the entry is written, and reconcile captures the hold later.

        Raises:
            LedgerUnavailable: not booked, or unknown; call again.
        """
        if usage.outcome is Outcome.ASSUMED and not await self._stands(hold):
            return await self._end_as_booked(hold)  # somebody booked it meanwhile, who knew more than an assumption
        if usage.outcome is Outcome.FAILED and not usage.bytes_billed and self._on_failure is not None:
            self._on_failure(hold)
        prices = await self._held_prices.prices_of(hold)
        self._ledger.register_prices(prices)
        entry = self._entry_for(hold, usage, prices)
        self._notify_end(hold)
        booking = await self._ledger.book(entry)
        self._forget(hold)
        match booking:
            case Booking.BOOKED:
                self._report(hold, entry, usage)
                await self._capture(hold, entry.cost_nanos)
                return entry
            case Booking.HOLD_ALREADY_BOOKED:
                # Whoever booked it may have crashed before the capture, and may have booked another cost (assumed).
                return await self._end_as_booked(hold)
            case Booking.JOB_ALREADY_BOOKED:
                await self._capture(hold, 0)
                return None

    async def void(self, hold: Hold, *, attempts: int | None) -> bool:
        """End a hold whose query never ran. False: it stands, because more attempts at it are known to the store.

        Args:
            hold: the hold.
            attempts: how many there were, as far as the caller can answer for all of them; None: an admin says so.

        Raises:
            BudgetStoreUnavailable: nobody can say whether others have joined; call again.
            LedgerUnavailable: not closed, or unknown; call again.
        """
        outcome = await self._budgets.void(hold, attempts=attempts)
        if outcome is VoidOutcome.JOINED or (outcome is VoidOutcome.UNKNOWN and attempts is not None):
            return False
        self._notify_end(hold)
        self._forget(hold)
        await self._ledger.close_hold(hold.id)
        if outcome is VoidOutcome.VOIDED:
            await self._note_end(hold, "voided")
        return True

    async def remember_probe(self, hold: Hold) -> None:
        """Record what the end of a probe did to the customer's cost breaker, for a store that loses its memory."""
        windows = self._policies.customer_registry.customer(hold.customer).windows(hold.placed_at)
        try:
            breaker = (await self._budgets.fetch_status(windows)).breaker
            if breaker is not None and breaker.opened_at <= hold.placed_at:
                return  # voided: the next one tries
            kind = BreakerEventKind.CLOSED if breaker is None else BreakerEventKind.TRIPPED
            await self._ledger.record_breaker_event(
                BreakerEvent(
                    hold.customer,
                    Period.DAY,
                    hold.window_keys[Period.DAY],
                    self._clock.now() if breaker is None else breaker.opened_at,
                    kind,
                    hold.principal,
                )
            )
        except BudgetStoreUnavailable:
            self._telemetry.count("failures_total", system="budgets", step="breaker")
            return
        except LedgerUnavailable:
            self._telemetry.count("failures_total", system="ledger", step="breaker")
            return
        if breaker is not None:
            self._telemetry.count("breaker_trips_total", customer=hold.customer)
        self._telemetry.log(f"cost_breaker_{kind.value}", customer=hold.customer, hold_id=hold.id)

    def _forget(self, hold: Hold) -> None:
        if self._on_ended is not None:
            self._on_ended(hold)

    def _notify_end(self, hold: Hold) -> None:
        if self._on_end is not None:
            self._on_end(hold)

    async def _stands(self, hold: Hold) -> bool:
        """Whether nobody has ended a hold in the ledger. One that the ledger missed is recorded now: it stands, too."""
        await self._ledger.open_hold(hold)
        return await self._ledger.fetch_open_hold(hold.id) is not None

    async def _end_as_booked(self, hold: Hold) -> Entry | None:
        """End a hold in the budgets at the cost in the ledger; without an entry it cost nothing."""
        booked = await self._ledger.fetch_entry(hold.id)
        await self._capture(hold, 0 if booked is None else booked.cost_nanos)
        return booked

    async def _capture(self, hold: Hold, cost_nanos: int) -> None:
        """End a hold in the budgets that has ended in the ledger."""
        try:
            is_ended = await self._budgets.capture(hold, cost_nanos)
        except BudgetStoreUnavailable:
            self._telemetry.count("failures_total", system="budgets", step="settle")
            if hold.decision == PROBE:  # it may have ended all the same: an answer was lost, or the deployment is away
                await self.remember_probe(hold)
            return
        if is_ended:
            await self._note_end(hold, "captured" if cost_nanos else "voided")

    async def _note_end(self, hold: Hold, event: str) -> None:
        self._telemetry.count("holds_total", event=event)
        if hold.decision == PROBE:
            await self.remember_probe(hold)

    def _entry_for(self, hold: Hold, usage: Usage, prices: PriceList) -> Entry:
        cost_nanos, outcome = _cost(hold, usage, prices)
        return Entry(
            id=new_id(),
            kind=EntryKind.CHARGE,
            customer=hold.customer,
            principal=hold.principal,
            project_id=hold.project_id,
            booked_at=self._clock.now(),
            window_keys=hold.window_keys,
            outcome=outcome,
            cost_nanos=cost_nanos,
            hold_id=hold.id,
            hold_nanos=hold.amount_nanos,
            workload=hold.workload,
            job=usage.job or hold.job,
            decision=hold.decision,
            estimate_bytes=hold.estimate_bytes,
            estimate_nanos=hold.estimate_nanos,
            bytes_processed=usage.bytes_processed,
            bytes_billed=usage.bytes_billed or 0,
            slot_ms=usage.slot_ms or 0,
            statement_type=usage.statement_type or "",
            cache_hit=usage.cache_hit,
            fingerprint=hold.fingerprint,
            labels=hold.labels,
            shadow_decision=hold.shadow_decision,
            placed_at=hold.placed_at,
            origin=Origin.OWN if hold.customer == GATE_ITSELF else Origin.GATE,
            reservation=usage.ran_in,
            edition=usage.edition,
            prices_id=prices.id,
            ended_at=usage.ended_at,
        )

    def _report(self, hold: Hold, entry: Entry, usage: Usage) -> None:
        """Count and log what was booked, once for each hold."""
        self._telemetry.count("booked_nanos_total", entry.cost_nanos, customer=hold.customer)
        if entry.outcome is Outcome.ASSUMED:
            self._telemetry.count("assumed_total", customer=hold.customer)
            self._telemetry.log("cost_assumed", hold_id=hold.id, customer=hold.customer, cost_nanos=entry.cost_nanos)
        if entry.is_overrun:
            self._telemetry.count("overruns_total", customer=hold.customer)
            self._telemetry.log(
                "hold_overrun",
                hold_id=hold.id,
                customer=hold.customer,
                hold_nanos=hold.amount_nanos,
                cost_nanos=entry.cost_nanos,
            )
        if self._on_usage is not None and entry.outcome is not Outcome.ASSUMED:
            self._on_usage(hold.customer, usage)


def _cost(hold: Hold, usage: Usage, prices: PriceList) -> tuple[int, Outcome]:
    """The cost and the outcome to book. An unknown cost is the hold's amount, or more if more is known."""
    if usage.outcome is Outcome.ASSUMED:
        return hold.amount_nanos, Outcome.ASSUMED
    location = (usage.job.location if usage.job else None) or (hold.job.location if hold.job else None)
    try:
        cost_nanos = prices.cost_of(usage, location=location, priced_as=hold.priced_as)
    except CostUnknown as unknown:
        return max(hold.amount_nanos, unknown.at_least_nanos), Outcome.ASSUMED
    return cost_nanos, usage.outcome
