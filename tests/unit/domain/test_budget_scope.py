import pytest

from bqgate.domain.budget_scope import CUSTOMER_SCOPE, EACH, BudgetScope, ScopeKind, Spender

ADA = Spender("ada@acme.example", "acme-prod", "nightly", {"team": "ml", "tier": ""})
NOBODY = Spender()


@pytest.mark.parametrize(
    ("kind", "value", "covers_ada", "narrowed"),
    [
        (ScopeKind.PRINCIPAL, "ada@acme.example", True, "ada@acme.example"),
        (ScopeKind.PRINCIPAL, "bob@acme.example", False, None),
        (ScopeKind.PRINCIPAL, EACH, True, "ada@acme.example"),
        (ScopeKind.PROJECT, "acme-prod", True, "acme-prod"),
        (ScopeKind.PROJECT, EACH, True, "acme-prod"),
        (ScopeKind.WORKLOAD, "nightly", True, "nightly"),
        (ScopeKind.WORKLOAD, "hourly", False, None),
        (ScopeKind.LABEL, "team=ml", True, "team=ml"),
        (ScopeKind.LABEL, "team=bi", False, None),
        (ScopeKind.LABEL, "tier=", True, "tier="),
        (ScopeKind.LABEL, "other=", False, None),
    ],
)
def test_a_scope_covers_whom_it_names(kind: ScopeKind, value: str, covers_ada: bool, narrowed: str | None) -> None:
    """One named, or each who has a value of the kind; each is counted under its own name; nobody under none."""
    scope = BudgetScope(kind, value)
    assert scope.covers(ADA) is covers_ada
    assert not scope.covers(NOBODY)
    if narrowed is not None:
        assert scope.narrowed_to(ADA) == BudgetScope(kind, narrowed)


def test_the_customers_own_covers_everything() -> None:
    """Whoever asks."""
    assert CUSTOMER_SCOPE.covers(NOBODY)
    assert CUSTOMER_SCOPE.narrowed_to(NOBODY) == CUSTOMER_SCOPE


def test_a_scope_reads_like_a_sentence() -> None:
    """As refusals and the control plane write it."""
    assert [str(CUSTOMER_SCOPE), str(BudgetScope(ScopeKind.LABEL, "team=ml"))] == ["customer", "label team=ml"]
