from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio

from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack


@pytest.fixture
async def stack(tmp_path: Path, redis_url: str) -> AsyncIterator[Stack]:
    document: dict[str, Any] = {"budgets": {"url": redis_url}, "tiers": {"standard": {"throttle_wait_ms": 0}}}
    async with open_stack(tmp_path, document) as opened:
        opened.sandbox.warehouse.create_dataset("acme", "money")
        table = TableRef("acme", "money", "t")
        opened.sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=2**30)
        yield opened


async def calls_of(client: Any) -> int:
    """How many scripts clients have sent: the store sends nothing else, and what runs inside is no round trip."""
    stats = await client.info("commandstats")
    return sum(
        numbers["calls"]
        for command, numbers in stats.items()
        if command.removeprefix("cmdstat_") in {"evalsha", "eval"}
    )


async def run_query(session: aiohttp.ClientSession, stack: Stack, number: int) -> str:
    url = f"{stack.url}/bigquery/v2/projects/acme/queries"
    body = {"query": f"SELECT a, {number} AS n FROM `acme.money.t`", "useLegacySql": False, "useQueryCache": False}
    async with session.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["Server-Timing"]


async def test_a_query_costs_one_round_trip_to_hold_and_one_to_capture(stack: Stack, redis_url: str) -> None:
    """Two in all, of which the caller waits for one; a repeat of a cached estimate needs no more."""
    client = redis.asyncio.Redis.from_url(redis_url)
    try:
        async with aiohttp.ClientSession() as session:
            await run_query(session, stack, 0)  # fills the windows and loads the scripts
            await stack.gate.holds.drain()
            before = await calls_of(client)
            for number in (1, 1, 2):
                timing = await run_query(session, stack, number)
                await stack.gate.holds.drain()
            assert await calls_of(client) - before == 3 * 2
    finally:
        await client.aclose()
    assert [name.partition(";")[0] for name in timing.split(", ")] == ["identify", "dryrun", "hold", "upstream"]
