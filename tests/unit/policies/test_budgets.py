from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bqgate.domain.budget import Period
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.limits import Limits
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PolicyItem, PolicyKind
from bqgate.domain.tier import DEFAULT_THRESHOLDS, CustomerRegistry, Mode, Threshold, ThresholdAction
from bqgate.policies.budget_models import BudgetPolicy
from bqgate.policies.compose import compose
from bqgate.policies.faults import PolicyFaults
from bqgate.policies.models import CustomerPolicy, DefaultsPolicy
from tests.support.manual_clock import START
from tests.support.policy_scene import STANDARD, make_base, make_item

NIGHTLY: dict[str, Any] = {"customer": "acme", "workload": "nightly", "daily_usd": "5"}


def item(name: str, document: dict[str, Any]) -> PolicyItem:
    return make_item(PolicyKind.BUDGET, name, document)


def customer_registry(*items: PolicyItem, **base: Any) -> CustomerRegistry:
    return compose(make_base(**base), items).customer_registry


def test_a_part_has_its_customers_zone_and_mode_and_limits_of_its_own() -> None:
    """Whatever else the document says."""
    acme = CustomerPolicy.model_validate({"time_zone": "Asia/Tokyo", "mode": "observe"})
    document = NIGHTLY | {
        "rollover_daily_usd": "2",
        "thresholds": [{"used_ratio": "0.7", "action": "throttle"}],
        "schedules": [{"days": ["sat", "sun"], "from_time": "08:30", "daily_usd": "1"}],
        "raises": [{"monthly_usd": "3", "until": "2026-12-01T00:00:00Z", "reason": "x", "by": "ann"}],
    }
    (nightly,) = customer_registry(item("nightly", document), customers={"acme": acme}).customer("acme").budgets
    assert (nightly.name, nightly.account, nightly.scope) == (
        "nightly",
        "acme",
        BudgetScope(ScopeKind.WORKLOAD, "nightly"),
    )
    assert (nightly.mode, nightly.zone) == (Mode.OBSERVE, ZoneInfo("Asia/Tokyo"))
    assert nightly.thresholds == (Threshold(700_000, ThresholdAction.THROTTLE),)
    assert nightly.plan.base == Limits(daily_nanos=parse_usd("5"))
    assert nightly.plan.rollover_nanos == {Period.DAY: parse_usd("2")}
    (schedule,) = nightly.plan.schedules
    assert (schedule.weekdays, schedule.from_minute, schedule.until_minute) == (frozenset({5, 6}), 510, 1440)
    (raised,) = nightly.plan.raises
    assert (raised.daily_nanos, raised.monthly_nanos, raised.by) == (0, parse_usd("3"), "ann")


@pytest.mark.parametrize(
    ("own", "customer", "deployment", "expected"),
    [
        (None, "enforce", "enforce", Mode.ENFORCE),
        (None, "observe", "enforce", Mode.OBSERVE),
        ("enforce", "observe", "enforce", Mode.ENFORCE),
        ("observe", "enforce", "enforce", Mode.OBSERVE),
        ("enforce", "enforce", "observe", Mode.OBSERVE),
        ("off", "enforce", "enforce", None),
        (None, "enforce", "off", None),
    ],
)
def test_a_part_is_meant_as_seriously_as_it_says_and_never_more_than_the_deployment(
    own: str | None, customer: str, deployment: str, expected: Mode | None
) -> None:
    """Its own word, else the customer's; off, there is none."""
    found = customer_registry(
        item("nightly", NIGHTLY | {"mode": own}),
        customers={"acme": CustomerPolicy.model_validate({"mode": customer})},
        defaults=DefaultsPolicy.model_validate({"deployment_mode": deployment}),
    )
    assert [budget.mode for budget in found.customer("acme").budgets] == ([] if expected is None else [expected])


def test_the_deployments_budget_is_an_account_of_its_own_in_utc() -> None:
    """Off, or not there: nothing is counted above customers."""
    everybody = {"deployment": True, "monthly_usd": "100"}
    found = customer_registry(item("all", everybody)).deployment
    assert found is not None
    assert (found.account, found.scope, found.zone.key) == (DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, "UTC")
    assert found.thresholds == DEFAULT_THRESHOLDS
    assert customer_registry(item("all", everybody | {"mode": "off"})).deployment is None
    assert customer_registry().deployment is None


def test_a_customers_own_budget_changes_its_tier_alone() -> None:
    """Schedules, rollover and raises go over the tier's; limits that it does not say are the tier's."""
    document = {
        "schedules": [{"daily_usd": "1"}],
        "rollover_monthly_usd": "4",
        "raises": [{"daily_usd": "2", "until": "2026-12-01T00:00:00Z", "reason": "x"}],
    }
    acme = customer_registry(item("acme", document)).customer("acme")
    assert acme.own_budget.plan.limits_at(START, acme.zone) == Limits(parse_usd("3"), parse_usd("300"), None)
    assert acme.tier.rollover_nanos == {Period.MONTH: parse_usd("4")}
    assert acme.budgets == ()


def test_a_customer_may_end_what_its_tier_does_with_time() -> None:
    """No schedule, and nothing that is taken over."""
    changing = {"rollover_daily_usd": "5", "schedules": [{"daily_usd": "1"}]}
    tier = make_item(PolicyKind.TIER, "standard", STANDARD | changing)
    assert customer_registry(tier).customer("acme").tier.rollover_nanos == {Period.DAY: parse_usd("5")}
    acme = customer_registry(tier, item("acme", {"rollover_daily_usd": "0", "schedules": []})).customer("acme").tier
    assert (acme.rollover_nanos, acme.schedules, acme.daily_nanos) == ({}, (), parse_usd("10"))


