from datetime import UTC, datetime

import pytest

from bqgate.domain.budget import Balance, Period, Window
from bqgate.domain.decision import Forward, Reject, RejectReason, Throttle, decide, query_bound_nanos
from bqgate.domain.tier import Mode, Tier

TIER = Tier("standard", daily_nanos=100, monthly_nanos=1_000, emergency_nanos=500, throttle_wait_ms=2_000)


def balances(day_used: int, month_used: int = 0) -> tuple[Balance, ...]:
    resets_at = datetime(2026, 11, 25, tzinfo=UTC)
    day = Window("acme", Period.DAY, "2026-11-24", 100, resets_at)
    month = Window("acme", Period.MONTH, "2026-11", 1_000, resets_at)
    return Balance(day, day_used, 0), Balance(month, month_used, 0)


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
    assert expected == decide(
        balances=balances(day_used, month_used), placed=True, amount_nanos=1, tier=TIER, mode=Mode.ENFORCE
    )


def test_a_refusal_names_the_budget_that_said_no() -> None:
    """When nothing was held, the first budget without room is the reason."""
    decision = decide(balances=balances(10, 999), placed=False, amount_nanos=5, tier=TIER, mode=Mode.ENFORCE)
    assert isinstance(decision, Reject)
    assert decision.reason is RejectReason.BUDGET_USED_UP
    assert decision.balance is not None
    assert decision.balance.window.period is Period.MONTH


def test_observing_refuses_and_delays_nothing_but_says_what_it_would_have_done() -> None:
    """Observe mode forwards past the limit, and marks it."""
    over = decide(balances=balances(150), placed=True, amount_nanos=60, tier=TIER, mode=Mode.OBSERVE)
    assert over == Forward(would_reject=RejectReason.BUDGET_USED_UP)
    assert Forward() == decide(balances=balances(99), placed=True, amount_nanos=1, tier=TIER, mode=Mode.OBSERVE)


def test_one_query_may_never_cost_more_than_a_whole_limit() -> None:
    """The bound of one query is the tightest of its own, the day's and the month's."""
    assert query_bound_nanos(TIER) == 100
    assert query_bound_nanos(Tier("t", 100, 1_000, 500, query_nanos=7)) == 7
