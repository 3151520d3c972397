"""Admit everything where budgets are only observed, and record what enforcing would have done instead. Pure.

Called by admit.py. Nothing is refused for a customer in observe mode, not even a query that no dry run bounds: it is
held at the amount of the rules and not capped.
"""

from dataclasses import replace

from bqgate.admission.estimates.estimator import DRY_RUN_REFUSED
from bqgate.admission.present_budgets import PresentBudgets
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
from bqgate.domain.tier import Customer, Mode


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
    present: PresentBudgets,
    *,
    customer: Customer,
    rules: HoldRules,
) -> ShadowDecision | None:
    """What enforcing would have done to the query; None: the same, or none of its budgets is observed.

    Args:
        placement: the outcome of placing its hold.
        actual: the decision about it.
        estimate: what its dry run said.
        hold: its hold.
        present: the budgets that it counts in.
        customer: who pays.
        rules: those of the settings, which may refuse a query without an estimate.
    """
    if present.are_enforced:
        return None
    if customer.mode is Mode.OBSERVE and _would_refuse(rules, estimate):
        return ShadowDecision(RejectReason.UNKNOWN_ESTIMATE.value, 0, QUERY_BOUND)
    return shadow_decide(
        placement,
        actual,
        amount_nanos=hold.amount_nanos,
        grace=present.grace,
        wait_ms=customer.tier.throttle_wait_ms,
        budgets=present.budgets,
        now=hold.placed_at,
    )


def as_observed(shadow_decision: ShadowDecision | None) -> Forward:
    """The decision: it runs at once, with the reason for which enforcing would have refused it."""
    if shadow_decision is None or shadow_decision.reason is None:
        return Forward()
    return Forward(would_reject=RejectReason(shadow_decision.reason))


def _would_refuse(rules: HoldRules, estimate: Estimate) -> bool:
    """Whether a query is refused for want of an estimate. One that BigQuery calls invalid is not: it fails, free."""
    return rules.unknown is UnknownEstimate.REJECT and estimate.unknown_because not in {None, DRY_RUN_REFUSED}
