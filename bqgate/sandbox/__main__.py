"""Run a sandbox from the command line: `python -m bqgate.sandbox --port 9050`.

`bqgate sandbox` calls `main` as well. It serves until it is interrupted and prints where it is reached; wrong arguments
end with argparse's message and status 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bqgate.sandbox.server import Sandbox
from bqgate.sandbox.settings import SandboxSettings


def settings_of(argv: Sequence[str] | None) -> SandboxSettings:
    parser = argparse.ArgumentParser(prog="bqgate sandbox", description="A BigQuery stand-in with a cost model.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9050, help="0 takes a free one")
    parser.add_argument("--data", type=Path, help="folder with a sub-folder of CSV or Parquet files per dataset")
    parser.add_argument(
        "--time-scale", type=float, default=1.0, help="0: jobs end at once; 1: about as long as at Google"
    )
    parser.add_argument("--no-cache", action="store_true", help="never serve a finished result again")
    arguments = parser.parse_args(argv)
    if arguments.data is not None and not arguments.data.is_dir():
        parser.error(f"--data: {arguments.data} is not a folder")
    if arguments.time_scale < 0:
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
        sys.stdout.write(
            f"BigQuery sandbox at {sandbox.url} - point a client at it with BIGQUERY_EMULATOR_HOST={sandbox.url} "
            f"or `bq --api {sandbox.url}`; try `SELECT carrier, COUNT(*) FROM nycflights13.flights GROUP BY carrier`\n"
        )
        sys.stdout.flush()
        await ended.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sandbox; returns the exit status."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(settings_of(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
