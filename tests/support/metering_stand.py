"""Put cost metrics before a sandbox with data of acme's, on a real ledger, with the gate's own queries behind them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bqgate.domain.entry import Entry, Origin
from bqgate.metering.booking import MeteredBooking
from bqgate.metering.metering import Metering, MetricPlan
from bqgate.metering.storage import StorageMetric
from bqgate.metering.streaming import StreamingMetric
from bqgate.ports import PolicySource
from bqgate.ports.cost_metrics import CostMetric
from bqgate.sandbox.warehouse import QueryContext
from tests.support.own_costs_stand import POLICIES, OwnCostsStand, OwnGate, own_costs_stand

STORAGE = MetricPlan("storage", f"{StorageMetric.__module__}:StorageMetric", {})
STREAMING = MetricPlan("streaming", f"{StreamingMetric.__module__}:StreamingMetric", {})


class MeteringGate(OwnGate):
    """A gate that measures."""

    def __init__(
        self, stand: OwnCostsStand, name: str, plans: tuple[MetricPlan, ...], policies: PolicySource = POLICIES
    ) -> None:
        super().__init__(stand, name)
        self.plans = plans
        booking = MeteredBooking(
            ledger=stand.ledger,
            budgets=self.budgets,
            policies=policies,
            clock=stand.clock,
            telemetry=stand.telemetry,
            is_open=True,
        )
        self.metering = Metering(
            plans,
            booking=booking,
            runner=self.own_costs,
            policies=policies,
            clock=stand.clock,
            telemetry=stand.telemetry,
        )

    async def look(self, metric: CostMetric | None = None) -> None:
        """One look of every plan; of one plug-in that is made already, where it is given."""
        for plan in self.plans:
            made = metric or await self.metering.load(plan)
            if made is not None:
                await self.metering.look(plan, made)


@dataclass
class MeteringStand(OwnCostsStand):
    """The same, with what metrics find there."""

    def measure(self, *plans: MetricPlan, name: str = "a", policies: PolicySource = POLICIES) -> MeteringGate:
        """Start a gate with these metrics."""
        return MeteringGate(self, name, plans, policies)

    async def metered(self) -> list[Entry]:
        """What was booked for metrics, by what it is for, corrections last."""
        found = [entry for entry in await self.entries() if entry.origin is Origin.METERED]
        return sorted(
            found, key=lambda each: (each.labels["bqgate_since"], each.labels.get("bqgate_dataset", ""), each.id)
        )

    def query(self, sql: str) -> None:
        """Do something at BigQuery, past everything."""
        self.sandbox.warehouse.execute(sql, QueryContext("acme-prod", self.sandbox.clock.now()))

    async def stream(self, *texts: str, dataset: str = "sales") -> None:
        """Stream rows in, past the gate."""
        path = f"/bigquery/v2/projects/acme-prod/datasets/{dataset}/tables/events/insertAll"
        body: dict[str, Any] = {"rows": [{"json": {"text": text}} for text in texts]}
        async with aiohttp.ClientSession() as http, http.post(self.sandbox.url + path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            assert "insertErrors" not in await answer.json()


@asynccontextmanager
async def metering_stand(folder: Path) -> AsyncIterator[MeteringStand]:
    """A stand whose acme has the datasets sales (US) and archive (EU)."""
    async with own_costs_stand(folder, has_examples=False) as own:
        stand = MeteringStand(own.sandbox, own.upstream, own.ledger, own.clock)
        warehouse = stand.sandbox.warehouse
        for dataset, location in (("sales", "US"), ("archive", "EU")):
            warehouse.create_dataset("acme-prod", dataset, location=location)
            stand.query(f"CREATE TABLE {dataset}.events (text STRING)")
        yield stand
