"""Say what a budget store must answer, without one: the oracle of the state machine over one customer.

It knows no counters for what is held: that is the sum of the holds that it has. It is told in dictionaries, for
reading beside bqgate/budgets/refill.py; nothing here is fast.
"""

from dataclasses import dataclass, field

from bqgate.domain.budget import Balance, Period, Window
from bqgate.domain.hold import Hold, Placement, PlacementOutcome
from tests.support.spend_book import SpendBook

WindowId = tuple[Period, str]


@dataclass
class BudgetModel:
    """What a budget store must say, told without one."""

    customer: str
    book: SpendBook
    captured: dict[WindowId, int] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def wipe(self) -> None:
        self.captured, self.holds, self.keys, self.ended = {}, {}, {}, set()

    def fill(self, windows: tuple[Window, ...]) -> None:
        unknown = [
            (window.period, window.key) for window in windows if (window.period, window.key) not in self.captured
        ]
        if not unknown:
            return
        for window_id in unknown:
            self.captured[window_id] = self.book.spend_nanos[(self.customer, *window_id)]
        for hold in self.book.open_holds.values():
            if hold.id not in self.ended:
                self.put(hold)

    def put(self, hold: Hold) -> bool:
        if hold.id in self.holds:
            return False
        self.holds[hold.id] = hold
        if hold.idempotency_key is not None:
            self.keys.setdefault(hold.idempotency_key, hold.id)
        return True

    def balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        self.fill(windows)
        return tuple(
            Balance(window, self.captured[window.period, window.key], self.held_in(window.period, window.key))
            for window in windows
        )

    def held_in(self, period: Period, key: str) -> int:
        return sum(hold.amount_nanos for hold in self.holds.values() if hold.window_keys.get(period) == key)

    def place(self, hold: Hold, windows: tuple[Window, ...]) -> Placement:
        balances = self.balances(windows)
        found = hold.id if hold.id in self.holds else self.keys.get(hold.idempotency_key or "")
        if found is not None:
            return Placement(PlacementOutcome.REPLAYED, found, balances)
        if hold.id in self.ended or not all(balance.has_room_for(hold.amount_nanos) for balance in balances):
            return Placement(PlacementOutcome.REFUSED, None, balances)
        self.put(hold)
        return Placement(PlacementOutcome.PLACED, hold.id, self.balances(windows))

    def end(self, hold: Hold, cost_nanos: int) -> bool:
        self.ended.add(hold.id)
        placed = self.holds.pop(hold.id, None)
        if placed is None:
            return False
        self.keys = {key: hold_id for key, hold_id in self.keys.items() if hold_id != placed.id}
        for window_id in placed.window_keys.items():
            if window_id in self.captured:
                self.captured[window_id] += cost_nanos
        return True

    def restore(self, hold: Hold) -> bool:
        return hold.id not in self.ended and self.put(hold)
