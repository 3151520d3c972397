"""Run the gate: ``bqgate serve --config FILE``, as one process or as several that share a port.

Loads the settings and calls app.serve. Several workers are processes that listen on one port (SO_REUSEPORT) and share
budgets in Redis; when one ends, all are stopped, so that whoever supervises the gate sees it and starts it anew. The
first is started alone: what would keep all of them from serving is said once.
Ends by SIGTERM or SIGINT with status 0, by anything outside that keeps it from serving with status 1, by settings that
are wrong, or do not go together with what admins changed, with status 2.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import typer

from bqgate.cli.collector import importing
from bqgate.cli.config_file import ConfigFile
from bqgate.cli.edge import FAILED, INVALID, run, write_out
from bqgate.cli.loading import fail, ledger_told, load_or_exit, refuse
from bqgate.clock import SystemClock
from bqgate.observe.logs import make_logger, route_stdlib
from bqgate.policies.faults import PolicyFaults
from bqgate.settings import Settings, load_settings

_TOLD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(config: ConfigFile = None) -> None:
    """Run the gate until it is told to stop."""
    settings = load_or_exit(config)
    if settings.server.workers == 1:
        run_worker(settings, config)
    else:
        run_workers(config, settings.server.workers)


def run_worker(
    settings: Settings, config: Path | None, *, reuse_port: bool = False, on_listening: Callable[[], None] | None = None
) -> None:
    """Serve in this process; what other libraries log takes the gate's road, redaction included."""
    with importing():
        from bqgate import app  # noqa: PLC0415 - half a second to import, for which check-config need not wait

    clock, shown = SystemClock(), settings.observe
    route_stdlib(make_logger(sys.stderr, clock, level=shown.level, log_format=shown.log_format))

    def announce(url: str) -> None:
        sys.stdout.write(f"bqgate listens at {url} and forwards to {settings.upstream.url}\n")
        write_out(sys.stdout)  # a gate serves whether or not anybody reads this
        if on_listening is not None:
            on_listening()

    try:
        source = app.SettingsSource(config, dict(os.environ))
        with ledger_told(settings):
            asyncio.run(app.serve(settings, announce=announce, reuse_port=reuse_port, source=source))
    except PolicyFaults as faults:
        refuse("the settings together with what admins changed", str(faults).splitlines())
    except (app.CannotListen, app.CertificateUnusable) as error:
        fail(f"server: {error}. {error.remedy}")
    except app.CredentialsUnusable as error:
        fail(f"upstream.credentials {settings.upstream.credentials}: {error}. {error.remedy}")


def run_workers(config: Path | None, count: int) -> None:
    """Serve in several processes until a signal comes or one of them ends."""
    spawn = multiprocessing.get_context("spawn")  # a forked child would share sockets and locks of this one
    hears, says = spawn.Pipe(duplex=False)
    workers = [
        spawn.Process(target=_work, args=(config, says if number == 0 else None), name=f"bqgate-{number}")
        for number in range(count)
    ]
    is_stopping = False

    def stop(_signal: int = 0, _frame: FrameType | None = None) -> None:
        nonlocal is_stopping
        is_stopping = True
        _signal_all(workers, signal.SIGTERM)

    resource_tracker.ensure_running()  # its start would let signals through again
    # Workers are born with these held back. A terminal's Ctrl-C goes to every process; this one tells the others.
    signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
    signal.signal(signal.SIGHUP, lambda number, _frame: _signal_all(workers, number))
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    workers[0].start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
    says.close()
    wait([hears, workers[0].sentinel])
    if not is_stopping and workers[0].is_alive():
        signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
        for worker in workers[1:]:
            worker.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
    started = [worker for worker in workers if worker.pid is not None]
    wait([worker.sentinel for worker in started])
    was_told = is_stopping
    stop()
    for worker in started:
        worker.join()
    if not was_told:
        _give_reason([worker.exitcode for worker in started])


def _give_reason(statuses: Sequence[int | None]) -> None:
    """End the command as the worker did that ended by itself, which has said why where its status is a command's."""
    for status in (INVALID, FAILED):
        if status in statuses:
            raise typer.Exit(status)
    fail("a worker ended by itself; all were stopped. What it logged last says why; without a word, see dmesg")


def _signal_all(workers: Sequence[BaseProcess], number: int) -> None:
    """Send a signal to every worker that lives."""
    for worker in workers:
        if worker.pid is not None and worker.is_alive():
            os.kill(worker.pid, number)


def _work(config: Path | None, says: Connection | None) -> None:
    """Serve in a worker; the parent has reported faults and warnings of the settings."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})

    def serve_here() -> None:
        settings = load_settings(config, os.environ)
        try:
            run_worker(settings, config, reuse_port=True, on_listening=None if says is None else says.close)
        except typer.Exit as ended:  # a status to the command line's library, a traceback to multiprocessing
            sys.exit(ended.exit_code)

    sys.exit(run(serve_here))
