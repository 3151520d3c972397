"""Make the domain's budgets of budget documents: those of parts of a customer's queries, and the deployment's.

Called by compose, once everything is known to go together. Pure. A budget that is off is left out: nothing counts it.
"""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from bqgate.domain.budget import Period
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope
from bqgate.domain.limits import LimitPlan, Limits, Schedule, TemporaryIncrease
from bqgate.domain.tier import DEFAULT_THRESHOLDS, Budget, Mode, Threshold, weaker
from bqgate.policies.budget_models import BudgetPolicy, SchedulePolicy, Weekday
from bqgate.policies.increases import end_of, increase_ids
from bqgate.policies.models import TierPolicy
from bqgate.policies.values import UsdAmount

_WEEKDAYS = {weekday: number for number, weekday in enumerate(Weekday)}


def parts_of(
    customer: str, mode: Mode, zone: ZoneInfo, budgets: Mapping[str, BudgetPolicy], *, deployment_mode: Mode
) -> tuple[Budget, ...]:
    """The budgets of parts of one customer's queries. `mode` is the customer's, for those that say none."""
    found = [
        _budget(name, policy, customer, scope, weaker(policy.mode or mode, deployment_mode), zone)
        for name, policy in sorted(budgets.items())
        if policy.customer == customer and (scope := policy.scope) is not None
    ]
    return tuple(budget for budget in found if budget.mode is not Mode.OFF)


def deployment_of(budgets: Mapping[str, BudgetPolicy], *, deployment_mode: Mode) -> Budget | None:
    """The budget over all customers, where there is one."""
    for name, policy in budgets.items():
        mode = weaker(policy.mode or Mode.ENFORCE, deployment_mode)
        if policy.deployment and mode is not Mode.OFF:
            return _budget(name, policy, DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, mode, ZoneInfo("UTC"))
    return None


def increases_of(policy: BudgetPolicy) -> tuple[TemporaryIncrease, ...]:
    """What is on top of its limits for a while."""
    return tuple(
        TemporaryIncrease(
            until=end_of(each),
            daily_nanos=_nanos(each.daily_usd) or 0,
            monthly_nanos=_nanos(each.monthly_usd) or 0,
            reason=each.reason,
            by=each.by,
            id=raise_id,
        )
        for raise_id, each in zip(increase_ids(policy.raises), policy.raises, strict=True)
    )


def schedules_of(policies: tuple[SchedulePolicy, ...]) -> tuple[Schedule, ...]:
    """Other limits at some times."""
    return tuple(
        Schedule(
            limits=_limits(policy),
            weekdays=frozenset(_WEEKDAYS[day] for day in policy.days),
            from_minute=policy.from_time.minute,
            until_minute=policy.until_time.minute,
        )
        for policy in policies
    )


def rollover_of(policy: TierPolicy | BudgetPolicy) -> dict[Period, int]:
    """How much each period takes over from the one before at most."""
    most = {Period.DAY: _nanos(policy.rollover_daily_usd), Period.MONTH: _nanos(policy.rollover_monthly_usd)}
    return {period: nanos for period, nanos in most.items() if nanos}


def _budget(name: str, policy: BudgetPolicy, account: str, scope: BudgetScope, mode: Mode, zone: ZoneInfo) -> Budget:
    plan = LimitPlan(_limits(policy), schedules_of(policy.schedules or ()), increases_of(policy), rollover_of(policy))
    thresholds: tuple[Threshold, ...] = DEFAULT_THRESHOLDS
    if policy.thresholds is not None:
        thresholds = tuple(Threshold(each.used_ratio.ppm, each.action) for each in policy.thresholds)
    return Budget(name, account, scope, plan, mode, zone, thresholds)


def _limits(policy: BudgetPolicy | SchedulePolicy) -> Limits:
    return Limits(_nanos(policy.daily_usd), _nanos(policy.monthly_usd), _nanos(policy.query_usd))


def _nanos(amount: UsdAmount | None) -> int | None:
    return None if amount is None else amount.nanos
