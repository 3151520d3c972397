"""Run a sandbox from the command line: `python -m bqgate.sandbox --port 9050`.

It serves until it is interrupted and prints where it is reached; wrong arguments end with argparse's message and status
2, a port that is taken or a folder that cannot be read with a sentence and 1. `bqgate sandbox` has the same options in
the style of its other commands, and calls `run`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bqgate.sandbox.server import CannotListen, Sandbox
from bqgate.sandbox.settings import SandboxSettings
from bqgate.sandbox.warehouse.errors import WarehouseError


def make_parser() -> argparse.ArgumentParser:
    """The options; each says its unit and its default."""
    parser = argparse.ArgumentParser(
        prog="python -m bqgate.sandbox", description="Run a BigQuery stand-in that knows what queries cost."
    )
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on. [default: %(default)s]")
    parser.add_argument(
        "--port", type=int, default=9050, help="Port to listen on; 0 takes a free one. [default: %(default)s]"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="Folder with a sub-folder of CSV or Parquet files for each dataset; without it, the example data.",
    )
    parser.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        help="How long jobs take: 0 ends them at once, 1 is about as long as at Google. [default: %(default)s]",
    )
    parser.add_argument("--no-cache", action="store_true", help="Never serve a finished result again.")
    return parser


def settings_of(argv: Sequence[str] | None) -> SandboxSettings:
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.data is not None and not arguments.data.is_dir():
        parser.error(f"--data: {arguments.data} is not a folder")
    if not 0 <= arguments.port <= 65535:
        parser.error("--port: 0 to 65535")
    if not (math.isfinite(arguments.time_scale) and arguments.time_scale >= 0):
        parser.error("--time-scale: 0 or more")
    return SandboxSettings(
        host=arguments.host,
        port=arguments.port,
        data=arguments.data,
        time_scale=arguments.time_scale,
        query_cache=not arguments.no_cache,
    )


async def serve(settings: SandboxSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with Sandbox.start(settings) as sandbox:
        with contextlib.suppress(OSError):  # it serves whether or not anybody reads this
            sys.stdout.write(_welcome(sandbox.url))
            sys.stdout.flush()
        await ended.wait()


def _welcome(url: str) -> str:
    return (
        f"BigQuery sandbox at {url} - point a client at it with BIGQUERY_EMULATOR_HOST={url} "
        f"or `bq --api {url}`; try `SELECT carrier, COUNT(*) FROM nycflights13.flights GROUP BY carrier`\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sandbox as the arguments say; returns the exit status."""
    return run(settings_of(argv))


def run(settings: SandboxSettings) -> int:
    """Run a sandbox until it is interrupted; returns the exit status."""
    fault = None
    try:
        asyncio.run(serve(settings))
    except KeyboardInterrupt:
        return 0
    except CannotListen as error:
        fault = str(error)
    except WarehouseError as error:
        fault = f"--data {settings.data}: {error}. Mend that file, or take it out of the folder."
    if fault is None:
        return 0
    sys.stderr.write(f"bqgate sandbox: {fault}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
