from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bqgate.admission.admit import Admitted
from bqgate.domain.budget import Balance, Period, Window
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.decision import Forward, Throttle
from bqgate.domain.hold import Hold
from bqgate.gate.throttle_labels import throttle_labels

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = Window("acme", Period.DAY, "2026-11-24", 100, NOW, throttle_ppm=500_000)
MONTH = Window("acme", Period.MONTH, "2026-11", 1_000, NOW, throttle_ppm=500_000)


def admitted(decision: Forward | Throttle, word: str, *balances: Balance) -> Admitted:
    hold = Hold("h", "acme", "ann", "acme", 1, {}, NOW, NOW, decision=word)
    return Admitted(decision, hold, balances, is_repeat=False)


@pytest.mark.parametrize(
    ("balances", "reason"),
    [
        ([Balance(DAY, 60, 0), Balance(MONTH, 400, 0)], "customer_day"),
        ([Balance(DAY, 60, 0), Balance(MONTH, 900, 0)], "customer_month"),
        ([Balance(DAY, 10, 0), Balance(replace(MONTH, throttle_ppm=None), 400, 0)], "customer_month"),
        ([Balance(replace(DAY, is_observed=True), 99, 0), Balance(MONTH, 600, 0)], "customer_month"),
        (
            [Balance(DAY, 60, 0), Balance(replace(DAY, scope=BudgetScope(ScopeKind.LABEL, "Team=Ä")), 70, 0)],
            "label_day",
        ),
        ([Balance(replace(DAY, customer=DEPLOYMENT_ACCOUNT), 70, 0)], "deployment_day"),
        ([Balance(replace(DAY, limit_nanos=None), 70, 0)], "budget"),
        ([], "budget"),
    ],
)
def test_a_throttled_query_names_the_budget_that_is_short(balances: list[Balance], reason: str) -> None:
    """The tightest of those past a threshold; where it was slowed down to fit, the tightest of all that may say no."""
    notes = throttle_labels(admitted(Throttle(2_000), "throttle", *balances), waited_ms=1_500)
    assert notes == {"bqgate_decision": "throttle", "bqgate_reason": reason, "bqgate_waited_ms": "1500"}


def test_a_query_in_grace_says_so() -> None:
    """The decision is the word that the ledger and the answer's header have."""
    notes = throttle_labels(admitted(Throttle(0, NOW), "grace", Balance(DAY, 101, 0)), waited_ms=0)
    assert notes == {"bqgate_decision": "grace", "bqgate_reason": "customer_day", "bqgate_waited_ms": "0"}


def test_a_query_that_waited_behind_others_says_so() -> None:
    """It was not slowed down, and its sender wonders all the same; one that went at once says nothing."""
    query = admitted(Forward(), "forward", Balance(DAY, 10, 0))
    assert throttle_labels(query, waited_ms=700) == {
        "bqgate_decision": "forward",
        "bqgate_reason": "concurrency",
        "bqgate_waited_ms": "700",
    }
    assert throttle_labels(query, waited_ms=0) == {}
