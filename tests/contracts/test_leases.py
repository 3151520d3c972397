"""Every LeaseStore: of those who saw one state, one takes the lease."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bqgate.ledger import SqlLeases, SqlLedger
from bqgate.ports import LeaseRecord, LeaseStore
from tests.support.leases import MemoryLeases

NEVER = LeaseRecord("", 0)


@pytest.fixture(params=["memory", "sql"])
async def store(request: pytest.FixtureRequest, ledger: SqlLedger, ledger_url: str) -> AsyncIterator[LeaseStore]:
    """Leases, none taken."""
    if request.param == "memory":
        yield MemoryLeases()
        return
    opened = SqlLeases.open(ledger_url)
    yield opened
    await opened.close()


async def test_what_was_never_taken_is_nobodys(store: LeaseStore) -> None:
    """A lease that nobody has ever taken has no holder and no beat."""
    assert await store.fetch_lease("sweep") == NEVER


async def test_of_many_who_saw_the_same_one_takes_it(store: LeaseStore) -> None:
    """Replicas that saw one state and take the lease at once: one gets it, at the first time and later."""
    for beat in range(3):
        seen = await store.fetch_lease("sweep")
        takes = [store.take_lease("sweep", holder=f"gate-{number}", seen=seen) for number in range(5)]
        taken = await asyncio.gather(*takes)
        assert sorted(taken) == [False] * 4 + [True]
        assert await store.fetch_lease("sweep") == LeaseRecord(f"gate-{taken.index(True)}", beat + 1)


async def test_leases_are_apart(store: LeaseStore) -> None:
    """One lease says nothing of another."""
    assert await store.take_lease("sweep", holder="gate-1", seen=NEVER)
    assert await store.fetch_lease("mirror") == NEVER


async def test_what_was_seen_long_ago_takes_nothing(store: LeaseStore) -> None:
    """Who saw an earlier beat, even of the same holder, takes nothing."""
    assert await store.take_lease("sweep", holder="gate-1", seen=NEVER)
    assert await store.take_lease("sweep", holder="gate-1", seen=LeaseRecord("gate-1", 1))
    assert not await store.take_lease("sweep", holder="gate-2", seen=LeaseRecord("gate-1", 1))
    assert not await store.take_lease("sweep", holder="gate-2", seen=NEVER)