def test_what_may_be_taken_over_fits_under_the_emergency_limit_to_the_cent() -> None:
    """On the days of a schedule too."""
    document = {"schedules": [{"daily_usd": "45"}], "rollover_daily_usd": "5"}
    acme = customer_registry(item("acme", document)).customer("acme")
    assert acme.own_budget.plan.limits_at(START, acme.zone).daily_nanos == parse_usd("45")


def test_admins_budgets_go_over_the_files_by_name() -> None:
    """Whole; others of the file stay."""
    file = {name: BudgetPolicy.model_validate(NIGHTLY | {"workload": name}) for name in ("nightly", "hourly")}
    acme = customer_registry(item("nightly", NIGHTLY | {"daily_usd": "9"}), budgets=file).customer("acme")
    assert {each.name: each.plan.base.daily_nanos for each in acme.budgets} == {
        "nightly": parse_usd("9"),
        "hourly": parse_usd("5"),
    }


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([item("n", NIGHTLY | {"customer": "acne"})], "scoped_budgets.n.customer: there is no customer 'acne'"),
        ([item("n", NIGHTLY), item("m", NIGHTLY)], "scoped_budgets.m: is about the same as scoped_budgets.n: acme"),
        (
            [item(name, {"deployment": True, "daily_usd": "1"}) for name in ("a", "b")],
            "scoped_budgets.b: is about the same as scoped_budgets.a: deployment",
        ),
        ([item("n", NIGHTLY | {"monthly_usd": "4"})], "scoped_budgets.n.daily_usd: 5.00 is more than monthly_usd"),
        ([item("n", NIGHTLY | {"query_usd": "6"})], "scoped_budgets.n.query_usd: 6.00 is more than daily_usd"),
        (
            [item("n", NIGHTLY | {"rollover_monthly_usd": "1"})],
            "scoped_budgets.n.rollover_monthly_usd: takes over from no limit; give monthly_usd too",
        ),
        (
            [item("n", NIGHTLY | {"thresholds": [{"used_ratio": "0", "action": "review"}]})],
            "scoped_budgets.n.thresholds: a used_ratio of 0 is passed before anything is spent",
        ),
        (
            [item("n", NIGHTLY | {"daily_usd": None, "monthly_usd": "3", "query_usd": "4"})],
            "scoped_budgets.n.query_usd: 4.00 is more than monthly_usd, 3.00",
        ),
        (
            [item("n", NIGHTLY | {"rollover_daily_usd": "1", "daily_usd": None, "query_usd": "5"})],
            "scoped_budgets.n.rollover_daily_usd: takes over from no limit; give daily_usd too",
        ),
        (
            [item("n", NIGHTLY | {"thresholds": [{"used_ratio": r, "action": "review"} for r in ("0.8", "0.5")]})],
            "scoped_budgets.n.thresholds: must ascend",
        ),
        (
            [item("acme", NIGHTLY)],
            "scoped_budgets.acme: is called like customer acme; only that customer's own budget may be",
        ),
        (
            [item("acme", {"deployment": True, "daily_usd": "1"})],
            "scoped_budgets.acme: is called like customer acme; only that customer's own budget may be",
        ),
        (
            [item("n", NIGHTLY), make_item(PolicyKind.CUSTOMER, "n", {})],
            "scoped_budgets.n: is called like customer n; only that customer's own budget may be",
        ),
        (
            [item("acme", {"schedules": [{"query_usd": "1"}, {"daily_usd": "51"}]})],
            "scoped_budgets.acme.schedules.1.daily_usd: 51.00 is more than emergency_usd, 50.00",
        ),
        (
            [item("acme", {"schedules": [{"daily_usd": "45"}], "rollover_daily_usd": "5.01"})],
            "scoped_budgets.acme.schedules.0.daily_usd: 45.00 with rollover_daily_usd, 5.01, is more than",
        ),
        (
            [
                make_item(
                    PolicyKind.TIER, "gold", STANDARD | {"rollover_daily_usd": "41", "schedules": [{"daily_usd": "45"}]}
                )
            ],
            "tiers.gold.rollover_daily_usd: 41.00 on top of daily_usd is more than emergency_usd, 50.00",
        ),
        (
            [
                make_item(PolicyKind.TIER, "standard", STANDARD | {"query_usd": "11"}),
                item("acme", {"monthly_usd": "200"}),
            ],
            "tiers.standard.query_usd: 11.00 is more than daily_usd, 10.00",
        ),
        (
            [item("acme", {"customer": "globex", "daily_usd": "1"})],
            "scoped_budgets.acme: is about all queries of globex",
        ),
        (
            [item("acme", {"rollover_daily_usd": "41"})],
            "scoped_budgets.acme.rollover_daily_usd: 41.00 on top of daily_usd is more than emergency_usd, 50.00",
        ),
        (
            [make_item(PolicyKind.TIER, "gold", STANDARD | {"schedules": [{"daily_usd": "51"}]})],
            "tiers.gold.schedules.0.daily_usd: 51.00 is more than emergency_usd, 50.00",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_path(items: list[PolicyItem], expected: str) -> None:
    """One fault each, where it shows."""
    with pytest.raises(PolicyFaults) as caught:
        customer_registry(*items)
    (fault,) = caught.value.faults
    assert f"{fault.path}: {fault.message}".startswith(expected)
