"""Log each threshold that a placed hold passed, once, by the hold that passed it.

Called by admit.py after each placement. `monitor` and `review` are for people: a counter and a log line, for alerts.
`throttle` is logged here and decided in domain/decision.py. Held money counts as used, so that a share which falls when
a job costs less than its hold may be passed again.
"""

from collections.abc import Sequence

from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.shadow_evaluation import budget_name
from bqgate.domain.tier import Budget
from bqgate.domain.units import PPM
from bqgate.ports import Telemetry


def log_thresholds(placement: Placement, budgets: Sequence[Budget], *, amount_nanos: int, telemetry: Telemetry) -> None:
    """Count and log every threshold that a hold of `amount_nanos` passed, in any of its budgets."""
    if placement.outcome is not PlacementOutcome.PLACED:
        return
    for balance in placement.balances:
        window, limit_nanos = balance.window, balance.limit_nanos
        if not limit_nanos:
            continue
        used_nanos = balance.captured_nanos + balance.held_nanos
        used_ppm, before_ppm = used_nanos * PPM // limit_nanos, (used_nanos - amount_nanos) * PPM // limit_nanos
        if used_ppm == before_ppm:
            continue
        budget = next(each for each in budgets if each.scope == window.scope and each.account == window.customer)
        for threshold in budget.thresholds:
            if before_ppm < threshold.used_ppm <= used_ppm:
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
