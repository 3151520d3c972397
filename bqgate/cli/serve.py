"""Run the gate: ``bqgate serve --config FILE``, as one process or as several that share a port.

Loads the settings and calls app.serve. Several workers are processes that listen on one port (SO_REUSEPORT) and share
budgets in Redis; when one ends, all are stopped, so that whoever supervises the gate sees it and starts it anew.
Ends by SIGTERM or SIGINT with status 0, by a store that does not open or a port that is taken with status 1, by
settings that are wrong, or do not go together with what admins changed, with status 2.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import typer

from bqgate.cli.config_file import ConfigFile
from bqgate.cli.loading import INVALID, fail, load_or_exit, refuse
from bqgate.clock import SystemClock
from bqgate.domain.errors import LedgerUnavailable
from bqgate.observe.logs import make_logger, route_stdlib
from bqgate.policies.faults import PolicyFaults
from bqgate.settings import Settings, load_settings


def serve(config: ConfigFile = None) -> None:
    """Run the gate until it is told to stop."""
    settings = load_or_exit(config)
    if settings.server.workers == 1:
        run_worker(settings, config)
    else:
        run_workers(config, settings.server.workers)


def run_worker(settings: Settings, config: Path | None, *, reuse_port: bool = False) -> None:
    """Serve in this process; what other libraries log takes the gate's road, redaction included."""
    from bqgate import app  # noqa: PLC0415 - the whole gate takes a second to import; check-config need not wait for it

    clock, shown = SystemClock(), settings.observe
    route_stdlib(make_logger(sys.stderr, clock, level=shown.level, log_format=shown.log_format))

    def announce(url: str) -> None:
        typer.echo(f"bqgate listens at {url} and forwards to {settings.upstream.url}")

    try:
        source = app.SettingsSource(config, dict(os.environ))
        asyncio.run(app.serve(settings, announce=announce, reuse_port=reuse_port, source=source))
    except LedgerUnavailable as error:
        fail(f"ledger.url {settings.ledger.url}: {error}")
    except PolicyFaults as faults:
        refuse("the settings together with what admins changed", str(faults).splitlines())
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        fail(f"server: cannot listen at {settings.server.host}:{settings.server.port}: {why}")


def run_workers(config: Path | None, count: int) -> None:
    """Serve in several processes until a signal comes or one of them ends."""
    spawn = multiprocessing.get_context("spawn")  # a forked child would share sockets and locks of this one
    workers = [spawn.Process(target=_work, args=(config,), name=f"bqgate-{number}") for number in range(count)]
    is_stopping = False

    def stop(_signal: int = 0, _frame: FrameType | None = None) -> None:
        nonlocal is_stopping
        is_stopping = True
        _signal_all(workers, signal.SIGTERM)

    for worker in workers:
        worker.start()
    signal.signal(signal.SIGHUP, lambda number, _frame: _signal_all(workers, number))
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    wait([worker.sentinel for worker in workers])
    was_told = is_stopping
    stop()
    for worker in workers:
        worker.join()
    if not was_told:
        if INVALID in [worker.exitcode for worker in workers]:
            raise typer.Exit(INVALID)  # the worker has said why
        fail("a worker ended by itself; all were stopped")


def _signal_all(workers: Sequence[BaseProcess], number: int) -> None:
    """Send a signal to every worker that lives."""
    for worker in workers:
        if worker.pid is not None and worker.is_alive():
            os.kill(worker.pid, number)


def _work(config: Path | None) -> None:
    settings = load_settings(config, os.environ)  # the parent has reported faults and warnings
    try:
        run_worker(settings, config, reuse_port=True)
    except typer.Exit as ended:  # a status to the command line's library, a traceback to multiprocessing
        sys.exit(ended.exit_code)
