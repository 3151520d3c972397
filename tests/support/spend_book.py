"""Play the ledger for a BudgetStore: a SpendSource on a list and a dictionary that books as simply as can be.

Like the ledger it ends a hold and books its cost in one step. Tests make it fail, count its readings and stop it
between two readings.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from bqgate.budgets.accounts import deployment_hold
from bqgate.domain.budget import Period, Window, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.entry import CustomerSpend
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold


class SpendBook:
    """A ledger that fits on a screen. `before_spend` runs within fetch_spend, before the answer is made.

    `scopes_of` says which budgets a recorded hold falls under by the rules of the moment.
    """

    def __init__(self) -> None:
        self.open_holds: dict[str, Hold] = {}
        self.booked: list[tuple[Hold, int]] = []
        self.grace_started_at: dict[tuple[str, Period, str], datetime] = {}
        self.tripped_at: dict[tuple[str, str], datetime] = {}
        self.is_down = False
        self.read_count = 0
        self.before_spend: Callable[[], Awaitable[None]] | None = None
        self.scopes_of: Callable[[Hold], tuple[BudgetScope, ...]] = lambda hold: hold.scopes

    def open_hold(self, hold: Hold) -> None:
        """Record a hold as open."""
        self.open_holds[hold.id] = hold

    def book(self, hold: Hold, cost_nanos: int) -> None:
        """Book a cost and end the hold."""
        self.open_holds.pop(hold.id, None)
        self.booked.append((hold, cost_nanos))

    def spend_nanos(self, customer: str, window_id: WindowId) -> int:
        """What was booked in a window, of whoever it is about."""
        scope, period, key = window_id
        if customer == DEPLOYMENT_ACCOUNT:
            return sum(cost for hold, cost in self.booked if deployment_hold(hold).window_keys[period] == key)
        return sum(
            cost_nanos
            for hold, cost_nanos in self.booked
            if hold.customer == customer and hold.window_keys.get(period) == key and scope.covers(hold.spender)
        )

    def close_hold(self, hold: Hold) -> None:
        """End a hold that cost nothing."""
        self.open_holds.pop(hold.id, None)

    def record(self, event: BreakerEvent) -> None:
        """Remember the start of a grace, or what became of a breaker."""
        if event.kind is BreakerEventKind.GRACE_STARTED:
            self.grace_started_at.setdefault((event.customer, event.period, event.window_key), event.at)
        elif event.kind is BreakerEventKind.TRIPPED:
            self.tripped_at[event.customer, event.window_key] = event.at
        else:
            self.tripped_at.pop((event.customer, event.window_key), None)

    async def fetch_spend(self, windows: Sequence[Window]) -> CustomerSpend:
        self._answer_or_fail()
        if self.before_spend is not None:
            await self.before_spend()
        graces = {
            window.id: self.grace_started_at.get((window.customer, window.period, window.key)) for window in windows
        }
        days = {window.key: (window.customer, window.key) for window in windows if window.period is Period.DAY}
        return CustomerSpend(
            {window.id: self.spend_nanos(window.customer, window.id) for window in windows},
            {window_id: at for window_id, at in graces.items() if at is not None and window_id.scope == CUSTOMER_SCOPE},
            {key: self.tripped_at[day] for key, day in days.items() if day in self.tripped_at},
        )

    async def fetch_open_holds(self, customer: str | None = None) -> tuple[Hold, ...]:
        self._answer_or_fail()
        found = (hold for hold in self.open_holds.values() if customer in {None, hold.customer})
        return tuple(replace(hold, scopes=self.scopes_of(hold)) for hold in found)

    def _answer_or_fail(self) -> None:
        self.read_count += 1
        if self.is_down:
            raise LedgerUnavailable("the book is closed")
