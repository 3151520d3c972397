"""Give tests every BudgetStore, one row each: the fixture `scene`, an empty store over an empty ledger."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, Protocol

import pytest

from bqgate.budgets.keys import CustomerKeys
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.budgets.refill import ENDED_TTL_S
from bqgate.domain.budget import Window
from bqgate.domain.hold import Hold, PlacementOutcome
from bqgate.ports import BudgetStore, SpendSource
from tests.support.manual_clock import ManualClock
from tests.support.spend_book import SpendBook


class Factory(Protocol):
    """Makes a store over a ledger."""

    def __call__(
        self,
        source: SpendSource,
        clock: ManualClock,
        *,
        has_deployment_budget: Callable[[], bool] = ...,
        lease_s: float = ...,
    ) -> BudgetStore: ...


def _memory(_request: pytest.FixtureRequest) -> Factory:
    return MemoryBudgetStore


def _redis(request: pytest.FixtureRequest) -> Factory:
    url: str = request.getfixturevalue("redis_url")
    return partial(RedisBudgetStore.open, url, timeout_s=5)


def _redis_cluster(request: pytest.FixtureRequest) -> Factory:
    url: str = request.getfixturevalue("redis_cluster_url")
    return partial(RedisBudgetStore.open, url, timeout_s=5)


def _redis_sentinel(request: pytest.FixtureRequest) -> Factory:
    url: str = request.getfixturevalue("redis_sentinel_url")
    return partial(RedisBudgetStore.open, url, timeout_s=5)


STORES = {"memory": _memory, "redis": _redis, "redis cluster": _redis_cluster, "redis sentinel": _redis_sentinel}


class Scene(NamedTuple):
    """A store, the ledger below it, the time, and how another store over the same is made."""

    store: BudgetStore
    book: SpendBook
    clock: ManualClock
    make: Factory

    async def run(self, hold: Hold, windows: tuple[Window, ...]) -> None:
        """Place a hold and record it, as admission does."""
        assert (await self.store.place_hold(hold, windows)).outcome is PlacementOutcome.PLACED
        self.book.open_hold(hold)

    @asynccontextmanager
    async def wiped(self) -> AsyncIterator[BudgetStore]:
        """The store after everything in it was lost."""
        await self.forget_everything(self.store)
        yield self.store

    async def age_mark(self, hold: Hold) -> None:
        """Let the mark that a hold has ended be about to be forgotten. It must be as good as new."""
        if not isinstance(self.store, RedisBudgetStore):
            self.clock.advance(ENDED_TTL_S - 5)
            return
        mark = CustomerKeys(hold.customer).ended(hold.id)
        assert await self.store._client.ttl(mark) > ENDED_TTL_S - 5
        await self.store._client.expire(mark, 60)

    async def forget_mark(self, hold: Hold) -> None:
        """Let the time pass for which it is remembered that a hold has ended."""
        self.clock.advance(ENDED_TTL_S + 1)
        if isinstance(self.store, RedisBudgetStore):
            await self.store._client.delete(CustomerKeys(hold.customer).ended(hold.id))

    async def forget_everything(self, store: BudgetStore) -> None:
        """Lose what a store has: FLUSHALL, or a new process."""
        if isinstance(store, RedisBudgetStore):
            await store._client.flushall()
        else:
            assert isinstance(store, MemoryBudgetStore)
            store._accounts.clear()


# Redis behind Sentinels is the same Redis once it is found.
_PARAMS = [pytest.param(name, marks=pytest.mark.long) if name == "redis sentinel" else name for name in STORES]


@pytest.fixture(params=_PARAMS)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A store, empty, over a ledger, empty."""
    make = STORES[request.param](request)
    book, clock = SpendBook(), ManualClock()
    store = make(book, clock)
    yield Scene(store, book, clock, make)
    await store.close()
