"""Put the gate together: settings in, a running gate out.

``open_gate`` opens the outside systems (dependencies.py), wires the packages over them (authentication.py, path.py,
control.py), starts the background tasks (poller, reconciler, renewals) and listens. Leaving it does the same backwards:
answer queries that wait, stop listening, finish requests under way, close.
"""

import asyncio
import gc
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from aiohttp import web

from bqgate.admin import add_control_plane
from bqgate.admin.landing_page import add_landing_page
from bqgate.admin.logins import add_token_endpoint
from bqgate.app.authentication import Identities, wire_identities
from bqgate.app.control import login_views, wire_control_plane
from bqgate.app.dependencies import Dependencies, open_dependencies
from bqgate.app.drain import Drain
from bqgate.app.listening import HandedPort, OwnPort, allow_open_files, connection_limits, open_port
from bqgate.app.metering_wiring import wire_metering
from bqgate.app.mirror_wiring import wire_mirror
from bqgate.app.path import QueryPath, wire_path
from bqgate.app.reload import Reloader, SettingsSource
from bqgate.app.sweep_wiring import wire_sweep
from bqgate.app.tls import TlsContext
from bqgate.app.upkeep_wiring import wire_upkeep
from bqgate.app.web_pages import answer_problem, page_rules
from bqgate.clock import SystemClock
from bqgate.domain.units import MIB
from bqgate.gate.body_room import BodyLimits, BodyRoom
from bqgate.gate.discovery import Discovery
from bqgate.gate.dispatch import Dispatcher
from bqgate.gate.holds import Holds
from bqgate.gate.http import access_log, middleware
from bqgate.gate.http.connections import Connections
from bqgate.gate.http.http_server import HttpServer, add_data_plane
from bqgate.gate.http.proxies import as_called
from bqgate.gate.http.router import new_application
from bqgate.gate.http.web_pages import PageGuard
from bqgate.gate.identify import Identification
from bqgate.ledger import SqlLedger
from bqgate.ledger.registry import SqlRegistry
from bqgate.observe.metrics import Metrics
from bqgate.policies.book import PolicyBook
from bqgate.ports import BudgetStore, Clock
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials, IdentityMode
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.sweep.sweep import Sweep
from bqgate.workers.worker import Worker

# How long an orderly stop waits for requests that are under way; the longest poll of BigQuery's takes 200 s, but an
# orchestrator kills after 30 s unless told otherwise, and what is cut off is settled by the next start.
SHUTDOWN_S = 25


@dataclass(frozen=True, slots=True)
class Gate:
    """A running gate: where it listens, and its parts for whoever opened it.

    `reloader` None: settings stay; `sweep` None: there is none.
    """

    url: str
    control_url: str
    ledger: SqlLedger
    registry: SqlRegistry
    policies: PolicyBook
    budgets: BudgetStore
    poller: Poller
    reconciler: Reconciler
    sweep: Sweep | None
    holds: Holds
    metrics: Metrics
    reloader: Reloader | None
    drain: Drain


# How long a thread that reads a long text may keep the event loop waiting, at each of a dozen steps that every query
# takes; Python's own 5 ms would add up to what a person feels.
_SWITCH_INTERVAL_S = 0.0001
# After how many new objects garbage is looked for: by Python's own 700 it takes a fourteenth of the time, to find none.
_GARBAGE_AFTER = (5_000, 5, 50)


