"""Say where money is kept that decides: budgets, the holds against them, and from what they are rebuilt."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from bqgate.domain.budget import Balance, Window, WindowId
from bqgate.domain.cost_breaker import NO_GRACE, BudgetStatus, CostBreaker, GracePolicy
from bqgate.domain.entry import (
    CustomerSpend,
)
from bqgate.domain.hold import Attempts, Hold, Placement, VoidOutcome


class SpendSource(Protocol):
    """Where a BudgetStore learns what a window held before it knew it. The ledger implements it."""

    async def fetch_spend(self, windows: Sequence[Window]) -> CustomerSpend:
        """Booked spend (charges and adjustments) of each window; absent means zero. All of one account.

        And which of them are in grace since when, and whose cost breaker is open.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_open_holds(self, customer: str | None = None) -> tuple[Hold, ...]:
        """Holds recorded open and not yet ended, oldest first; of one customer, or of all.

        Raises:
            LedgerUnavailable: the database did not answer.
        """


class BudgetStore(Protocol):
    """Budgets and the holds against them. One call is one atomic step, on every budget or on none.

    A window that the store does not know is first filled from its SpendSource (captured, open holds, grace, breaker):
    set, never added, so that a wiped store is whole again before it decides, and two replicas that fill it at once
    fill it once.

    The deployment's budget is an account of its own (DEPLOYMENT_ACCOUNT). Where a store keeps accounts on several
    machines a hold is placed there first and given back when the customer's budgets refuse: it may refuse too early for
    a moment, never too late. A hold ends, and is put back, in both; what the customer's account says is the answer.

    An open hold has attempts and a lease. Placed, put back, joined or kept it is leased for some seconds from then; a
    lease never gets shorter. A hold that was put back counts from RESTORED_ATTEMPTS.
    """

    async def place_hold(self, hold: Hold, windows: tuple[Window, ...], grace: GracePolicy = NO_GRACE) -> Placement:
        """Place a hold on all windows or on none, by the rules of domain.cost_breaker; the moment is its placed_at.

        The customer's own windows come first, those of its other budgets after them, the deployment's last.

        An open hold of the customer's with the same idempotency key, or the same id, is joined instead (REPLAYED): it
        counts one attempt more, where repeats join it, and no balance changes.

        Raises:
            BudgetStoreUnavailable: no answer; whether it was placed is unknown.
            LedgerUnavailable: a window had to be filled and the source did not answer.
        """

    async def capture(self, hold: Hold, cost_nanos: int, *, is_late: bool = False) -> bool:
        """End a hold with what the job cost, in the windows in which it was placed. False: it is not open.

        The cost may pass the hold's amount; it is then captured whole. Whoever has joined it, it ends.

        Where the store lacks the hold, or it ended at another cost, it forgets these windows: the ledger has the cost.

        `is_late`: the ledger has had the cost for longer than a capture takes. A store that lost its memory since may
        have been filled with it, and still have the hold; it forgets these windows, so that the cost counts once.

        Raises:
            BudgetStoreUnavailable: no answer; call again, doing it twice changes nothing.
        """

    async def void(self, hold: Hold, *, attempts: int | None = None) -> VoidOutcome:
        """End a hold that cost nothing.

        Args:
            hold: its id, its customer, and where it has them its windows.
            attempts: how many have joined it as far as the caller knows; where that is not so (JOINED) it stands.
                None: end it whoever has joined; and where it is not known, see to it that it cannot be placed later.

        Raises:
            BudgetStoreUnavailable: no answer; call again.
        """

    async def fetch_attempts(self, hold: Hold) -> Attempts | None:
        """How many have joined a hold, and until when it is leased. None: nothing is known of it.

        ENDED_ATTEMPTS where it ended in the last minutes. A hold that a gate of an older revision placed has
        RESTORED_ATTEMPTS, and its lease is over.

        Raises:
            BudgetStoreUnavailable: no answer.
        """

    async def keep_holds(self, holds: Sequence[Hold]) -> tuple[str, ...]:
        """Lease open holds from now on, of whichever customers; put back those that the store lost.

        One that ended in the last minutes stays ended. Returns the ids of those that were put back, in the order asked.

        Raises:
            BudgetStoreUnavailable: no answer; some may be kept, call again.
        """

    async def restore_hold(self, hold: Hold) -> bool:
        """Put back a hold that the ledger says is open and the store lost. False: it is there.

        Raises:
            BudgetStoreUnavailable: no answer; call again.
        """

    async def fetch_balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        """What stands against each window, in the order asked.

        Raises:
            BudgetStoreUnavailable: no answer.
            LedgerUnavailable: a window had to be filled and the source did not answer.
        """

    async def fetch_status(self, windows: tuple[Window, ...]) -> BudgetStatus:
        """What stands against each window, in the order asked, and the cost breaker of the first one's account.

        At least one window.

        Raises:
            BudgetStoreUnavailable: no answer.
            LedgerUnavailable: a window had to be filled and the source did not answer.
        """

    async def fetch_breakers(self) -> dict[str, CostBreaker]:
        """Cost breakers that are open in the store, by customer.

        Raises:
            BudgetStoreUnavailable: no answer.
        """

    async def reset_breaker(self, customer: str) -> None:
        """Close a customer's cost breaker. Its grace and its windows stay as they are.

        Raises:
            BudgetStoreUnavailable: no answer; call again.
        """

    async def forget_windows(self, customer: str, window_ids: Iterable[WindowId] | None = None) -> None:
        """Drop what stands against windows of a customer, None: all; their next use fills them from the SpendSource.

        What was read from the SpendSource before fills none of them.

        Raises:
            BudgetStoreUnavailable: no answer; call again.
        """

    async def fetch_part_windows(self, keys: Collection[str]) -> Mapping[str, tuple[WindowId, ...]]:
        """Windows of these days and months that the store has of budgets of parts of queries, by account.

        Raises:
            BudgetStoreUnavailable: no answer.
        """

    async def fetch_hold_ids(self, customer: str) -> dict[str, datetime]:
        """Ids of the customer's open holds in the store, with the moment each was placed.

        Raises:
            BudgetStoreUnavailable: no answer.
        """

    async def fetch_customers(self) -> tuple[str, ...]:
        """Customers that have open holds in the store.

        Raises:
            BudgetStoreUnavailable: no answer.
        """

    async def check(self) -> None:
        """Return when the store can be used.

        Raises:
            BudgetStoreUnavailable: it can not.
        """

    async def close(self) -> None:
        """Give back connections."""
