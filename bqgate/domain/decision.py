"""Decide what happens to a query, from the numbers that the attempt to hold its cost returned.

Called once per query by admission.admit, after the hold and before anything is forwarded. Pure: balances in, a
Forward, Throttle or Reject out. Reasons are an enum whose values are the words that clients, logs, metrics and the
ledger show. Statuses and BigQuery's reasons are not here: gate.reply knows them.
"""

from dataclasses import dataclass
from enum import StrEnum

from bqgate.domain.budget import Balance
from bqgate.domain.tier import Mode, ThresholdAction, Tier

# What helps against most refusals, until the query itself is looked at.
MAKE_IT_CHEAPER = "Filter on the partition column or select fewer columns to make it cheaper."


class RejectReason(StrEnum):
    """Why a query does not run."""

    BUDGET_USED_UP = "budget_used_up"
    QUERY_TOO_BIG = "query_too_big"
    UNKNOWN_ESTIMATE = "unknown_estimate"


@dataclass(frozen=True, slots=True)
class Forward:
    """It runs now. `would_reject` is set in observe mode, where enforcing would have refused."""

    would_reject: RejectReason | None = None


@dataclass(frozen=True, slots=True)
class Throttle:
    """It runs after a wait, because little is left."""

    wait_ms: int


@dataclass(frozen=True, slots=True)
class Reject:
    """It does not run. `balance` is the budget that said no, where one did."""

    reason: RejectReason
    amount_nanos: int
    balance: Balance | None = None
    suggestion: str = ""


Decision = Forward | Throttle | Reject


def query_bound_nanos(tier: Tier) -> int:
    """The most that one query may cost: the tier's own bound, and never more than a whole day's or month's limit."""
    bounds = (tier.query_nanos, tier.daily_nanos, tier.monthly_nanos)
    return min(bound for bound in bounds if bound is not None)


def decide(*, balances: tuple[Balance, ...], placed: bool, amount_nanos: int, tier: Tier, mode: Mode) -> Decision:
    """Judge a query by its budgets.

    Args:
        balances: what the store returned: after the hold when placed, as they stand when not.
        placed: whether the hold was placed on all of them.
        amount_nanos: the hold's amount.
        tier: whose thresholds and throttle apply.
        mode: observe never refuses and never delays.
    """
    if not placed:
        short = next(balance for balance in balances if not balance.has_room_for(amount_nanos))
        return Reject(
            reason=RejectReason.BUDGET_USED_UP,
            amount_nanos=amount_nanos,
            balance=short,
            suggestion=MAKE_IT_CHEAPER,
        )
    if mode is Mode.OBSERVE:
        over = any((balance.balance_nanos or 0) < 0 for balance in balances)
        return Forward(would_reject=RejectReason.BUDGET_USED_UP if over else None)
    if tier.throttle_wait_ms and any(is_throttled(balance, tier) for balance in balances):
        return Throttle(wait_ms=tier.throttle_wait_ms)
    return Forward()


def is_throttled(balance: Balance, tier: Tier) -> bool:
    """Whether the balance has passed a threshold whose action is throttle."""
    return any(
        threshold.action is ThresholdAction.THROTTLE and balance.used_ppm >= threshold.used_ppm
        for threshold in tier.thresholds
    )
