"""Keep budgets in this process's memory: the BudgetStore of one gate alone.

Made by app; called by admission, settlement and admin through ports.BudgetStore. memory_account has the rules. One
event loop, and no await between a look and the write that rests on it: that is the lock, over the customer's account
and the deployment's. Empty after a start; each window is filled from the SpendSource when it is first asked for.
Bounded: windows go when their time is over, an ended hold's mark after ENDED_TTL_S. LedgerUnavailable leaves it when a
filling fails, nothing else.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bqgate.budgets.accounts import by_account, deployment_hold, split_windows
from bqgate.budgets.memory_account import Account
from bqgate.budgets.refill import TRIES_MAX, Refill, Snapshot, UnknownWindows
from bqgate.domain.budget import Balance, Window, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT
from bqgate.domain.cost_breaker import NO_GRACE, BudgetStatus, CostBreaker, GracePolicy
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.hold import ENDED_ATTEMPTS, LEASE_S, Attempts, Hold, Placement, VoidOutcome
from bqgate.domain.money import check_nanos
from bqgate.ports import Clock, SpendSource

# How often windows whose time is over are looked for.
_SWEEP_EVERY = timedelta(hours=1)


class MemoryBudgetStore:
    """BudgetStore in memory. Another instance knows nothing of this one's holds until the ledger tells it.

    `has_deployment_budget` says whether the deployment has a budget now: then a hold ends, and is kept, above too.
    """

    def __init__(
        self,
        source: SpendSource,
        clock: Clock,
        *,
        has_deployment_budget: Callable[[], bool] = lambda: False,
        lease_s: float = LEASE_S,
    ) -> None:
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._refill = Refill(source, self._fill, clock)
        self._has_deployment_budget = has_deployment_budget
        self._lease = timedelta(seconds=lease_s)
        self._sweep_at = datetime.min.replace(tzinfo=UTC)

    async def place_hold(self, hold: Hold, windows: tuple[Window, ...], grace: GracePolicy = NO_GRACE) -> Placement:
        """Place a hold. An id that was ended in the last minutes is refused, however much room there is."""
        own, above = split_windows(hold, windows)
        check_nanos(hold.amount_nanos)
        for _ in range(TRIES_MAX):
            try:
                return self._place(hold, own, above, grace)
            except UnknownWindows as unknown:
                await self._refill.fill(unknown)
        raise BudgetStoreUnavailable("windows are forgotten as fast as they are filled")

    async def capture(self, hold: Hold, cost_nanos: int, *, is_late: bool = False) -> bool:  # noqa: ARG002 - memory goes back to no earlier state: no window can have it already
        """End a hold with its cost."""
        return VoidOutcome.VOIDED in self._end(hold, check_nanos(cost_nanos))

    async def void(self, hold: Hold, *, attempts: int | None = None) -> VoidOutcome:
        """End a hold that cost nothing."""
        return self._end(hold, 0, attempts)[0]

    async def fetch_attempts(self, hold: Hold) -> Attempts | None:
        """How many have joined a hold, and until when it is leased; or that it has ended."""
        account = self._account(hold.customer)
        return account.attempts.get(hold.id) or (ENDED_ATTEMPTS if hold.id in account.ended else None)

    async def keep_holds(self, holds: Sequence[Hold]) -> tuple[str, ...]:
        """Lease holds from now on, and put back what was lost."""
        return self._keep(holds)

    async def restore_hold(self, hold: Hold) -> bool:
        """Put a lost hold back. False also for one that was ended in the last minutes."""
        return bool(self._keep([hold], restores_only=True))

    async def fetch_balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        """What stands against each window."""
        if not windows:
            return ()
        return (await self.fetch_status(windows)).balances

    async def fetch_status(self, windows: tuple[Window, ...]) -> BudgetStatus:
        """What stands against each window, and the breaker."""
        parts = by_account(windows)
        for _ in range(TRIES_MAX):
            try:
                balances = tuple(each for part in parts for each in self._account(part[0].customer).balances(part))
            except UnknownWindows as unknown:
                await self._refill.fill(unknown)
            else:
                return BudgetStatus(balances, self._account(windows[0].customer).breaker_at(self._clock.now()))
        raise BudgetStoreUnavailable("windows are forgotten as fast as they are filled")

    async def fetch_breakers(self) -> dict[str, CostBreaker]:
        """Breakers that are open, by customer."""
        now = self._clock.now()
        found = {customer: account.breaker_at(now) for customer, account in sorted(self._accounts.items())}
        return {customer: breaker for customer, breaker in found.items() if breaker is not None}

    async def reset_breaker(self, customer: str) -> None:
        """Close a breaker."""
        self._account(customer).breaker = None

    async def forget_windows(self, customer: str, window_ids: Iterable[WindowId] | None = None) -> None:
        """Drop what stands against a customer's windows."""
        account = self._account(customer)
        account.drop_windows(tuple(account.stands) if window_ids is None else window_ids)

    async def fetch_part_windows(self, keys: Collection[str]) -> Mapping[str, tuple[WindowId, ...]]:
        """Windows of budgets of parts of customers' queries, by account."""
        found = {
            name: tuple(each for each in account.stands if each.scope != CUSTOMER_SCOPE and each.key in keys)
            for name, account in self._accounts.items()
        }
        return {name: window_ids for name, window_ids in found.items() if window_ids}

    async def fetch_hold_ids(self, customer: str) -> dict[str, datetime]:
        """Ids of the customer's open holds, with the moment each was placed."""
        return {hold.id: hold.placed_at for hold in self._account(customer).holds.values()}

    async def fetch_customers(self) -> tuple[str, ...]:
        """Customers that have open holds, sorted."""
        return tuple(sorted(customer for customer, account in self._accounts.items() if account.holds))

    async def check(self) -> None:
        """Memory can always be used."""

    async def close(self) -> None:
        """Stop fillings."""
        await self._refill.close()

    def _place(self, hold: Hold, own: tuple[Window, ...], above: tuple[Window, ...], grace: GracePolicy) -> Placement:
        """Place a hold in its account and above, or in neither; a repeat is found though the deployment is full."""
        account, leased_until = self._account(hold.customer), hold.placed_at + self._lease
        if not above:
            return account.join(hold, own, leased_until) or account.place(hold, own, grace, leased_until)
        deployment, hold_above = self._account(DEPLOYMENT_ACCOUNT), deployment_hold(hold)
        balances, balances_above = account.balances(own), deployment.balances(above)  # unknown: neither is touched
        joined = account.join(hold, own, leased_until)
        if joined is not None:
            return replace(joined, balances=(*joined.balances, *balances_above))
        first = deployment.join(hold_above, above, leased_until) or deployment.place(
            hold_above, above, NO_GRACE, leased_until
        )
        if first.hold_id is None:
            return replace(first, balances=(*balances, *balances_above), breaker=account.breaker_at(hold.placed_at))
        second = account.place(hold, own, grace, leased_until)
        if second.hold_id is None:
            deployment.give_back(hold_above, self._clock.now())
            return replace(second, balances=(*second.balances, *deployment.balances(above)))
        return replace(second, balances=(*second.balances, *first.balances))

    def _end(self, hold: Hold, cost_nanos: int, attempts: int | None = None) -> tuple[VoidOutcome, ...]:
        """End a hold in its account, and above at the same cost; what became of it in each."""
        now = self._clock.now()
        outcome, cost_nanos = self._account(hold.customer).end(hold, cost_nanos, now, attempts)
        is_left = outcome is VoidOutcome.JOINED or (outcome is VoidOutcome.UNKNOWN and attempts is not None)
        if is_left or not self._is_counted_above(hold):
            return (outcome,)
        above, _ = self._account(DEPLOYMENT_ACCOUNT).end(deployment_hold(hold), cost_nanos, now)
        return outcome, above

    def _keep(self, holds: Sequence[Hold], *, restores_only: bool = False) -> tuple[str, ...]:
        leased_until = self._clock.now() + self._lease
        restored = set()
        for hold in holds:
            for each in (hold, deployment_hold(hold)) if self._is_counted_above(hold) else (hold,):
                account = self._account(each.customer)
                if account.restore(each, leased_until, self._clock.now()):
                    restored.add(hold.id)
                elif not restores_only:
                    account.keep(each.id, leased_until)
        return tuple(hold.id for hold in holds if hold.id in restored)

    def _is_counted_above(self, hold: Hold) -> bool:
        return hold.customer != DEPLOYMENT_ACCOUNT and self._has_deployment_budget()

    async def _fill(self, snapshot: Snapshot) -> None:
        now = self._clock.now()
        self._sweep(now)
        account = self._account(snapshot.customer)
        if snapshot.unknown_since == str(account.drop_count):
            account.fill(snapshot, now, now + self._lease)

    def _account(self, customer: str) -> Account:
        account = self._accounts.get(customer)
        if account is None:
            account = self._accounts[customer] = Account()
        account.forget(self._clock.now())
        return account

    def _sweep(self, now: datetime) -> None:
        """Forget windows whose time is over, and customers of whom nothing is left."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_EVERY
        for customer, account in list(self._accounts.items()):
            account.forget(now)
            account.stands = {window: stand for window, stand in account.stands.items() if stand.forget_at > now}
            if not (account.stands or account.holds or account.ended or account.breaker_at(now)):
                del self._accounts[customer]
