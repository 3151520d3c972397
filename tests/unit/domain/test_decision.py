from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bqgate.domain.budget import Balance, Period, Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, BudgetScope, ScopeKind
from bqgate.domain.cost_breaker import (
    CostBreaker,
    GracePolicy,
)
from bqgate.domain.decision import (
    Forward,
    Reject,
    Throttle,
    decide,
    name_of,
    tightest_bound,
)
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.tier import Budget, Mode

GRACE_POLICY = GracePolicy(grace_s=60, emergency_nanos=500)

MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
NOON = MIDNIGHT - timedelta(hours=12)
BREAKER = CostBreaker(opened_at=NOON, until=MIDNIGHT)


def placed(*balances: Balance, refusal: RejectReason | None = None, grace_ends_at: datetime | None = None) -> Placement:
    return Placement(PlacementOutcome.PLACED, "h", balances, refusal, grace_ends_at=grace_ends_at)


def refused(refusal: RejectReason, *balances: Balance, breaker: CostBreaker | None = None) -> Placement:
    return Placement(PlacementOutcome.REFUSED, None, balances, refusal, breaker)


def balances(day_used: int, month_used: int = 0) -> tuple[Balance, ...]:
    resets_at = MIDNIGHT
    day = Window("acme", Period.DAY, "2026-11-24", 100, resets_at, throttle_ppm=950_000)
    month = Window("acme", Period.MONTH, "2026-11", 1_000, resets_at, throttle_ppm=950_000)
    return Balance(day, day_used, 0), Balance(month, month_used, 0)


def observed(*enforced: Balance) -> tuple[Balance, ...]:
    return tuple(replace(each, window=replace(each.window, is_observed=True)) for each in enforced)


@pytest.mark.parametrize(
    ("day_used", "month_used", "expected"),
    [
        pytest.param(50, 50, Forward(), id="room"),
        pytest.param(94, 94, Forward(), id="just under the throttle threshold"),
        pytest.param(95, 95, Throttle(2_000), id="at the throttle threshold of the day"),
        pytest.param(10, 950, Throttle(2_000), id="at the throttle threshold of the month"),
        pytest.param(100, 100, Throttle(2_000), id="exactly at the limit"),
    ],
)
def test_a_placed_query_is_forwarded_or_throttled(day_used: int, month_used: int, expected: Forward | Throttle) -> None:
    """The share in use after the hold decides whether a query waits."""
    placement = placed(*balances(day_used, month_used))
    assert expected == decide(placement, amount_nanos=1, grace=GRACE_POLICY, wait_ms=2_000)


def rejected(placement: Placement, amount_nanos: int = 5) -> Reject:
    decision = decide(placement, amount_nanos=amount_nanos, grace=GRACE_POLICY, wait_ms=2_000)
    assert isinstance(decision, Reject)
    return decision


def test_a_refusal_names_the_budget_that_said_no() -> None:
    """When nothing was held, the first budget without room is the reason."""
    reject = rejected(refused(RejectReason.BUDGET_USED_UP, *balances(10, 999)))
    assert reject.reason is RejectReason.BUDGET_USED_UP
    assert reject.balance is not None
    assert reject.balance.window.period is Period.MONTH


def test_a_refusal_though_all_have_room_names_the_tightest() -> None:
    """Room may be there again by now; the answer has numbers all the same, and none is no error."""
    reject = rejected(refused(RejectReason.BUDGET_USED_UP, *balances(10, 900)))
    assert reject.balance is not None
    assert reject.balance.window.period is Period.MONTH
    assert rejected(refused(RejectReason.BUDGET_USED_UP)).balance is None


def test_grace_is_a_throttle_that_says_until_when() -> None:
    """Past the limit a query runs after the tier's wait, and is called grace."""
    placement = placed(*balances(105), grace_ends_at=NOON)
    decision = decide(placement, amount_nanos=5, grace=GRACE_POLICY, wait_ms=2_000)
    assert decision == Throttle(2_000, grace_ends_at=NOON)
    assert name_of(decision, placement) == "grace"


def test_grace_that_is_over_names_the_budget_whose_it_was_and_when() -> None:
    """Of two short ones that whose grace began first."""
    day, month = balances(105, 1_005)
    late = Balance(day.window, 105, 0, grace_started_at=NOON)
    early = Balance(month.window, 1_005, 0, grace_started_at=NOON - timedelta(hours=1))
    reject = rejected(refused(RejectReason.GRACE_OVER, late, early))
    assert (reject.reason, reject.balance) == (RejectReason.GRACE_OVER, early)
    assert reject.grace_ended_at == NOON - timedelta(minutes=59)


