"""Put the settlement room on a real ledger and real budgets, before a scripted BigQuery and a clock moved by hand.

A Gate is one process of the gate as settlement sees it: what it forgets when it crashes. Several may share a Stand.
"""

import io
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.budget import Balance
from bqgate.domain.entry import Entry, EntryFilter
from bqgate.domain.hold import Hold, PlacementOutcome
from bqgate.domain.job import JobRef, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.tier import Customer, CustomerRegistry, Tier
from bqgate.ledger.sql_ledger import SqlLedger
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.ports import BudgetStore, PolicySource, SpendSource
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settlement import Settlement
from bqgate.settlement.watched import Patience
from tests.support.manual_clock import ManualClock
from tests.support.scripted_bigquery import ScriptedBigQuery

STANDARD = Tier(
    name="standard", daily_nanos=1_000 * NANOS_PER_USD, monthly_nanos=9_000 * NANOS_PER_USD, emergency_nanos=0
)
ACME = Customer(id="acme", tier=STANDARD, zone=ZoneInfo("UTC"))
CUSTOMER_REGISTRY = CustomerRegistry(customers={"acme": ACME}, customer_by_project={}, default_tier=STANDARD)

# One dollar per MiB, so that tests can read the sums.
PRICES = PriceList(model=PricingModel.ON_DEMAND, nanos_per_tib=NANOS_PER_USD * 2**20, nanos_per_slot_hour=0)
POLICIES = PolicySnapshot(CUSTOMER_REGISTRY, PRICES)

MakeStore = Callable[[SpendSource, ManualClock], BudgetStore]

_numbers = count(1)


class Gate:
    """One process: what it watches is lost with it. `learned` is what admission was told of slots."""

    def __init__(
        self,
        stand: "Stand",
        budgets: BudgetStore,
        *,
        patience: Patience,
        capacity: int = 1_000,
        policies: PolicySource = POLICIES,
    ) -> None:
        self.budgets = budgets
        self.learned: list[tuple[str, Usage]] = []
        self.settlement = Settlement(
            ledger=stand.ledger,
            budgets=budgets,
            policies=policies,
            clock=stand.clock,
            telemetry=stand.telemetry,
            on_usage=lambda customer, usage: self.learned.append((customer, usage)),
        )
        self.poller = Poller(
            settlement=self.settlement,
            budgets=budgets,
            bigquery=stand.bigquery,
            ledger=stand.ledger,
            clock=stand.clock,
            telemetry=stand.telemetry,
            patience=patience,
            capacity=capacity,
        )
        self.reconciler = Reconciler(
            ledger=stand.ledger,
            budgets=budgets,
            poller=self.poller,
            policies=policies,
            clock=stand.clock,
            telemetry=stand.telemetry,
            remember_probe=self.settlement.remember_probe,
        )

    async def look_at_all(self) -> None:
        """Ask after everything that is watched, due or not."""
        for hold_id in sorted(self.poller.watched_ids):
            await self.poller.look(hold_id)


@dataclass
class Stand:
    """What outlives a gate: the ledger, Redis where there is one, BigQuery and the time."""

    ledger: SqlLedger
    path: Path
    make_store: MakeStore
    clock: ManualClock = field(default_factory=ManualClock)
    bigquery: ScriptedBigQuery = field(default_factory=ScriptedBigQuery)
    metrics: Metrics = field(default_factory=lambda: Metrics(lambda: ("acme",)))
    log: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.telemetry = PrometheusTelemetry(self.metrics, make_logger(self.log, self.clock))

    def gate(
        self, *, patience: Patience | None = None, capacity: int = 1_000, policies: PolicySource = POLICIES
    ) -> Gate:
        """Start a gate, with a store that it opens itself."""
        budgets = self.make_store(self.ledger, self.clock)
        return Gate(self, budgets, patience=patience or Patience(), capacity=capacity, policies=policies)

    def make_hold(self, *, usd: int = 20, job: bool = True, location: str | None = "US") -> Hold:
        """A hold as admission makes it; with a job id for jobs.insert, without for jobs.query."""
        number = next(_numbers)
        now = self.clock.now()
        return Hold(
            id=f"hold{number}",
            customer="acme",
            principal="ada@acme.example",
            project_id="acme-prod",
            amount_nanos=usd * NANOS_PER_USD,
            window_keys={window.period: window.key for window in ACME.windows(now)},
            placed_at=now,
            deadline_at=now + timedelta(hours=6),
            idempotency_key=f"job:acme-prod:job{number}" if job else None,
            job=JobRef("acme-prod", f"job{number}", location) if job else None,
            priced_as="SELECT",
        )

    async def place(self, gate: Gate, hold: Hold) -> Hold:
        """Admit: place the hold and record it."""
        placement = await gate.budgets.place_hold(hold, ACME.windows(self.clock.now()))
        assert placement.outcome is PlacementOutcome.PLACED
        await self.ledger.open_hold(hold)
        return hold

    def run_job(self, hold: Hold, *, job: JobRef | None = None) -> JobRef:
        """BigQuery begins to run the hold's query."""
        ref = job or hold.job
        assert ref is not None, "who has no job id must name the one that BigQuery makes"
        self.bigquery.start(ref, hold_id=hold.id, created_at=self.clock.now())
        return ref

    async def balance(self, gate: Gate) -> Balance:
        """What stands against today."""
        today, _month = await gate.budgets.fetch_balances(ACME.windows(self.clock.now()))
        return replace(today)

    async def entries(self) -> tuple[Entry, ...]:
        """All that is booked."""
        return (await self.ledger.fetch_entries(EntryFilter(page_size=1_000))).entries

    @contextmanager
    def ledger_away(self) -> Iterator[None]:
        """Let the database fail: its tables are gone, and come back as they were."""
        self._rename_tables("{}", "{}_away")
        try:
            yield
        finally:
            self._rename_tables("{}_away", "{}")

    @contextmanager
    def ledger_refuses(self, job_id: str) -> Iterator[None]:
        """Let the database fail at whatever would book one job."""
        database = sqlite3.connect(self.path)
        database.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN NEW.job_id = '{job_id}' "
            "BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END"
        )
        try:
            yield
        finally:
            database.execute("DROP TRIGGER refuse")
            database.close()

    def rename_price_lists(self, old: str, new: str) -> None:
        """Take the price lists away, or bring them back."""
        database = sqlite3.connect(self.path)
        database.execute(f"ALTER TABLE {old} RENAME TO {new}")
        database.commit()
        database.close()

    def _rename_tables(self, old: str, new: str) -> None:
        database = sqlite3.connect(self.path)
        for table in ("entries", "holds", "breaker_events"):
            database.execute(f"ALTER TABLE {old.format(table)} RENAME TO {new.format(table)}")
        database.commit()
        database.close()


@asynccontextmanager
async def settlement_stand(folder: Path, make_store: MakeStore = MemoryBudgetStore) -> AsyncIterator[Stand]:
    """A stand on a new ledger."""
    clock = ManualClock()
    path = folder / "ledger.db"
    ledger = await SqlLedger.open(f"sqlite:///{path}", clock)
    try:
        yield Stand(ledger=ledger, path=path, make_store=make_store, clock=clock)
    finally:
        await ledger.close()


def usd(balance: Balance) -> tuple[int, int]:
    """(captured, held) in whole dollars."""
    return balance.captured_nanos // NANOS_PER_USD, balance.held_nanos // NANOS_PER_USD
