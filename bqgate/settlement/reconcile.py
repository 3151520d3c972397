"""Mend what crashes leave between the ledger, the budgets and BigQuery. The ledger is right.

Run by app at the start and every minute, at every gate; there is no leader. Calls the Ledger, the BudgetStore, the
poller, and settlement where it has ended a probe. An outside failure ends the round; the next one goes on. Steps:

    1  open in the ledger, not polled here,         poll it, with the account that made its job or the gate's
       no attempt under way here                    credentials
    2  polled here, has an entry in the ledger      another gate booked it: stop polling
    3  held in the budgets, not open in the ledger  has an entry: capture its cost. Else void it once it is old enough
                                                    (settlement.orphan_age_s), unless it is polled here, or its
                                                    lease runs or was extended since the last round (by a gate
                                                    whose clock is behind)
    4  open in the ledger, not held in the budgets  put it back
    5  captured differs from the ledger's sum       spend_comparison.py: those windows are dropped, and their next use
                                                    fills them from the ledger

Races, and why they are harmless:

    - Between place_hold and open_hold a hold looks like an orphan (3). Its gate keeps its lease until it is recorded,
      and the age of orphans is far longer than both take, clock differences included.
    - Two gates capture or void one hold (3), or one of them and the request that ended it: the store ends it once.
    - A hold that ends between the look and restore_hold (4): the store remembers for minutes what it ended, and
      refuses.
    - Several gates poll one job (1): the ledger books it once.
    - The budgets are read before the ledger (4): a hold that was placed and recorded in between looks lost. Putting
      back what is there changes nothing; one that the ledger has ended since is ended by (3) of the next round.
    - Two gates drop one window (5): filling sets it and adds nothing. A hold that is booked, and captured only after
      the filling, counts twice in it: refused too early, never too late, and mended by the next rounds.
    - Windows that ended lately are compared too (5): jobs end in them still, and the next may take over what they left.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.decision import PROBE
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import ENDED_ATTEMPTS, Attempts, Hold, VoidOutcome
from bqgate.ports import BudgetStore, Clock, Ledger, PolicySource, Telemetry
from bqgate.settlement.inquiry import maker_of
from bqgate.settlement.poller import Poller
from bqgate.settlement.spend_comparison import SpendComparison


class Reconciler:
    """Compares ledger and budgets, and mends holds and windows."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        poller: Poller,
        policies: PolicySource,
        clock: Clock,
        telemetry: Telemetry,
        remember_probe: Callable[[Hold], Awaitable[None]],
        under_way: Callable[[], Collection[str]] = frozenset,
        interval_s: int = 60,
        orphan_age_s: int = 60,
    ) -> None:
        """Take the ports.

        `remember_probe` records what the end of a probe did to its customer's cost breaker; `under_way` are the ids of
        holds with queries under way at this gate.
        """
        self._ledger = ledger
        self._budgets = budgets
        self._poller = poller
        self._policies = policies
        self._clock = clock
        self._telemetry = telemetry
        self._remember_probe = remember_probe
        self._under_way = under_way
        self._interval_s = interval_s
        self._orphan_age = timedelta(seconds=orphan_age_s)
        self._is_first = True
        self._spend = SpendComparison(
            ledger=ledger, budgets=budgets, policies=policies, clock=clock, telemetry=telemetry, interval_s=interval_s
        )
        self._orphans: dict[str, Attempts] = {}  # of the last round, with what the store said of them
        self._oldest_placed_at: datetime | None = None

    @property
    def oldest_open_hold_age_s(self) -> float:
        """Age of the oldest hold that was open at the last round; 0 where none was."""
        if self._oldest_placed_at is None:
            return 0.0
        return max(0.0, (self._clock.now() - self._oldest_placed_at) / timedelta(seconds=1))

    async def run(self) -> None:
        """One round now, then one every interval, until cancelled."""
        while True:
            await self.reconcile()
            await self._clock.sleep(self._interval_s)

    async def reconcile(self) -> None:
        """One round. Outside failures are counted; what they kept from being done, the next round does."""
        try:
            await self._reconcile_jobs()
        except LedgerUnavailable as error:
            self._tell_failure("ledger", error)
            return
        try:
            await self._reconcile_holds()
            await self._spend.compare()
        except LedgerUnavailable as error:
            self._tell_failure("ledger", error)
        except BudgetStoreUnavailable as error:
            self._tell_failure("budgets", error)

    async def _reconcile_jobs(self) -> None:
        """Steps 1 and 2. Young holds are left to whoever placed them, except at the start: nobody else may be there."""
        # Before the ledger is read: what is known later may be younger than that.
        watched, under_way = self._poller.watched_ids, self._under_way()
        open_holds = await self._ledger.fetch_open_holds()
        self._oldest_placed_at = min((hold.placed_at for hold in open_holds), default=None)
        for hold in open_holds:
            is_known = hold.id in watched or hold.id in under_way
            if not is_known and (self._is_first or self._is_old(hold.placed_at)):
                maker = maker_of(hold, self._policies.customer_registry)
                self._poller.watch(self._with_scopes(hold), maker)
        self._is_first = False
        # No entry: closed as never run, perhaps too early. The poller then hears from BigQuery what is true.
        for hold_id in sorted(watched - {hold.id for hold in open_holds}):
            if await self._ledger.fetch_entry(hold_id) is not None:
                self._poller.forget(hold_id)

    async def _reconcile_holds(self) -> None:
        """Steps 3 and 4."""
        held: dict[str, Mapping[str, datetime]] = {}
        for customer in await self._budgets.fetch_customers():
            held[customer] = await self._budgets.fetch_hold_ids(customer)
        open_holds = await self._ledger.fetch_open_holds()
        open_ids = {hold.id for hold in open_holds}
        before, self._orphans = self._orphans, {}
        for customer, placed_at_by_id in held.items():
            for hold_id, placed_at in placed_at_by_id.items():
                if hold_id not in open_ids:
                    await self._end_orphan(_bare_hold(hold_id, customer, placed_at), before.get(hold_id))
        for hold in open_holds:
            is_missing = any(hold.id not in held.get(account, {}) for account in self._accounts_of(hold))
            if is_missing and await self._budgets.restore_hold(self._with_scopes(hold)):
                self._telemetry.count("holds_total", event="restored")

    def _accounts_of(self, hold: Hold) -> tuple[str, ...]:
        """Where a hold counts: with its customer, and with the deployment where that has a budget."""
        customer_registry = self._policies.customer_registry
        return (hold.customer,) if customer_registry.deployment is None else (hold.customer, DEPLOYMENT_ACCOUNT)

    def _with_scopes(self, hold: Hold) -> Hold:
        """A hold of the ledger's with the budgets that there are now: it counts against them where it is put back."""
        scopes = self._policies.customer_registry.customer(hold.customer).scopes_over(hold.spender)
        return replace(hold, scopes=scopes)

    async def _end_orphan(self, hold: Hold, before: Attempts | None) -> None:
        """Step 3 for one hold; `before` is what the store said of it at the last round."""
        entry = await self._ledger.fetch_entry(hold.id)
        if entry is not None:
            is_ended = await self._budgets.capture(hold, entry.cost_nanos, is_late=True)
            event = "captured" if entry.cost_nanos else "voided"
            if is_ended and entry.decision == PROBE and entry.customer == hold.customer:
                probe = replace(hold, principal=entry.principal, window_keys=entry.window_keys)
                await self._remember_probe(probe)
        else:
            is_ended, event = await self._void_orphan(hold, before), "voided"
        if is_ended:
            self._telemetry.count("holds_total", event=event)
            self._telemetry.log("orphan_ended", hold_id=hold.id, customer=hold.customer, how=event)

    async def _void_orphan(self, hold: Hold, before: Attempts | None) -> bool:
        """Give back a hold that no ledger knows. False: it may be about to be recorded, or it is polled here."""
        if hold.id in self._poller.watched_ids:
            return False
        attempts = await self._budgets.fetch_attempts(hold)
        if attempts is None or attempts == ENDED_ATTEMPTS:
            return False
        self._orphans[hold.id] = attempts
        is_kept = attempts.leased_until > self._clock.now() or attempts != before
        if is_kept or not self._is_old(hold.placed_at):
            return False
        return await self._budgets.void(hold, attempts=attempts.count) is VoidOutcome.VOIDED

    def _is_old(self, placed_at: datetime) -> bool:
        return self._clock.now() - placed_at >= self._orphan_age

    def _tell_failure(self, system: str, error: Exception) -> None:
        self._telemetry.count("failures_total", system=system, step="reconcile")
        self._telemetry.log("reconcile_broken_off", system=system, error=str(error))


def _bare_hold(hold_id: str, customer: str, placed_at: datetime) -> Hold:
    """What is known of a hold that only the store has. Enough to end it: the store knows its amount and windows."""
    return Hold(
        id=hold_id,
        customer=customer,
        principal="",
        project_id="",
        amount_nanos=0,
        window_keys={},
        placed_at=placed_at,
        deadline_at=placed_at,
    )
