"""Tell which thresholds a query's hold passed: once for each, by the hold that passed it.

Called by admit after each placed hold; nearly always there is nothing to say. `monitor` and `review` are for people:
the counter and the log line are all that follows, and what alerts hang on. `throttle` is told too, and decided
elsewhere. What is held counts as used, so a share that falls when a job ends cheaper than held may be passed again.
"""

from collections.abc import Sequence

from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.shadow_evaluation import budget_name
from bqgate.domain.tier import Budget
from bqgate.domain.units import PPM
from bqgate.ports import Telemetry


def tell_thresholds(
    placement: Placement, budgets: Sequence[Budget], *, amount_nanos: int, telemetry: Telemetry
) -> None:
    """Count and note every threshold that this hold of `amount_nanos` passed, in any of the budgets it falls under."""
    if placement.outcome is not PlacementOutcome.PLACED:
        return
    by_account = {(budget.account, budget.scope): budget for budget in budgets}
    for balance in placement.balances:
        window, limit_nanos = balance.window, balance.limit_nanos
        if not limit_nanos:
            continue
        before_ppm = (balance.used_nanos - amount_nanos) * PPM // limit_nanos
        budget = by_account[window.customer, window.scope]
        for threshold in budget.thresholds:
            if before_ppm < threshold.used_ppm <= balance.used_ppm:
                name, action = budget_name(window), threshold.action.value
                telemetry.count("thresholds_passed_total", customer=window.customer, budget=name, action=action)
                telemetry.log(
                    "threshold_passed",
                    customer=window.customer,
                    budget=name,
                    about=window.scope.value,
                    window=window.key,
                    used_ratio=f"{threshold.used_ppm / PPM:g}",
                    action=action,
                )
