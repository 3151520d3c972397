from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PRICING_NAME, PolicyItem, PolicyKind
from bqgate.domain.pricing import PricingModel
from bqgate.domain.tier import Mode, Tier
from bqgate.policies.compose import compose
from bqgate.policies.faults import PolicyFaults
from bqgate.policies.models import CustomerPolicy, DefaultsPolicy
from tests.support.policy_scene import GOLD, STANDARD, make_base, make_item

TIER, CUSTOMER, BUDGET, PRICING = PolicyKind.TIER, PolicyKind.CUSTOMER, PolicyKind.BUDGET, PolicyKind.PRICING
LIMITS = ("daily_usd", "monthly_usd", "emergency_usd", "query_usd")


def faults(*items: PolicyItem, **base: Any) -> list[str]:
    """Why these items cannot hold."""
    with pytest.raises(PolicyFaults) as caught:
        compose(make_base(**base), items)
    return [f"{fault.path}: {fault.message}" for fault in caught.value.faults]


@st.composite
def tier_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Tiers without a contradiction."""
    cents = sorted(draw(st.lists(st.integers(0, 10**8), min_size=4, max_size=4)))
    query, daily, emergency, monthly = (f"{each // 100}.{each % 100:02d}" for each in cents)
    document = {"daily_usd": daily, "monthly_usd": monthly, "emergency_usd": emergency}
    return document | draw(st.sampled_from([{}, {"query_usd": query}, {"query_usd": None}]))


@st.composite
def customer_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Customers that share nothing with the settings' own."""
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "tier": st.sampled_from(["standard", "premium", None]),
                "projects": st.lists(st.from_regex(r"own-[a-z]{1,9}", fullmatch=True), max_size=3),
                "principals": st.lists(st.from_regex(r"[a-z]{1,9}@own\.example", fullmatch=True), max_size=3),
                "data": st.none() | st.lists(st.from_regex(r"p[a-z]{1,9}\.d[a-z]{1,9}", fullmatch=True), max_size=3),
                "time_zone": st.sampled_from(["UTC", "Asia/Tokyo"]),
                "mode": st.sampled_from(["off", "observe", None]),
            },
        )
    )


def limits_of(document: dict[str, Any]) -> tuple[int | None, ...]:
    """Limits of a document in nano-dollars, in the order of LIMITS."""
    return tuple(None if document.get(key) is None else parse_usd(document[key]) for key in LIMITS)


def limits_in_force(tier: Tier) -> tuple[int | None, ...]:
    """The same, of a tier of the domain."""
    return (tier.daily_nanos, tier.monthly_nanos, tier.emergency_nanos, tier.query_nanos)


@given(st.lists(st.tuples(st.sampled_from(["standard", "premium"]), st.none() | tier_documents()), max_size=6))
def test_an_admins_tier_always_beats_the_files(changes: list[tuple[str, dict[str, Any] | None]]) -> None:
    """After any changes a tier is what was written last, whole; where that was taken away, it is the file's again."""
    base = make_base(customers={name: CustomerPolicy(tier=name) for name in ("standard", "premium")})
    written: dict[str, dict[str, Any]] = {}
    for name, document in changes:
        written.pop(name, None)
        if document is not None:
            written[name] = document
    customer_registry = compose(
        base, [make_item(TIER, name, document) for name, document in written.items()]
    ).customer_registry
    of_the_file = {"standard": STANDARD, "premium": STANDARD | {"daily_usd": "50"}}
    for name, document in of_the_file.items():
        tier = customer_registry.customer(name).tier
        assert (tier.name, limits_in_force(tier)) == (name, limits_of(written.get(name, document)))
    assert customer_registry.default_tier == customer_registry.customer("standard").tier


@given(customer_documents())
def test_an_admins_customer_always_beats_the_files(document: dict[str, Any]) -> None:
    """No key of the file's customer shows through, also where the admin's says nothing."""
    base = make_base()
    customer_registry = compose(base, [make_item(CUSTOMER, "acme", document)]).customer_registry
    acme = customer_registry.customer("acme")
    assert acme.tier.name == (document.get("tier") or "standard")
    assert acme.projects == tuple(document.get("projects", ()))
    assert acme.mode is Mode(document.get("mode") or "enforce")
    assert acme.zone == ZoneInfo(document.get("time_zone", "UTC"))
    data = document.get("data")
    assert acme.data == (None if data is None else tuple(data))
    assert customer_registry.customer_id_of_email("bob@acme.example") is None
    assert customer_registry.customer_by_project == dict.fromkeys(document.get("projects", ()), "acme")
    assert compose(base, ()).customer_registry.customer_id_of_email("bob@acme.example") == "acme"


@given(st.dictionaries(st.sampled_from(LIMITS), st.integers(0, 400).map(str), min_size=1))
def test_a_budget_beats_its_tier_key_by_key(budget: dict[str, str]) -> None:
    """A customer's own limits stand over its tier's, key by key; they are refused exactly where that makes no sense."""
    base = make_base(customers={"acme": CustomerPolicy(), "globex": CustomerPolicy()})
    daily, monthly, emergency, query = expected = limits_of(STANDARD | budget)
    assert daily is not None
    assert monthly is not None
    assert emergency is not None
    item = make_item(BUDGET, "acme", budget)
    if daily <= monthly and daily <= emergency and (query is None or query <= daily):
        customer_registry = compose(base, [item]).customer_registry
        assert limits_in_force(customer_registry.customer("acme").tier) == expected
        assert limits_in_force(customer_registry.customer("globex").tier) == limits_of(STANDARD)
    else:
        with pytest.raises(PolicyFaults, match=r"budgets\.acme\."):
            compose(base, [item])


