"""Foresee what enforcing would have done to a query that is only observed.

Called by admission for every query of an observed budget, with the answer of the store that counted it and refused
nothing. Pure: the same decide that enforces, on the balances as they stood before the query. What each query would have
met is judged by what was really spent, that of the queries before it included which enforcing would have stopped: so
past a limit it foresees more stops than enforcing would have made.
"""

from dataclasses import replace

from bqgate.domain.budget import Balance, Window
from bqgate.domain.decision import Reject, RejectReason, Throttle, decide, is_throttled, query_bound_nanos
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.tier import Mode, Tier
from bqgate.domain.would_have import WouldHave

# The bound of one query, which is no budget.
QUERY_BOUND = "query"


def foresee(placement: Placement, *, amount_nanos: int, tier: Tier) -> WouldHave | None:
    """What enforcing would have made of it; None: the same.

    Args:
        placement: of a hold that was placed under terms that observe.
        amount_nanos: the hold's amount.
        tier: whose limits, thresholds and throttle are observed.
    """
    if amount_nanos > query_bound_nanos(tier):
        return WouldHave(RejectReason.QUERY_TOO_BIG.value, 0, QUERY_BOUND)
    before = tuple(replace(each, held_nanos=each.held_nanos - amount_nanos) for each in placement.balances)
    if placement.refusal is not None:
        placement = replace(placement, outcome=PlacementOutcome.REFUSED, balances=before)
    decision = decide(placement, amount_nanos=amount_nanos, tier=tier, mode=Mode.ENFORCE)
    if isinstance(decision, Reject):
        return WouldHave(decision.reason.value, 0, QUERY_BOUND if decision.balance is None else _name(decision.balance))
    if isinstance(decision, Throttle) and decision.wait_ms:
        return WouldHave(None, decision.wait_ms, _name(_that_throttles(placement.balances, tier)))
    return None


def budget_name(window: Window) -> str:
    """A budget's scope and period, as `would_have` and its reports call it."""
    return f"customer/{window.period}"


def _name(balance: Balance) -> str:
    return budget_name(balance.window)


def _that_throttles(balances: tuple[Balance, ...], tier: Tier) -> Balance:
    """The tightest of those past a threshold; in grace, of all."""
    throttled = [balance for balance in balances if is_throttled(balance, tier)]
    return max(throttled or balances, key=lambda balance: balance.used_ppm)
