"""Open the outside systems in the order of their dependencies: ledger, registry, budgets, BigQuery.

Called by root with an exit stack, which closes them in reverse. Returns Dependencies: the systems, the policies in
force, and telemetry.
"""

import os
import socket
import uuid
from collections.abc import Callable, Collection, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TextIO

from bqgate.app.adapters import open_budgets, open_feed, open_upstreams
from bqgate.app.background import Background
from bqgate.app.breakers_wiring import guards_of, make_breakers, share_breaker_state
from bqgate.app.drain import Drain
from bqgate.app.reports_wiring import open_reports
from bqgate.app.shares import degradation_of
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.bigquery.own_queries import GoogleOwnQueries
from bqgate.bigquery.upstream import Guards, HttpUpstream
from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.breakers.guarded import guarded
from bqgate.domain.degradation import Degradation
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.units import MIB, MS_PER_S
from bqgate.identity.audit_log import BufferedAuditLog
from bqgate.leases import Lease
from bqgate.ledger import JournalPlace, SqlLeases, SqlLedger, SqlMirrorQueue, SqlReports, SqlSweepState, journal_folder
from bqgate.ledger.registry import SqlRegistry
from bqgate.observe.logs import LeveledLogger, make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.policies import shared_accounts
from bqgate.policies.book import PolicyBook
from bqgate.ports import BudgetStore, ChangeFeed, Clock, Telemetry
from bqgate.settings import Settings
from bqgate.settings.ledger_section import Sync
from bqgate.settings.rules import keeps_apart_itself
from bqgate.settings.sections import Credentials
from bqgate.workers.seats import Seat
from bqgate.workers.worker import Worker


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything that is not the gate itself, opened. `reload_hooks`: whoever takes its part of settings read anew.

    `reports` is what people look at in the ledger, from a replica where there is one. `own_upstream` is the way to
    BigQuery in the gate's own name, `own_queries` are queries on it; None where it has none. `holds_under_way` are
    holds of this gate's, by id, which the budgets count even before the ledger knows them. `worker` is this process as
    one of several; None: it is alone.
    """

    settings: Settings
    clock: Clock
    telemetry: Telemetry
    metrics: Metrics
    background: Background
    ledger: SqlLedger
    reports: SqlReports
    registry: SqlRegistry
    leases: SqlLeases
    mirror_queue: SqlMirrorQueue
    sweep_state: SqlSweepState
    audit_log: BufferedAuditLog
    feed: ChangeFeed
    policies: PolicyBook
    budgets: BudgetStore
    upstream: HttpUpstream
    own_upstream: HttpUpstream | None
    bigquery: GoogleBigQuery
    calls: JsonCalls
    own_queries: GoogleOwnQueries | None
    logger: LeveledLogger
    drain: Drain
    holds_under_way: dict[str, Hold]
    worker: Worker | None
    reload_hooks: list[Callable[[Settings], None]] = field(default_factory=list)

    @property
    def degradation(self) -> Degradation:
        """What happens at this process while a system is away."""
        return degradation_of(self.settings)

    def start_at_one_replica(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run work in the background at whichever replica holds the lease of its name."""
        holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        lease = Lease(self.leases, name, holder=holder, clock=self.clock, telemetry=self.telemetry)
        self.background.start(name, partial(lease.run, work))


async def open_dependencies(
    settings: Settings, clock: Clock, log_stream: TextIO, stack: AsyncExitStack, worker: Worker | None = None
) -> Dependencies:
    """Open everything; each is closed after all that leans on it.

    Raises:
        LedgerUnavailable: the ledger's database cannot be opened, or needs `bqgate migrate`.
        PolicyFaults: what admins changed does not go together with these settings.
        CredentialsUnusable: the gate's own credentials for BigQuery are none to work with.
    """
    metrics = _metrics(lambda: book.customer_registry.customers, worker)
    logger, telemetry = _telemetry(settings, clock, log_stream, metrics, worker)
    background = Background(clock, telemetry)
    breakers = make_breakers(settings, clock, telemetry, metrics)
    ledger, registry = await _open_database(settings, clock, telemetry, metrics, stack, breakers.ledger)
    agreements = _open_agreements(settings, stack)
    audit_log = BufferedAuditLog(registry, clock, telemetry)
    feed = open_feed(settings, clock, telemetry)
    stack.push_async_callback(feed.close)
    book = PolicyBook(settings.policy_base, registry, feed, clock, telemetry)
    await book.load()
    for warning in _warnings_of(book, settings) if _speaks(worker) else ():
        telemetry.log("settings_warning", warning=warning)
    holds_under_way: dict[str, Hold] = {}
    budgets = open_budgets(settings, ledger, book, clock, breakers.budgets, lambda: tuple(holds_under_way.values()))
    stack.push_async_callback(budgets.close)
    guards = guards_of(settings, breakers.upstream, clock, telemetry)
    upstream, own = await open_upstreams(settings, guards, clock, telemetry, background)
    stack.push_async_callback(upstream.close)
    if own is not None:
        stack.push_async_callback(own.close)
    share_breaker_state(settings, breakers.upstream, clock, telemetry, background, stack)
    stack.push_async_callback(audit_log.flush)
    stack.push_async_callback(background.stop)
    background.start("audit trail", audit_log.run)
    background.start("policies", book.run)
    if worker is not None:
        background.start("worker", partial(worker.run, clock, metrics.publish))
    return Dependencies(
        settings,
        clock,
        telemetry,
        metrics,
        background,
        ledger,
        open_reports(settings, ledger, breakers, telemetry, stack),
        registry,
        *agreements,
        audit_log,
        feed,
        book,
        budgets,
        upstream,
        own or _own_upstream(settings, upstream),
        *_own_calls(settings, clock, upstream, own, guards),
        logger,
        Drain(telemetry),
        holds_under_way,
        worker,
    )


