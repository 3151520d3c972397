import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.money import NANOS_PER_USD
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack
from tests.support.served_gate import served_gate

CALLERS = 200
# At 10.24 dollars per TiB, ten GiB cost exactly ten cents.
PRICES: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {"standard": {"daily_usd": "5.00", "grace_minutes": 0, "throttle_wait_ms": 0}},
}


def declare_ten_gib(stack: Stack) -> None:
    """A table whose full scan processes exactly ten GiB."""
    warehouse = stack.sandbox.warehouse
    warehouse.create_dataset("acme", "money")
    warehouse.create_table(TableRef("acme", "money", "ten_gib"), (Field("a", "INTEGER"),), declared_bytes=10 * 2**30)


async def submit(session: aiohttp.ClientSession, url: str, number: int) -> tuple[int, str]:
    """Run one query to its end, by both methods in turn; status and decision."""
    sql = f"SELECT a, {number} AS n FROM `acme.money.ten_gib`"
    if number % 2:
        path, body = "queries", {"query": sql, "useLegacySql": False, "useQueryCache": False}
    else:
        query = {"query": sql, "useLegacySql": False, "useQueryCache": False}
        path, body = "jobs", {"configuration": {"query": query}}
    async with session.post(f"{url}/bigquery/v2/projects/acme/{path}", json=body) as answer:
        await answer.read()
        return answer.status, answer.headers.get("X-Bqgate-Decision", "")


async def check_exactly_fifty_run(stack: Stack) -> None:
    """200 callers at once, over every gate; then the books."""
    declare_ten_gib(stack)
    urls = [gate.url for gate in stack.gates]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        answers = await asyncio.gather(
            *(submit(session, urls[number % len(urls)], number) for number in range(CALLERS))
        )
    assert Counter({(200, "forward"): 50, (403, "reject"): 150}) == Counter(answers)
    day, month = await stack.fetch_settled("acme")
    assert [(5 * NANOS_PER_USD, 0)] * 2 == [(one.captured_nanos, one.held_nanos) for one in (day, month)]
    page = await stack.gate.ledger.fetch_entries(EntryFilter(customer="acme", kind=EntryKind.CHARGE, page_size=500))
    assert [NANOS_PER_USD // 10] * 50 == [entry.cost_nanos for entry in page.entries]
    assert await stack.gate.ledger.fetch_open_holds() == ()


async def test_in_memory_exactly_fifty_of_two_hundred_run(tmp_path: Path) -> None:
    """Invariant 2: $0.10 each at a $5.00 day limit; captured + held never pass it, nothing stays held."""
    async with open_stack(tmp_path, PRICES) as stack:
        await check_exactly_fifty_run(stack)


@pytest.mark.parametrize("gate_count", [1, 2], ids=["one gate", "two gates on one Redis"])
async def test_in_redis_exactly_fifty_of_two_hundred_run(tmp_path: Path, redis_url: str, gate_count: int) -> None:
    """The same in Redis, alone and shared by two gates."""
    document = PRICES | {"budgets": {"url": redis_url, "timeout_ms": 10_000}}
    async with open_stack(tmp_path, document, gate_count=gate_count) as stack:
        await check_exactly_fifty_run(stack)


async def test_over_two_processes_exactly_fifty_of_two_hundred_run(tmp_path: Path, redis_url: str) -> None:
    """Two gates as users run them, on one Redis and one ledger; the books are read from outside."""
    async with Sandbox.start(SandboxSettings()) as sandbox:
        sandbox.warehouse.create_dataset("acme", "money")
        table = TableRef("acme", "money", "ten_gib")
        sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=10 * 2**30)
        document = PRICES | {
            "server": {"port": 0},
            "upstream": {"url": sandbox.url, "credentials": "anonymous"},
            "budgets": {"url": redis_url, "timeout_ms": 10_000},
            "ledger": {"url": f"sqlite:///{tmp_path}/ledger.db", "timeout_ms": 60_000},
            "settlement": {"poll_first_ms": 20, "poll_longest_ms": 200},
        }
        config = tmp_path / "bqgate.yaml"
        config.write_text(yaml.safe_dump(document))
        async with AsyncExitStack() as stack:
            urls = [(await stack.enter_async_context(served_gate(config)))[1] for _ in range(2)]
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            answers = await asyncio.gather(*(submit(session, urls[number % 2], number) for number in range(CALLERS)))
            assert Counter({(200, "forward"): 50, (403, "reject"): 150}) == Counter(answers)
            day = await settled_day(session, urls[0])
        assert ("5.00", "0.00", "0.00") == (day["spent_usd"], day["held_usd"], day["balance_usd"])


async def settled_day(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """The day's budget as the control plane shows it, once nothing is held."""
    async with asyncio.timeout(60):
        while True:
            async with session.get(f"{url}/v1/customers/acme/budget") as answer:
                day: dict[str, Any] = (await answer.json())["windows"]["day"]
            if day["held_usd"] == "0.00":
                return day
            await SystemClock().sleep(0.05)
