"""Three masters: customers on each, slots that move under the callers, and a node that is not there."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.clock import SystemClock
from bqgate.domain.budget import Window
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.money import parse_usd
from tests.support.budget_scene import hold_on, stands, usd, windows_of
from tests.support.manual_clock import ManualClock
from tests.support.redis_server import RedisServer, redis_servers
from tests.support.redis_topologies import Cluster, start_cluster
from tests.support.spend_book import SpendBook

WINDOWS = windows_of(day_usd="10")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three masters, for the test alone."""
    with redis_servers() as make:
        yield start_cluster(make)


async def run_one(store: RedisBudgetStore, book: SpendBook, windows: tuple[Window, ...]) -> bool:
    """A query of ten cents from its hold to its capture, each tried until it is answered, as gates do."""
    hold = hold_on(windows, "0.1")
    async with asyncio.timeout(20):
        while True:
            with suppress(BudgetStoreUnavailable):
                placed = await store.place_hold(hold, windows)
                break
            await SystemClock().sleep(0.01)
        if placed.hold_id is None:
            return False
        book.book(hold, parse_usd("0.1"))
        while True:
            with suppress(BudgetStoreUnavailable):
                await store.capture(hold, parse_usd("0.1"), is_late=True)
                return True
            await SystemClock().sleep(0.01)


def move_slot(slot: int, origin: RedisServer, target: RedisServer) -> Iterator[str]:
    """Move a slot and its keys, and stop after each step."""
    with origin.client() as at_origin, target.client() as at_target:
        ids = {client: client.execute_command("CLUSTER", "MYID") for client in (at_origin, at_target)}
        at_target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[at_origin])
        at_origin.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[at_target])
        yield "open"
        while keys := at_origin.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            at_origin.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            yield "a key moved"
        for client in (at_target, at_origin):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[at_target])
        yield "moved"


async def test_customers_on_all_nodes_are_found(cluster: Cluster) -> None:
    """What walks all keys walks all nodes."""
    store = RedisBudgetStore.open(cluster.url, SpendBook(), ManualClock(), timeout_s=5)
    names = [f"customer{number}" for number in range(30)]
    assert len({cluster.owner_of(f"bqgate:{{{name}}}:holds").port for name in names}) == 3
    for name in names:
        await store.place_hold(hold_on(windows_of(name)), windows_of(name))
    assert await store.fetch_customers() == tuple(sorted(names))
    for name in names:
        await store.forget_windows(name)
        assert stands(await store.fetch_balances(windows_of(name))) == [usd("0", "1")] * 2
    await store.close()


async def test_a_slot_that_moves_under_callers_passes_no_limit(cluster: Cluster) -> None:
    """MOVED and ASK are followed, TRYAGAIN is an outage for a moment; of 150 queries of 10 cents just 100 run."""
    book = SpendBook()
    store = RedisBudgetStore.open(cluster.url, book, ManualClock(), timeout_s=5)
    origin = cluster.owner_of("bqgate:{acme}:holds")
    target = next(master for master in cluster.masters if master is not origin)
    with origin.client() as client:
        slot = int(client.execute_command("CLUSTER", "KEYSLOT", "bqgate:{acme}:holds"))
    running = hold_on(WINDOWS, "0")
    await store.place_hold(running, WINDOWS)
    book.open_hold(running)
    callers = [asyncio.create_task(run_one(store, book, WINDOWS)) for _ in range(150)]
    for _ in move_slot(slot, origin, target):
        await SystemClock().sleep(0.02)
    assert sum(await asyncio.gather(*callers)) == 100
    assert cluster.owner_of("bqgate:{acme}:holds") is target
    assert stands(await store.fetch_balances(WINDOWS)) == [usd("10", "0")] * 2
    assert list(await store.fetch_hold_ids("acme")) == [running.id]
    await store.close()


async def test_any_node_that_the_url_names_will_do(redis_cluster_url: str) -> None:
    """A gate starts although the first of them is not there."""
    url = redis_cluster_url.replace("redis+cluster://", "redis+cluster://127.0.0.1:1,")
    store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=5)
    await store.check()
    await store.close()
