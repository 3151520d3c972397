"""Decide who may run now: what runs, who waits, and how far apart throttled queries go. Pure.

Driven by AdmissionQueue, which passes the time (monotonic seconds) and wakes the waiting coroutines. Each step returns
a QueueChange: whose wait ended, and how. Fair because after `advance` nobody waits who could go, so that one who then
arrives and goes at once overtakes nobody. A customer's throttled queries go one at a time (GCRA without a burst): each
goes its interval after the one before it, or after its own arrival, whichever is later.
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

from bqgate.admission.queue.fair_queue import FairQueue, QueuedQuery, Waiting
from bqgate.domain.units import MS_PER_S

Key = TypeVar("Key")

# What is due within a millisecond is due: clocks do not sleep shorter.
_DUE_WITHIN_S = 0.001

# How many entries of the schedule may be out of date before it is written anew.
_STALE_MAX = 64


@dataclass(slots=True)
class QueueChange:
    """Whose wait a step ended, by hold id: they run, another took their place, or their deadline passed."""

    granted: list[str] = field(default_factory=list)
    displaced: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)


# What most queries change that end: no limit counts them.
NO_CHANGE = QueueChange()


class ConcurrencyLimiter:
    """Who runs and who waits, at one gate.

    Args of the constructor: how many may wait, for how many seconds, and how many may run at once; None: any number.
    """

    def __init__(self, *, places: int, deadline_s: float, running_max: int | None) -> None:
        self._queue = FairQueue(places, self._runs)
        self._deadline_s = deadline_s
        self._running_max = running_max
        self._running: dict[str, QueuedQuery] = {}
        self._by_customer: Counter[str] = Counter()
        self._by_principal: Counter[tuple[str, str]] = Counter()
        # When the last throttled query of a customer went, as long as others of it wait.
        self._went_s: dict[str, float] = {}
        # (due, customer): when to look at a customer again. Only the entry that _due_of names counts.
        self._dues: list[tuple[float, str]] = []
        self._due_of: dict[str, float] = {}

    @property
    def depth(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def running_count(self) -> int:
        """How many run that some limit counts."""
        return len(self._running)

    def lets_through(self, queued: QueuedQuery) -> bool:
        """Whether it goes at once; its place is then taken. A repeat goes with the place that it has, or waits too."""
        if queued.hold_id in self._running:
            return True
        if queued.interval_ms or queued.hold_id in self._queue or not self._has_room_for(queued):
            return False
        self._take(queued)
        return True

    def arrive(self, queued: QueuedQuery, now_s: float) -> QueueChange:
        """Let one wait that does not go at once."""
        change = QueueChange()
        waiting = Waiting(queued, now_s)
        loser = self._queue.add(waiting)
        if loser is not None:
            change.displaced.append(loser.queued.hold_id)
            self._look_on(change, loser.queued.customer, now_s)
        self._look_on(change, queued.customer, now_s)
        return change

    def leave(self, hold_id: str, now_s: float) -> QueueChange:
        """Give back a place, of one that waits or runs. Unknown: NO_CHANGE."""
        waiting = self._queue.remove(hold_id)
        queued = waiting.queued if waiting is not None else self._running.pop(hold_id, None)
        if queued is None:
            return NO_CHANGE
        change = QueueChange()
        if waiting is None:
            self._by_customer[queued.customer] -= 1
            self._by_principal[queued.customer, queued.principal] -= 1
            _drop_zero(self._by_customer, queued.customer)
            _drop_zero(self._by_principal, (queued.customer, queued.principal))
        # Under a limit on all, a place that one customer gave back is anybody's.
        self._grant(change, now_s, customer=queued.customer if self._running_max is None else None)
        self._look_again(queued.customer, now_s)
        return change

    def advance(self, now_s: float) -> QueueChange:
        """Let go who is due, then send away whose deadline has passed."""
        change = QueueChange()
        while self._dues and self._dues[0][0] - now_s < _DUE_WITHIN_S:
            due_s, customer = heapq.heappop(self._dues)
            if self._due_of.get(customer) == due_s:
                del self._due_of[customer]
                self._look_on(change, customer, now_s)
        while (oldest := self._queue.oldest) is not None:
            if oldest.arrived_s + self._deadline_s - now_s >= _DUE_WITHIN_S:
                break
            self._queue.remove(oldest.queued.hold_id)
            change.expired.append(oldest.queued.hold_id)
            # Who stood behind it may be able to go, where it was held up by its pace.
            self._look_on(change, oldest.queued.customer, now_s)
        return change

    def next_s(self) -> float | None:
        """When to advance; None: not before somebody comes."""
        while self._dues and self._due_of.get(self._dues[0][1]) != self._dues[0][0]:
            heapq.heappop(self._dues)
        due_s = self._dues[0][0] if self._dues else inf
        oldest = self._queue.oldest
        deadline_s = oldest.arrived_s + self._deadline_s if oldest is not None else inf
        return None if due_s == deadline_s == inf else min(due_s, deadline_s)

    def _look_on(self, change: QueueChange, customer: str, now_s: float) -> None:
        """Let go who of a customer is due, then note when its next is: who is due now is in no schedule."""
        self._grant(change, now_s, customer=customer)
        self._look_again(customer, now_s)

    def _grant(self, change: QueueChange, now_s: float, *, customer: str | None) -> None:
        """Let go everybody that can, in turn."""

        def can_go(waiting: Waiting) -> bool:
            return self._due_s(waiting) - now_s < _DUE_WITHIN_S and self._has_room_for(waiting.queued)

        while (waiting := self._queue.take_next(can_go, customer=customer)) is not None:
            self._take(waiting.queued)
            if waiting.queued.interval_ms:
                self._went_s[waiting.queued.customer] = now_s
            self._look_again(waiting.queued.customer, now_s)
            change.granted.append(waiting.queued.hold_id)

    def _due_s(self, waiting: Waiting) -> float:
        """When its pace lets it go; never after its deadline, if it is the next."""
        queued = waiting.queued
        if not queued.interval_ms:
            return waiting.arrived_s
        after_s = max(waiting.arrived_s, self._went_s.get(queued.customer, waiting.arrived_s))
        return after_s + min(queued.interval_ms / MS_PER_S, self._deadline_s)

    def _look_again(self, customer: str, now_s: float) -> None:
        """Note when the next of a customer is due, or forget what was only kept for those that waited."""
        if not self._queue.waits_for(customer):
            self._went_s.pop(customer, None)
            self._due_of.pop(customer, None)
            return
        dues = [self._due_s(head) for head in self._queue.heads(customer)]
        due_s = min((due_s for due_s in dues if due_s - now_s >= _DUE_WITHIN_S), default=inf)
        if due_s == inf:
            self._due_of.pop(customer, None)
        elif due_s != self._due_of.get(customer):
            self._due_of[customer] = due_s
            heapq.heappush(self._dues, (due_s, customer))
            if len(self._dues) > _STALE_MAX + 2 * len(self._due_of):
                self._dues = [(due_s, customer) for customer, due_s in self._due_of.items()]
                heapq.heapify(self._dues)

    def _runs(self, customer: str, principal: str | None) -> bool:
        """Whether a customer, or one principal of it, has something running that a limit counts."""
        if principal is None:
            return customer in self._by_customer
        return (customer, principal) in self._by_principal

    def _has_room_for(self, queued: QueuedQuery) -> bool:
        if self._running_max is not None and len(self._running) >= self._running_max:
            return False
        if queued.customer_max is not None and self._by_customer[queued.customer] >= queued.customer_max:
            return False
        return queued.principal_max is None or (
            self._by_principal[queued.customer, queued.principal] < queued.principal_max
        )

    def _take(self, queued: QueuedQuery) -> None:
        if queued.customer_max is None and queued.principal_max is None and self._running_max is None:
            return
        self._running[queued.hold_id] = queued
        self._by_customer[queued.customer] += 1
        self._by_principal[queued.customer, queued.principal] += 1


def _drop_zero(counter: Counter[Key], key: Key) -> None:
    """Forget who has nothing running, so that the counts stay as many as the places."""
    if not counter[key]:
        del counter[key]
