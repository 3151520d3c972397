"""Who comes near a limit is told once, by the hold that passes a threshold."""

import io
import json

import pytest

from bqgate.admission.threshold_log import log_thresholds
from bqgate.domain.budget import Balance
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.tier import Budget, Threshold, ThresholdAction
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.manual_clock import START, ManualClock

PLAN = LimitPlan(Limits(daily_nanos=100))
OWN = Budget("acme", "acme", CUSTOMER_SCOPE, PLAN)
NIGHTLY = Budget(
    "n",
    "acme",
    BudgetScope(ScopeKind.WORKLOAD, "nightly"),
    PLAN,
    thresholds=(Threshold(700_000, ThresholdAction.REVIEW),),
)
EVERYBODY = Budget("all", DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, PLAN)


def told(
    *used: tuple[Budget, int], amount: int = 10, outcome: PlacementOutcome = PlacementOutcome.PLACED
) -> list[tuple[str, str, str]]:
    """(budget, whose, action) of each line, when so much of each budget's day is used with the hold."""
    log, metrics = io.StringIO(), Metrics(lambda: ("acme",))
    budget_status = [(window, share) for budget, share in used for window in budget.windows(START)]
    balances = tuple(Balance(window, share - amount, amount) for window, share in budget_status)
    telemetry = PrometheusTelemetry(metrics, make_logger(log, ManualClock()))
    budgets = [budget for budget, _ in used]
    log_thresholds(Placement(outcome, "h", balances), budgets, amount_nanos=amount, telemetry=telemetry)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    for line in lines:
        customer = "acme" if line["customer"] == "acme" else "other"
        labels = {"customer": customer, "budget": line["budget"], "action": line["action"]}
        assert metrics.value("bqgate_thresholds_passed_total", **labels) == 1
    return [(line["budget"], line["about"], line["action"]) for line in lines]


@pytest.mark.parametrize(
    ("used", "amount", "actions"),
    [
        pytest.param(49, 10, [], id="below the first"),
        pytest.param(50, 10, ["monitor"], id="on it"),
        pytest.param(59, 10, ["monitor"], id="past it"),
        pytest.param(60, 10, [], id="it was passed before"),
        pytest.param(95, 90, ["monitor", "review", "throttle"], id="all three at once"),
        pytest.param(150, 10, [], id="far beyond"),
    ],
)
def test_a_threshold_is_told_by_the_hold_that_passes_it(used: int, amount: int, actions: list[str]) -> None:
    """Once for each, with what follows; a window without a limit has none."""
    assert told((OWN, used), amount=amount) == [("customer/day", "", action) for action in actions]


def test_each_budget_has_thresholds_of_its_own() -> None:
    """Told with whose it is; the deployment's counts under no customer's name."""
    assert told((OWN, 75), (NIGHTLY, 75), (EVERYBODY, 55)) == [
        ("workload/day", "nightly", "review"),
        ("deployment/day", "", "monitor"),
    ]


@pytest.mark.parametrize("outcome", [PlacementOutcome.REFUSED, PlacementOutcome.REPLAYED])
def test_what_was_not_placed_passes_nothing(outcome: PlacementOutcome) -> None:
    """Neither a refusal nor a repeat uses anything."""
    assert told((OWN, 55), outcome=outcome) == []
