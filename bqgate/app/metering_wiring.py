"""Put cost metrics together, where the settings name any and the gate has credentials of its own.

Called by root.
"""

from datetime import timedelta
from functools import partial

from bqgate.app.dependencies import Dependencies
from bqgate.metering.booking import MeteredBooking
from bqgate.metering.metering import Metering, MetricPlan
from bqgate.settings.cost_metric_section import CostMetricSection
from bqgate.settings.sections import IdentityMode
from bqgate.settlement.own_costs import OwnCosts

_NO_ACCOUNT = (
    "nothing is measured without credentials of the gate's own: set upstream.service_account_file, or "
    "upstream.credentials: service_account"
)


def wire_metering(deps: Dependencies, own_costs: OwnCosts | None) -> None:
    """Measure in the background, if there is something to measure with."""
    sections = deps.settings.cost_metrics
    if not sections:
        return
    if own_costs is None:
        deps.telemetry.log("cost_metrics_off", error=_NO_ACCOUNT)
        return
    metering = Metering(
        [_plan(name, section) for name, section in sections.items()],
        booking=MeteredBooking(
            ledger=deps.ledger,
            budgets=deps.budgets,
            policies=deps.policies,
            clock=deps.clock,
            telemetry=deps.telemetry,
            is_open=deps.settings.identity.mode is IdentityMode.OPEN,
        ),
        runner=own_costs,
        policies=deps.policies,
        clock=deps.clock,
        telemetry=deps.telemetry,
    )
    for name in sections:
        deps.metrics.read_gauge_from("cost_metric_age_seconds", partial(metering.age_s, name), metric=name)
    deps.start_at_one_replica("cost_metrics", metering.run)


def _plan(name: str, section: CostMetricSection) -> MetricPlan:
    days = section.look_back_days
    return MetricPlan(
        name=name,
        metric=section.metric or name,
        options=section.options,
        projects=section.projects,
        regions=section.regions,
        interval_s=int(timedelta(minutes=section.interval_minutes).total_seconds()),
        look_back=None if days is None else timedelta(days=days),
        counts=section.counts,
    )
