"""Admit everything where budgets are only observed, and note what enforcing would have done instead.

Called by admit; pure. Nothing is refused for a customer in observe mode, not even what no dry run can bound: such a
query is held at the rules' guess and not capped.
"""

from collections.abc import Sequence
from dataclasses import replace

from bqgate.admission.estimate import DRY_RUN_REFUSED
from bqgate.admission.sizing import HoldRules, UnknownEstimate
from bqgate.domain.decision import (
    Forward,
    Throttle,
)
from bqgate.domain.hold import Hold, Placement
from bqgate.domain.job import Estimate
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.shadow_decision import ShadowDecision
from bqgate.domain.shadow_evaluation import QUERY_BOUND, shadow_decide
from bqgate.domain.tier import Budget, Customer, Mode


def rules_for(customer: Customer, estimate: Estimate, rules: HoldRules) -> HoldRules:
    """The rules by which a query of this customer is sized."""
    if customer.mode is Mode.OBSERVE and _would_refuse(rules, estimate):
        return replace(rules, unknown=UnknownEstimate.ALLOW)
    return rules


def shadow_decision_of(
    placement: Placement,
    actual: Forward | Throttle,
    estimate: Estimate,
    hold: Hold,
    budgets: Sequence[Budget],
    *,
    customer: Customer,
    rules: HoldRules,
) -> ShadowDecision | None:
    """What enforcing would have done to it; None: the same, or none of its budgets is observed.

    Args:
        placement: what became of its hold.
        actual: the decision about it.
        estimate: its dry run's.
        hold: its hold.
        budgets: all that it falls under.
        customer: who pays.
        rules: those of the settings, by which a query is refused that cannot be estimated.
    """
    if all(budget.mode is Mode.ENFORCE for budget in budgets):
        return None
    if customer.mode is Mode.OBSERVE and _would_refuse(rules, estimate):
        return ShadowDecision(RejectReason.UNKNOWN_ESTIMATE.value, 0, QUERY_BOUND)
    return shadow_decide(
        placement,
        actual,
        amount_nanos=hold.amount_nanos,
        grace=customer.grace_at(hold.placed_at),
        wait_ms=customer.tier.throttle_wait_ms,
        budgets=budgets,
        now=hold.placed_at,
    )


def as_observed(shadow_decision: ShadowDecision | None) -> Forward:
    """The decision about it: it runs at once, and says why enforcing would have refused it."""
    if shadow_decision is None or shadow_decision.reason is None:
        return Forward()
    return Forward(would_reject=RejectReason(shadow_decision.reason))


def _would_refuse(rules: HoldRules, estimate: Estimate) -> bool:
    """Whether a query is refused for its estimate. One that BigQuery calls invalid is not: it will fail, free."""
    return rules.unknown is UnknownEstimate.REJECT and estimate.unknown_because not in {None, DRY_RUN_REFUSED}
