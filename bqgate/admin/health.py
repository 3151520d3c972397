"""Say whether the gate is alive, whether it can do its work, and what it counts.

Mounted by control_plane for orchestrators and Prometheus. Ready means that the stores can be written, or that the gate
goes on without them for enforced customers (domain.degradation, or the ledger's journal): then it says `degraded`, and
so it does where one of several workers is away, in whose stead the others answer. BigQuery is not asked, because its
outage is no reason to take the gate out of a load balancer: it answers that itself.
"""

import asyncio
from collections.abc import Callable

from aiohttp import hdrs, web

from bqgate.admin.documents import answer_document
from bqgate.admin.operation import Answered, Operation, RateClass
from bqgate.admin.problem import MEDIA_TYPE, Problem
from bqgate.admin.schemas import ReadyDocument, StatusDocument
from bqgate.domain.degradation import Degradation, System
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.principal import Identity
from bqgate.domain.tier import Mode
from bqgate.observe.metrics import CONTENT_TYPE, Metrics
from bqgate.ports import BudgetStore, Ledger


class HealthViews:
    """The views for machines that watch the gate. They take any query parameter: probes add their own."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        metrics: Metrics,
        degradation: Degradation,
        is_draining: Callable[[], bool],
        is_journaled: bool,
        are_workers_up: Callable[[], bool],
    ) -> None:
        """Take the ports. `is_journaled`: holds are taken although the ledger's database is away."""
        self._ledger = ledger
        self._budgets = budgets
        self._metrics = metrics
        self._degradation = degradation
        self._is_draining = is_draining
        self._is_journaled = is_journaled
        self._are_workers_up = are_workers_up

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        unlimited = RateClass.UNLIMITED
        alive = {200: Answered("It is alive.", StatusDocument)}
        ready = {
            200: Answered("It can work; `degraded` names what is away meanwhile.", ReadyDocument),
            503: Answered("It can not; `not_ready` says what is missing.", media_type=MEDIA_TYPE),
        }
        metrics = {200: Answered("The metrics.", media_type="text/plain")}
        return (
            Operation("health.alive", "GET", "/healthz", "Is it alive", "health", self.alive, unlimited, answers=alive),
            Operation("health.ready", "GET", "/readyz", "Can it work", "health", self.ready, unlimited, answers=ready),
            Operation(
                "health.metrics",
                "GET",
                "/metrics",
                "Metrics in Prometheus' text format",
                "health",
                self.metrics,
                unlimited,
                answers=metrics,
            ),
        )

    async def alive(self, _request: web.Request, _identity: Identity) -> web.Response:
        """GET /healthz: the process answers."""
        return answer_document(StatusDocument(status="alive"))

    async def ready(self, _request: web.Request, _identity: Identity) -> web.Response:
        """GET /readyz: 200, or 503 with what is missing."""
        if self._is_draining():
            raise Problem(503, "Not ready: it is being stopped.", not_ready=["draining"])
        missing = [each for each in await asyncio.gather(self._missing_budgets(), self._missing_ledger()) if each]
        names = [system.value for system in missing]
        # Without both nothing goes on, whatever was chosen (admission.placing).
        goes_on = all(map(self._goes_on_without, missing)) and len(missing) < 2
        if not goes_on:
            raise Problem(503, f"Not ready: {', '.join(names)} cannot be used.", not_ready=names)
        if not self._are_workers_up():
            names.append("workers")
        return answer_document(ReadyDocument(status="degraded" if names else "ready", degraded=names))

    async def metrics(self, _request: web.Request, _identity: Identity) -> web.Response:
        """GET /metrics, in Prometheus' text format."""
        return web.Response(body=self._metrics.render(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    def _goes_on_without(self, system: System) -> bool:
        is_journaled = system is System.LEDGER and self._is_journaled
        return is_journaled or self._degradation.row(system, Mode.ENFORCE).goes_on

    async def _missing_budgets(self) -> System | None:
        try:
            await self._budgets.check()
        except BudgetStoreUnavailable:
            return System.BUDGETS
        return None

    async def _missing_ledger(self) -> System | None:
        try:
            await self._ledger.check()
        except LedgerUnavailable:
            return System.LEDGER
        return None
