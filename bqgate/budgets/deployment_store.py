"""Put the deployment's budget above the customers': a BudgetStore over another one.

Made by app around either store; while the deployment has no budget every call goes straight through. A hold is then
placed twice, with the deployment first and with the customer after it, because a cluster keeps the two on different
machines; what the customer refuses is voided above. So the deployment may refuse too early for a moment, never too
late. A crash in between leaves a hold above that no ledger knows: reconcile voids it. What leaves: what the other store
leaves.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from bqgate.budgets.accounts import deployment_hold
from bqgate.domain.budget import Balance, Window
from bqgate.domain.cost_breaker import NO_GRACE, Breaker, Standing, Terms
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import Hold, Placement, PlacementOutcome
from bqgate.domain.scope import DEPLOYMENT_ACCOUNT
from bqgate.ports import BudgetStore


class DeploymentBudgetStore:
    """BudgetStore over `store`. `is_counted` says whether the deployment has a budget now."""

    def __init__(self, store: BudgetStore, is_counted: Callable[[], bool]) -> None:
        self._store = store
        self._is_counted = is_counted

    async def place_hold(self, hold: Hold, windows: tuple[Window, ...], terms: Terms = NO_GRACE) -> Placement:
        """Place a hold on all windows or on none; the deployment's come last."""
        own, above = _split(windows)
        if not above:
            return await self._store.place_hold(hold, own, terms)
        hold_above = deployment_hold(hold)
        first = await self._store.place_hold(hold_above, above)
        if first.outcome is PlacementOutcome.REFUSED:
            standing = await self._store.fetch_standing(own)
            answer = await self._repeated(hold, own) or first
            return replace(answer, balances=(*standing.balances, *first.balances), breaker=standing.breaker)
        try:
            second = await self._store.place_hold(hold, own, terms)
        except (BudgetStoreUnavailable, LedgerUnavailable):
            await self._void_above(hold_above)
            raise
        balances_above = first.balances
        if second.hold_id != hold.id:  # refused, or a repeat of another hold
            await self._void_above(hold_above)
            balances_above = tuple(replace(b, held_nanos=b.held_nanos - hold.amount_nanos) for b in first.balances)
        return replace(second, balances=(*second.balances, *balances_above))

    async def capture(self, hold: Hold, cost_nanos: int) -> bool:
        """End a hold with what the job cost."""
        return await self._in_both(hold, lambda each: self._store.capture(each, cost_nanos))

    async def void(self, hold: Hold) -> bool:
        """End a hold that cost nothing."""
        return await self._in_both(hold, self._store.void)

    async def restore_hold(self, hold: Hold) -> bool:
        """Put back a hold where it is missing. False: it is in both."""
        return await self._in_both(hold, self._store.restore_hold)

    async def fetch_balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        """What stands against each window."""
        own, above = _split(windows)
        return (*await self._store.fetch_balances(own), *await self._store.fetch_balances(above))

    async def fetch_standing(self, windows: tuple[Window, ...]) -> Standing:
        """What stands against each window, and the customer's breaker."""
        own, above = _split(windows)
        standing = await self._store.fetch_standing(own)
        if not above:
            return standing
        return Standing((*standing.balances, *await self._store.fetch_balances(above)), standing.breaker)

    async def fetch_breakers(self) -> dict[str, Breaker]:
        """Cost breakers that are open, by customer."""
        return await self._store.fetch_breakers()

    async def reset_breaker(self, customer: str) -> None:
        """Close a breaker."""
        await self._store.reset_breaker(customer)

    async def forget_windows(self, customer: str) -> None:
        """Drop what stands against an account's windows."""
        await self._store.forget_windows(customer)

    async def fetch_hold_ids(self, customer: str) -> dict[str, datetime]:
        """Ids of an account's open holds, with the moment each was placed."""
        return await self._store.fetch_hold_ids(customer)

    async def fetch_customers(self) -> tuple[str, ...]:
        """Accounts that have open holds, the deployment's among them."""
        return await self._store.fetch_customers()

    async def check(self) -> None:
        """Return when the store can be used."""
        await self._store.check()

    async def close(self) -> None:
        """Close the other store."""
        await self._store.close()

    async def _in_both(self, hold: Hold, do: Callable[[Hold], Awaitable[bool]]) -> bool:
        """Where the hold counts: in its own account, and above it. True: something changed."""
        is_changed = await do(hold)
        if hold.customer != DEPLOYMENT_ACCOUNT and self._is_counted():
            is_changed = await do(deployment_hold(hold)) or is_changed
        return is_changed

    async def _repeated(self, hold: Hold, windows: tuple[Window, ...]) -> Placement | None:
        """The open hold that this one repeats, which no full budget stands against; None: it repeats none.

        Asked without any room, so that nothing else can be placed but what costs nothing.
        """
        full = tuple(replace(window, limit_nanos=0, carry=None) for window in windows)
        found = await self._store.place_hold(hold, full)
        if found.outcome is PlacementOutcome.PLACED:
            await self._store.void(hold)
        return found if found.outcome is PlacementOutcome.REPLAYED else None

    async def _void_above(self, hold: Hold) -> None:
        """Give back what was placed above. What cannot be given back now, reconcile does: no ledger knows it."""
        with suppress(BudgetStoreUnavailable):
            await self._store.void(hold)


def _split(windows: tuple[Window, ...]) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """The customer's windows and the deployment's."""
    above = tuple(window for window in windows if window.customer == DEPLOYMENT_ACCOUNT)
    return tuple(window for window in windows if window.customer != DEPLOYMENT_ACCOUNT), above
