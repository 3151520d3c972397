"""Decide what happens to a query, from the numbers that the attempt to hold its cost returned.

Called once per query by admission.admit, after the hold and before anything is forwarded. Pure: a placement in, a
Forward, Throttle or Reject out. Reasons are an enum whose values are the words that clients, logs, metrics and the
ledger show. Statuses and BigQuery's reasons are not here: gate.reply knows them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bqgate.domain.budget import Balance
from bqgate.domain.cost_breaker import CostBreaker, GracePolicy, day_of
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.tier import Budget, Mode

# What helps against most refusals, until the query itself is looked at.
MAKE_IT_CHEAPER = "Filter on the partition column or select fewer columns to make it cheaper."


@dataclass(frozen=True, slots=True)
class Forward:
    """It runs now. `would_reject` is set in observe mode, where enforcing would have refused."""

    would_reject: RejectReason | None = None


@dataclass(frozen=True, slots=True)
class Throttle:
    """It runs after a wait, because little is left, or nothing: then until when grace lets it."""

    wait_ms: int
    grace_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """It does not run. `balance` is the budget that said no, where one did; for an emergency the day's, against it.

    `grace_ended_at` is set when its grace is over, `breaker` when the customer's cost breaker is open. `budget` is the
    one whose bound of one query was passed, which is `bound_nanos`.
    """

    reason: RejectReason
    amount_nanos: int
    balance: Balance | None = None
    suggestion: str = ""
    grace_ended_at: datetime | None = None
    breaker: CostBreaker | None = None
    budget: Budget | None = None
    bound_nanos: int | None = None


Decision = Forward | Throttle | Reject

# What a hold's `decision` says of these, beside forward, throttle and would_reject.
IN_GRACE = "grace"
PROBE = "trial"
DEGRADED = "degraded"  # the budgets were away; domain.degradation


def tightest_bound(budgets: Iterable[Budget], mode: Mode, now: datetime) -> tuple[Budget, int] | None:
    """The budget of those in this mode that lets one query cost least, and how much; None: none of them bounds it."""
    of_mode = (budget for budget in budgets if budget.mode is mode)
    bounds = [(budget, bound) for budget in of_mode if (bound := budget.query_bound_at(now)) is not None]
    return min(bounds, key=lambda pair: pair[1], default=None)


def decide(placement: Placement, *, amount_nanos: int, grace: GracePolicy, wait_ms: int) -> Decision:
    """Judge a query by what became of its hold.

    Args:
        placement: the store's answer.
        amount_nanos: the hold's amount.
        grace: those that it was placed under; observed, nothing is refused and nothing delayed.
        wait_ms: how long a throttled query waits; 0: none is throttled but in grace.
    """
    if placement.outcome is PlacementOutcome.REFUSED:
        return _reject(placement, amount_nanos, grace)
    if placement.grace_ends_at is not None and not grace.is_observed:
        return Throttle(wait_ms=wait_ms, grace_ends_at=placement.grace_ends_at)
    if wait_ms and any(balance.is_throttled for balance in placement.balances):
        return Throttle(wait_ms=wait_ms)
    return Forward(would_reject=placement.refusal)


def name_of(decision: Forward | Throttle, placement: Placement) -> str:
    """The decision's word in answers, logs, metrics and the ledger."""
    if placement.is_probe:
        return PROBE
    if isinstance(decision, Throttle):
        return "throttle" if decision.grace_ends_at is None else IN_GRACE
    return "forward" if decision.would_reject is None else "would_reject"


def budget_that_throttles(balances: Iterable[Balance]) -> Balance | None:
    """The tightest of those past a threshold; where none is, of all that may say no. None: nothing says no."""
    asked = [balance for balance in balances if not balance.window.is_observed and balance.limit_nanos is not None]
    throttled = [balance for balance in asked if balance.is_throttled]
    return max(throttled or asked, key=lambda balance: balance.used_ppm, default=None)


def _reject(placement: Placement, amount_nanos: int, grace: GracePolicy) -> Reject:
    assert placement.refusal is not None, "what was refused was refused for a reason"
    reject = Reject(
        reason=placement.refusal,
        amount_nanos=amount_nanos,
        balance=_budget_that_refused(placement, amount_nanos, grace),
        breaker=placement.breaker,
    )
    if reject.reason is RejectReason.GRACE_OVER and reject.balance and reject.balance.grace_started_at:
        ended_at = reject.balance.grace_started_at + timedelta(seconds=grace.grace_s)
        reject = replace(reject, grace_ended_at=ended_at)
    if reject.reason in {RejectReason.BUDGET_USED_UP, RejectReason.GRACE_OVER}:
        reject = replace(reject, suggestion=MAKE_IT_CHEAPER)
    return reject


def _budget_that_refused(placement: Placement, amount_nanos: int, grace: GracePolicy) -> Balance | None:
    """The day for emergency and breaker; else a strict one that is short, the first that is, or whose grace is over."""
    if placement.refusal in {RejectReason.EMERGENCY, RejectReason.BREAKER_OPEN}:
        day = day_of(placement.balances)
        if day is not None and placement.refusal is RejectReason.EMERGENCY:
            return replace(day, window=replace(day.window, limit_nanos=grace.emergency_nanos), carried_nanos=0)
        return day
    enforced = [balance for balance in placement.balances if not balance.window.is_observed]
    short = [balance for balance in enforced if not balance.has_room_for(amount_nanos)]
    started = [balance for balance in short if balance.grace_started_at is not None]
    if placement.refusal is RejectReason.GRACE_OVER and started:
        return min(started, key=lambda balance: (balance.grace_started_at is None, balance.grace_started_at))
    short.sort(key=lambda balance: not balance.window.is_strict)
    return next(iter(short), max(enforced, key=lambda balance: balance.used_ppm, default=None))
