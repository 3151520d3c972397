"""One gate of a simulation: the product's path from the handler to the reconciler and the sweep, over simulated ports.

Wired as bqgate/app/path.py does it. What it keeps in memory is lost when it crashes; a new one is started in its place.
`Parts` are the classes that it is made of, so that mutants.py can put one that is wrong in the place of another.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, cast

from redis.exceptions import TimeoutError as RedisTimeoutError

from bqgate.admission.admit import Admission
from bqgate.admission.allowance import Allowance
from bqgate.admission.estimates.estimator import EstimateCaching, Estimator
from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.admission.hold_service import HoldService
from bqgate.admission.queue.admission_queue import AdmissionQueue
from bqgate.admission.refusals import Refusals
from bqgate.admission.sizing import HoldRules
from bqgate.admission.slots import SlotBook
from bqgate.app.background import Background
from bqgate.budgets.accounts import AccountSource
from bqgate.budgets.memory_account import Account
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.budgets.refill import UnknownWindows
from bqgate.budgets.wipes import PUT_BACK_S
from bqgate.domain.degradation import Degradation
from bqgate.domain.errors import BqgateError, LedgerUnavailable, UpstreamUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.principal import Credential
from bqgate.domain.tier import Customer
from bqgate.gate.handler import QueryHandler
from bqgate.gate.holds import Holds
from bqgate.gate.isolation import Isolation, IsolationMode
from bqgate.gate.isolation.upload_sessions import UploadSessions
from bqgate.gate.long_texts import LongTexts
from bqgate.gate.passthrough import Passthrough
from bqgate.gate.payers import Payers
from bqgate.ports import Ledger, SweepStore
from bqgate.settlement.deletion import Deletions
from bqgate.settlement.emergency import EmergencyStop
from bqgate.settlement.inquiry import maker_of
from bqgate.settlement.late_jobs import LateJobs
from bqgate.settlement.poller import DEFAULT_PATIENCE, Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settlement import Settlement
from bqgate.settlement.sweep.job_booking import JobBooking
from bqgate.settlement.sweep.pending_jobs import PendingJobs
from bqgate.settlement.sweep.places import Places
from bqgate.settlement.sweep.sweep import Sweep, SweepPace
from bqgate.settlement.watched import Patience
from tests.simulation.bigquery_stand_in import BigQueryServer, SimulatedBigQuery, SimulatedUpstream
from tests.simulation.event_loop import OUTSIDE, PROCESS, Process, SimulatedLoop
from tests.simulation.network import Port, System, Wire, Wires
from tests.simulation.redis_stand_in import RedisServer, RedisWire
from tests.support.list_audit_log import ListAuditLog
from tests.support.memory_ledger import MemoryLedger
from tests.support.memory_sweep_state import MemorySweepState

LEDGER_TIMEOUT_S = 5.0
# Short, so that what a mark passes by is lost within a history; covers CORRECTED_WITHIN_S and the clocks' difference.
SWEEP_OVERLAP = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Parts:
    """The classes that a gate, and the store that it shares, are made of."""

    admission: type[Admission] = Admission
    service: type[HoldService] = HoldService
    holds: type[Holds] = Holds
    settlement: type[Settlement] = Settlement
    poller: type[Poller] = Poller
    reconciler: type[Reconciler] = Reconciler
    store: type[RedisBudgetStore] = RedisBudgetStore
    account: type[Account] = Account
    patience: Patience = DEFAULT_PATIENCE
    booking: type[JobBooking] = JobBooking
    sweep: type[Sweep] = Sweep


@dataclass(frozen=True, slots=True)
class Shared:
    """What outlives a gate."""

    loop: SimulatedLoop
    wires: Wires
    redis: RedisServer
    ledger: MemoryLedger
    sweep_state: MemorySweepState
    bigquery: BigQueryServer
    start: datetime
    new_id: Callable[[], str]
    note: Callable[[str], None]
    fail: Callable[[str], None]


class SimulatedClock:
    """The loop's time, as one machine's clock shows it; `ahead_s` is by how much that one is wrong."""

    def __init__(self, loop: SimulatedLoop, start: datetime, ahead_s: float, process: Process) -> None:
        self._loop = loop
        self._start = start + timedelta(seconds=ahead_s)
        self._process = process

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._loop.time())

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep(self, delay_s: float) -> None:
        if self._process.is_dead:
            raise asyncio.CancelledError
        await self._loop.pass_time(delay_s)


class GateTelemetry:
    """Writes what a gate logs to the run's log, and takes a background task that failed for a bug."""

    def __init__(self, name: str, shared: Shared, process: Process) -> None:
        self._name = name
        self._shared = shared
        self._process = process

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        """Not kept."""

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Not kept."""

    def log(self, event: str, /, **fields: object) -> None:
        if self._process.is_dead:
            return
        told = " ".join(f"{name}={fields[name]}" for name in sorted(fields))
        self._shared.note(f"{self._name} says {event} {told}")
        if event == "background_task_failed":
            self._shared.fail(f"a background task of {self._name} failed: {told}")


class RuleBook:
    """ports.PolicySource: the rules as this gate has heard of them."""

    def __init__(self, snapshot: PolicySnapshot) -> None:
        self.snapshot = snapshot

    @property
    def customer_registry(self) -> Any:
        return self.snapshot.customer_registry

    @property
    def prices(self) -> Any:
        return self.snapshot.prices


class RemoteBooks:
    """ports.Ledger, or ports.SweepStore, over one gate's wire: each call is one step at the database."""

    def __init__(self, books: MemoryLedger | MemorySweepState, wire: Wire) -> None:
        self._books = books
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._books, name)
        if name in {"register_prices", "mark", "is_written"}:  # which wait for nothing
            return method

        async def call(*args: Any, **options: Any) -> Any:
            return await self._wire.call(f"{name} {_named(args)}", lambda: _result_of(method(*args, **options)))

        self.__dict__[name] = call
        return call


