"""Put the gate together: settings in, a running gate out.

``open_gate`` opens the outside systems in the order in which they depend on one another (ledger, budgets, BigQuery),
starts what runs beside the requests (poller, reconciler, token renewal) and listens; leaving it does the same
backwards: stop listening, finish what is under way, close.
"""

import asyncio
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TextIO

from aiohttp import web
from limits.aio.storage import MemoryStorage

from bqgate.admin import ControlPlane, add_control_plane
from bqgate.admin.events import EventMaker
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.admission.admit import Admission
from bqgate.admission.estimate import Estimator
from bqgate.admission.slots import SlotBook
from bqgate.admission.waiting_room import WaitingRoom
from bqgate.app.adapters import open_budgets, open_upstreams
from bqgate.app.background import Background
from bqgate.app.isolating import wire_isolation
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.clock import SystemClock
from bqgate.domain.audit import AuditEvent
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.units import MS_PER_S
from bqgate.gate import middleware, request_line
from bqgate.gate.dispatch import Dispatcher
from bqgate.gate.door import REQUEST_ID, SERVER_OPTIONS, Door, add_data_plane
from bqgate.gate.forward import Forwarder
from bqgate.gate.handler import QueryHandler
from bqgate.gate.identify import Identification
from bqgate.gate.isolation import Isolation
from bqgate.gate.passthrough import Passthrough
from bqgate.gate.settling import Settling
from bqgate.identity.open_door import EverybodyIn
from bqgate.ledger import SqlLedger
from bqgate.observe.journal import PrometheusJournal
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.upstream import CountedUpstream
from bqgate.ports import BudgetStore, Clock, Journal, PolicySource
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials
from bqgate.settlement.bookkeeper import Bookkeeper
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settle import Settler

# How long an orderly stop waits for requests that are under way; the longest poll of BigQuery's takes 200 s, but an
# orchestrator kills after 30 s unless told otherwise, and what is cut off is settled by the next start.
SHUTDOWN_S = 25


@dataclass(frozen=True, slots=True)
class Gate:
    """A running gate: where it listens, and its parts for whoever opened it."""

    url: str
    control_url: str
    ledger: SqlLedger
    budgets: BudgetStore
    poller: Poller
    reconciler: Reconciler
    settling: Settling
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class _Outside:
    """The outside systems, opened, and how to speak of what happens."""

    settings: Settings
    clock: Clock
    journal: Journal
    metrics: Metrics
    policies: PolicySource
    ledger: SqlLedger
    budgets: BudgetStore
    upstream: CountedUpstream
    bigquery: GoogleBigQuery


@dataclass(frozen=True, slots=True)
class _Settlement:
    """What learns and books the cost of jobs."""

    poller: Poller
    reconciler: Reconciler
    settling: Settling


@asynccontextmanager
async def open_gate(
    settings: Settings,
    *,
    clock: Clock | None = None,
    log_stream: TextIO = sys.stderr,
    reuse_port: bool = False,
) -> AsyncIterator[Gate]:
    """Run a gate as long as the context is open.

    Args:
        settings: what it is told.
        clock: the time; the machine's unless a test brings another.
        log_stream: where the log goes.
        reuse_port: several processes listen on one port.

    Raises:
        LedgerUnavailable: the ledger's database cannot be opened, or needs `bqgate migrate`.
        OSError: the port is taken.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        outside, background = await _open_outside(settings, clock, log_stream, stack)
        slots = SlotBook(outside.ledger)
        settlement = _wire_settlement(outside, slots)
        background.start("poller", settlement.poller.run)
        background.start("reconciler", settlement.reconciler.run)
        stack.push_async_callback(settlement.settling.drain, limit_s=SHUTDOWN_S)
        isolation = wire_isolation(
            settings,
            policies=outside.policies,
            bigquery=outside.bigquery,
            upstream=outside.upstream,
            trail=_LoggedTrail(outside.journal),
            clock=clock,
        )
        handler = _wire_path(outside, slots, settlement.settling, isolation)
        url, control_url = await _listen(outside, handler, isolation, stack, reuse_port=reuse_port)
        outside.journal.note("listening", url=url, control_url=control_url)
        gate = Gate(
            url,
            control_url,
            outside.ledger,
            outside.budgets,
            settlement.poller,
            settlement.reconciler,
            settlement.settling,
            outside.metrics,
        )
        yield gate


async def serve(settings: Settings, *, announce: Callable[[str], None], reuse_port: bool = False) -> None:
    """Run a gate until SIGTERM or SIGINT. `announce` is told where it listens.

    Raises:
        LedgerUnavailable: the ledger's database cannot be opened.
        OSError: the port is taken.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with open_gate(settings, reuse_port=reuse_port) as gate:
        announce(gate.url)
        await stopped.wait()


