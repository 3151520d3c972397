"""Describe a customer's status past its limits: emergency limit, grace, cost breaker.

Shown by budget and breakers; the write_* functions fill the models from domain values. Pure. Moments are RFC 3339,
money is decimal text.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import Field

from bqgate.admin.documents import write_balance, write_moment
from bqgate.admin.schemas import BalanceDocument, Document, MomentText, UsdText
from bqgate.domain.budget import Balance, Period
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT, EACH, ScopeKind
from bqgate.domain.cost_breaker import BudgetStatus, CostBreaker, GracePolicy, day_of
from bqgate.domain.limits import TemporaryIncrease
from bqgate.domain.money import format_usd
from bqgate.domain.tier import Budget, Mode, Tier

# What the budget over all customers is about.
DEPLOYMENT: Literal["deployment"] = "deployment"


class GraceState(StrEnum):
    """Whether queries run past a limit. `off`: the tier has no grace."""

    OFF = "off"
    UNUSED = "unused"
    RUNNING = "running"
    OVER = "over"


class BreakerState(StrEnum):
    """Whether anything that costs runs. `half_open`: one query may try, or is trying."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class EmergencyDocument(Document):
    """The most that the day may cost while grace lasts, and what is spent and held of it."""

    limit_usd: UsdText
    used_usd: UsdText


class GraceDocument(Document):
    """The grace of the window that began its own first, of those past their limit where there are any."""

    state: GraceState
    period: Period | None = Field(description="Whose grace it is; null where none began.")
    started_at: MomentText | None
    ends_at: MomentText | None


class BreakerDocument(Document):
    """The cost breaker. Open, it refuses everything that costs until its day is over, or an admin resets it."""

    state: BreakerState
    opened_at: MomentText | None
    until: MomentText | None
    reason: Literal["emergency"] | None = Field(description="emergency: the day did not fit under its emergency limit.")


class IncreaseDocument(Document):
    """What is on top of the limits until a moment."""

    id: str = Field(description="By which it can be ended.")
    daily_usd: UsdText
    monthly_usd: UsdText
    until: MomentText
    reason: str
    by: str = Field(description="Who raised it.")


class SubBudgetDocument(Document):
    """The budget of a part of a customer's queries, or of the whole deployment."""

    name: str
    scope: ScopeKind | Literal["deployment"]
    value: str = Field(description="Whose: a principal, a project, a workload, key=value of a label; * is each one.")
    mode: Mode
    windows: dict[Period, BalanceDocument] = Field(
        description="Empty where it is each one's and the request names none; limits are null where there are none."
    )
    query_limit_usd: UsdText | None
    raises: tuple[IncreaseDocument, ...]


class BudgetDocument(Document):
    """A customer's budgets as they stand."""

    customer: str
    listed: bool = Field(description="false: nobody listed this customer, so it has the default tier's limits.")
    tier: str
    mode: Mode
    time_zone: str
    windows: dict[Period, BalanceDocument]
    query_limit_usd: UsdText
    emergency: EmergencyDocument
    grace: GraceDocument
    breaker: BreakerDocument
    raises: tuple[IncreaseDocument, ...] = Field(description="What is on top of the limits for a while.")
    budgets: tuple[SubBudgetDocument, ...] = Field(description="Those of parts of the customer's queries.")
    as_of: MomentText


def is_for(principal: str | None, budget: Budget) -> bool:
    """Whether who is bound to a principal may see a budget: not a colleague's, which says what that one spends."""
    kind, value = budget.scope.kind, budget.scope.value
    return principal is None or kind is not ScopeKind.PRINCIPAL or value in {EACH, principal}


def write_emergency(budget_status: BudgetStatus, grace: GracePolicy) -> EmergencyDocument:
    """The day against its emergency limit."""
    day = day_of(budget_status.balances)
    used_nanos = 0 if day is None else day.used_nanos
    return EmergencyDocument(limit_usd=format_usd(grace.emergency_nanos or 0), used_usd=format_usd(used_nanos))


def write_increases(raises: tuple[TemporaryIncrease, ...], now: datetime) -> tuple[IncreaseDocument, ...]:
    """Those that have not ended, the next to end first."""
    running = sorted((each for each in raises if now < each.until), key=lambda each: each.until)
    return tuple(
        IncreaseDocument(
            id=each.id,
            daily_usd=format_usd(each.daily_nanos),
            monthly_usd=format_usd(each.monthly_nanos),
            until=write_moment(each.until),
            reason=each.reason,
            by=each.by,
        )
        for each in running
    )


def write_sub_budget(budget: Budget, balances: tuple[Balance, ...], now: datetime) -> SubBudgetDocument:
    """One budget of a part; without balances where it is each's and nobody is named."""
    bound_nanos = budget.query_bound_at(now)
    return SubBudgetDocument(
        name=budget.name,
        scope=DEPLOYMENT if budget.account == DEPLOYMENT_ACCOUNT else budget.scope.kind,
        value=budget.scope.value,
        mode=budget.mode,
        windows={balance.window.period: write_balance(balance) for balance in balances},
        query_limit_usd=None if bound_nanos is None else format_usd(bound_nanos),
        raises=write_increases(budget.plan.raises, now),
    )


def write_grace(budget_status: BudgetStatus, tier: Tier, now: datetime) -> GraceDocument:
    """The grace that matters now."""
    begun = [balance for balance in budget_status.balances if balance.grace_started_at is not None]
    past = [balance for balance in begun if (balance.balance_nanos or 0) < 0]
    first = min(past or begun, key=_began_at, default=None)
    if tier.grace_s == 0 or first is None:
        state = GraceState.OFF if tier.grace_s == 0 else GraceState.UNUSED
        return GraceDocument(state=state, period=None, started_at=None, ends_at=None)
    started_at = _began_at(first)
    ends_at = started_at + timedelta(seconds=tier.grace_s)
    return GraceDocument(
        state=GraceState.RUNNING if now < ends_at else GraceState.OVER,
        period=first.window.period,
        started_at=write_moment(started_at),
        ends_at=write_moment(ends_at),
    )


def write_breaker(breaker: CostBreaker | None, tier: Tier, now: datetime) -> BreakerDocument:
    """The breaker; None: closed."""
    if breaker is None:
        return BreakerDocument(state=BreakerState.CLOSED, opened_at=None, until=None, reason=None)
    is_half_open = breaker.probe_id is not None or breaker.is_probe_due(now, tier.breaker_cooldown_s)
    return BreakerDocument(
        state=BreakerState.HALF_OPEN if is_half_open else BreakerState.OPEN,
        opened_at=write_moment(breaker.opened_at),
        until=write_moment(breaker.until),
        reason="emergency",
    )


def _began_at(balance: Balance) -> datetime:
    assert balance.grace_started_at is not None, "asked only where a grace began"
    return balance.grace_started_at
