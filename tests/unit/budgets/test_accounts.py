"""How the ledger's open holds look to the accounts of a store."""

from dataclasses import replace

from bqgate.budgets.accounts import AccountSource
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.tier import Budget, Customer, CustomerRegistry, Tier
from tests.support.budget_scene import hold_on, windows_of
from tests.support.spend_book import SpendBook

TIER = Tier("t", 10, 300, 50)
EACH = Budget("each", "acme", BudgetScope(ScopeKind.PRINCIPAL, "*"), LimitPlan(Limits(daily_nanos=5)))
ML = Budget("ml", "acme", BudgetScope(ScopeKind.LABEL, "team=ml"), LimitPlan(Limits(daily_nanos=5)))
CUSTOMER_REGISTRY = CustomerRegistry(
    {"acme": Customer("acme", TIER, budgets=(EACH, ML)), "globex": Customer("globex", TIER)}, {}, TIER
)
POLICIES = PolicySnapshot(CUSTOMER_REGISTRY, PriceList(PricingModel.ON_DEMAND, 1, 1))


async def test_a_hold_falls_under_the_budgets_that_there_are_now() -> None:
    """Whatever it was placed under; the deployment's account has everybody's, by its own days."""
    book = SpendBook()
    acme = replace(hold_on(windows_of()), labels={"team": "ml"})
    globex = hold_on(windows_of("globex"), idempotency_key="job:p:a")
    for hold in (acme, globex):
        book.open_hold(hold)
    source = AccountSource(book, POLICIES)
    (found,) = await source.fetch_open_holds("acme")
    assert found.scopes == (BudgetScope(ScopeKind.LABEL, "team=ml"), BudgetScope(ScopeKind.PRINCIPAL, acme.principal))
    assert await source.fetch_open_holds("globex") == (globex,)
    above = await source.fetch_open_holds(DEPLOYMENT_ACCOUNT)
    assert [(hold.id, hold.customer, hold.idempotency_key, hold.scopes) for hold in above] == [
        (hold.id, DEPLOYMENT_ACCOUNT, None, ()) for hold in (acme, globex)
    ]


async def test_what_this_gate_has_placed_counts_beside_what_the_ledger_has() -> None:
    """Once where both have it, as the ledger has it; in its customer's account and in the deployment's only."""
    book = SpendBook()
    recorded, unrecorded = hold_on(windows_of(), "1"), replace(hold_on(windows_of(), "2"), labels={"team": "ml"})
    book.open_hold(recorded)
    as_placed = replace(recorded, amount_nanos=7)
    source = AccountSource(book, POLICIES, lambda: (as_placed, unrecorded))
    found = {hold.id: hold for hold in await source.fetch_open_holds("acme")}
    assert {hold_id: hold.amount_nanos for hold_id, hold in found.items()} == {
        recorded.id: recorded.amount_nanos,
        unrecorded.id: unrecorded.amount_nanos,
    }
    assert BudgetScope(ScopeKind.LABEL, "team=ml") in found[unrecorded.id].scopes
    assert await source.fetch_open_holds("globex") == ()
    above = await source.fetch_open_holds(DEPLOYMENT_ACCOUNT)
    assert {(hold.id, hold.customer) for hold in above} == {(hold_id, DEPLOYMENT_ACCOUNT) for hold_id in found}
    assert {hold.id for hold in await source.fetch_open_holds()} == set(found)