async def _open_outside(
    settings: Settings, clock: Clock, log_stream: TextIO, stack: AsyncExitStack
) -> tuple[_Outside, Background]:
    """Open ledger, budgets and BigQuery, each closed after all that leans on it."""
    observed = settings.observe
    logger = make_logger(log_stream, clock, level=observed.level, log_format=observed.log_format)
    metrics = Metrics(lambda: settings.directory.customers)
    journal = PrometheusJournal(metrics, logger)
    for warning in settings.warnings:
        journal.note("settings_warning", warning=warning)
    ledger = await SqlLedger.open(settings.ledger.url.reveal(), clock, timeout_s=settings.ledger.timeout_ms / MS_PER_S)
    stack.push_async_callback(ledger.close)
    budgets = open_budgets(settings, ledger, clock)
    stack.push_async_callback(budgets.close)
    background = Background(clock, journal)
    callers, own = await open_upstreams(settings, clock, journal, background)
    stack.push_async_callback(callers.close)
    if own is not None:
        stack.push_async_callback(own.close)
    stack.push_async_callback(background.stop)
    upstream = CountedUpstream(callers, journal)
    bigquery = GoogleBigQuery(
        upstream,
        own=None if own is None else CountedUpstream(own, journal),
        timeout_s=settings.upstream.call_timeout_s,
    )
    policies = PolicySnapshot(settings.directory, settings.prices)
    return _Outside(settings, clock, journal, metrics, policies, ledger, budgets, upstream, bigquery), background


def _wire_settlement(outside: _Outside, slots: SlotBook) -> _Settlement:
    settings, clock, journal = outside.settings, outside.clock, outside.journal
    bookkeeper = Bookkeeper(
        ledger=outside.ledger,
        budgets=outside.budgets,
        policies=outside.policies,
        clock=clock,
        journal=journal,
        on_usage=slots.learn,
    )
    poller = Poller(
        bookkeeper=bookkeeper,
        bigquery=outside.bigquery,
        ledger=outside.ledger,
        clock=clock,
        journal=journal,
        patience=settings.patience,
        workers=settings.settlement.polls_max,
    )
    reconciler = Reconciler(
        ledger=outside.ledger,
        budgets=outside.budgets,
        poller=poller,
        policies=outside.policies,
        clock=clock,
        journal=journal,
        interval_s=settings.settlement.reconcile_interval_s,
    )
    outside.metrics.read_gauge_from("poller_queue_depth", lambda: poller.depth)
    outside.metrics.read_gauge_from("oldest_open_hold_age_seconds", lambda: reconciler.oldest_open_hold_age_s)
    return _Settlement(poller, reconciler, Settling(Settler(bookkeeper, poller, journal), poller))


def _wire_path(outside: _Outside, slots: SlotBook, settling: Settling, isolation: Isolation) -> QueryHandler:
    settings, clock, journal = outside.settings, outside.clock, outside.journal
    admission = Admission(
        estimator=Estimator(outside.bigquery, clock, journal, settings.estimate_caching),
        budgets=outside.budgets,
        ledger=outside.ledger,
        clock=clock,
        journal=journal,
        policies=outside.policies,
        rules=settings.hold_rules,
        hold_ttl_s=settings.admission.hold_ttl_s,
        new_id=lambda: uuid.uuid4().hex,
        slots=slots,
    )
    return QueryHandler(
        admission=admission,
        waiting_room=WaitingRoom(clock, journal, places=settings.admission.waiting_max),
        policies=outside.policies,
        isolation=isolation,
        upstream=outside.upstream,
        forwarder=Forwarder(outside.upstream, settling.begin, outside.policies),
        settle=settling.begin,
        clock=clock,
        journal=journal,
    )


async def _listen(
    outside: _Outside, handler: QueryHandler, isolation: Isolation, stack: AsyncExitStack, *, reuse_port: bool
) -> tuple[str, str]:
    """Open the ports of the data plane and the control plane, which share one unless told otherwise."""
    server = outside.settings.server
    data_plane = web.Application()
    request_line.install(data_plane, outside.journal, outside.clock)
    middleware.install(data_plane, outside.journal)
    control_plane = data_plane
    if server.control_port is not None:
        control_plane = web.Application()
        middleware.install(control_plane, outside.journal)
    add_control_plane(
        control_plane,
        ControlPlane(
            ledger=outside.ledger,
            budgets=outside.budgets,
            policies=outside.policies,
            clock=outside.clock,
            metrics=outside.metrics,
            authenticator=EverybodyIn(),
            trail=_LoggedTrail(outside.journal),
            limiter=RateLimiter(RateLimits(), MemoryStorage(), outside.journal),
            events=EventMaker(outside.clock, lambda request: request[REQUEST_ID]),
        ),
    )
    dispatcher = Dispatcher(
        identification=Identification(
            authenticator=EverybodyIn(),
            policies=outside.policies,
            trail=_LoggedTrail(outside.journal),
            clock=outside.clock,
            passes_credentials=outside.settings.upstream.credentials is Credentials.CALLER,
            submissions_only=False,
        ),
        handler=handler,
        passthrough=Passthrough(outside.upstream),
        isolation=isolation,
        clock=outside.clock,
        journal=outside.journal,
    )
    add_data_plane(data_plane, Door(dispatcher))
    url = await _open_port(data_plane, server.host, server.port, stack, reuse_port=reuse_port)
    if server.control_port is None:
        return url, url
    return url, await _open_port(control_plane, server.host, server.control_port, stack, reuse_port=reuse_port)


class _LoggedTrail:
    """An AuditTrail that ends in the log."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def tell(self, event: AuditEvent) -> None:
        self._journal.note("audit", action=event.action, actor=event.actor, source=event.source)


async def _open_port(app: web.Application, host: str, port: int, stack: AsyncExitStack, *, reuse_port: bool) -> str:
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_S, **SERVER_OPTIONS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port, reuse_port=reuse_port, backlog=1024).start()
    bound_host, bound_port = runner.addresses[0][:2]
    return f"http://[{bound_host}]:{bound_port}" if ":" in bound_host else f"http://{bound_host}:{bound_port}"