def _metrics(customers: Callable[[], Collection[str]], worker: Worker | None) -> Metrics:
    """What this process counts, and what its siblings do."""
    if worker is None:
        return Metrics(customers)
    metrics = Metrics(customers, table=worker.own.table, siblings=worker.others)
    for number, seat in enumerate(worker.seats):
        metrics.read_gauge_from("worker_up", partial(_is_up, seat), worker=str(number))
    return metrics


def _speaks(worker: Worker | None) -> bool:
    """Whether this process says what is as true of the other workers."""
    return worker is None or worker.number == 0


def _is_up(seat: Seat) -> bool:
    return seat.is_up


def _own_calls(
    settings: Settings, clock: Clock, upstream: HttpUpstream, own: HttpUpstream | None, guards: Guards
) -> tuple[GoogleBigQuery, JsonCalls, GoogleOwnQueries | None]:
    """The gate's own calls, its lists of jobs, and its own queries: without an account of its own there are none."""
    section = settings.upstream
    bigquery = GoogleBigQuery(upstream, own=own, timeout_s=section.call_timeout_s, retries=guards.retries)
    calls = JsonCalls(own or upstream, timeout_s=section.call_timeout_s, retries=guards.retries)
    if section.credentials is Credentials.CALLER and own is None:
        return bigquery, calls, None
    return bigquery, calls, GoogleOwnQueries(calls, clock)


def _telemetry(
    settings: Settings, clock: Clock, log_stream: TextIO, metrics: Metrics, worker: Worker | None
) -> tuple[LeveledLogger, PrometheusTelemetry]:
    """Where the gate says what it does; the first is what is strange about its settings."""
    observed = settings.observe
    number = None if worker is None else worker.number
    logger = make_logger(log_stream, clock, level=observed.level, log_format=observed.log_format, worker=number)
    telemetry = PrometheusTelemetry(metrics, logger)
    for warning in settings.warnings if _speaks(worker) else ():
        telemetry.log("settings_warning", warning=warning)
    return logger, telemetry


def _own_upstream(settings: Settings, upstream: HttpUpstream) -> HttpUpstream | None:
    """The callers' way, where nothing of theirs goes up on it."""
    return None if settings.upstream.credentials is Credentials.CALLER else upstream


def _warnings_of(book: PolicyBook, settings: Settings) -> list[str]:
    """What customers whom admins have made share at BigQuery; that of the settings' own is told with them."""
    if not keeps_apart_itself(settings.upstream, settings.identity):
        return []
    accounts = shared_accounts.accounts_of(book.customer_registry)
    return [warning for warning in shared_accounts.warnings_of(accounts) if warning not in settings.warnings]


def _open_agreements(settings: Settings, stack: AsyncExitStack) -> tuple[SqlLeases, SqlMirrorQueue, SqlSweepState]:
    """What replicas agree on in the ledger's database. Connected at the first call."""
    url, timeout_s = settings.ledger.url.reveal(), settings.ledger.timeout_ms / MS_PER_S
    leases, mirror_queue = SqlLeases.open(url, timeout_s=timeout_s), SqlMirrorQueue.open(url, timeout_s=timeout_s)
    sweep_state = SqlSweepState.open(url, timeout_s=timeout_s)
    for opened in (leases, mirror_queue, sweep_state):
        stack.push_async_callback(opened.close)
    return leases, mirror_queue, sweep_state


def _show_journal(metrics: Metrics, ledger: SqlLedger) -> None:
    """How much waits for the database, and for how long."""
    metrics.read_gauge_from("journal_left_bytes", lambda: ledger.journal.left_bytes if ledger.journal else 0)
    metrics.read_gauge_from("journal_lag_seconds", lambda: ledger.journal.lag_s if ledger.journal else 0)


async def _open_database(
    settings: Settings,
    clock: Clock,
    telemetry: Telemetry,
    metrics: Metrics,
    stack: AsyncExitStack,
    breaker: CircuitBreaker,
) -> tuple[SqlLedger, SqlRegistry]:
    """The ledger and the registry, which live in one database over connections of their own, behind one breaker."""
    url, timeout_s = settings.ledger.url.reveal(), settings.ledger.timeout_ms / MS_PER_S
    place = None
    if settings.ledger.sync is Sync.JOURNAL:
        folder = journal_folder(url, settings.ledger.journal_folder)
        place = JournalPlace(folder, settings.ledger.journal_mib * MIB, telemetry)
    ledger = await SqlLedger.open(url, clock, timeout_s=timeout_s, journal=place)
    stack.push_async_callback(ledger.close)
    _show_journal(metrics, ledger)
    registry = await SqlRegistry.open(url, timeout_s=timeout_s)
    stack.push_async_callback(registry.close)
    return guarded(ledger, breaker, LedgerUnavailable), guarded(registry, breaker, LedgerUnavailable)
