"""Which URLs name a Redis, and a cluster that is none."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.errors import BudgetStoreUnavailable
from tests.support.budget_scene import hold_on, windows_of
from tests.support.manual_clock import ManualClock
from tests.support.spend_book import SpendBook


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
        await store.check()
    await store.close()


@pytest.mark.parametrize("url", ["memory://", "http://127.0.0.1", "redis+sentinel://h", "127.0.0.1:6379", ""])
def test_other_urls_are_refused_by_name(url: str) -> None:
    """What is no Redis is said to be none when the store is opened."""
    with pytest.raises(ValueError, match="redis://"):
        RedisBudgetStore.open(url, SpendBook(), ManualClock())
