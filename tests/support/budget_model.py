"""Say what a budget store must answer, without one: the oracle of the state machine over one customer.

It knows no counters for what is held: that is the sum of the holds that it has. It is told in dictionaries, for
reading beside bqgate/budgets/refill.py and bqgate/domain/cost_breaker.py; nothing here is fast.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bqgate.domain.budget import Balance, Period, Window, WindowId
from bqgate.domain.cost_breaker import (
    NO_GRACE,
    CostBreaker,
    GracePolicy,
)
from bqgate.domain.hold import LEASE_S, RESTORED_ATTEMPTS, Attempts, Hold, Placement, PlacementOutcome, VoidOutcome
from bqgate.domain.reject_reason import RejectReason
from tests.support.budget_scene import own_id
from tests.support.spend_book import SpendBook


@dataclass
class BreakerModel:
    """An open breaker: since, until, which hold tries it, and by what that is judged."""

    since: datetime
    until: datetime
    probe_id: str | None = None
    emergency_nanos: int | None = None

    def shown(self) -> CostBreaker:
        return CostBreaker(self.since, self.until, self.probe_id, self.emergency_nanos)


@dataclass
class BudgetModel:
    """What a budget store must say, told without one."""

    customer: str
    book: SpendBook
    captured: dict[WindowId, int] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    attempts: dict[str, Attempts] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)  # at what cost
    grace: dict[WindowId, datetime] = field(default_factory=dict)
    breaker: BreakerModel | None = None

    def wipe(self) -> None:
        self.captured, self.holds, self.attempts, self.keys, self.ended = {}, {}, {}, {}, {}
        self.grace, self.breaker = {}, None

    def forget(self) -> None:
        self.captured, self.grace = {}, {}

    def forget_only(self, window_ids: tuple[WindowId, ...]) -> None:
        for window_id in window_ids:
            self.captured.pop(window_id, None)
            self.grace.pop(window_id, None)

    def fill(self, windows: tuple[Window, ...], now: datetime) -> None:
        before = [window.rollover.window for window in windows if window.rollover is not None]
        unknown = [window for window in (*windows, *before) if window.id not in self.captured]
        if not unknown:
            return
        for window in unknown:
            self.captured[window.id] = self.book.spend_nanos(self.customer, window.id)
            if not window.is_own:
                continue
            named = (self.customer, window.period, window.key)
            if named in self.book.grace_started_at:
                self.grace[window.id] = self.book.grace_started_at[named]
            if window.period is Period.DAY:
                self.fill_breaker(window)
        for hold in self.book.open_holds.values():
            if hold.id in self.holds:
                known = self.holds[hold.id]
                scopes = (*known.scopes, *(scope for scope in self.book.scopes_of(hold) if scope not in known.scopes))
                self.holds[hold.id] = replace(known, scopes=scopes)
            elif hold.id not in self.ended:
                self.put(replace(hold, scopes=self.book.scopes_of(hold)), RESTORED_ATTEMPTS, now)

    def fill_breaker(self, day: Window) -> None:
        since = self.book.tripped_at.get((self.customer, day.key))
        if since is not None and (self.breaker is None or self.breaker.until < day.resets_at):
            self.breaker = BreakerModel(since, day.resets_at)

    def put(self, hold: Hold, attempts: int, now: datetime) -> bool:
        if hold.id in self.holds:
            return False
        self.holds[hold.id] = hold
        self.attempts[hold.id] = Attempts(attempts, now + timedelta(seconds=LEASE_S))
        if hold.idempotency_key is not None:
            self.keys.setdefault(hold.idempotency_key, hold.id)
        return True

    def balances(self, windows: tuple[Window, ...], now: datetime) -> tuple[Balance, ...]:
        self.fill(windows, now)
        return tuple(
            Balance(
                window,
                self.captured[window.id],
                self.held_in(window.id),
                self.grace.get(window.id),
                self.rolled_over_to(window),
            )
            for window in windows
        )

    def rolled_over_to(self, window: Window) -> int:
        if window.rollover is None:
            return 0
        before = window.rollover.window
        assert before.limit_nanos is not None
        return max(0, min(window.rollover.nanos_max, before.limit_nanos - self.used_in(before.id)))

    def held_in(self, window_id: WindowId) -> int:
        return sum(hold.amount_nanos for hold in self.holds.values() if window_id in hold.window_ids)

    def used_in(self, window_id: WindowId) -> int:
        return self.captured[window_id] + self.held_in(window_id)

    def breaker_shown(self, now: datetime) -> CostBreaker | None:
        if self.breaker is None or now >= self.breaker.until:
            return None
        return self.breaker.shown()

    def place(self, hold: Hold, windows: tuple[Window, ...], grace: GracePolicy = NO_GRACE) -> Placement:
        now, balances = hold.placed_at, self.balances(windows, hold.placed_at)
        if self.breaker is not None and now >= self.breaker.until:
            self.breaker = None
        found = hold.id if hold.id in self.holds else self.keys.get(hold.idempotency_key or "")
        if found is not None:
            if hold.is_joined_by_repeats:
                self.lease(found, now)
                self.attempts[found] = replace(self.attempts[found], count=self.attempts[found].count + 1)
            count = self.attempts[found].count
            return Placement(
                PlacementOutcome.REPLAYED, found, balances, breaker=self.breaker_shown(now), attempts=count
            )
        if hold.id in self.ended:
            return Placement(PlacementOutcome.ENDED, None, balances, breaker=self.breaker_shown(now))
        if any(window.is_strict and self.is_short(window, hold.amount_nanos) for window in windows):
            return Placement(
                PlacementOutcome.REFUSED, None, balances, RejectReason.BUDGET_USED_UP, self.breaker_shown(now)
            )
        short = [window for window in windows if window.is_own and self.is_short(window, hold.amount_nanos)]
        tries = self.breaker is not None and self.is_probe_due(now, grace)
        refusal = self.refusal_of(hold, windows, short, grace, tries=tries)
        if refusal is not None and not grace.is_observed:
            has_tripped = self.trip(refusal, windows, now, tries=tries)
            return Placement(
                PlacementOutcome.REFUSED, None, balances, refusal, self.breaker_shown(now), has_tripped=has_tripped
            )
        if tries and self.breaker is not None and not grace.is_observed:
            self.breaker.probe_id, self.breaker.emergency_nanos = hold.id, grace.emergency_nanos
        begun, ends_at = [], None
        if refusal is None and short:
            begun = [window for window in short if window.id not in self.grace]
            for window in begun:
                self.grace[window.id] = now
            ends_at = min(self.grace[window.id] for window in short) + self.lasts(grace)
        self.put(hold, 1, now)
        return Placement(
            PlacementOutcome.PLACED,
            hold.id,
            self.balances(windows, now),
            refusal,
            self.breaker_shown(now),
            grace_ends_at=ends_at,
            grace_started_in=tuple(begun),
            attempts=1,
        )

    def is_short(self, window: Window, amount_nanos: int) -> bool:
        if window.limit_nanos is None:
            return False
        return self.used_in(window.id) + amount_nanos > window.limit_nanos + self.rolled_over_to(window)

    def is_probe_due(self, now: datetime, grace: GracePolicy) -> bool:
        assert self.breaker is not None
        if grace.cooldown_s == 0 or self.breaker.probe_id is not None:
            return False
        return now - self.breaker.since >= timedelta(seconds=grace.cooldown_s)

    def lasts(self, grace: GracePolicy) -> timedelta:
        return timedelta(seconds=grace.grace_s)

    def refusal_of(
        self, hold: Hold, windows: tuple[Window, ...], short: list[Window], grace: GracePolicy, *, tries: bool
    ) -> RejectReason | None:
        if self.breaker is not None and not tries:
            return RejectReason.BREAKER_OPEN
        if not short:
            return None
        if grace.grace_s == 0 or grace.emergency_nanos is None:
            return RejectReason.BUDGET_USED_UP
        days = [window for window in windows if window.is_own and window.period is Period.DAY]
        if any(self.used_in(day.id) + hold.amount_nanos > grace.emergency_nanos for day in days):
            return RejectReason.EMERGENCY
        since = [self.grace[window.id] for window in short if window.id in self.grace]
        if any(hold.placed_at - each >= self.lasts(grace) for each in since):
            return RejectReason.GRACE_OVER
        return None

    def trip(self, refusal: RejectReason, windows: tuple[Window, ...], now: datetime, *, tries: bool) -> bool:
        if tries and self.breaker is not None:
            self.breaker = BreakerModel(now, self.breaker.until)
            return True
        if refusal is not RejectReason.EMERGENCY:
            return False
        (day,) = (window for window in windows if window.is_own and window.period is Period.DAY)
        self.breaker = BreakerModel(now, day.resets_at)
        return True

    def end(self, hold: Hold, cost_nanos: int, now: datetime, attempts: int | None = None) -> VoidOutcome:
        if hold.id not in self.holds:
            before = self.ended.get(hold.id)
            if before is not None and cost_nanos in {0, before}:
                return VoidOutcome.ENDED
            if attempts is None:
                self.ended[hold.id] = cost_nanos
            if cost_nanos:
                self.forget_only(hold.window_ids)
            return VoidOutcome.UNKNOWN if before is None else VoidOutcome.ENDED
        if attempts not in {None, self.attempts[hold.id].count}:
            return VoidOutcome.JOINED
        self.ended[hold.id] = cost_nanos
        placed = self.holds.pop(hold.id)
        del self.attempts[hold.id]
        self.keys = {key: hold_id for key, hold_id in self.keys.items() if hold_id != placed.id}
        for window_id in placed.window_ids:
            if window_id in self.captured:
                self.captured[window_id] += cost_nanos
        if self.breaker is not None and self.breaker.probe_id == hold.id:
            self.end_probe(placed, cost_nanos, now)
        return VoidOutcome.VOIDED

    def end_probe(self, hold: Hold, cost_nanos: int, now: datetime) -> None:
        assert self.breaker is not None
        bound, self.breaker.probe_id, self.breaker.emergency_nanos = self.breaker.emergency_nanos, None, None
        day = own_id(Period.DAY, hold.window_keys.get(Period.DAY, ""))
        if cost_nanos == 0 or day not in self.captured:
            return
        if bound is not None and self.used_in(day) > bound:
            self.breaker.since = now
        else:
            self.breaker = None

    def restore(self, hold: Hold, now: datetime) -> bool:
        return hold.id not in self.ended and self.put(hold, RESTORED_ATTEMPTS, now)

    def keep(self, holds: list[Hold], now: datetime) -> tuple[str, ...]:
        restored = tuple(hold.id for hold in holds if self.restore(hold, now))
        for hold in holds:
            if hold.id in self.holds:
                self.lease(hold.id, now)
        return restored

    def lease(self, hold_id: str, now: datetime) -> None:
        until = now + timedelta(seconds=LEASE_S)
        if self.attempts[hold_id].leased_until < until:
            self.attempts[hold_id] = replace(self.attempts[hold_id], leased_until=until)
