"""Say whether failures in a row show that a system is away, or only that one customer's calls to it fail. Pure.

Used by circuit_breaker.py. A caller that can provoke failures (a query that BigQuery answers with 500, a time limit of
its own) must not shut a system for everybody, so while several customers are active the failures of one weigh no more
than half of what opens the breaker. Where only one is, nobody else can be hurt, and its failures count as they come.
"""

import math

# For how long after its last call a customer counts as active.
ACTIVE_S = 600.0
# Ids are shorter; what a caller writes in their place may be as long as a URL.
_ID_CHARS_MAX = 128


class FailureTally:
    """Failures since the last success, by customer. Moments are seconds of a clock that never goes back.

    An empty customer is nobody: the gate itself, or a system that knows no customers. Memory is bounded: the two
    customers that called last, and no more shares than failures that open the breaker.
    """

    def __init__(self, failures_to_open: int) -> None:
        self._failures_to_open = failures_to_open
        self._shares: dict[str, int] = {}
        self._nobodys = 0
        self._everybodys = 0
        self._last_customer = ""
        self._last_at_s = -math.inf
        self._other_at_s = -math.inf

    @property
    def customers(self) -> int:
        """How many customers have a share."""
        return len(self._shares)

    @property
    def has_failures(self) -> bool:
        """Whether there is any since the last success."""
        return bool(self._shares) or self._nobodys + self._everybodys > 0

    def note_call(self, customer: str, now_s: float) -> None:
        """A customer wishes to call, whether it may or not."""
        if not customer:
            return
        customer = customer[:_ID_CHARS_MAX]
        if customer != self._last_customer:
            self._other_at_s = self._last_at_s
            self._last_customer = customer
        self._last_at_s = now_s

    def has_several(self, now_s: float) -> bool:
        """Whether more than one customer is active."""
        return now_s - self._other_at_s < ACTIVE_S

    def fail(self, customer: str, *, is_everybodys: bool) -> None:
        """A call failed. `is_everybodys`: of something that no caller can bring about, as a connection refused."""
        if is_everybodys:
            self._everybodys += 1
        elif customer:
            customer = customer[:_ID_CHARS_MAX]
            self._shares[customer] = self._shares.get(customer, 0) + 1
        else:
            self._nobodys += 1

    def clear(self) -> None:
        """A call succeeded, or the breaker changed."""
        self._shares.clear()
        self._nobodys = self._everybodys = 0

    def is_enough(self, now_s: float) -> bool:
        """Whether the system is to be left alone."""
        if not self.has_several(now_s):
            return self._everybodys + self._nobodys + sum(self._shares.values()) >= self._failures_to_open
        share_max = math.ceil(self._failures_to_open / 2)
        weight = self._everybodys + sum(min(share, share_max) for share in self._shares.values())
        return weight >= self._failures_to_open and (self._everybodys > 0 or len(self._shares) > 1)
