"""Drive the limiter at random and hold it to what it promises: bounds, turns, classes, and nobody waits who could go.

The model keeps plain lists and searches through all of them; what can go it works out anew at every step.
"""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bqgate.admission.queue.concurrency_limiter import ConcurrencyLimiter, QueueChange
from bqgate.admission.queue.fair_queue import QueuedQuery
from bqgate.domain.throttling import Priority
from bqgate.domain.units import MS_PER_S

DEADLINE_S = 30
RANK = {priority: rank for rank, priority in enumerate(Priority)}


class ConcurrencyLimiterKeepsItsPromises(RuleBasedStateMachine):
    """Two customers with three principals each, in three classes."""

    @initialize(
        places=st.sampled_from([0, 1, 3, 12, 12]),
        running_max=st.sampled_from([None, None, 1, 3]),
        customer_max=st.sampled_from([None, 1, 2]),
        principal_max=st.sampled_from([None, 1, 2]),
    )
    def open(self, places: int, running_max: int | None, customer_max: int | None, principal_max: int | None) -> None:
        self.places, self.running_max = places, running_max
        self.customer_max, self.principal_max = customer_max, principal_max
        self.limiter = ConcurrencyLimiter(places=places, deadline_s=DEADLINE_S, running_max=running_max)
        self.now_s = 0
        self.count = 0
        self.waiting: dict[str, tuple[QueuedQuery, int]] = {}
        self.running: dict[str, QueuedQuery] = {}
        self.went_s: dict[str, int] = {}
        # How often one principal went while another of its customer and class could have gone.
        self.passed_over: Counter[tuple[Any, Any]] = Counter()

    @rule(
        customer=st.sampled_from("aaab"),
        principals=st.text("xyz", min_size=1, max_size=6),
        priority=st.sampled_from([Priority.NORMAL, *Priority]),
        interval_ms=st.sampled_from([0, 0, 2_000, 5_000, 120_000]),
    )
    def crowd_in(self, customer: str, principals: str, priority: Priority, interval_ms: int) -> None:
        """Several queries come at once."""
        for principal in principals:
            self.arrive(customer, principal, priority, interval_ms)

    def arrive(self, customer: str, principal: str, priority: Priority, interval_ms: int) -> None:
        """A query comes; it goes at once, waits, or takes or finds no place."""
        self.count += 1
        queued = QueuedQuery(
            f"hold{self.count}", customer, principal, priority, self.customer_max, self.principal_max, interval_ms
        )
        self.follow(self.limiter.advance(self.now_s))
        could_go = not interval_ms and self.has_room_for(queued)
        assert could_go == self.limiter.lets_through(queued)
        if could_go:
            self.run(queued)
            return
        depths = Counter(each.customer for each, _ in self.waiting.values())
        is_full = len(self.waiting) >= self.places
        self.waiting[queued.hold_id] = (queued, self.now_s)
        change = self.limiter.arrive(queued, self.now_s)
        assert is_full == bool(change.displaced)
        for hold_id in change.displaced:
            loser, _ = self.waiting[hold_id]
            if loser.customer != customer:
                assert depths[loser.customer] >= depths[customer] + 2, "only who has more gives up a place"
        self.follow(change)

    @precondition(lambda self: self.running or self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A query ends, or its caller leaves."""
        hold_id = data.draw(st.sampled_from(sorted([*self.running, *self.waiting])))
        self.running.pop(hold_id, None)
        self.drop(hold_id)
        self.follow(self.limiter.leave(hold_id, self.now_s))

    @rule(seconds=st.sampled_from([1, 2, 2, 3, 5, 31]))
    def pass_time(self, seconds: int) -> None:
        """Time passes in the steps that the limiter asked for."""
        end_s = self.now_s + seconds
        while (next_s := self.limiter.next_s()) is not None and next_s <= end_s:
            assert next_s >= self.now_s
            self.now_s = int(next_s)
            self.follow(self.limiter.advance(self.now_s))
        self.now_s = end_s
        assert self.limiter.advance(end_s) == QueueChange(), "whoever was due between was asked for"

    @invariant()
    def bounds_hold(self) -> None:
        """Nothing passes its limit, nobody waits past the deadline, and nobody waits who could go."""
        if not hasattr(self, "turnstile"):
            return
        assert len(self.waiting) == self.limiter.depth <= self.places
        counted = self.running if (self.running_max or self.customer_max or self.principal_max) else {}
        assert len(counted) == self.limiter.running_count
        assert self.running_max is None or len(self.running) <= self.running_max
        for queued in self.running.values():
            assert self.customer_max is None or self.runs(queued.customer) <= self.customer_max
            assert self.principal_max is None or self.runs(queued.customer, queued.principal) <= self.principal_max
        for hold_id, (_, arrived_s) in self.waiting.items():
            assert self.now_s - arrived_s < DEADLINE_S
            assert not self.can_go(hold_id), "nobody waits who could go"

    def follow(self, change: QueueChange) -> None:
        """Do in the model what the limiter says, and judge each grant by those that could have gone instead."""
        for hold_id in change.displaced:
            self.drop(hold_id)
        if change.expired:  # grants before and after a deadline look alike from here: only their bounds are judged
            for hold_id in change.expired:
                assert self.waiting[hold_id][1] + DEADLINE_S <= self.now_s
                self.drop(hold_id)
        for hold_id in change.granted:
            if not change.expired:
                self.judge(hold_id)
            queued, _ = self.waiting[hold_id]
            if queued.interval_ms:
                self.went_s[queued.customer] = self.now_s
            self.drop(hold_id)
            self.run(queued)

    def judge(self, hold_id: str) -> None:
        assert self.can_go(hold_id)
        winner, _ = self.waiting[hold_id]
        me = (winner.customer, winner.principal, winner.priority)
        able = [queued for other, (queued, _) in self.waiting.items() if self.can_go(other)]
        for other in able:
            if other.customer == winner.customer:
                assert RANK[other.priority] >= RANK[winner.priority], "a better class goes first"
        for them in {(each.customer, each.principal, each.priority) for each in able} - {me}:
            if them[0] == me[0] and them[2] == me[2]:
                self.passed_over[them, me] += 1
                assert self.passed_over[them, me] <= 1, "between two of one principal goes one of every other"
        for pair in [pair for pair in self.passed_over if pair[0] == me]:
            del self.passed_over[pair]

    def drop(self, hold_id: str) -> None:
        """One no longer waits."""
        if hold_id not in self.waiting:
            return
        gone, _ = self.waiting.pop(hold_id)
        line = (gone.customer, gone.principal, gone.priority)
        if not any((each.customer, each.principal, each.priority) == line for each, _ in self.waiting.values()):
            for pair in [pair for pair in self.passed_over if pair[0] == line]:
                del self.passed_over[pair]
        if not any(each.customer == gone.customer for each, _ in self.waiting.values()):
            self.went_s.pop(gone.customer, None)

    def run(self, queued: QueuedQuery) -> None:
        self.running[queued.hold_id] = queued

    def runs(self, customer: str, principal: str | None = None) -> int:
        return sum(each.customer == customer and principal in {None, each.principal} for each in self.running.values())

    def has_room_for(self, queued: QueuedQuery) -> bool:
        return (
            (self.running_max is None or len(self.running) < self.running_max)
            and (self.customer_max is None or self.runs(queued.customer) < self.customer_max)
            and (self.principal_max is None or self.runs(queued.customer, queued.principal) < self.principal_max)
        )

    def can_go(self, hold_id: str) -> bool:
        """Whether it stands first in its line, is due and has room."""
        queued, arrived_s = self.waiting[hold_id]
        line = (queued.customer, queued.principal, queued.priority)
        first = next(
            other for other, (each, _) in self.waiting.items() if (each.customer, each.principal, each.priority) == line
        )
        due_s = arrived_s
        if queued.interval_ms:
            due_s = max(arrived_s, self.went_s.get(queued.customer, arrived_s))
            due_s += min(queued.interval_ms // MS_PER_S, DEADLINE_S)
        return first == hold_id and due_s <= self.now_s and self.has_room_for(queued)


TestConcurrencyLimiter = ConcurrencyLimiterKeepsItsPromises.TestCase
TestConcurrencyLimiter.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
