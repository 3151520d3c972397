"""Check what only shows when several keys of a budget, or several budgets, are looked at together.

Called by rules. Pure: (path, message) for each contradiction, the path as in the settings file.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from bqgate.domain.tier import ThresholdAction
from bqgate.policies.budget_models import BudgetPolicy, ThresholdPolicy
from bqgate.policies.faults import PolicyFault
from bqgate.policies.models import CustomerPolicy


def threshold_faults(path: str, thresholds: tuple[ThresholdPolicy, ...]) -> Iterator[PolicyFault]:
    """What is wrong with a list of thresholds."""
    if any(earlier.used_ratio.ppm >= later.used_ratio.ppm for earlier, later in pairwise(thresholds)):
        yield PolicyFault(f"{path}.thresholds", "must ascend: each used_ratio is larger than the one before")
    if any(threshold.used_ratio.ppm == 0 for threshold in thresholds):
        yield PolicyFault(f"{path}.thresholds", "a used_ratio of 0 is passed before anything is spent; leave it out")
    throttles = [threshold for threshold in thresholds if threshold.action is ThresholdAction.THROTTLE]
    if len(throttles) > 1:
        yield PolicyFault(f"{path}.thresholds", "has more than one throttle; the first is the only one that shows")


def part_faults(budgets: Mapping[str, BudgetPolicy], customers: Mapping[str, CustomerPolicy]) -> Iterator[PolicyFault]:
    """What is wrong with budgets of parts of customers' queries, and with the deployment's."""
    known = ", ".join(sorted(customers)) or "none"
    first: dict[tuple[str, str], str] = {}
    for name, budget in budgets.items():
        path = f"scoped_budgets.{name}"
        if budget.is_own:
            continue
        if name in customers:
            message = f"is called like customer {name}; only that customer's own budget may be, so give it another name"
            yield PolicyFault(path, message)
        if budget.customer is not None and budget.customer not in customers:
            yield PolicyFault(f"{path}.customer", f"there is no customer {budget.customer!r}; there are {known}")
        about = (budget.customer or "", str(budget.scope or "deployment"))
        if first.setdefault(about, name) != name:
            yield PolicyFault(path, f"is about the same as scoped_budgets.{first[about]}: {' '.join(about).strip()}")
        yield from _limit_faults(path, budget)
        yield from threshold_faults(path, budget.thresholds or ())


def _limit_faults(path: str, budget: BudgetPolicy) -> Iterator[PolicyFault]:
    daily, monthly, query = budget.daily_usd, budget.monthly_usd, budget.query_usd
    if daily is not None and monthly is not None and daily.nanos > monthly.nanos:
        yield PolicyFault(f"{path}.daily_usd", f"{daily} is more than monthly_usd, {monthly}")
    for key, limit in (("daily_usd", daily), ("monthly_usd", monthly)):
        if query is not None and limit is not None and query.nanos > limit.nanos:
            yield PolicyFault(f"{path}.query_usd", f"{query} is more than {key}, {limit}")
    for key, limit in (("rollover_daily_usd", daily), ("rollover_monthly_usd", monthly)):
        if getattr(budget, key) is not None and limit is None:
            yield PolicyFault(f"{path}.{key}", f"takes over from no limit; give {key.removeprefix('rollover_')} too")
