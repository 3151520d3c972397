"""Play the ledger for a BudgetStore: a SpendSource on two dictionaries that books as simply as can be.

Like the ledger it ends a hold and books its cost in one step. Tests make it fail, count its readings and stop it
between two readings.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from bqgate.domain.budget import Period, Window
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.entry import CustomerSpend
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold


class SpendBook:
    """A ledger that fits on a screen. `before_spend` runs within fetch_spend, before the answer is made."""

    def __init__(self) -> None:
        self.open_holds: dict[str, Hold] = {}
        self.spend_nanos: Counter[tuple[str, Period, str]] = Counter()
        self.grace_started_at: dict[tuple[str, Period, str], datetime] = {}
        self.tripped_at: dict[tuple[str, str], datetime] = {}
        self.is_down = False
        self.read_count = 0
        self.before_spend: Callable[[], Awaitable[None]] | None = None

    def open_hold(self, hold: Hold) -> None:
        """Record a hold as open."""
        self.open_holds[hold.id] = hold

    def book(self, hold: Hold, cost_nanos: int) -> None:
        """Book a cost and end the hold."""
        self.open_holds.pop(hold.id, None)
        for period, key in hold.window_keys.items():
            self.spend_nanos[hold.customer, period, key] += cost_nanos

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
        ids = {(window.period, window.key): (window.customer, window.period, window.key) for window in windows}
        days = {window.key: (window.customer, window.key) for window in windows if window.period is Period.DAY}
        return CustomerSpend(
            {short: self.spend_nanos[whole] for short, whole in ids.items() if whole in self.spend_nanos},
            {short: self.grace_started_at[whole] for short, whole in ids.items() if whole in self.grace_started_at},
            {key: self.tripped_at[day] for key, day in days.items() if day in self.tripped_at},
        )

    async def fetch_open_holds(self, customer: str | None = None) -> tuple[Hold, ...]:
        self._answer_or_fail()
        return tuple(hold for hold in self.open_holds.values() if customer in {None, hold.customer})

    def _answer_or_fail(self) -> None:
        self.read_count += 1
        if self.is_down:
            raise LedgerUnavailable("the book is closed")
