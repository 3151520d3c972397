from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.budget import Balance, Period, Window
from bqgate.domain.cost_breaker import Refusal
from bqgate.domain.foresight import foresee
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.tier import Tier
from bqgate.domain.would_have import WouldHave
from tests.support.manual_clock import START

TIER = Tier("t", daily_nanos=100, monthly_nanos=1_000, emergency_nanos=200, query_nanos=50)
DAY = Window("acme", Period.DAY, "2026-11-24", 100, START + timedelta(days=1))
MONTH = Window("acme", Period.MONTH, "2026-11", 1_000, START + timedelta(days=7))


def placed(day_used: int, month_used: int, refusal: Refusal | None = None) -> Placement:
    """What the store answers after it has counted the hold."""
    balances = (Balance(DAY, 0, day_used), Balance(MONTH, month_used - day_used, day_used))
    return Placement(PlacementOutcome.PLACED, "h", balances, refusal)


@pytest.mark.parametrize(
    ("placement", "amount", "foreseen"),
    [
        (placed(10, 10), 10, None),
        (placed(94, 94), 10, None),
        (placed(95, 95), 10, WouldHave(None, 2_000, "customer/day")),
        (placed(10, 960), 10, WouldHave(None, 2_000, "customer/month")),
        (placed(110, 110, Refusal.BUDGET), 20, WouldHave("budget_used_up", 0, "customer/day")),
        (placed(90, 1_005, Refusal.BUDGET), 10, WouldHave("budget_used_up", 0, "customer/month")),
        (placed(110, 110, Refusal.GRACE_OVER), 20, WouldHave("grace_over", 0, "customer/day")),
        (placed(210, 210, Refusal.EMERGENCY), 20, WouldHave("emergency", 0, "customer/day")),
        (placed(60, 60), 51, WouldHave("query_too_big", 0, "query")),
        (placed(50, 50), 50, None),
    ],
)
def test_it_is_what_enforcing_decides(placement: Placement, amount: int, foreseen: WouldHave | None) -> None:
    """A bound, a limit, a threshold: named with the budget whose it is, judged before the query was counted."""
    assert foresee(placement, amount_nanos=amount, tier=TIER) == foreseen


def test_a_query_in_grace_would_have_waited() -> None:
    """Past its limit within grace a query runs, late."""
    in_grace = replace(placed(110, 110), grace_ends_at=START + timedelta(minutes=15))
    assert foresee(in_grace, amount_nanos=20, tier=TIER) == WouldHave(None, 2_000, "customer/day")


def test_without_a_wait_nothing_is_delayed() -> None:
    """A tier that does not throttle would not have."""
    assert foresee(placed(99, 99), amount_nanos=10, tier=replace(TIER, throttle_wait_ms=0)) is None