def test_a_budget_changes_the_limits_of_its_customer_alone() -> None:
    """The tier's name and everything that is no limit stay the tier's."""
    snapshot = compose(make_base(), [make_item(BUDGET, "acme", {"daily_usd": "20", "query_usd": "1"})])
    tier, default = snapshot.customer_registry.customer("acme").tier, snapshot.customer_registry.default_tier
    assert (tier.name, tier.daily_nanos, tier.query_nanos) == ("standard", parse_usd("20"), parse_usd("1"))
    assert (tier.monthly_nanos, tier.thresholds) == (default.monthly_nanos, default.thresholds)
    assert default.daily_nanos == parse_usd("10")


def test_an_admins_prices_beat_the_files() -> None:
    """The one pricing document stands whole; without it, the file's."""
    document = {"model": "on_demand", "usd_per_tib": "4"}
    prices = compose(make_base(), [make_item(PRICING, PRICING_NAME, document)]).prices
    assert (prices.model, prices.tib_price("US")) == (PricingModel.ON_DEMAND, parse_usd("4"))
    assert compose(make_base(), ()).prices.model is PricingModel.BLENDED


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([make_item(CUSTOMER, "acme", {"tier": "gold"})], "customers.acme.tier: there is no tier 'gold'"),
        (
            [make_item(CUSTOMER, "globex", {"projects": ["acme-prod"]})],
            "customers.globex.projects: acme-prod is acme's",
        ),
        (
            [make_item(CUSTOMER, "globex", {"principals": ["ACME.example"]})],
            "customers.globex.principals: acme.example is acme's already",
        ),
        ([make_item(BUDGET, "globex", {"daily_usd": "1"})], "scoped_budgets.globex: there is no customer 'globex'"),
        (
            [make_item(BUDGET, "acme", {"daily_usd": "301", "emergency_usd": "400"})],
            "scoped_budgets.acme.daily_usd: 301.00 is",
        ),
        (
            [make_item(BUDGET, "acme", {"daily_usd": "51"})],
            "scoped_budgets.acme.emergency_usd: 50.00 is less than daily_usd",
        ),
        (
            [make_item(BUDGET, "acme", {"query_usd": "11"})],
            "scoped_budgets.acme.query_usd: 11.00 is more than daily_usd",
        ),
        (
            [make_item(BUDGET, "acme", {"monthly_usd": "9"})],
            "scoped_budgets.acme.daily_usd: 10.00 is more than monthly_usd",
        ),
        ([make_item(TIER, "gold", GOLD | {"grace_minutes": 5})], "tiers.gold.emergency_usd: is daily_usd, so grace"),
        ([make_item(TIER, "gold", {"daily_usd": 1.5})], "tiers.gold.daily_usd: is read as a binary number"),
        ([make_item(PRICING, PRICING_NAME, {"usd_per_tib": "0"})], "pricing.usd_per_tib: a price of 0"),
        ([make_item(PRICING, PRICING_NAME, {"modle": "auto"})], "pricing.modle: unknown key; did you mean model?"),
        (
            [make_item(CUSTOMER, "acme", {"service_account": "a@p.iam.gserviceaccount.com"})],
            "customers.acme.service_account: is used with upstream.credentials: service_account only",
        ),
    ],
)
def test_what_contradicts_is_refused_with_its_path(items: list[PolicyItem], expected: str) -> None:
    """The first fault names the key that is wrong and what is wrong with it."""
    assert faults(*items)[0].startswith(expected)


def test_a_tier_cannot_shrink_below_a_budget_over_it() -> None:
    """The contradiction shows where it is: at the budget that no longer fits."""
    items = [
        make_item(BUDGET, "acme", {"daily_usd": "200", "emergency_usd": "200"}),
        make_item(TIER, "standard", STANDARD | {"monthly_usd": "150"}),
    ]
    assert faults(*items) == ["scoped_budgets.acme.daily_usd: 200.00 is more than monthly_usd, 150.00"]


def test_shared_projects_are_nobodys() -> None:
    """A project where everybody may run jobs cannot also be one customer's; it is known to the directory."""
    shared = frozenset({"acme-prod"})
    assert faults(shared_projects=shared)[0].startswith("customers.acme.projects: acme-prod is in isolation.shared")
    assert compose(make_base(shared_projects=shared, customers={}), ()).customer_registry.shared_projects == shared


def test_a_project_may_move_from_one_customer_to_another() -> None:
    """What counts is the whole, whatever the order in which it was written."""
    items = [make_item(CUSTOMER, "globex", {"projects": ["acme-prod"]}), make_item(CUSTOMER, "acme", {})]
    assert compose(make_base(), items).customer_registry.customer_by_project == {"acme-prod": "globex"}


def test_the_defaults_are_the_files() -> None:
    """Customers that nobody lists are of the default tier as it holds now, in the default mode."""
    base = make_base(defaults=DefaultsPolicy(tier="premium", mode=Mode.OBSERVE))
    customer_registry = compose(base, [make_item(TIER, "premium", GOLD)]).customer_registry
    assert (customer_registry.customer("nobody").tier.daily_nanos, customer_registry.customer("nobody").mode) == (
        parse_usd("100"),
        Mode.OBSERVE,
    )


def test_an_account_needs_credentials_that_can_become_it() -> None:
    """With the gate's own credentials a customer's account reaches the directory."""
    item = make_item(CUSTOMER, "acme", {"service_account": "A@p.iam.gserviceaccount.com"})
    customer_registry = compose(make_base(can_impersonate=True), [item]).customer_registry
    assert customer_registry.customer("acme").account == "a@p.iam.gserviceaccount.com"
