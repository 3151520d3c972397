"""What is reckoned once a minute is what would be reckoned at every query."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bqgate.admission.present_budgets import BudgetReckoner, reckon
from bqgate.domain.budget_scope import EACH, BudgetScope, ScopeKind, Spender
from bqgate.domain.limits import LimitPlan, Limits, Schedule, TemporaryIncrease
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.tier import Budget, Customer, CustomerRegistry, Tier

TIER = Tier("standard", daily_nanos=100, monthly_nanos=1_000, emergency_nanos=200, grace_s=60)
PRICES = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=1, nanos_per_slot_hour=0)
ANN, BEN = Spender("ann", "p", "nightly", {"team": "ml"}), Spender("ben", "p")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Rules:
    """Policies that a test changes."""

    def __init__(self, customer: Customer) -> None:
        self.prices = PRICES
        self.customer_registry = CustomerRegistry({customer.id: customer}, {}, TIER)

    @property
    def customer(self) -> Customer:
        return self.customer_registry.customer("acme")

    def change(self, **fields: object) -> None:
        changed = replace(self.customer, **fields)  # type: ignore[arg-type]  # fields of whatever kind
        self.customer_registry = CustomerRegistry({"acme": changed}, {}, TIER)


def part(kind: ScopeKind, value: str) -> Budget:
    """A budget of a part of acme's queries."""
    return Budget(f"{kind}-{value}", "acme", BudgetScope(kind, value), LimitPlan(Limits(10, 50)))


PARTS = (
    part(ScopeKind.PRINCIPAL, EACH),
    part(ScopeKind.WORKLOAD, "nightly"),
    part(ScopeKind.PROJECT, "q"),
    part(ScopeKind.LABEL, "team=ml"),
)


def test_a_policy_snapshot_is_a_source_of_rules() -> None:
    """What holds for the whole life of a process needs no book of policies."""
    policies = PolicySnapshot(CustomerRegistry({}, {}, TIER), PRICES)
    customer = Customer("anybody", TIER)
    assert BudgetReckoner(policies).present(customer, ANN, NOON).windows == customer.windows(NOON)


def test_one_spender_is_reckoned_once_a_minute() -> None:
    """The same value for the same spender; its own for another one, for whom other budgets count."""
    rules = Rules(Customer("acme", TIER, budgets=PARTS))
    reckoner = BudgetReckoner(rules)
    first = reckoner.present(rules.customer, ANN, NOON)
    assert reckoner.present(rules.customer, replace(ANN), NOON + timedelta(seconds=59)) is first
    for spender in (BEN, replace(ANN, labels={}), replace(ANN, workload=None), replace(ANN, project_id="q")):
        present = reckoner.present(rules.customer, spender, NOON)
        assert present == reckon(rules.customer_registry, rules.customer, spender, NOON)
        assert present.budgets != first.budgets


def test_what_an_admin_changes_holds_for_the_next_query() -> None:
    """Another registry, or another customer of the same name, is other rules."""
    rules = Rules(Customer("acme", TIER))
    reckoner = BudgetReckoner(rules)
    before = rules.customer
    reckoner.present(before, ANN, NOON)
    rules.change(tier=replace(TIER, daily_nanos=7))
    assert [window.limit_nanos for window in reckoner.present(rules.customer, ANN, NOON).windows] == [7, 1_000]
    assert [window.limit_nanos for window in reckoner.present(before, ANN, NOON).windows] == [100, 1_000]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 24, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC),
        datetime(2026, 11, 24, 18, 14, 59, tzinfo=UTC),  # midnight in Kathmandu
        datetime(2026, 11, 24, 8, 59, 59, tzinfo=UTC),  # a schedule begins
    ],
)
def test_the_next_minute_is_reckoned_anew(moment: datetime) -> None:
    """Days end, and schedules begin, with a minute: from its first microsecond on the new ones count."""
    night = Schedule(Limits(1, 2), from_minute=9 * 60, until_minute=17 * 60)
    tier = replace(TIER, schedules=(night,))
    for zone in ("UTC", "Asia/Kathmandu"):
        rules = Rules(Customer("acme", tier, zone=ZoneInfo(zone)))
        reckoner = BudgetReckoner(rules)
        for now in (moment, moment + timedelta(seconds=1), moment):
            present = reckoner.present(rules.customer, ANN, now)
            assert present == reckon(rules.customer_registry, rules.customer, ANN, now)


def test_a_raise_ends_at_its_second() -> None:
    """Within the minute in which one ends nothing is kept."""
    until = NOON + timedelta(seconds=30)
    rules = Rules(Customer("acme", TIER, raises=(TemporaryIncrease(until, daily_nanos=50),)))
    reckoner = BudgetReckoner(rules)
    for second, limit, emergency in ((0, 150, 250), (29, 150, 250), (30, 100, 200), (31, 100, 200)):
        present = reckoner.present(rules.customer, ANN, NOON + timedelta(seconds=second))
        assert (present.windows[0].limit_nanos, present.grace.emergency_nanos) == (limit, emergency)
