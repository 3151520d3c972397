"""Run the gate: ``bqgate serve --config FILE``, as one process or as several that share its ports.

Loads the settings and calls app.serve, in this process or in workers (bqgate/workers) that share budgets in Redis. What
keeps all of them from serving is said once. Ends by SIGTERM or SIGINT with status 0, by anything outside that keeps it
from serving with status 1, by settings that are wrong, or do not go together with what admins changed, with status 2.
"""

import asyncio
import gc
import os
import sys
from functools import partial
from pathlib import Path

import typer
import uvloop

from bqgate.cli.collector import importing, uncollected
from bqgate.cli.config_file import ConfigFile
from bqgate.cli.edge import FAILED, INVALID, run, write_out
from bqgate.cli.loading import fail, ledger_told, load_or_exit, refuse
from bqgate.clock import SystemClock
from bqgate.observe.logs import make_logger, route_stdlib
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.policies.faults import PolicyFaults
from bqgate.settings import Settings
from bqgate.workers.seats import make_seats
from bqgate.workers.supervisor import Supervisor
from bqgate.workers.worker import Worker


def serve(config: ConfigFile = None) -> None:
    """Run the gate until it is told to stop."""
    with uncollected():
        settings = load_or_exit(config)
        if settings.server.workers == 1:
            serve_here(settings, config)
        else:
            serve_in_workers(settings, config)


def serve_here(settings: Settings, config: Path | None, worker: Worker | None = None) -> None:
    """Serve in this process; what other libraries log takes the gate's road, redaction included."""
    with importing():
        from bqgate import app  # noqa: PLC0415 - half a second to import, for which check-config need not wait

    clock, shown = SystemClock(), settings.observe
    number = None if worker is None else worker.number
    route_stdlib(make_logger(sys.stderr, clock, level=shown.level, log_format=shown.log_format, worker=number))

    def announce(url: str) -> None:
        gc.enable()  # nothing was collected so far
        if worker is None:
            _announce(url, settings)
        else:
            worker.begin()

    try:
        source = app.SettingsSource(config, dict(os.environ))
        with ledger_told(settings):
            uvloop.run(app.serve(settings, announce=announce, worker=worker, source=source))
    except PolicyFaults as faults:
        refuse("the settings together with what admins changed", str(faults).splitlines())
    except (app.CannotListen, app.CertificateUnusable) as error:
        fail(f"server: {error}. {error.remedy}")
    except app.CredentialsUnusable as error:
        fail(f"upstream.credentials {settings.upstream.credentials}: {error}. {error.remedy}")


def serve_in_workers(settings: Settings, config: Path | None) -> None:
    """Serve in several processes, forked from this one, until a signal comes or none of them can serve."""
    from bqgate import app  # noqa: PLC0415 - imported here, before the workers are forked: they share its memory

    clock, shown, server = SystemClock(), settings.observe, settings.server
    numbers = (server.port,) if server.control_port is None else (server.port, server.control_port)
    try:
        ports = [asyncio.run(app.bind_port(server.host, number)) for number in numbers]
    except app.CannotListen as error:
        fail(f"server: {error}. {error.remedy}")
    seats, own = make_seats(server.workers, clock)
    logger = make_logger(sys.stderr, clock, level=shown.level, log_format=shown.log_format)
    host, number = ports[0][0].getsockname()[:2]
    url = app.url_of(host, number, has_tls=server.tls_cert_file is not None)
    supervisor = Supervisor(
        seats,
        own,
        ports,
        partial(_work, settings, config),
        clock=clock,
        telemetry=PrometheusTelemetry(Metrics(table=own.table), logger),
        on_open=partial(_announce, url, settings),
    )
    write_out(sys.stdout)  # or each worker writes it once more
    gc.freeze()  # the collector of a worker leaves pages alone that are shared
    gc.enable()
    _give_reason(supervisor.run())


def _announce(url: str, settings: Settings) -> None:
    sys.stdout.write(f"bqgate listens at {url} and forwards to {settings.upstream.url}\n")
    write_out(sys.stdout)  # a gate serves whether or not anybody reads this


def _work(settings: Settings, config: Path | None, worker: Worker) -> int:
    """Serve in a worker, and return the exit status; the supervisor has reported warnings of the settings."""

    def serve_and_exit() -> None:
        try:
            with uncollected():
                serve_here(settings, config, worker)
        except typer.Exit as ended:  # a status to the command line's library alone
            sys.exit(ended.exit_code)

    return run(serve_and_exit)


def _give_reason(status: int) -> None:
    """End the command as the worker did that ended it, which has said why where its status is a command's."""
    if status in {FAILED, INVALID}:
        raise typer.Exit(status)
    if status:
        fail("a worker ended by itself, and none is left. What it logged last says why; without a word, see dmesg")
