from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, EACH, BudgetScope, ScopeKind, Spender
from bqgate.domain.limits import LimitPlan, Limits, TemporaryIncrease
from bqgate.domain.tier import DEFAULT_THRESHOLDS, Budget, Customer, CustomerRegistry, Mode, Tier, throttle_ppm_of

STANDARD = Tier("standard", 10, 300, 50)
PREMIUM = Tier("premium", 50, 1_500, 200)
CUSTOMER_REGISTRY = CustomerRegistry(
    customers={"acme": Customer("acme", PREMIUM)}, customer_by_project={"acme-prod": "acme"}, default_tier=STANDARD
)


def test_an_unknown_customer_is_one_of_the_default_tier() -> None:
    """Nobody is unlimited by being unknown."""
    stranger = CUSTOMER_REGISTRY.customer("stranger")
    assert ("stranger", STANDARD, Mode.ENFORCE) == (stranger.id, stranger.tier, stranger.mode)


def test_a_project_is_its_owners() -> None:
    """A project that is listed for nobody has no owner."""
    assert [CUSTOMER_REGISTRY.owner_of(name) for name in ("acme-prod", "other", "acme")] == ["acme", None, None]


@pytest.mark.parametrize(
    "identifier",
    [
        "principal://iam.googleapis.com/locations/global/workforcePools/evil/subject/eve@acme.example",
        "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/evil/subject/ann@acme.example",
        "PRINCIPAL://iam.googleapis.com/locations/global/workforcePools/evil/subject/@acme.example",
    ],
)
def test_an_identifier_that_ends_like_an_address_is_none(identifier: str) -> None:
    """Its end is what somebody's own identity provider says: whoever has an address written there charges nobody."""
    emails = {"acme.example": "acme", "ann@acme.example": "acme"}
    known = CustomerRegistry({}, {}, STANDARD, customer_by_email=emails)
    assert known.customer_id_of_email(identifier) is None
    assert known.customer_id_of_email("Eve@ACME.example") == "acme"


def part(name: str, kind: ScopeKind, value: str) -> Budget:
    return Budget(name, "acme", BudgetScope(kind, value), LimitPlan(Limits(daily_nanos=5)))


EACH_ONE = part("each", ScopeKind.PRINCIPAL, EACH)
ANN = part("ann", ScopeKind.PRINCIPAL, "ann")
ML = part("ml", ScopeKind.LABEL, "team=ml")
EVERYBODY = Budget("all", DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, LimitPlan(Limits(monthly_nanos=9)))
ACME = Customer("acme", PREMIUM, budgets=(EACH_ONE, ANN, ML))
TREE = CustomerRegistry({"acme": ACME}, {}, STANDARD, deployment=EVERYBODY)


@pytest.mark.parametrize(
    ("spender", "names"),
    [
        pytest.param(Spender("bob", "p"), ["each"], id="each one's"),
        pytest.param(Spender("ann", "p"), ["ann"], id="a name stands in for each"),
        pytest.param(Spender("ann", "p", labels={"team": "ml"}), ["ml", "ann"], id="a label beside a principal"),
        pytest.param(Spender(), [], id="nobody known"),
    ],
)
def test_a_query_falls_under_its_customers_budget_its_parts_and_the_deployments(
    spender: Spender, names: list[str]
) -> None:
    """The customer's own first, the deployment's last, each counted once, under the spender's own name."""
    own, *parts, above = TREE.budgets_over(ACME, spender)
    assert (own, above) == (ACME.own_budget, EVERYBODY)
    assert [budget.name for budget in parts] == names
    assert all(budget.scope.value != EACH and budget.scope.covers(spender) for budget in parts)
    assert ACME.scopes_over(spender) == tuple(budget.scope for budget in parts)


def test_a_customer_without_parts_has_its_own_alone() -> None:
    """And a deployment without a budget is not counted."""
    acme = CUSTOMER_REGISTRY.customer("acme")
    assert CUSTOMER_REGISTRY.budgets_over(acme, Spender("ann", "p")) == (acme.own_budget,)
    assert CUSTOMER_REGISTRY.account_budgets(DEPLOYMENT_ACCOUNT) == ()


def test_an_account_has_the_budgets_that_can_be_named() -> None:
    """Those of each one have no windows of their own."""
    assert TREE.account_budgets("acme") == (ACME.own_budget, ANN, ML)
    assert TREE.account_budgets(DEPLOYMENT_ACCOUNT) == (EVERYBODY,)


def test_a_raise_of_the_day_raises_its_emergency_limit_too() -> None:
    """Else what was just allowed would open the breaker; both end together."""
    now = datetime(2026, 11, 24, tzinfo=UTC)
    raised = replace(ACME, raises=(TemporaryIncrease(now + timedelta(hours=1), daily_nanos=7),))
    assert [window.limit_nanos for window in raised.windows(now)] == [57, 1_500]
    assert raised.grace_at(now).emergency_nanos == 207
    assert raised.grace_at(now + timedelta(hours=1)).emergency_nanos == 200


def test_only_what_throttles_gives_a_windows_threshold() -> None:
    """The first whose action it is; a list without one throttles nobody."""
    assert throttle_ppm_of(DEFAULT_THRESHOLDS) == 950_000
    assert throttle_ppm_of(DEFAULT_THRESHOLDS[:2]) is None
