"""Put the gate's own queries before a sandbox, on a real ledger, with budgets, a poller and reconcile behind them."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from bqgate.bigquery.credentials import AnonymousCredentials
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.bigquery.own_queries import GoogleOwnQueries
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.budgets.accounts import AccountSource
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.clock import SystemClock
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT
from bqgate.domain.entry import Entry, EntryFilter
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.tier import Budget, CustomerRegistry
from bqgate.domain.units import MIB
from bqgate.ledger import SqlLedger
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.ports import OwnQueries
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.sandbox.clock import Clock as SandboxClock
from bqgate.sandbox.warehouse import Warehouse
from bqgate.settlement.own_costs import OwnCosts, OwnQueryLimits
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settlement import Settlement
from tests.support.manual_clock import ManualClock
from tests.support.settlement_stand import ACME, STANDARD

# A dollar for 10 MiB, BigQuery's minimum charge.
PRICES = PriceList(model=PricingModel.ON_DEMAND, nanos_per_tib=NANOS_PER_USD * 2**20 // 10, nanos_per_slot_hour=0)
EVERYBODY = Budget("all", DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, LimitPlan(Limits(daily_nanos=100 * NANOS_PER_USD)))
POLICIES = PolicySnapshot(
    CustomerRegistry(
        {"acme": replace(ACME, projects=("acme-prod",))}, {"acme-prod": "acme"}, STANDARD, deployment=EVERYBODY
    ),
    PRICES,
)
LIMITS = OwnQueryLimits(maximum_bytes_billed=20 * MIB, daily_nanos=5 * NANOS_PER_USD)


class OwnGate:
    """One process: what it watches is lost with it."""

    def __init__(self, stand: "OwnCostsStand", name: str) -> None:
        self.stand = stand
        source = AccountSource(stand.ledger, POLICIES)
        self.budgets = MemoryBudgetStore(source, stand.clock, has_deployment_budget=lambda: True)
        self.settlement = Settlement(
            ledger=stand.ledger,
            budgets=self.budgets,
            policies=POLICIES,
            clock=stand.clock,
            telemetry=stand.telemetry,
        )
        self.poller = Poller(
            settlement=self.settlement,
            budgets=self.budgets,
            bigquery=GoogleBigQuery(stand.upstream),
            ledger=stand.ledger,
            clock=stand.clock,
            telemetry=stand.telemetry,
        )
        self.reconciler = Reconciler(
            ledger=stand.ledger,
            budgets=self.budgets,
            poller=self.poller,
            policies=POLICIES,
            clock=stand.clock,
            telemetry=stand.telemetry,
            remember_probe=self.settlement.remember_probe,
        )
        numbers = count(1)
        self.own_costs = OwnCosts(
            queries=stand.queries,
            ledger=stand.ledger,
            budgets=self.budgets,
            poller=self.poller,
            policies=POLICIES,
            clock=stand.clock,
            telemetry=stand.telemetry,
            limits=LIMITS,
            new_id=lambda: f"{name}{next(numbers)}",
        )

    async def look_at_all(self) -> None:
        """Ask after everything that is watched, due or not."""
        for hold_id in sorted(self.poller.watched_ids):
            await self.poller.look(hold_id)

    async def deployment_usd(self) -> tuple[int, int]:
        """(captured, held) of the deployment's day, in dollars."""
        day, _month = await self.budgets.fetch_balances(EVERYBODY.windows(self.stand.clock.now()))
        return day.captured_nanos // NANOS_PER_USD, day.held_nanos // NANOS_PER_USD


@dataclass
class OwnCostsStand:
    """What outlives a gate: the ledger, BigQuery and the time."""

    sandbox: Sandbox
    upstream: HttpUpstream
    ledger: SqlLedger
    clock: ManualClock
    metrics: Metrics = field(default_factory=Metrics)
    log: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.telemetry = PrometheusTelemetry(self.metrics, make_logger(self.log, self.clock))
        self.queries: OwnQueries = GoogleOwnQueries(JsonCalls(self.upstream), SystemClock())

    def advance(self, seconds: float) -> None:
        """Let time pass, here and at BigQuery."""
        self.clock.advance(seconds)
        self.sandbox.clock.advance(seconds)

    def gate(self, name: str = "a") -> OwnGate:
        """Start a gate."""
        return OwnGate(self, name)

    async def entries(self) -> tuple[Entry, ...]:
        """All that is booked, newest first."""
        return (await self.ledger.fetch_entries(EntryFilter(page_size=1_000))).entries


@asynccontextmanager
async def own_costs_stand(folder: Path, *, has_examples: bool = True) -> AsyncIterator[OwnCostsStand]:
    """A stand on a new ledger; without the example data it opens faster."""
    clock = ManualClock()
    sandbox_clock = SandboxClock(frozen_at=clock.now())
    warehouse = Warehouse(seed_examples=has_examples, now=sandbox_clock.now)
    ledger = await SqlLedger.open(f"sqlite:///{folder / 'ledger.db'}", clock)
    async with Sandbox.start(SandboxSettings(), clock=sandbox_clock, warehouse=warehouse) as sandbox:
        upstream = HttpUpstream(sandbox.url, AnonymousCredentials())
        try:
            yield OwnCostsStand(sandbox, upstream, ledger, clock)
        finally:
            await upstream.close()
            await ledger.close()
    warehouse.close()
