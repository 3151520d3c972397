"""Share a bounded number of places fairly between customers. Pure.

Used by dry_run_places.py. Whoever waits is in the admission queue's FairQueue, where customers take turns, and within
each its callers. A customer may have at most SHARE times as many places as are free: one alone fills most of them and
still leaves some, so that another finds one at once; the more customers there are, the fewer each may have.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

from bqgate.admission.queue.fair_queue import FairQueue, QueuedQuery, Waiting

# Of 100 places one customer alone may have 75, each of two 42, each of three 30.
SHARE = 3

Key = TypeVar("Key")


@dataclass(slots=True)
class Moves:
    """Whose wait a step ended, by ticket: who has a place now, and who gets none."""

    granted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class FairPlaces:
    """Places, and the queue before them. A ticket (`QueuedQuery.hold_id`) is unique while it waits or has a place."""

    def __init__(self, places: int, *, waiting_max: int) -> None:
        self._places = places
        self._taken: dict[str, QueuedQuery] = {}
        self._by_customer: Counter[str] = Counter()
        self._by_caller: Counter[tuple[str, str]] = Counter()
        self._queue = FairQueue(waiting_max, self._runs)

    @property
    def waiting_count(self) -> int:
        return len(self._queue)

    @property
    def taken_count(self) -> int:
        return len(self._taken)

    @property
    def oldest(self) -> Waiting | None:
        """Who has waited longest."""
        return self._queue.oldest

    def takes_at_once(self, queued: QueuedQuery) -> bool:
        """Give it a place where it need not wait for one.

        All who could take a place have one; those who wait belong to customers that have their share.
        """
        if not self._may_take(queued.customer) or self._queue.waits_for(queued.customer):
            return False
        self._take(queued)
        return True

    def arrive(self, queued: QueuedQuery, now_s: float) -> Moves:
        """Give it a place or let it wait; in a full queue, whoever has most waiting loses one."""
        moves = Moves()
        if self.takes_at_once(queued):
            moves.granted.append(queued.hold_id)
            return moves
        loser = self._queue.add(Waiting(queued, now_s))
        if loser is not None:
            moves.refused.append(loser.queued.hold_id)
        return moves

    def leave(self, ticket: str) -> Moves:
        """Give a place back, or a place in the queue. Again, or unknown: nothing changes."""
        moves = Moves()
        queued = self._taken.pop(ticket, None)
        if queued is None:
            self._queue.remove(ticket)
            return moves
        _less(self._by_customer, queued.customer)
        _less(self._by_caller, (queued.customer, queued.principal))
        if not self._queue:
            return moves
        while (waiting := self._queue.take_next(lambda each: self._may_take(each.queued.customer))) is not None:
            self._take(waiting.queued)
            moves.granted.append(waiting.queued.hold_id)
        return moves

    def _may_take(self, customer: str) -> bool:
        free = self._places - len(self._taken)
        return self._by_customer[customer] < SHARE * free

    def _take(self, queued: QueuedQuery) -> None:
        self._taken[queued.hold_id] = queued
        self._by_customer[queued.customer] += 1
        self._by_caller[queued.customer, queued.principal] += 1

    def _runs(self, customer: str, caller: str | None) -> bool:
        if caller is None:
            return self._by_customer[customer] > 0
        return self._by_caller[customer, caller] > 0


def _less(counter: Counter[Key], key: Key) -> None:
    """One less; who has none is forgotten."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
