"""Serve what no gate in Python can do with less: a bare aiohttp server, one script in Redis, one dry run, one forward.

    python benchmarks/gated/floor.py BIGQUERY_PORT REDIS_PORT     prints its port and serves until its input ends

On uvloop, with redis-py on hiredis and one ClientSession of aiohttp; no log, no metric, no price, no ledger. The
script counts one amount in two windows and a hold, and says no where there is no room; its answer is looked at.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import aiohttp
import orjson
import redis.asyncio
import uvloop
from aiohttp import web

# KEYS: two windows, one hash of holds; ARGV: the hold's id, its amount, both limits. Returns what is left, or -1.
_SCRIPT = """
local amount = tonumber(ARGV[2])
for at = 1, 2 do
  if tonumber(redis.call('GET', KEYS[at]) or '0') + amount > tonumber(ARGV[at + 2]) then return -1 end
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('INCRBY', KEYS[1], ARGV[2])
return tonumber(ARGV[4]) - redis.call('INCRBY', KEYS[2], ARGV[2])
"""
_HOLDS_KEPT = 10_000


class Floor:
    """The handler and what it holds on to."""

    def __init__(self, store: redis.asyncio.Redis, session: aiohttp.ClientSession, upstream: str, script: str) -> None:
        self._store = store
        self._session = session
        self._upstream = upstream
        self._script = script
        self._numbers = count()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        query = orjson.loads(body)
        headers = {"Authorization": request.headers["Authorization"], "Content-Type": "application/json"}
        dry_run = {"configuration": {"dryRun": True, "query": {"query": query["query"], "useLegacySql": False}}}
        jobs = f"{self._upstream}/bigquery/v2/projects/{request.match_info['project']}/jobs"
        began_s = time.perf_counter()
        async with self._session.post(jobs, data=orjson.dumps(dry_run), headers=headers) as answer:
            estimate = orjson.loads(await answer.read())
        dry_run_ms = (time.perf_counter() - began_s) * 1000
        assert estimate["statistics"]["totalBytesProcessed"]
        hold = next(self._numbers) % _HOLDS_KEPT
        keys = ("{bench}:day", "{bench}:month", "{bench}:holds")
        left = await self._store.evalsha(self._script, 3, *keys, hold, 50_000, 10**15, 10**16)
        assert left > 0
        began_s = time.perf_counter()
        async with self._session.post(f"{self._upstream}{request.path_qs}", data=body, headers=headers) as answer:
            result = await answer.read()
        forward_ms = (time.perf_counter() - began_s) * 1000
        timing = f"dryrun;dur={dry_run_ms:.2f}, upstream;dur={forward_ms:.2f}"
        passed = {"Content-Type": answer.headers["Content-Type"], "Server-Timing": timing}
        return web.Response(body=result, status=answer.status, headers=passed)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Pass an answer on as it comes, however long it is."""
        async with self._session.get(f"{self._upstream}{request.path_qs}") as answer:
            passed = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            passed.content_length = answer.content_length
            await passed.prepare(request)
            async for chunk in answer.content.iter_any():
                await passed.write(chunk)
            await passed.write_eof()
            return passed


@asynccontextmanager
async def running(bigquery_port: int, redis_port: int) -> AsyncIterator[int]:
    """A floor in the present loop, and its port."""
    store = redis.asyncio.Redis(port=redis_port, max_connections=200)
    script = await store.script_load(_SCRIPT)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        floor = Floor(store, session, f"http://127.0.0.1:{bigquery_port}", script)
        app = web.Application()
        app.router.add_post("/bigquery/v2/projects/{project}/queries", floor.handle)
        app.router.add_get("/{path:.*}", floor.stream)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
        await runner.cleanup()
    await store.aclose()


async def serve(bigquery_port: str, redis_port: str) -> None:
    async with running(int(bigquery_port), int(redis_port)) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
