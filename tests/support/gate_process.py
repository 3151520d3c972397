"""Run the data plane in a process of its own, so that a test can measure its memory.

``python -m tests.support.gate_process URL`` prints the gate's URL and serves until its input ends.
"""

import asyncio
import sys

from aiohttp import web

from bqgate.bigquery.credentials import CallerCredentials
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.gate.http.http_server import SERVER_OPTIONS
from tests.support.gate_stand import ListTelemetry, RecordingHandler, data_plane


async def serve(upstream_url: str) -> None:
    upstream = HttpUpstream(upstream_url, CallerCredentials())
    runner = web.AppRunner(data_plane(RecordingHandler(upstream), upstream, ListTelemetry()), **SERVER_OPTIONS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()
    await upstream.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
