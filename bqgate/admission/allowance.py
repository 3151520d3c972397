"""Count what this gate lets each customer spend while an outside system is away, up to a set sum a day.

Used by hold_service.py where the degradation table says so. Nothing is given back: a gate whose allowance is used up is
closed for that customer until the next UTC day. Counted in memory: a restart starts anew, so the most that a deployment
can exceed its budgets is the sum times gates times their restarts. Bounded in customers. Amounts are nano-dollars.
"""

from collections import OrderedDict
from datetime import date

from bqgate.ports import Clock

CUSTOMERS_MAX = 10_000


class Allowance:
    """What is spent today, by customer."""

    def __init__(self, clock: Clock, *, customers_max: int = CUSTOMERS_MAX) -> None:
        self._clock = clock
        self._customers_max = customers_max
        self._spent_nanos: OrderedDict[str, tuple[date, int]] = OrderedDict()

    def take(self, customer: str, amount_nanos: int, *, limit_nanos: int) -> bool:
        """Take an amount of today's allowance. False: not enough is left, and nothing was taken."""
        today = self._clock.now().date()
        day, spent_nanos = self._spent_nanos.get(customer, (today, 0))
        if day != today:
            spent_nanos = 0
        if spent_nanos + amount_nanos > limit_nanos:
            return False
        if customer not in self._spent_nanos and len(self._spent_nanos) >= self._customers_max:
            return False  # forgetting a customer would give it a second allowance
        self._spent_nanos[customer] = (today, spent_nanos + amount_nanos)
        self._spent_nanos.move_to_end(customer)
        self._forget_before(today)
        return True

    def _forget_before(self, today: date) -> None:
        """Drop customers last seen on an earlier day; they come first."""
        while self._spent_nanos:
            customer, (day, _) = next(iter(self._spent_nanos.items()))
            if day == today:
                return
            del self._spent_nanos[customer]