def test_an_emergency_is_told_against_its_own_limit() -> None:
    """The day's balance, with the emergency limit in the place of the day's, and the breaker that it opened."""
    reject = rejected(refused(RejectReason.EMERGENCY, *balances(490), breaker=BREAKER), 20)
    assert (reject.reason, reject.breaker) == (RejectReason.EMERGENCY, BREAKER)
    assert reject.balance is not None
    assert (reject.balance.window.period, reject.balance.window.limit_nanos) == (Period.DAY, 500)


def test_an_open_breaker_refuses_with_the_day_as_it_stands() -> None:
    """Whatever room there is."""
    reject = rejected(refused(RejectReason.BREAKER_OPEN, *balances(10), breaker=BREAKER))
    assert (reject.reason, reject.balance) == (RejectReason.BREAKER_OPEN, balances(10)[0])


def test_a_probe_is_called_so() -> None:
    """It is forwarded, and the ledger's word for it is probe."""
    probe = Placement(PlacementOutcome.PLACED, "h", balances(10), breaker=CostBreaker(NOON, MIDNIGHT, probe_id="h"))
    decision = decide(probe, amount_nanos=1, grace=GRACE_POLICY, wait_ms=2_000)
    assert decision == Forward()
    assert name_of(decision, probe) == "trial"


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (None, None),
        (RejectReason.BUDGET_USED_UP, RejectReason.BUDGET_USED_UP),
        (RejectReason.GRACE_OVER, RejectReason.GRACE_OVER),
        (RejectReason.EMERGENCY, RejectReason.EMERGENCY),
        (RejectReason.BREAKER_OPEN, RejectReason.BREAKER_OPEN),
    ],
)
def test_observing_refuses_and_delays_nothing_but_says_what_it_would_have_done(
    refusal: RejectReason | None, reason: RejectReason | None
) -> None:
    """Observe mode forwards past the limit, and marks it."""
    placement = placed(*observed(*balances(150)), refusal=refusal)
    decision = decide(placement, amount_nanos=60, grace=replace(GRACE_POLICY, is_observed=True), wait_ms=2_000)
    assert decision == Forward(would_reject=reason)
    assert name_of(decision, placement) == ("forward" if reason is None else "would_reject")


NIGHTLY = BudgetScope(ScopeKind.WORKLOAD, "nightly")


def part(used: int, limit: int, *, is_observed: bool = False) -> Balance:
    """The day of a workload's budget."""
    window = Window("acme", Period.DAY, "2026-11-24", limit, MIDNIGHT, NIGHTLY, is_observed, throttle_ppm=950_000)
    return Balance(window, used, 0)


def test_the_budget_of_a_part_refuses_by_its_own_name() -> None:
    """Grace lets the customer's day pass; that of a part stands before it and says so."""
    reject = rejected(refused(RejectReason.BUDGET_USED_UP, *balances(99), part(10, 10)))
    assert reject.balance == part(10, 10)


def test_the_budget_of_a_part_throttles_alone() -> None:
    """Its own threshold, with room in all others; observed, it delays nobody."""
    near, seen = placed(*balances(10), part(19, 20)), placed(*balances(10), part(19, 20, is_observed=True))
    assert decide(near, amount_nanos=1, grace=GRACE_POLICY, wait_ms=2_000) == Throttle(2_000)
    assert decide(seen, amount_nanos=1, grace=GRACE_POLICY, wait_ms=2_000) == Forward()


def test_one_query_may_never_cost_more_than_a_whole_limit() -> None:
    """The bound of one query is the tightest of all budgets' own, their days' and their months'."""
    own = Budget("acme", "acme", CUSTOMER_SCOPE, LimitPlan(Limits(100, 1_000)))
    nightly = Budget("nightly", "acme", NIGHTLY, LimitPlan(Limits(query_nanos=7)))
    unbounded = Budget("all", "acme", NIGHTLY, LimitPlan(Limits()))
    assert tightest_bound([own], Mode.ENFORCE, NOON) == (own, 100)
    assert tightest_bound([own, nightly, unbounded], Mode.ENFORCE, NOON) == (nightly, 7)
    assert tightest_bound([unbounded], Mode.ENFORCE, NOON) is None
    assert tightest_bound([own, nightly], Mode.OBSERVE, NOON) is None
