"""Put the sweep on a real ledger and real budgets, before a BigQuery that a test scripts, and a clock moved by hand."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bqgate.domain.entry import Entry
from bqgate.domain.pricing import PriceList
from bqgate.domain.tier import Customer, CustomerRegistry, Mode
from bqgate.ledger import SqlSweepState
from bqgate.settlement.sweep.job_booking import JobBooking
from bqgate.settlement.sweep.pending_jobs import PendingJobs
from bqgate.settlement.sweep.places import Places
from bqgate.settlement.sweep.sweep import Sweep, SweepPace
from tests.support.settlement_stand import ACME, PRICES, STANDARD, Gate, Stand, settlement_stand
from tests.support.swept_bigquery import SweptBigQuery

OFF = Customer(id="globex", tier=STANDARD, mode=Mode.OFF)
REGISTRY = CustomerRegistry(
    customers={"acme": ACME, "globex": OFF},
    customer_by_project={"acme-prod": "acme", "globex-prod": "globex"},
    default_tier=STANDARD,
    customer_by_email={"acme.example": "acme"},
    shared_projects=frozenset({"shared"}),
)


@dataclass
class Policies:
    """What holds now; a test may change the prices."""

    customer_registry: CustomerRegistry = REGISTRY
    prices: PriceList = PRICES


@dataclass
class SweepStand:
    """The stand of settlement with BigQuery's jobs, and sweeps over it."""

    stand: Stand
    gate: Gate
    state: SqlSweepState
    policies: Policies
    bigquery: SweptBigQuery = field(default_factory=SweptBigQuery)

    def sweep(
        self,
        pace: SweepPace | None = None,
        *,
        by_region: bool = False,
        bypass_counts: bool = True,
        projects: Sequence[str] = (),
        regions: Sequence[str] = (),
    ) -> Sweep:
        """A new one, which knows nothing of those before it but what they have written down."""
        stand, numbers = self.stand, count(1)
        self.places = Places(
            policies=self.policies,
            store=self.state,
            regions=self.bigquery,
            clock=stand.clock,
            telemetry=stand.telemetry,
            more_projects=projects,
            more_regions=regions,
            by_region=by_region,
        )
        booking = JobBooking(
            ledger=stand.ledger,
            settlement=self.gate.settlement,
            bigquery=self.bigquery,
            policies=self.policies,
            clock=stand.clock,
            telemetry=stand.telemetry,
            new_id=lambda: f"{id(numbers)}-{next(numbers)}",
            bypass_counts=bypass_counts,
            is_open=True,
        )
        pending = PendingJobs(
            store=self.state,
            bigquery=self.bigquery,
            booking=booking,
            clock=stand.clock,
            telemetry=stand.telemetry,
            sees_jobless=by_region,
        )
        return Sweep(
            reader=self.bigquery,
            free_reader=SweptBigQuery(self.bigquery.jobs, jobless=self.bigquery.jobless),
            places=self.places,
            booking=booking,
            pending=pending,
            store=self.state,
            budgets=self.gate.budgets,
            clock=stand.clock,
            telemetry=stand.telemetry,
            pace=pace or SweepPace(),
        )

    async def begin(self, sweep: Sweep | None = None) -> Sweep:
        """A sweep that has been here before: its marks are of now."""
        begun = sweep or self.sweep()
        await begun.sweep()
        return begun

    async def entries(self) -> list[Entry]:
        """What is booked, oldest first."""
        return list(reversed(await self.stand.entries()))

    def counted(self, state: str) -> float:
        """How many jobs were found to stand so."""
        return self.stand.metrics.value("bqgate_sweep_jobs_total", state=state)


@asynccontextmanager
async def sweep_stand(folder: Path) -> AsyncIterator[SweepStand]:
    """A stand on a new ledger, in which nothing was swept."""
    policies = Policies()
    async with settlement_stand(folder) as stand:
        state = SqlSweepState.open(f"sqlite:///{stand.path}")
        yield SweepStand(stand, stand.gate(policies=policies), state, policies)
        await state.close()
