from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.budget import Balance, Period, Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.cost_breaker import (
    GracePolicy,
)
from bqgate.domain.decision import Forward, Throttle
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.shadow_decision import ShadowDecision
from bqgate.domain.shadow_evaluation import shadow_decide
from bqgate.domain.tier import Budget, Mode
from tests.support.manual_clock import START

PLAN = LimitPlan(Limits(daily_nanos=100, monthly_nanos=1_000, query_nanos=50))
OWN = Budget("acme", "acme", CUSTOMER_SCOPE, PLAN, Mode.OBSERVE)
GRACE_POLICY = GracePolicy(emergency_nanos=200, is_observed=True)
DAY, MONTH = OWN.windows(START)


def placed(day_used: int, month_used: int, refusal: RejectReason | None = None) -> Placement:
    """What the store answers after it has counted the hold."""
    balances = (Balance(DAY, 0, day_used), Balance(MONTH, month_used - day_used, day_used))
    return Placement(PlacementOutcome.PLACED, "h", balances, refusal)


def shadow_decision_for(placement: Placement, amount: int, *, wait_ms: int = 2_000) -> ShadowDecision | None:
    return shadow_decide(
        placement, Forward(), amount_nanos=amount, grace=GRACE_POLICY, wait_ms=wait_ms, budgets=[OWN], now=START
    )


@pytest.mark.parametrize(
    ("placement", "amount", "shadow_decision"),
    [
        (placed(10, 10), 10, None),
        (placed(94, 94), 10, None),
        (placed(95, 95), 10, ShadowDecision(None, 2_000, "customer/day")),
        (placed(10, 960), 10, ShadowDecision(None, 2_000, "customer/month")),
        (placed(110, 110, RejectReason.BUDGET_USED_UP), 20, ShadowDecision("budget_used_up", 0, "customer/day")),
        (placed(90, 1_005, RejectReason.BUDGET_USED_UP), 10, ShadowDecision("budget_used_up", 0, "customer/month")),
        (placed(110, 110, RejectReason.GRACE_OVER), 20, ShadowDecision("grace_over", 0, "customer/day")),
        (placed(210, 210, RejectReason.EMERGENCY), 20, ShadowDecision("emergency", 0, "customer/day")),
        (placed(60, 60), 51, ShadowDecision("query_too_big", 0, "query")),
        (placed(50, 50), 50, None),
    ],
)
def test_it_is_what_enforcing_decides(
    placement: Placement, amount: int, shadow_decision: ShadowDecision | None
) -> None:
    """A bound, a limit, a threshold: named with the budget whose it is, judged before the query was counted."""
    assert shadow_decision_for(placement, amount) == shadow_decision


def test_a_query_in_grace_would_have_waited() -> None:
    """Past its limit within grace a query runs, late."""
    in_grace = replace(placed(110, 110), grace_ends_at=START + timedelta(minutes=15))
    assert shadow_decision_for(in_grace, 20) == ShadowDecision(None, 2_000, "customer/day")


def test_without_a_wait_nothing_is_delayed() -> None:
    """A tier that does not throttle would not have."""
    assert shadow_decision_for(placed(99, 99), 10, wait_ms=0) is None


def observed_part(account: str, scope: BudgetScope, used: int, *, held: int) -> Balance:
    """The day of a budget of ten that is only observed, after the hold was counted."""
    window = Window(account, Period.DAY, "2026-11-24", 10, START, scope, is_observed=True, throttle_ppm=950_000)
    return Balance(window, used, held)


@pytest.mark.parametrize(
    ("account", "scope", "name"),
    [
        ("acme", BudgetScope(ScopeKind.PRINCIPAL, "ada"), "principal/day"),
        ("acme", BudgetScope(ScopeKind.LABEL, "team=ml"), "label/day"),
        (DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, "deployment/day"),
    ],
)
def test_an_observed_part_of_an_enforced_customer_is_foreseen_too(account: str, scope: BudgetScope, name: str) -> None:
    """Its own limit and threshold; what really happened is no foresight."""
    own = replace(OWN, mode=Mode.ENFORCE)
    part = Budget("part", account, scope, LimitPlan(Limits(daily_nanos=10)), Mode.OBSERVE)
    enforced = tuple(replace(each, window=replace(each.window, is_observed=False)) for each in placed(9, 9).balances)

    def shadow_decision(used: int, actual: Forward | Throttle) -> ShadowDecision | None:
        balances = (*enforced, observed_part(account, scope, used, held=4))
        placement = Placement(PlacementOutcome.PLACED, "h", balances)
        grace = replace(GRACE_POLICY, is_observed=False)
        return shadow_decide(
            placement, actual, amount_nanos=4, grace=grace, wait_ms=2_000, budgets=[own, part], now=START
        )

    assert shadow_decision(5, Forward()) is None
    assert shadow_decision(6, Forward()) == ShadowDecision(None, 2_000, name)
    assert shadow_decision(6, Throttle(2_000)) is None
    assert shadow_decision(7, Forward()) == ShadowDecision("budget_used_up", 0, name)
