"""Reckon which budgets a query falls under now, once a minute for all queries of one spender.

Used by admit.py. Limits and windows change on whole minutes (schedules, midnight in any time zone), but for raises,
which end at any second: where one ends within the minute nothing is kept. What an admin changes makes other rules, and
all is reckoned anew. Bounded in number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bqgate.domain.budget import Period, Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, BudgetScope, Spender
from bqgate.domain.cost_breaker import GracePolicy
from bqgate.domain.decision import tightest_bound
from bqgate.domain.tier import Budget, Customer, CustomerRegistry, Mode, windows_of
from bqgate.ports import PolicySource

_KEPT_MAX = 10_000
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PresentBudgets:
    """The budgets that a query falls under, the customer's own first, and what follows from them for the moment.

    `query_bound` is the enforced budget that lets one query cost least, and how much; None: none bounds it. `scopes`
    are those of parts of the customer's queries, `window_keys` the day and the month in which a hold counts.
    `are_enforced`: all of them are, and none is only observed.
    """

    budgets: tuple[Budget, ...]
    windows: tuple[Window, ...]
    grace: GracePolicy
    query_bound: tuple[Budget, int] | None
    scopes: tuple[BudgetScope, ...]
    window_keys: Mapping[Period, str]
    are_enforced: bool


class BudgetReckoner:
    """Reckons by the rules that hold now."""

    def __init__(self, policies: PolicySource) -> None:
        self._policies = policies
        self._registry: CustomerRegistry | None = None
        self._minute: datetime | None = None
        self._kept: dict[tuple[object, ...], tuple[Customer, PresentBudgets]] = {}

    def present(self, customer: Customer, spender: Spender, now: datetime) -> PresentBudgets:
        """What a query of a spender's falls under."""
        registry, minute = self._policies.customer_registry, now.replace(second=0, microsecond=0)
        if registry is not self._registry or minute != self._minute or len(self._kept) >= _KEPT_MAX:
            self._registry, self._minute = registry, minute
            self._kept.clear()
        key = _key_of(customer, spender)
        kept = self._kept.get(key)
        if kept is not None and (kept[0] is customer or kept[0] == customer):
            return kept[1]
        present = reckon(registry, customer, spender, now)
        raises = (each for budget in present.budgets for each in budget.plan.raises)
        if not any(minute < each.until < minute + _MINUTE for each in raises):
            self._kept[key] = customer, present
        return present


def _key_of(customer: Customer, spender: Spender) -> tuple[object, ...]:
    """Equal for queries of a customer that fall under the same budgets."""
    if not customer.budgets:
        return (customer.id,)
    labels = tuple(sorted(spender.labels.items()))
    return customer.id, spender.principal, spender.project_id, spender.workload, labels


def reckon(registry: CustomerRegistry, customer: Customer, spender: Spender, now: datetime) -> PresentBudgets:
    """What a query falls under at a moment."""
    budgets = registry.budgets_over(customer, spender)
    windows = windows_of(budgets, now)
    return PresentBudgets(
        budgets=budgets,
        windows=windows,
        grace=customer.grace_at(now),
        query_bound=tightest_bound(budgets, Mode.ENFORCE, now),
        scopes=tuple(budget.scope for budget in budgets if budget.scope != CUSTOMER_SCOPE),
        window_keys={window.period: window.key for window in windows if window.is_own},
        are_enforced=all(budget.mode is Mode.ENFORCE for budget in budgets),
    )
