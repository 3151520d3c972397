"""Drive the budget stores and a naive model with the same commands, one step at a time, and compare every answer.

The model knows no counters: what is held is the sum of the holds that it has, what is captured is kept for each
window. Holds live as in the gate: placed, recorded in the ledger, booked there, then captured; a wipe may come
between any two of these. What begins a grace, or opens and closes the cost breaker, is recorded as in the gate: by
whoever saw it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from operator import methodcaller
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import redis as blocking_redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from bqgate.budgets.keys import HOLDS_TTL_S
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget import Balance, Period, Window, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, BudgetScope, ScopeKind, Spender
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind, BudgetStatus, GracePolicy
from bqgate.domain.hold import ENDED_ATTEMPTS, Attempts, Hold, Placement, PlacementOutcome, VoidOutcome
from bqgate.domain.limits import LimitPlan, Limits, TemporaryIncrease
from bqgate.ports import BudgetStore
from tests.support.budget_model import BudgetModel
from tests.support.budget_scene import hold_on
from tests.support.manual_clock import ManualClock
from tests.support.spend_book import SpendBook

CUSTOMER = "ac{me}"
ZONE = ZoneInfo("America/New_York")

AMOUNTS = st.one_of(st.just(0), st.integers(1, 12), st.integers(0, 2**53 - 1))
LIMITS = st.one_of(st.none(), st.integers(0, 30), st.just(2**53 - 1))
GRACE_POLICY = st.builds(
    GracePolicy,
    grace_s=st.sampled_from([0, 3_600, 7_200]),
    emergency_nanos=st.one_of(st.none(), st.integers(0, 45), st.just(2**53 - 1)),
    cooldown_s=st.sampled_from([0, 1_800]),
    is_observed=st.sampled_from([False, False, False, True]),
)
ADA = Spender("ada", "acme-prod")
SPENDERS = (ADA, Spender("bob", "acme-prod", "nightly", {"team": "ml"}), Spender("ada", "acme-prod", "nightly"))
NAMES = {
    BudgetScope(ScopeKind.PRINCIPAL, "ada"): "principal/ada",
    BudgetScope(ScopeKind.WORKLOAD, "nightly"): "workload/nightly",
    BudgetScope(ScopeKind.LABEL, "team=ml"): "label/team%3Dml",
}
SCOPES = tuple(NAMES)
GRACE = GracePolicy(grace_s=7_200, emergency_nanos=30, cooldown_s=1_800)
KEYS = st.one_of(st.none(), st.sampled_from(["job:p:a", "job:p:b", "request:p:c d"]))


class StoresAgree(RuleBasedStateMachine):
    """One customer's day after day, in two stores and the model."""

    redis_url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.book = SpendBook()
        self.model = BudgetModel(CUSTOMER, self.book)
        self.raw: blocking_redis.Redis = blocking_redis.Redis.from_url(self.redis_url, decode_responses=True)
        self.raw.flushall()
        self.redis = self.run(self.make_redis)
        self.memory: BudgetStore = MemoryBudgetStore(self.book, self.clock)
        self.waiting: dict[str, Hold] = {}  # placed; the ledger has not heard of them
        self.running: dict[str, Hold] = {}  # open in the ledger
        self.booked: dict[str, tuple[Hold, int]] = {}  # booked; not yet captured
        self.over: list[Hold] = []
        self.limits: dict[Period, int | None] = {}
        self.rollover: dict[Period, int] = {}
        self.raises: list[TemporaryIncrease] = []
        self.parts: dict[BudgetScope, tuple[Limits, bool]] = {}
        self.book.scopes_of = lambda hold: self.scopes_over(hold.spender)
        self.grace = GRACE
        self.may_exceed = False

    def teardown(self) -> None:
        self.run(self.redis.close)
        self.raw.close()
        self.runner.close()

    def run(self, call: Callable[[], Any]) -> Any:
        return self.runner.run(call())

    async def make_redis(self) -> RedisBudgetStore:
        return RedisBudgetStore.open(self.redis_url, self.book, self.clock, timeout_s=5)

    def both(self, call: Callable[[BudgetStore], Any]) -> Any:
        """Give a command to both stores; their one answer."""
        from_memory = self.run(lambda: call(self.memory))
        from_redis = self.run(lambda: call(self.redis))
        assert from_memory == from_redis, f"memory: {from_memory}\nredis:  {from_redis}"
        return from_redis

    def windows(self, spender: Spender = ADA) -> tuple[Window, ...]:
        """The customer's own, and those of each part that the spender falls under."""
        now = self.clock.now()
        own = LimitPlan(Limits(*self.limits.values()), raises=tuple(self.raises), rollover_nanos=self.rollover)
        windows = own.windows_at(now, customer=CUSTOMER, zone=ZONE)
        for scope in self.scopes_over(spender):
            limits, is_observed = self.parts[scope]
            plan = LimitPlan(limits, rollover_nanos=self.rollover)
            windows += plan.windows_at(now, customer=CUSTOMER, zone=ZONE, scope=scope, is_observed=is_observed)
        return windows

    def scopes_over(self, spender: Spender) -> tuple[BudgetScope, ...]:
        return tuple(scope for scope in self.parts if scope.covers(spender))

    @initialize(day=LIMITS, month=LIMITS, rollover=st.sampled_from([0, 5]), has_parts=st.booleans())
    def begin(self, day: int | None, month: int | None, rollover: int, *, has_parts: bool) -> None:
        self.limits = {Period.DAY: day, Period.MONTH: month}
        self.rollover = {Period.DAY: rollover} if rollover else {}
        self.parts = dict.fromkeys(SCOPES, (Limits(10, 40), False)) if has_parts else {}

    @rule(day=LIMITS, month=LIMITS)
    def change_limits(self, day: int | None, month: int | None) -> None:
        self.limits = {Period.DAY: day, Period.MONTH: month}
        self.may_exceed = True

    @rule(scope=st.sampled_from(SCOPES), day=LIMITS, month=LIMITS, is_observed=st.booleans())
    def change_part(self, scope: BudgetScope, day: int | None, month: int | None, *, is_observed: bool) -> None:
        """A budget of a part of the queries comes, or changes: some of its holds are older than it."""
        self.parts[scope] = (Limits(day, month), is_observed)
        self.may_exceed = True

    @precondition(lambda self: self.parts)
    @rule(data=st.data())
    def take_part_away(self, data: st.DataObject) -> None:
        del self.parts[data.draw(st.sampled_from(list(self.parts)))]

    @rule(day=st.sampled_from([0, 5, 40]), month=st.sampled_from([0, 5]))
    def change_rollover(self, day: int, month: int) -> None:
        self.rollover = {period: most for period, most in ((Period.DAY, day), (Period.MONTH, month)) if most}
        self.may_exceed = True

    @rule(minutes=st.sampled_from([20, 90]), day=st.sampled_from([0, 5]), month=st.sampled_from([0, 20]))
    def lift(self, minutes: int, day: int, month: int) -> None:
        """A raise: it comes at once, and ends by the clock, whatever was placed under it."""
        self.raises.append(TemporaryIncrease(self.clock.now() + timedelta(minutes=minutes), day, month))
        self.may_exceed = True

    @rule(grace=GRACE_POLICY)
    def change_grace(self, grace: GracePolicy) -> None:
        self.grace = grace

    @rule()
    def give_grace(self) -> None:
        self.limits, self.grace, self.may_exceed = {Period.DAY: 15, Period.MONTH: 60}, GRACE, True

    def place(self, hold: Hold) -> Placement:
        windows, grace = self.windows(hold.spender), self.grace
        placement: Placement = self.both(lambda store: store.place_hold(hold, windows, grace))
        assert placement == self.model.place(hold, windows, grace)
        for window in placement.grace_started_in:
            self.remember(BreakerEventKind.GRACE_STARTED, window.period, window.key)
        if placement.has_tripped:
            self.remember(BreakerEventKind.TRIPPED, Period.DAY, self.today)
        return placement

    @property
    def today(self) -> str:
        return self.clock.now().astimezone(ZONE).date().isoformat()

    def remember(self, kind: BreakerEventKind, period: Period, key: str) -> None:
        self.book.record(BreakerEvent(CUSTOMER, period, key, self.clock.now(), kind, "ada"))

    @rule(is_recorded=st.booleans())
    def reset_breaker(self, *, is_recorded: bool) -> None:
        if is_recorded:
            self.remember(BreakerEventKind.RESET, Period.DAY, self.today)
        self.both(lambda store: store.reset_breaker(CUSTOMER))
        self.model.breaker = None

    @rule()
    def forget_windows(self) -> None:
        self.both(lambda store: store.forget_windows(CUSTOMER))
        self.model.forget()
        self.may_exceed = True  # what was booked and not captured counts twice, what was lost once more

    def hold_of(self, spender: Spender, amount: int = 1, *, key: str | None = None, hold_id: str | None = None) -> Hold:
        hold = hold_on(self.windows(spender), hold_id=hold_id, idempotency_key=key, placed_at=self.clock.now())
        return replace(
            hold,
            amount_nanos=amount,
            principal=spender.principal,
            workload=spender.workload,
            labels=spender.labels,
        )

    @rule(amount=AMOUNTS, key=KEYS, spender=st.sampled_from(SPENDERS), is_recorded=st.booleans())
    def place_new(self, amount: int, key: str | None, spender: Spender, *, is_recorded: bool) -> None:
        hold = self.hold_of(spender, amount, key=key)
        placement = self.place(hold)
        if placement.outcome is PlacementOutcome.PLACED:
            self.assert_bounded(placement)
            self.waiting[hold.id] = hold
            if is_recorded:
                self.record(hold)

    def assert_bounded(self, placement: Placement) -> None:
        """Invariant 2 for what was placed: within the limit, in grace within the emergency limit."""
        past = [each for each in placement.balances if each.balance_nanos is not None and each.balance_nanos < 0]
        assert not [balance for balance in past if balance.window.is_strict]
        if not [balance for balance in past if balance.window.is_own]:
            return
        self.may_exceed = True
        if self.grace.is_observed:
            return
        assert placement.grace_ends_at is not None
        assert placement.grace_ends_at > self.clock.now()
        assert self.grace.emergency_nanos is not None
        assert placement.balances[0].used_nanos <= self.grace.emergency_nanos

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def place_again(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(list(self.model.holds.values())))
        again = self.hold_of(old.spender, key=old.idempotency_key, hold_id=old.id)
        assert self.place(again).outcome is PlacementOutcome.REPLAYED

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def record_one(self, data: st.DataObject) -> None:
        self.record(data.draw(st.sampled_from(list(self.waiting.values()))))

    def record(self, hold: Hold) -> None:
        del self.waiting[hold.id]
        self.running[hold.id] = hold
        self.book.open_hold(hold)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), cost=AMOUNTS, share=st.sampled_from(["less", "equal", "any"]), is_captured=st.booleans())
    def book_one(self, data: st.DataObject, cost: int, share: str, *, is_captured: bool) -> None:
        hold = data.draw(st.sampled_from(list(self.running.values())))
        cost_nanos = {"less": min(cost, hold.amount_nanos), "equal": hold.amount_nanos, "any": cost}[share]
        del self.running[hold.id]
        self.book.book(hold, cost_nanos)
        self.booked[hold.id] = (hold, cost_nanos)
        if is_captured:
            self.capture(hold, cost_nanos)

    @precondition(lambda self: self.booked)
    @rule(data=st.data())
    def capture_one(self, data: st.DataObject) -> None:
        self.capture(*data.draw(st.sampled_from(list(self.booked.values()))))

    def capture(self, hold: Hold, cost_nanos: int) -> None:
        del self.booked[hold.id]
        self.over.append(hold)
        self.may_exceed |= cost_nanos > hold.amount_nanos
        self.end(hold, cost_nanos)

    def end(self, hold: Hold, cost_nanos: int, attempts: int | None = None) -> None:
        before = self.model.breaker_shown(self.clock.now())
        if cost_nanos:
            is_captured = self.both(lambda store: store.capture(hold, cost_nanos))
            assert is_captured is (self.model.end(hold, cost_nanos, self.clock.now()) is VoidOutcome.VOIDED)
        else:
            outcome = self.both(lambda store: store.void(hold, attempts=attempts))
            assert outcome is self.model.end(hold, 0, self.clock.now(), attempts)
        after = self.model.breaker_shown(self.clock.now())
        if before is not None and after is None:
            self.remember(BreakerEventKind.CLOSED, Period.DAY, self.today)
        elif before is not None and after is not None and after.opened_at != before.opened_at:
            self.remember(BreakerEventKind.TRIPPED, Period.DAY, self.today)

    @precondition(lambda self: self.running or self.waiting)
    @rule(data=st.data(), is_ledger_first=st.booleans())
    def void_one(self, data: st.DataObject, *, is_ledger_first: bool) -> None:
        hold = data.draw(st.sampled_from([*self.running.values(), *self.waiting.values()]))
        self.running.pop(hold.id, None)
        self.waiting.pop(hold.id, None)
        self.over.append(hold)
        if is_ledger_first:
            self.book.close_hold(hold)
        self.end(hold, 0)
        self.book.close_hold(hold)

    @precondition(lambda self: self.over)
    @rule(data=st.data(), cost=AMOUNTS)
    def end_twice(self, data: st.DataObject, cost: int) -> None:
        hold = data.draw(st.sampled_from(self.over))
        if cost == self.model.ended.get(hold.id):
            cost = 0  # memory may have forgotten by now that it ended at this cost
        outcome = self.model.end(hold, cost, self.clock.now())
        assert outcome is not VoidOutcome.VOIDED
        self.may_exceed |= cost > 0  # as below: at another cost than before windows are dropped
        assert self.both(lambda store: store.capture(hold, cost)) is False
        assert self.both(lambda store: store.void(hold)) is VoidOutcome.ENDED

    @rule(cost=AMOUNTS)
    def end_unknown(self, cost: int) -> None:
        stranger = hold_on(self.windows())
        assert self.both(lambda store: store.void(stranger, attempts=1)) is VoidOutcome.UNKNOWN
        assert self.both(lambda store: store.capture(stranger, cost)) is False
        self.model.end(stranger, cost, self.clock.now())
        self.may_exceed |= cost > 0  # windows are dropped, as below

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def reconcile_one(self, data: st.DataObject) -> None:
        hold = data.draw(st.sampled_from(list(self.running.values())))
        hold = replace(hold, scopes=self.scopes_over(hold.spender))  # as reconcile does
        is_restored = self.both(lambda store: store.restore_hold(hold))
        self.may_exceed |= is_restored
        assert is_restored == self.model.restore(hold, self.clock.now())

    @precondition(lambda self: self.waiting or self.running)
    @rule(data=st.data())
    def keep_some(self, data: st.DataObject) -> None:
        """A gate keeps holds, which the stores may have lost; or have ended, unless minutes have passed since."""
        holds = [*self.waiting.values(), *self.running.values()]
        kept = data.draw(st.lists(st.sampled_from(holds), unique_by=lambda hold: hold.id))
        kept = [replace(hold, scopes=self.scopes_over(hold.spender)) for hold in kept]
        restored = self.both(lambda store: store.keep_holds(kept))
        self.may_exceed |= bool(restored)
        assert restored == self.model.keep(kept, self.clock.now())

    @precondition(lambda self: self.waiting or self.running)
    @rule(data=st.data(), off_by=st.sampled_from([0, 0, 0, 1, -1]))
    def void_where_nobody_joined(self, data: st.DataObject, off_by: int) -> None:
        """A gate gives up a hold as far as it knows its attempts; it stands where others have joined."""
        hold = data.draw(st.sampled_from([*self.waiting.values(), *self.running.values()]))
        known = self.model.attempts.get(hold.id, Attempts(1, self.clock.now())).count + off_by
        is_ended = hold.id in self.model.holds and off_by == 0
        if is_ended:
            self.running.pop(hold.id, None)
            self.waiting.pop(hold.id, None)
            self.over.append(hold)
            self.book.close_hold(hold)
        self.end(hold, 0, known)

    @rule(minutes=st.one_of(st.sampled_from([1, 29, 30, 60, 120]), st.integers(60, 1_800)))
    def let_time_pass(self, minutes: int) -> None:
        self.clock.advance(timedelta(minutes=minutes).total_seconds())

    @rule()
    def lose_everything(self) -> None:
        self.raw.flushall()
        self.memory = MemoryBudgetStore(self.book, self.clock)
        self.model.wipe()
        self.may_exceed = True  # holds that the ledger has not heard of are lost, and may come back

    @rule(only=st.sampled_from([None, Period.DAY, Period.MONTH]), spender=st.sampled_from(SPENDERS))
    def look(self, only: Period | None, spender: Spender) -> None:
        windows = tuple(window for window in self.windows(spender) if only in {None, window.period})
        balances: tuple[Balance, ...] = self.both(lambda store: store.fetch_balances(windows))
        assert balances == self.model.balances(windows, self.clock.now())
        budget_status: BudgetStatus = self.both(lambda store: store.fetch_status(windows))
        assert budget_status == BudgetStatus(balances, self.model.breaker_shown(self.clock.now()))
        # Invariant 2.
        own = [balance for balance in balances if balance.window.is_own]
        assert self.may_exceed or all((balance.balance_nanos or 0) >= 0 for balance in own), balances

    @invariant()
    def the_same_holds_are_open(self) -> None:
        listed = self.both(lambda store: store.fetch_hold_ids(CUSTOMER))
        assert listed == {hold.id: hold.placed_at for hold in self.model.holds.values()}
        for hold in self.model.holds.values():
            assert self.both(methodcaller("fetch_attempts", hold)) == self.model.attempts.get(hold.id)
        for hold in self.over[-1:]:
            expected = ENDED_ATTEMPTS if hold.id in self.model.ended else None
            assert self.run(partial(self.redis.fetch_attempts, hold)) == expected
            # The clock is memory's alone: minutes later it has forgotten the end.
            assert self.run(partial(self.memory.fetch_attempts, hold)) in {expected, None}
        breaker = self.model.breaker_shown(self.clock.now())
        assert self.both(lambda store: store.fetch_breakers()) == ({CUSTOMER: breaker} if breaker else {})
        assert self.both(lambda store: store.fetch_customers()) == ((CUSTOMER,) if self.model.holds else ())

    @invariant()
    def every_known_window_holds_the_sum_of_its_holds_and_lives_for_a_time(self) -> None:
        prefix = "bqgate:{ac%7Bme%7D}:"
        for key in self.raw.scan_iter(match="*"):
            assert key.startswith(prefix)
            ttl_s = self.raw.ttl(key)
            if key in {f"{prefix}{kind}" for kind in ("holds", "attempts", "idempotency")}:
                assert 0 < ttl_s <= HOLDS_TTL_S
                assert self.model.holds, "nothing is open, and the key is still there"
                continue
            assert ttl_s > 0, key
            if key.startswith(f"{prefix}window:"):
                *about, period, window_key = key.removeprefix(f"{prefix}window:").split(":")
                (scope,) = [each for each in SCOPES if NAMES[each] == about[0]] if about else [CUSTOMER_SCOPE]
                held_nanos = self.raw.hget(key, "held_nanos")
                assert held_nanos == str(self.model.held_in(WindowId(scope, Period(period), window_key)))


def test_memory_redis_and_the_model_agree_on_every_answer(redis_url: str) -> None:
    """Whatever order holds are placed, recorded, booked, ended, lost and put back in: one answer, one balance."""

    class Machine(StoresAgree):
        pass

    Machine.redis_url = redis_url
    run_machine(
        Machine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
