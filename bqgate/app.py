"""Put the gate together: settings in, a running gate out. The only room that names concrete stores.

Called by cli and by the tests of the whole gate. ``open_gate`` opens the outside systems in the order in which they
depend on one another (ledger, budgets, BigQuery), starts what runs beside the requests (poller, reconciler, token
renewal) and listens; leaving it does the same backwards: stop listening, finish what is under way, close.
"""

import asyncio
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TextIO

from aiohttp import web

from bqgate.admin import add_control_plane
from bqgate.admission.admit import Admission
from bqgate.admission.estimate import Estimator
from bqgate.admission.slots import SlotBook
from bqgate.admission.waiting_room import WaitingRoom
from bqgate.bigquery.credentials import AnonymousCredentials, CallerCredentials, UpstreamCredentials
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.service_account import ServiceAccountCredentials, load_token_source
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.clock import SystemClock
from bqgate.domain.units import MS_PER_S
from bqgate.gate import middleware, request_line
from bqgate.gate.dispatch import Dispatcher
from bqgate.gate.door import SERVER_OPTIONS, Door, add_data_plane
from bqgate.gate.forward import Forwarder
from bqgate.gate.handler import QueryHandler
from bqgate.gate.passthrough import Passthrough
from bqgate.gate.settling import Settling
from bqgate.ledger import SqlLedger
from bqgate.observe.journal import PrometheusJournal
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.upstream import CountedUpstream
from bqgate.ports import BudgetStore, Clock, Journal
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials
from bqgate.settlement.bookkeeper import Bookkeeper
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settle import Settler

# How long an orderly stop waits for requests that are under way; the longest poll of BigQuery's takes 200 s, but an
# orchestrator kills after 30 s unless told otherwise, and what is cut off is settled by the next start.
SHUTDOWN_S = 25
# A background task that fails is started again after this pause.
RESTART_S = 1


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
class _Parts:
    """What the two planes are made of."""

    settings: Settings
    clock: Clock
    journal: Journal
    metrics: Metrics
    ledger: SqlLedger
    budgets: BudgetStore
    upstream: CountedUpstream


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
    observed = settings.observe
    logger = make_logger(log_stream, clock, level=observed.level, log_format=observed.log_format)
    metrics = Metrics(settings.directory.customers)
    journal = PrometheusJournal(metrics, logger)
    for warning in settings.warnings:
        journal.note("settings_warning", warning=warning)
    async with AsyncExitStack() as stack:
        ledger = await SqlLedger.open(
            settings.ledger.url.reveal(), clock, timeout_s=settings.ledger.timeout_ms / MS_PER_S
        )
        stack.push_async_callback(ledger.close)
        budgets = _open_budgets(settings, ledger, clock)
        stack.push_async_callback(budgets.close)
        background = _Background(clock, journal)
        client = HttpUpstream(
            settings.upstream.url,
            await _credentials(settings, clock, journal, background),
            connect_timeout_s=settings.upstream.connect_timeout_s,
            read_timeout_s=settings.upstream.read_timeout_s,
        )
        upstream = CountedUpstream(client, journal)
        stack.push_async_callback(upstream.close)
        stack.push_async_callback(background.stop)
        parts = _Parts(settings, clock, journal, metrics, ledger, budgets, upstream)
        gate = await _listen(parts, background, stack, reuse_port=reuse_port)
        journal.note("listening", url=gate.url, control_url=gate.control_url)
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


