"""Which URLs name a Redis, a cluster that is none, callers that are cancelled meanwhile, and taking leave."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.cluster import RedisCluster

from bqgate.budgets.redis_breaker_state import RedisBreakerState
from bqgate.budgets.redis_change_feed import RedisChangeFeed
from bqgate.budgets.redis_client import redis_call
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.budget_scene import hold_on, windows_of
from tests.support.manual_clock import ManualClock
from tests.support.spend_book import SpendBook
from tests.support.yes_redis import yes_redis

# A call to a Redis nearby takes some fifteen steps of the event loop; connecting before it, as many again.
STEPS = range(60)


async def ends(task: asyncio.Task[None]) -> bool:
    """Whether a task that was cancelled once ends in time."""
    done, _ = await asyncio.wait({task}, timeout=5)
    task.cancel()
    return bool(done)


async def assert_ends_at_every_step(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Cancel an endless loop at each of its first steps, and see it end every time."""
    for step in STEPS:
        task = asyncio.create_task(run())
        for _ in range(step):
            await asyncio.sleep(0)  # noqa: TID251 - one step of the loop, no time
        task.cancel()
        assert await ends(task), f"cancelled at step {step}, and still running"


@pytest.mark.parametrize("kind", ["redis", "cluster"])
async def test_a_loop_over_the_store_ends_at_whatever_step_it_is_cancelled(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """The reconciler calls the store for ever: one cancellation ends it, wherever in a call it arrives."""
    url = request.getfixturevalue("redis_url" if kind == "redis" else "redis_cluster_url")
    store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=5)
    await store.check()

    async def run() -> None:
        while True:
            await store.check()

    await assert_ends_at_every_step(run)
    await store.close()


async def test_a_loop_over_the_breakers_words_ends_at_whatever_step_it_is_cancelled(redis_url: str) -> None:
    """The same of what gates tell one another about BigQuery."""
    shared_state = RedisBreakerState.open(redis_url, timeout_s=5)

    async def run() -> None:
        while True:
            await shared_state.write("bigquery", is_open=True, for_s=5)
            await shared_state.read("bigquery")

    await assert_ends_at_every_step(run)
    await shared_state.close()


async def test_a_feed_closes_at_whatever_step_of_its_beginning(redis_url: str) -> None:
    """Listening begins with a connection and a subscription; closing at any step of that ends it."""
    for step in STEPS:
        clock = ManualClock()
        telemetry = PrometheusTelemetry(Metrics(), make_logger(io.StringIO(), clock))
        feed = RedisChangeFeed.open(redis_url, clock, telemetry, timeout_s=5)
        waiting = asyncio.create_task(feed.wait(3600))
        for _ in range(step):
            await asyncio.sleep(0)  # noqa: TID251 - one step of the loop, no time
        async with asyncio.timeout(5):
            await feed.close()
        waiting.cancel()


async def test_a_cancellation_that_came_before_is_not_told_again() -> None:
    """What a cancelled task still has to tidy up in Redis is done."""
    tidied = asyncio.Event()

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with redis_call():
                await asyncio.sleep(0)  # noqa: TID251 - one step of the loop, no time
            tidied.set()

    task = asyncio.create_task(run())
    await asyncio.sleep(0)  # noqa: TID251 - one step of the loop, no time
    task.cancel()
    assert await ends(task)
    assert tidied.is_set()


async def test_a_gate_can_leave_a_redis_that_has_fallen_silent(tmp_path: Path) -> None:
    """TLS says goodbye both ways; where the other end says nothing, closing ends in time and raises nothing."""
    async with yes_redis(tmp_path) as (url, wire):
        store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=1)
        shared_state = RedisBreakerState.open(url, timeout_s=1)
        await store.reset_breaker("acme")
        await shared_state.write("bigquery", is_open=True, for_s=5)
        wire.requests.stall()
        wire.answers.stall()
        async with asyncio.timeout(5):
            await store.close()
            await shared_state.close()


async def test_a_cluster_that_is_not_there_is_told_in_the_ports_words(unused_tcp_port: int) -> None:
    """No node answers: BudgetStoreUnavailable for every step, in bounded time."""
    url = f"redis+cluster://127.0.0.1:{unused_tcp_port}"
    store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=0.2)
    steps: list[Callable[[], Awaitable[object]]] = [
        store.check,
        store.fetch_customers,
        lambda: store.place_hold(hold_on(windows_of()), windows_of()),
    ]
    for step in steps:
        async with asyncio.timeout(2):
            with pytest.raises(BudgetStoreUnavailable):
                await step()
    await store.close()


async def test_a_single_redis_that_is_no_cluster_is_told_in_the_ports_words(redis_url: str) -> None:
    """redis+cluster:// to a Redis without cluster mode: BudgetStoreUnavailable, with Redis' reason."""
    store = RedisBudgetStore.open(redis_url.replace("redis://", "redis+cluster://"), SpendBook(), ManualClock())
    with pytest.raises(BudgetStoreUnavailable, match="Cluster"):
        await store.reset_breaker("acme")
    await store.close()


@pytest.mark.parametrize("url", ["memory://", "http://127.0.0.1", "redis+other://h", "127.0.0.1:6379", ""])
def test_other_urls_are_refused_by_name(url: str) -> None:
    """What is no Redis is said to be none when the store is opened."""
    with pytest.raises(ValueError, match="redis://"):
        RedisBudgetStore.open(url, SpendBook(), ManualClock())


async def test_a_connection_that_was_closed_under_a_call_is_an_outage(redis_cluster_url: str) -> None:
    """redis-py closes idle connections when one breaks, also one that another call has just taken: no bug of ours."""
    store = RedisBudgetStore.open(redis_cluster_url, SpendBook(), ManualClock(), timeout_s=2)
    await store.reset_breaker("acme")
    assert isinstance(store._client, RedisCluster)
    told = 0
    for step in STEPS:
        calling = asyncio.create_task(store.reset_breaker("acme"))
        for _ in range(step):
            await asyncio.sleep(0)  # noqa: TID251 - one step of the loop, no time
        for node in store._client.get_nodes():
            for connection in node._connections:
                await connection.disconnect(nowait=True)
        try:
            await calling
        except BudgetStoreUnavailable:
            told += 1
    assert told
    await store.close()


async def test_sentinels_that_name_no_master_are_told_in_a_line(redis_url: str) -> None:
    """What redis-py prints of its clients is left out: an operator reads why, and not how they are made."""
    port = redis_url.rpartition(":")[2].partition("/")[0]
    for url, says in (
        ("redis+sentinel://127.0.0.1:1,127.0.0.1:2/budgets", "'budgets'; of Sentinels: ConnectionError"),
        (f"redis+sentinel://127.0.0.1:{port}/budgets", "SENTINEL"),
    ):
        store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=1)
        with pytest.raises(BudgetStoreUnavailable, match=says) as caught:
            await store.check()
        assert "object at" not in str(caught.value)
        assert len(str(caught.value)) < 120
        await store.close()
