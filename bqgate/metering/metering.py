"""Look round by round at what each metric measures, and have it booked.

Run by app at the one replica that holds the lease. Every metric goes by its own pace; each look goes back as far as
figures may still change, and what is booked already stays. So nothing is remembered beside the ledger, and a look that
failed is made up for by the next. Plug-ins are others' code: whatever one raises ends its look at one place, is counted
and logged by its kind, and harms no other (asyncio.gather hands exceptions over as values).
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bqgate.domain.errors import LedgerUnavailable, OwnQueriesSpent, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.place import Place
from bqgate.metering.booking import MeteredBooking
from bqgate.metering.checking import AnswerUnfit, check_answer
from bqgate.metering.loading import MetricUnusable, load_metric
from bqgate.ports import Clock, PolicySource, QueryRunner, Telemetry
from bqgate.ports.cost_metrics import CostMetric, Question
from bqgate.wire.error_reply import message_of

# A metric that takes longer is taken to have failed; a query of the gate's own has five minutes.
_LOOK_TIMEOUT_S = 900
_LOOK_BACK_MAX = timedelta(days=180)
# Names go into queries, and those of projects come from the settings and from admins.
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]*")


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """A metric as the settings have it. `projects` empty: all of customers, and shared ones."""

    name: str
    metric: str
    options: Mapping[str, Any]
    projects: Sequence[str] = ()
    regions: Sequence[str] = ("us",)
    interval_s: int = 3_600
    look_back: timedelta | None = None
    counts: bool = True


class Metering:
    """All metrics of one gate. `run` it in one task, at one replica."""

    def __init__(
        self,
        plans: Sequence[MetricPlan],
        *,
        booking: MeteredBooking,
        runner: QueryRunner,
        policies: PolicySource,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        """Look at nothing yet."""
        self._plans = tuple(plans)
        self._booking = booking
        self._runner = runner
        self._policies = policies
        self._clock = clock
        self._telemetry = telemetry
        self._looked_at_s = dict.fromkeys((plan.name for plan in plans), clock.monotonic_s())
        self._told: dict[tuple[str, Place], str] = {}

    def age_s(self, name: str) -> float:
        """How long ago a metric's last look went well at all of its places here; since the start, where none has."""
        return self._clock.monotonic_s() - self._looked_at_s[name]

    async def run(self) -> None:
        """Look at each metric now and at its pace, until cancelled."""
        async with asyncio.TaskGroup() as metrics:
            for plan in self._plans:
                metrics.create_task(self._run(plan), name=f"cost metric {plan.name}")

    async def look(self, plan: MetricPlan, metric: CostMetric) -> None:
        """One look of a metric at all of its places."""
        is_whole = True
        for place in self._places(plan):
            (end,) = await asyncio.gather(self._look_at(plan, metric, place), return_exceptions=True)
            if end is None:
                self._told.pop((plan.name, place), None)
                self._count(plan, "done")
                continue
            is_whole = False
            self._tell(plan, place, end)
            if isinstance(end, OwnQueriesSpent | LedgerUnavailable):
                return
        if is_whole:
            self._looked_at_s[plan.name] = self._clock.monotonic_s()

    async def load(self, plan: MetricPlan) -> CostMetric | None:
        """Make a metric; None: it cannot be used, which is said."""
        (made,) = await asyncio.gather(_load(plan), return_exceptions=True)
        if not isinstance(made, BaseException):
            return made
        self._count(plan, "unusable")
        self._telemetry.log("cost_metric_unusable", metric=plan.name, error=_what(made), raised_in=_place_of(made))
        return None

    async def _run(self, plan: MetricPlan) -> None:
        metric: CostMetric | None = None
        while True:
            metric = metric or await self.load(plan)
            if metric is not None:
                await self.look(plan, metric)
            await self._clock.sleep(plan.interval_s)

    async def _look_at(self, plan: MetricPlan, metric: CostMetric, place: Place) -> None:
        until = self._clock.now().replace(minute=0, second=0, microsecond=0)
        question = Question(place, until - min(plan.look_back or metric.look_back, _LOOK_BACK_MAX), until)
        async with asyncio.timeout(_LOOK_TIMEOUT_S):
            costs = await metric.measure(question, _Queries(self._runner, plan.name, place))
        await self._booking.book(plan.name, place, check_answer(costs, question), counts=plan.counts)

    def _places(self, plan: MetricPlan) -> list[Place]:
        named = plan.projects or self._policies.customer_registry.known_projects
        projects = [each for each in dict.fromkeys(named) if _PROJECT.fullmatch(each)]
        return [Place(project, region) for project in projects for region in plan.regions]

    def _tell(self, plan: MetricPlan, place: Place, end: BaseException) -> None:
        """Count a look that failed; the same failure is logged once in a row for each place."""
        match end:
            case OwnQueriesSpent():  # said by OwnCosts
                self._count(plan, "over_bound")
                return
            case UpstreamRefused():
                result, error = "refused", message_of(end.body) or f"BigQuery answered {end.status}"
            case UpstreamUnavailable() | LedgerUnavailable():
                system = "ledger" if isinstance(end, LedgerUnavailable) else "bigquery"
                self._telemetry.count("failures_total", system=system, step="metering")
                result, error = "lost", str(end)
            case _:
                result, error = "failed", _what(end)
        self._count(plan, result)
        if self._told.get((plan.name, place)) != error:
            self._told[plan.name, place] = error
            self._telemetry.log(
                "cost_metric_failed",
                metric=plan.name,
                project_id=place.project_id,
                region=place.region,
                error=error,
                raised_in=_place_of(end) if result == "failed" else None,
            )

    def _count(self, plan: MetricPlan, result: str) -> None:
        self._telemetry.count("cost_metric_looks_total", metric=plan.name, result=result)


class _Queries:
    """Queries at one place, for one metric."""

    def __init__(self, runner: QueryRunner, metric: str, place: Place) -> None:
        self._runner = runner
        self._metric = metric
        self._place = place

    async def run(self, sql: str, **parameters: int | str | datetime) -> Sequence[Mapping[str, Any]]:
        """See ports.BoundedQueries."""
        return await self._runner.run(
            sql,
            purpose=f"metric:{self._metric}",
            project_id=self._place.project_id,
            location=self._place.location,
            parameters=parameters,
        )


async def _load(plan: MetricPlan) -> CostMetric:
    return load_metric(plan.metric, plan.options)


def _what(error: BaseException) -> str:
    """What may be logged of an exception: others' code puts what it likes into its text."""
    return str(error) if isinstance(error, AnswerUnfit | MetricUnusable) else type(error).__name__


def _place_of(error: BaseException) -> str:
    """File and line where an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
