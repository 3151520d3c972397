"""Keep those who wait in order, and say whose turn is next. Pure and bounded.

Used by the concurrency limiter and by the dry runs' places. Three orders, one inside the other: classes by priority,
the best first; within a class customers take turns; within a customer its principals take turns; one principal's
queries go in the order in which they came. A newcomer with nothing running goes before those at the end who have
something running: filling the queue delays another's first query only until the next place is free.
A full queue gives every customer, and within it every principal, the same share: one with fewer waiting takes the
newest place of the one with most, so that nobody keeps others out by filling the queue.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from bqgate.admission.queue.depths import Depths
from bqgate.domain.throttling import Priority


@dataclass(frozen=True, slots=True)
class QueuedQuery:
    """A query that asks for a turn. Limits are on what runs at once; None: no limit.

    `interval_ms` is the time to the customer's throttled query before it; 0: this one is not throttled.
    """

    hold_id: str
    customer: str
    principal: str
    priority: Priority = Priority.NORMAL
    customer_max: int | None = None
    principal_max: int | None = None
    interval_ms: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A query that waits, and since when (monotonic seconds)."""

    queued: QueuedQuery
    arrived_s: float


_ByHold = OrderedDict[str, Waiting]
_ByPrincipal = OrderedDict[str, _ByHold]
_ByCustomer = OrderedDict[str, _ByPrincipal]


def _nobody_runs(_customer: str, _principal: str | None) -> bool:
    return False


class FairQueue:
    """Who waits, at most `places` of them. `runs`: whether a customer, or a principal of it, has something running."""

    def __init__(self, places: int, runs: Callable[[str, str | None], bool] = _nobody_runs) -> None:
        self._places = places
        self._runs = runs
        self._classes: dict[Priority, _ByCustomer] = {priority: OrderedDict() for priority in Priority}
        self._arrivals: _ByHold = OrderedDict()
        self._customers = Depths()
        self._principals: dict[str, Depths] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def __contains__(self, hold_id: object) -> bool:
        return hold_id in self._arrivals

    @property
    def oldest(self) -> Waiting | None:
        """Who has waited longest."""
        return next(iter(self._arrivals.values()), None)

    def waits_for(self, customer: str) -> bool:
        """Whether a query of this customer waits."""
        return self._customers.of(customer) > 0

    def add(self, newcomer: Waiting) -> Waiting | None:
        """Let one wait. Returned is who has no place now: nobody, another, or the newcomer, which was not added."""
        loser = None
        if len(self._arrivals) >= self._places:
            loser = self._loser_to(newcomer.queued)
            if loser is None:
                return newcomer
            self.remove(loser.queued.hold_id)
        queued = newcomer.queued
        by_customer = self._classes[queued.priority]
        by_principal = by_customer.setdefault(queued.customer, OrderedDict())
        if not by_principal:
            _step_forward(by_customer, queued.customer, lambda name: self._runs(name, None))
        by_hold = by_principal.setdefault(queued.principal, OrderedDict())
        if not by_hold:
            _step_forward(by_principal, queued.principal, lambda name: self._runs(queued.customer, name))
        by_hold[queued.hold_id] = newcomer
        self._arrivals[queued.hold_id] = newcomer
        self._customers.add(queued.customer)
        self._principals.setdefault(queued.customer, Depths()).add(queued.principal)
        return loser

    def remove(self, hold_id: str) -> Waiting | None:
        """Take one out, wherever it stands. None: it does not wait."""
        waiting = self._arrivals.pop(hold_id, None)
        if waiting is None:
            return None
        queued = waiting.queued
        by_customer = self._classes[queued.priority]
        by_principal = by_customer[queued.customer]
        del by_principal[queued.principal][hold_id]
        if not by_principal[queued.principal]:
            del by_principal[queued.principal]
        if not by_principal:
            del by_customer[queued.customer]
        self._customers.remove(queued.customer)
        self._principals[queued.customer].remove(queued.principal)
        if not self._principals[queued.customer]:
            del self._principals[queued.customer]
        return waiting

    def take_next(self, can_go: Callable[[Waiting], bool], *, customer: str | None = None) -> Waiting | None:
        """Take out whose turn it is, of those that can go; of one customer, or of all. None: nobody can.

        Who cannot go keeps its turn; who went stands behind all others of its class.
        """
        for by_customer in self._classes.values():
            for name in by_customer if customer is None else (customer,) if customer in by_customer else ():
                by_principal = by_customer[name]
                head = next((head for head in map(_first, by_principal.values()) if can_go(head)), None)
                if head is None:
                    continue
                by_customer.move_to_end(name)
                by_principal.move_to_end(head.queued.principal)
                self.remove(head.queued.hold_id)
                return head
        return None

    def heads(self, customer: str) -> Iterator[Waiting]:
        """The first of each principal of a customer, in every class."""
        for by_customer in self._classes.values():
            yield from map(_first, by_customer.get(customer, {}).values())

    def _loser_to(self, queued: QueuedQuery) -> Waiting | None:
        """Who gives its place to a newcomer, so that shares become more equal. None: nobody."""
        customer = self._customers.deepest()
        if customer is None:
            return None
        if self._customers.of(customer) < self._customers.of(queued.customer) + 2:
            customer = queued.customer
            if not self.waits_for(customer):
                return None
        principals = self._principals[customer]
        principal = principals.deepest()
        assert principal is not None, "a customer that waits has a principal that waits"
        if customer == queued.customer and principals.of(principal) < principals.of(queued.principal) + 2:
            return None
        return self._newest(customer, principal)

    def _newest(self, customer: str, principal: str) -> Waiting:
        """The newest of a principal, in the least class in which it waits."""
        for by_customer in reversed(self._classes.values()):
            by_principal = by_customer.get(customer)
            by_hold = by_principal.get(principal) if by_principal else None
            if by_hold:
                return by_hold[next(reversed(by_hold))]
        raise AssertionError("who is asked for waits")


def _step_forward(line: OrderedDict[str, Any], newcomer: str, runs: Callable[[str], bool]) -> None:
    """Let who stands last pass those before it that run, where it does not. Nobody who runs nothing is passed."""
    if runs(newcomer):
        return
    others = (name for name in reversed(line) if name != newcomer)
    for passed in reversed(list(takewhile(runs, others))):
        line.move_to_end(passed)


def _first(by_hold: _ByHold) -> Waiting:
    return next(iter(by_hold.values()))
