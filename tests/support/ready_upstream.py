"""Stand for a BigQuery that has every answer ready, in a process of its own: what it does takes nobody else's time."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

_DRY_RUN = {
    "status": {"state": "DONE"},
    "statistics": {
        "totalBytesProcessed": "0",
        "query": {"statementType": "SELECT", "totalBytesProcessed": "0", "totalBytesProcessedAccuracy": "PRECISE"},
    },
}
_DONE = {
    "jobComplete": True,
    "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
    "totalBytesProcessed": "0",
    "totalBytesBilled": "0",
    "statementType": "SELECT",
    "cacheHit": False,
}


@asynccontextmanager
async def ready_upstream() -> AsyncIterator[str]:
    """Its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.ready_upstream", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _serve() -> None:
    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        return web.json_response(_DRY_RUN if b'"dryRun":true' in body else _DONE)

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