@asynccontextmanager
async def open_gate(
    settings: Settings,
    *,
    clock: Clock | None = None,
    log_stream: TextIO | None = None,
    worker: Worker | None = None,
    source: SettingsSource | None = None,
) -> AsyncIterator[Gate]:
    """Run a gate as long as the context is open.

    Args:
        settings: what it is told.
        clock: the time; the machine's unless a test brings another.
        log_stream: where the log goes; None: standard error.
        worker: this process as one of several, which take connections from a supervisor; None: it is alone.
        source: where the settings came from, to follow their changes; None: they stay as they are.

    Raises:
        LedgerUnavailable: the ledger's database cannot be opened, or needs `bqgate migrate`.
        PolicyFaults: what admins changed does not go together with these settings.
        CredentialsUnusable: the gate is to call BigQuery in its own name, and has no credentials for that.
        CertificateUnusable: TLS is wanted, and its files cannot be served with.
        CannotListen: a port is taken, or the host is none to listen on.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        deps = await open_dependencies(settings, clock, log_stream or sys.stderr, stack, worker)
        path = wire_path(deps, stack)
        sweep = wire_sweep(deps, path)
        wire_metering(deps, path.own_costs)
        stack.push_async_callback(path.holds.drain, limit_s=SHUTDOWN_S)
        wire_mirror(deps)
        wire_upkeep(deps, stack)
        url, control_url = await _listen(deps, path, stack)
        stack.callback(path.admission_queue.close)  # who waits is answered now, not cut off at the end of the stop
        reloader = None if source is None else _follow(source, deps)
        deps.telemetry.log("listening", url=url, control_url=control_url)
        yield Gate(
            url=url,
            control_url=control_url,
            ledger=deps.ledger,
            registry=deps.registry,
            policies=deps.policies,
            budgets=deps.budgets,
            poller=path.poller,
            reconciler=path.reconciler,
            sweep=sweep,
            holds=path.holds,
            metrics=deps.metrics,
            reloader=reloader,
            drain=deps.drain,
        )


async def serve(
    settings: Settings,
    *,
    announce: Callable[[str], None],
    worker: Worker | None = None,
    source: SettingsSource | None = None,
) -> None:
    """Run a gate until SIGTERM or SIGINT; SIGHUP has it read its settings again.

    When it is told to stop, readiness goes first, for `server.drain_s` seconds in which load balancers take notice;
    told a second time, it does not wait for them.

    Args:
        settings: what it is told.
        announce: hears where it listens.
        worker: as for open_gate.
        source: where the settings came from; None: SIGHUP changes nothing.

    Raises:
        LedgerUnavailable, PolicyFaults, CredentialsUnusable, CertificateUnusable, CannotListen: as open_gate.
    """
    allow_open_files()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with open_gate(settings, worker=worker, source=source) as gate:
        if gate.reloader is not None:
            loop.add_signal_handler(signal.SIGHUP, gate.reloader.ask)
        gc.freeze()  # what is here by now stays: looking through it again and again takes a sixth of a query's time
        gc.set_threshold(*_GARBAGE_AFTER)
        announce(gate.url)
        await stopped.wait()
        gate.drain.begin()
        hurry = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, hurry.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.server.drain_s):
                await hurry.wait()


def _follow(source: SettingsSource, deps: Dependencies) -> Reloader:
    """Follow the changes of the settings; all who take part in them have said so."""

    def follow_level(new: Settings) -> None:
        deps.logger.level = new.observe.level

    reloader = Reloader(
        source,
        deps.settings,
        book=deps.policies,
        reload_hooks=(*deps.reload_hooks, follow_level),
        clock=deps.clock,
        telemetry=deps.telemetry,
    )
    deps.metrics.read_gauge_from("settings_age_seconds", lambda: reloader.age_s)
    deps.background.start("settings", reloader.run)
    return reloader


async def _listen(deps: Dependencies, path: QueryPath, stack: AsyncExitStack) -> tuple[str, str]:
    """Open the ports of the data plane and the control plane, which share one unless told otherwise."""
    server = deps.settings.server
    identities = wire_identities(deps, stack)
    data_plane = _application(deps)
    control_plane = data_plane if server.control_port is None else _application(deps)
    logins = login_views(deps, identities)
    if logins is not None:
        add_token_endpoint(data_plane, logins)
        if control_plane is not data_plane:
            add_token_endpoint(control_plane, logins)
    plane = wire_control_plane(deps, identities, path.settlement, logins, stack)
    operations = add_control_plane(control_plane, plane)
    is_required = deps.settings.identity.mode is IdentityMode.REQUIRED
    add_landing_page(control_plane, operations, requires_identity=is_required)
    if control_plane is not data_plane:
        add_landing_page(data_plane, (), requires_identity=is_required)
    dispatcher = Dispatcher(
        identification=_identification(deps, identities, path),
        payers=path.payers,
        isolation=path.isolation,
        handler=path.handler,
        passthrough=path.passthrough,
        discovery=_discovery(deps, stack),
        clock=deps.clock,
        telemetry=deps.telemetry,
    )
    limits = BodyLimits(room_bytes=server.bodies_mib * MIB, timeout_s=server.body_timeout_s)
    add_data_plane(data_plane, HttpServer(dispatcher, BodyRoom(limits, deps.clock, deps.telemetry)))
    tls = _tls(deps)

    async def opened(app: web.Application, port: int, number: int) -> str:
        connections = Connections(connection_limits(server), deps.clock, deps.telemetry)
        deps.background.start("connections", connections.run)
        return await open_port(
            app,
            OwnPort(server.host, port) if deps.worker is None else HandedPort(deps.worker, number),
            tls,
            stack,
            telemetry=deps.telemetry,
            connections=connections,
            shutdown_s=SHUTDOWN_S,
        )

    url = await opened(data_plane, server.port, 0)
    control_url = url if server.control_port is None else await opened(control_plane, server.control_port, 1)
    stack.callback(path.estimator.places.close)  # as of who waits for a turn: answered now, not cut off
    return url, control_url


def _application(deps: Dependencies) -> web.Application:
    app = new_application()
    access_log.install(app, deps.telemetry, deps.clock)
    settings = deps.settings
    called = partial(as_called, trusted=settings.server.trusted_proxies, public_url=settings.identity.public_url)
    rules = page_rules(settings, machine=socket.gethostname())
    pages = PageGuard(rules, answer_problem=answer_problem, clock=deps.clock, telemetry=deps.telemetry)
    middleware.install(app, deps.telemetry, called=called, page_refusal=pages.refusal)
    return app


def _discovery(deps: Dependencies, stack: AsyncExitStack) -> Discovery:
    discovery = Discovery(deps.upstream, deps.clock)
    stack.push_async_callback(discovery.close)
    return discovery


def _identification(deps: Dependencies, identities: Identities, path: QueryPath) -> Identification:
    """The first step: with callers' own credentials, BigQuery itself knows who asks unless somebody has to pay."""
    passes = deps.settings.upstream.credentials is Credentials.CALLER
    return Identification(
        authenticator=identities.authenticator,
        payers=path.payers,
        audit_log=deps.audit_log,
        clock=deps.clock,
        submissions_only=passes and deps.settings.identity.mode is IdentityMode.REQUIRED,
    )


def _tls(deps: Dependencies) -> ssl.SSLContext | None:
    server = deps.settings.server
    if server.tls_cert_file is None or server.tls_key_file is None:
        return None
    tls = TlsContext(server.tls_cert_file, server.tls_key_file, clock=deps.clock, telemetry=deps.telemetry)
    deps.background.start("tls", tls.watch)
    return tls.context
