"""Evaluate what enforcing would have decided about a query whose budgets are only observed.

Called by admission for every query with at least one observed budget, with the placement by a store that counted the
hold and refused nothing. Pure: the same `decide` that enforces, on the balances as they were before the query. Earlier
queries that enforcing would have stopped have spent their money all the same: past a limit this predicts more stops
than enforcing would have made.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bqgate.domain.budget import Balance, Window
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.cost_breaker import (
    GracePolicy,
)
from bqgate.domain.decision import (
    Decision,
    Reject,
    Throttle,
    decide,
    tightest_bound,
)
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.shadow_decision import ShadowDecision
from bqgate.domain.tier import Budget, Mode

# The bound of one query, which is no budget.
QUERY_BOUND = "query"


def shadow_decide(
    placement: Placement,
    actual: Decision,
    *,
    amount_nanos: int,
    grace: GracePolicy,
    wait_ms: int,
    budgets: Sequence[Budget],
    now: datetime,
) -> ShadowDecision | None:
    """What enforcing would have made of it; None: the same.

    Args:
        placement: of a hold that was placed on windows of which some are observed.
        actual: the decision about it.
        amount_nanos: the hold's amount.
        grace: those that it was placed under.
        wait_ms: how long a throttled query waits.
        budgets: all that it falls under.
        now: when it was placed.
    """
    bound = tightest_bound(budgets, Mode.OBSERVE, now)
    if bound is not None and amount_nanos > bound[1]:
        return ShadowDecision(RejectReason.QUERY_TOO_BIG.value, 0, QUERY_BOUND)
    enforced = tuple(replace(each, window=replace(each.window, is_observed=False)) for each in placement.balances)
    before = tuple(replace(each, held_nanos=each.held_nanos - amount_nanos) for each in enforced)
    refusal = placement.refusal
    if any(each.window.is_strict and not each.has_room_for(amount_nanos) for each in before):
        refusal = RejectReason.BUDGET_USED_UP
    if refusal is not None:
        enforced_placement = replace(placement, outcome=PlacementOutcome.REFUSED, refusal=refusal, balances=before)
    else:
        enforced_placement = replace(placement, balances=enforced)
    decision = decide(
        enforced_placement, amount_nanos=amount_nanos, grace=replace(grace, is_observed=False), wait_ms=wait_ms
    )
    if isinstance(decision, Reject):
        return ShadowDecision(
            decision.reason.value, 0, QUERY_BOUND if decision.balance is None else _name(decision.balance)
        )
    if isinstance(decision, Throttle) and decision.wait_ms and not isinstance(actual, Throttle):
        return ShadowDecision(None, decision.wait_ms, _name(_that_throttles(enforced)))
    return None


def budget_name(window: Window) -> str:
    """A budget's scope and period, as `shadow_decision` and its reports call it."""
    kind = "deployment" if window.customer == DEPLOYMENT_ACCOUNT else window.scope.kind.value
    return f"{kind}/{window.period}"


def _name(balance: Balance) -> str:
    return budget_name(balance.window)


def _that_throttles(balances: tuple[Balance, ...]) -> Balance:
    """The tightest of those past a threshold; in grace, of all."""
    throttled = [balance for balance in balances if balance.is_throttled]
    return max(throttled or balances, key=lambda balance: balance.used_ppm)
