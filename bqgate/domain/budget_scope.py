"""Name what a budget is about: a customer, one part of what it does, or the whole deployment. Pure.

A Spender is one query by all that a budget can be about; a Scope says which queries count. Budgets of one customer
stand in the customer's account of a BudgetStore; the deployment's stands in an account of its own, because it is about
all customers and a store may keep each customer's numbers on another machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

# The account of the deployment's budget. No customer is called so: a slash stands in no name and no path segment.
DEPLOYMENT_ACCOUNT = "/deployment"

# As a value: each principal, project or workload has a budget of its own, of this size.
EACH = "*"


def deployment_day(moment: datetime) -> str:
    """The key of the day in which a moment falls in the deployment's account, whose days and months are UTC's."""
    return moment.astimezone(UTC).date().isoformat()


class ScopeKind(StrEnum):
    """What a budget can be about."""

    CUSTOMER = "customer"
    PRINCIPAL = "principal"
    PROJECT = "project"
    WORKLOAD = "workload"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class Spender:
    """One query, by all that a budget can be about; "" and None: not known. `labels` are the caller's own."""

    principal: str = ""
    project_id: str = ""
    workload: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class BudgetScope(NamedTuple):
    """Which queries of an account count. `value` is whose: "ann@acme.example", a label's "team=ml"; "" for all.

    A tuple, because it is part of every window's id, and is hashed and compared many times a query.
    """

    kind: ScopeKind
    value: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.value}" if self.value else self.kind.value

    def covers(self, spender: Spender) -> bool:
        """Whether the spender's query counts here. EACH covers whoever has a value of this kind."""
        if self.kind is ScopeKind.CUSTOMER:
            return True
        if self.kind is ScopeKind.LABEL:
            key, _, value = self.value.partition("=")
            return spender.labels.get(key) == value
        own = self._value_of(spender)
        return own is not None and self.value in {EACH, own}

    def narrowed_to(self, spender: Spender) -> "BudgetScope":
        """The scope that is counted for a spender whom it covers: EACH becomes the spender's own."""
        if self.value != EACH:
            return self
        own = self._value_of(spender)
        assert own is not None, "only a scope that covers the spender is narrowed to it"
        return BudgetScope(self.kind, own)

    def _value_of(self, spender: Spender) -> str | None:
        match self.kind:
            case ScopeKind.PRINCIPAL:
                return spender.principal or None
            case ScopeKind.PROJECT:
                return spender.project_id or None
            case ScopeKind.WORKLOAD:
                return spender.workload
            case _:
                return None


CUSTOMER_SCOPE = BudgetScope(ScopeKind.CUSTOMER)