async def _listen(parts: _Parts, background: "_Background", stack: AsyncExitStack, *, reuse_port: bool) -> Gate:
    """Wire the two planes and open their ports."""
    settings, clock, journal = parts.settings, parts.clock, parts.journal
    bigquery = GoogleBigQuery(parts.upstream, timeout_s=settings.upstream.call_timeout_s)
    slots = SlotBook(parts.ledger)
    bookkeeper = Bookkeeper(
        ledger=parts.ledger,
        budgets=parts.budgets,
        prices=settings.prices,
        clock=clock,
        journal=journal,
        on_usage=slots.learn,
    )
    poller = Poller(
        bookkeeper=bookkeeper,
        bigquery=bigquery,
        ledger=parts.ledger,
        clock=clock,
        journal=journal,
        patience=settings.patience,
        workers=settings.settlement.polls_max,
    )
    reconciler = Reconciler(
        ledger=parts.ledger,
        budgets=parts.budgets,
        poller=poller,
        directory=settings.directory,
        clock=clock,
        journal=journal,
        interval_s=settings.settlement.reconcile_interval_s,
    )
    settling = Settling(Settler(bookkeeper, poller, journal), poller)
    admission = Admission(
        estimator=Estimator(bigquery, clock, journal, settings.estimate_caching),
        budgets=parts.budgets,
        ledger=parts.ledger,
        clock=clock,
        journal=journal,
        prices=settings.prices,
        rules=settings.hold_rules,
        hold_ttl_s=settings.admission.hold_ttl_s,
        new_id=lambda: uuid.uuid4().hex,
        slots=slots,
    )
    handler = QueryHandler(
        admission=admission,
        waiting_room=WaitingRoom(clock, journal, places=settings.admission.waiting_max),
        directory=settings.directory,
        upstream=parts.upstream,
        forwarder=Forwarder(parts.upstream, settling.begin, settings.prices.model),
        settle=settling.begin,
        clock=clock,
        journal=journal,
    )
    parts.metrics.read_gauge_from("poller_queue_depth", lambda: poller.depth)
    parts.metrics.read_gauge_from("oldest_open_hold_age_seconds", lambda: reconciler.oldest_open_hold_age_s)
    background.start("poller", poller.run)
    background.start("reconciler", reconciler.run)
    stack.push_async_callback(settling.drain, limit_s=SHUTDOWN_S)

    data_plane = web.Application()
    request_line.install(data_plane, journal, clock)
    middleware.install(data_plane, journal)
    control_plane = data_plane
    if settings.server.control_port is not None:
        control_plane = web.Application()
        middleware.install(control_plane, journal)
    add_control_plane(
        control_plane,
        ledger=parts.ledger,
        budgets=parts.budgets,
        directory=settings.directory,
        clock=clock,
        metrics=parts.metrics,
    )
    add_data_plane(data_plane, Door(Dispatcher(handler, Passthrough(parts.upstream))))
    url = await _open_port(data_plane, settings.server.host, settings.server.port, stack, reuse_port=reuse_port)
    control_url = url
    if settings.server.control_port is not None:
        control_url = await _open_port(
            control_plane, settings.server.host, settings.server.control_port, stack, reuse_port=reuse_port
        )
    return Gate(url, control_url, parts.ledger, parts.budgets, poller, reconciler, settling, parts.metrics)


async def _open_port(app: web.Application, host: str, port: int, stack: AsyncExitStack, *, reuse_port: bool) -> str:
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_S, **SERVER_OPTIONS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port, reuse_port=reuse_port, backlog=1024).start()
    bound_host, bound_port = runner.addresses[0][:2]
    return f"http://[{bound_host}]:{bound_port}" if ":" in bound_host else f"http://{bound_host}:{bound_port}"


def _open_budgets(settings: Settings, ledger: SqlLedger, clock: Clock) -> BudgetStore:
    url = settings.budgets.url
    if url.scheme == "memory":
        return MemoryBudgetStore(ledger, clock)
    from bqgate.budgets.redis_store import RedisBudgetStore  # noqa: PLC0415 - redis is an extra

    return RedisBudgetStore.open(
        url.reveal(),
        ledger,
        clock,
        timeout_s=settings.budgets.timeout_ms / MS_PER_S,
        connections_max=settings.budgets.connections_max,
    )


async def _credentials(
    settings: Settings, clock: Clock, journal: Journal, background: "_Background"
) -> UpstreamCredentials:
    match settings.upstream.credentials:
        case Credentials.CALLER:
            return CallerCredentials()
        case Credentials.ANONYMOUS:
            return AnonymousCredentials()
        case Credentials.SERVICE_ACCOUNT:
            key_file = settings.upstream.service_account_file
            own = ServiceAccountCredentials(load_token_source(str(key_file) if key_file else None), clock, journal)
            await own.renew()
            background.start("token", own.keep_fresh)
            return own


class _Background:
    """Tasks beside the requests. One that fails is a bug: it is logged, counted and started again."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.ensure_future(self._keep_running(name, run)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - the edge for tasks without a caller: nobody else would see it
                self._journal.count("failures_total", system="background", step=name)
                self._journal.note("background_task_failed", task=name, error=type(error).__name__)
            await self._clock.sleep(RESTART_S)