def _named(args: tuple[Any, ...]) -> str:
    """Which hold a call is about."""
    if not args:
        return ""
    first = args[0]
    if isinstance(first, str):
        return first
    return str(getattr(first, "hold_id", None) or getattr(first, "id", "")) if not isinstance(first, tuple) else ""


def _result_of(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a MemoryLedger waits for nothing")


class SimulatedGate:
    """A gate from its start to its crash."""

    def __init__(
        self, number: int, life: int, shared: Shared, rules: PolicySnapshot, *, ahead_s: float, seed: int, parts: Parts
    ) -> None:
        self.number = number
        self.name = f"g{number}.{life}"
        self.process = Process(self.name)
        self.port = Port(number, self.process, self.crash)
        self.rules = RuleBook(rules)
        self.shared = shared
        self.clock = SimulatedClock(shared.loop, shared.start, ahead_s, self.process)
        self.telemetry = GateTelemetry(self.name, shared, self.process)
        self._seed = f"{seed}/{number}/{life}"
        self._parts = parts
        context = OUTSIDE.copy()
        context.run(PROCESS.set, self.process)
        self.context = context
        context.run(self._start)

    def crash(self) -> None:
        """End without a word."""
        if not self.process.is_dead:
            self.shared.note(f"{self.name} crashes")
            self.process.end()
            self.shared.loop.let_go_on(self.process)

    def wire(self, system: System) -> Wire:
        """A wire of this gate's."""
        unavailable: dict[System, tuple[float, Callable[[str], Exception]]] = {
            System.STORE: (1.0, RedisTimeoutError),
            System.LEDGER: (LEDGER_TIMEOUT_S, LedgerUnavailable),
            System.BIGQUERY: (10.0, UpstreamUnavailable),
        }
        timeout_s, error = unavailable[system]
        random = Random(f"{self._seed}/{system.value}")
        passes = (BqgateError, UnknownWindows)
        return Wire(self.shared.wires, system, self.port, random, timeout_s=timeout_s, unavailable=error, passes=passes)

    def _start(self) -> None:
        shared, parts = self.shared, self._parts
        self.background = Background(self.clock, self.telemetry)
        self.ledger = cast("Ledger", RemoteBooks(shared.ledger, self.wire(System.LEDGER)))
        self.bigquery = SimulatedBigQuery(shared.bigquery, self.wire(System.BIGQUERY))
        self.upstream = SimulatedUpstream(shared.bigquery, shared.wires, self.port)
        under_way: dict[str, Hold] = {}
        self.budgets = parts.store(
            cast("Any", RedisWire(shared.redis, self.wire(System.STORE))),
            AccountSource(self.ledger, self.rules, lambda: tuple(under_way.values())),
            self.clock,
            timeout_s=1.0,
            connections_max=50,
            has_deployment_budget=lambda: self.rules.customer_registry.deployment is not None,
            put_back_s=PUT_BACK_S,
        )
        self.service = parts.service(
            budgets=self.budgets,
            ledger=self.ledger,
            under_way=under_way,
            degradation=Degradation({}, NANOS_PER_USD),
            allowance=Allowance(self.clock),
            clock=self.clock,
            telemetry=self.telemetry,
        )
        self._start_settlement()
        self._start_sweep()
        self._start_path()
        for name, run in (
            ("holds", self.service.run),
            ("late jobs", self.late_jobs.run),
            ("poller", self.poller.run),
            ("reconciler", self.reconciler.run),
            ("waiting_room", self.queue.run),
            ("emergency stop", self.emergency.run),
        ):
            self.background.start(name, run)

    def _start_settlement(self) -> None:
        parts, clock, telemetry = self._parts, self.clock, self.telemetry
        self.queue = AdmissionQueue(clock, telemetry, places=100)
        self.slots = SlotBook(self.ledger)
        self.estimator = Estimator(self.bigquery, clock, telemetry, EstimateCaching())
        self.writes = JobWrites(self.estimator.drop, lambda _writes: None)

        self.settlement = parts.settlement(
            ledger=self.ledger,
            budgets=self.budgets,
            policies=self.rules,
            clock=clock,
            telemetry=telemetry,
            on_usage=self.slots.learn,
            on_end=self.writes.end_of,
            on_ended=lambda hold: self.service.forget(hold.id),
            on_failure=self.estimator.forget_failed,
        )
        self.late_jobs = LateJobs(settlement=self.settlement, bigquery=self.bigquery, clock=clock, telemetry=telemetry)
        self.poller = parts.poller(
            settlement=self.settlement,
            budgets=self.budgets,
            bigquery=self.bigquery,
            ledger=self.ledger,
            clock=clock,
            telemetry=telemetry,
            patience=parts.patience,
            on_end=self.queue.release,
            late_jobs=self.late_jobs,
        )
        self.deletions = Deletions(
            ledger=self.ledger, bigquery=self.bigquery, settlement=self.settlement, clock=self.clock
        )
        self.passthrough = Passthrough(self.upstream, self.deletions.prepare, self.writes)
        self.emergency = EmergencyStop(
            ledger=self.ledger,
            bigquery=self.bigquery,
            credential_of=self._credential_of,
            clock=clock,
            telemetry=telemetry,
        )

    def _start_sweep(self) -> None:
        clock, telemetry, shared = self.clock, self.telemetry, self.shared
        store = cast("SweepStore", RemoteBooks(shared.sweep_state, self.wire(System.LEDGER)))
        booking = self._parts.booking(
            ledger=self.ledger,
            settlement=self.settlement,
            bigquery=self.bigquery,
            policies=self.rules,
            clock=clock,
            telemetry=telemetry,
            new_id=shared.new_id,
            bypass_counts=True,
            is_open=True,
        )
        self._sweep = self._parts.sweep(
            reader=self.bigquery,
            free_reader=self.bigquery,
            places=Places(policies=self.rules, store=store, regions=self.bigquery, clock=clock, telemetry=telemetry),
            booking=booking,
            pending=PendingJobs(
                store=store,
                bigquery=self.bigquery,
                booking=booking,
                clock=clock,
                telemetry=telemetry,
                sees_jobless=False,
            ),
            store=store,
            budgets=self.budgets,
            clock=clock,
            telemetry=telemetry,
            pace=SweepPace(overlap=SWEEP_OVERLAP, look_back=timedelta(hours=1)),
        )
        self._is_sweeping = False

    async def sweep(self) -> None:
        """One round, where none is under way: a gate makes one after the other, and another gate asks nobody."""
        if self._is_sweeping:
            return
        self._is_sweeping = True
        try:
            await self._sweep.sweep()
        finally:
            self._is_sweeping = False

    def _start_path(self) -> None:
        parts, clock, telemetry = self._parts, self.clock, self.telemetry
        self.admission = parts.admission(
            estimator=self.estimator,
            holds=self.service,
            ledger=self.ledger,
            clock=clock,
            telemetry=telemetry,
            policies=self.rules,
            rules=HoldRules(unknown_hold_bytes=64 * 2**20),
            hold_ttl_s=86_400,
            new_id=self.shared.new_id,
            slots=self.slots,
            on_trip=self._on_trip,
            refusals=Refusals(self.ledger, clock, telemetry, new_id=self.shared.new_id, ttl_s=0),
        )
        self.holds = parts.holds(
            admission=self.admission,
            service=self.service,
            poller=self.poller,
            release=self.queue.release,
            learn_job=self.writes.learn_job,
        )
        self.reconciler = parts.reconciler(
            ledger=self.ledger,
            budgets=self.budgets,
            poller=self.poller,
            policies=self.rules,
            clock=clock,
            telemetry=telemetry,
            remember_probe=self.settlement.remember_probe,
            under_way=self.holds.under_way,
        )
        long_texts = LongTexts()
        self.handler = QueryHandler(
            admission=self.admission,
            holds=self.holds,
            writes=self.writes,
            admission_queue=self.queue,
            policies=self.rules,
            payers=Payers(self.rules, self.bigquery, passes_credentials=True),
            isolation=Isolation(
                isolation_mode=IsolationMode.NOTHING,
                allows_unknown=False,
                policies=self.rules,
                bigquery=self.bigquery,
                long_texts=long_texts,
                upstream=self.upstream,
                audit_log=ListAuditLog(),
                clock=clock,
                uploads=UploadSessions("0" * 32),
            ),
            long_texts=long_texts,
            upstream=self.upstream,
            telemetry=telemetry,
        )

    def _credential_of(self, hold: Hold) -> Credential | None:
        return self.poller.credential_of(hold.id) or maker_of(hold, self.rules.customer_registry)

    def _on_trip(self, customer: Customer) -> None:
        if customer.tier.cancels_in_emergency:
            self.emergency.begin(customer.id)
