"""A Redis master dies under two gates, with its last writes on no replica: no limit is passed, and all is mended."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.money import NANOS_PER_USD
from bqgate.sandbox import Fault
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack
from tests.support.redis_topologies import Cluster, SentinelSet

pytestmark = pytest.mark.long

CENTS_10 = NANOS_PER_USD // 10
# At 10.24 dollars per TiB, ten GiB cost exactly ten cents: ten queries a day.
DOCUMENT: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "upstream": {"credentials": "anonymous"},
    "tiers": {"standard": {"daily_usd": "1.00", "grace_minutes": 0, "throttle_wait_ms": 0}},
    "settlement": {"reconcile_interval_s": 1, "orphan_age_s": 1, "poll_first_ms": 20, "poll_longest_ms": 200},
    "breakers": {"stores_cooldown_s": 1},
}


class Scene:
    """Two gates on one Redis, and what their callers were answered."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.session = session
        self.asked = 0
        self.statuses: list[int] = []

    async def ask(self) -> int:
        """One query, at each gate in turn; it is tried again as long as the answer is 503, as clients do."""
        self.asked += 1
        sql = f"SELECT a, {self.asked} AS n FROM `acme.money.ten_gib`"
        body = {"query": sql, "useLegacySql": False, "useQueryCache": False}
        gate = self.stack.gates[self.asked % 2]
        async with asyncio.timeout(60):
            while True:
                async with self.session.post(f"{gate.url}/bigquery/v2/projects/acme/queries", json=body) as answer:
                    await answer.read()
                self.statuses.append(answer.status)
                if answer.status != 503:
                    return answer.status
                await SystemClock().sleep(0.1)

    async def booked(self) -> list[int]:
        """What each query cost, by the ledger."""
        page = await self.stack.gate.ledger.fetch_entries(EntryFilter(customer="acme", kind=EntryKind.CHARGE))
        return [entry.cost_nanos for entry in page.entries]

    async def wait_until_mended(self) -> None:
        """Until the budgets say what the ledger says, with nothing held."""
        async with asyncio.timeout(30):
            while True:
                day, month = await self.stack.fetch_settled("acme")
                if day.captured_nanos == month.captured_nanos == sum(await self.booked()):
                    return
                await SystemClock().sleep(0.1)


async def run(folder: Path, url: str, work: Callable[[Scene], Awaitable[None]]) -> None:
    """Have two gates at a Redis, and a table of ten GiB behind them."""
    document = DOCUMENT | {"budgets": {"url": url, "timeout_ms": 500}}
    async with open_stack(folder, document, gate_count=2) as stack, aiohttp.ClientSession() as session:
        warehouse = stack.sandbox.warehouse
        warehouse.create_dataset("acme", "money")
        table = TableRef("acme", "money", "ten_gib")
        warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=10 * 2**30)
        await work(Scene(stack, session))


async def test_a_failover_by_sentinels_that_loses_seconds_passes_no_limit(
    tmp_path: Path, sentinel_set: SentinelSet
) -> None:
    """Four queries that the replica missed stay spent, the one that runs stays held: one more of ten may run."""

    async def work(scene: Scene) -> None:
        assert [await scene.ask() for _ in range(4)] == [200] * 4
        await scene.wait_until_mended()
        master, replica = sentinel_set.master(), sentinel_set.replica()
        with master.client() as at_master, replica.client() as at_replica:
            assert at_master.wait(1, 5000) == 1
            at_replica.replicaof("127.0.0.1", 1)  # nobody is there: what comes now, it misses
        assert [await scene.ask() for _ in range(4)] == [200] * 4
        scene.stack.sandbox.faults.add(Fault(kind="delay", delay_s=6, method="jobs.query", dry_run=False, count=1))
        slow = asyncio.create_task(scene.ask())
        async with asyncio.timeout(10):
            while (await scene.stack.fetch_balances("acme"))[0].held_nanos == 0:
                await SystemClock().sleep(0.02)
        scene.statuses.clear()
        master.kill()
        assert 503 in {await scene.ask(), *scene.statuses}
        await asyncio.to_thread(sentinel_set.wait_for_promotion_of, replica)
        answers = [await scene.ask() for _ in range(9)]
        assert 200 not in answers, "the first one after the failover took the last ten cents"
        assert await slow == 200
        await scene.wait_until_mended()
        assert await scene.booked() == [CENTS_10] * 10

    await run(tmp_path, sentinel_set.url, work)


async def test_a_cluster_whose_master_dies_under_load_passes_no_limit(
    tmp_path: Path, replicated_cluster: Cluster
) -> None:
    """Killed with queries on their way: 503 meanwhile, no more than ten run, and once all is mended just ten have."""

    async def work(scene: Scene) -> None:
        first = [asyncio.create_task(scene.ask()) for _ in range(5)]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        rest = [asyncio.create_task(scene.ask()) for _ in range(35)]
        replicated_cluster.owner_of("bqgate:{acme}:holds").kill()
        answers = await asyncio.gather(*first, *rest)
        assert set(answers) == {200, 403}
        await scene.wait_until_mended()
        while await scene.ask() == 200:  # what was held in vain meanwhile may be spent now
            await scene.wait_until_mended()
        assert await scene.booked() == [CENTS_10] * 10
        await scene.wait_until_mended()

    await run(tmp_path, replicated_cluster.url, work)
