"""Keep budgets in Redis or Redis Cluster, shared by any number of gates: the BudgetStore of replicas.

Made by app; called by admission, settlement and admin through ports.BudgetStore. Calls scripts, and the SpendSource
when a window is unknown. Every socket has a timeout, no call is repeated on its own, at most `connections_max` calls
are under way: without an answer a call ends within `timeout_s` for its turn, again to connect and again for each reply.
BudgetStoreUnavailable leaves it for whatever Redis or the network does; LedgerUnavailable when a filling fails.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Self

from redis.exceptions import RedisClusterException, RedisError

from bqgate.budgets import scripts
from bqgate.budgets.keys import (
    BREAKERS_PATTERN,
    CHECK_KEY,
    CHECK_TTL_S,
    HOLDS_PATTERN,
    CustomerKeys,
    customer_of,
    placed_at_of,
    unescape,
)
from bqgate.budgets.redis_client import RedisClient, close_client, keeping_cancellation, open_client
from bqgate.budgets.refill import Refill, Snapshot, assert_placeable
from bqgate.domain.budget import Balance, Window
from bqgate.domain.cost_breaker import NO_GRACE, Breaker, Standing, Terms
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.hold import Hold, Placement
from bqgate.ports import Clock, SpendSource

# Keys looked at in one SCAN step; a step stays well under a millisecond.
_SCAN_COUNT = 1000


class RedisBudgetStore:
    """BudgetStore in Redis. `client` decodes answers; it is closed with the store."""

    def __init__(
        self, client: RedisClient, source: SpendSource, clock: Clock, *, timeout_s: float, connections_max: int
    ) -> None:
        self._client = client
        self._clock = clock
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(connections_max)
        self._refill = Refill(source, self._fill)

    @classmethod
    def open(
        cls, url: str, source: SpendSource, clock: Clock, *, timeout_s: float = 1.0, connections_max: int = 50
    ) -> Self:
        """Make a store by URL: redis://, rediss:// (TLS), unix://, redis+cluster://, rediss+cluster://.

        Connects at the first call, so that a gate may start before its Redis does.

        Raises:
            ValueError: the URL is of no such kind.
        """
        client = open_client(url, timeout_s=timeout_s, connections_max=connections_max)
        return cls(client, source, clock, timeout_s=timeout_s, connections_max=connections_max)

    async def place_hold(self, hold: Hold, windows: tuple[Window, ...], terms: Terms = NO_GRACE) -> Placement:
        """Place a hold: one round trip. An id that was ended in the last minutes is refused, however much room."""
        assert_placeable(hold, windows)

        async def step() -> Placement:
            async with self._turn():
                return await scripts.place_hold(self._client, hold, windows, terms)

        return await self._refill.take(step)

    async def capture(self, hold: Hold, cost_nanos: int) -> bool:
        """End a hold with its cost: one round trip. False also when Redis lost the hold; reconcile mends that."""
        async with self._turn():
            return await scripts.end_hold(self._client, hold, cost_nanos, self._clock.now())

    async def void(self, hold: Hold) -> bool:
        """End a hold that cost nothing: one round trip."""
        async with self._turn():
            return await scripts.end_hold(self._client, hold, 0, self._clock.now())

    async def restore_hold(self, hold: Hold) -> bool:
        """Put a lost hold back: one round trip. False also for one that was ended in the last minutes."""
        async with self._turn():
            return await scripts.restore_hold(self._client, hold)

    async def fetch_balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        """What stands against each window, all at one moment: one round trip."""
        if not windows:
            return ()
        return (await self.fetch_standing(windows)).balances

    async def fetch_standing(self, windows: tuple[Window, ...]) -> Standing:
        """What stands against each window, and the breaker, all at one moment: one round trip."""
        _assert_one_customer(windows)

        async def step() -> Standing:
            async with self._turn():
                return await scripts.fetch_standing(self._client, windows)

        standing = await self._refill.take(step)
        is_open = standing.breaker is not None and standing.breaker.is_open(self._clock.now())
        return standing if is_open else Standing(standing.balances, None)

    async def fetch_breakers(self) -> dict[str, Breaker]:
        """Breakers that are open, by customer. Walks all keys: for an admin, not for a request."""
        found = {}
        async with self._turn():
            for key in sorted([key async for key in self._client.scan_iter(match=BREAKERS_PATTERN, count=_SCAN_COUNT)]):
                breaker = await scripts.fetch_breaker(self._client, key)
                if breaker is not None and breaker.is_open(self._clock.now()):
                    found[customer_of(key, BREAKERS_PATTERN)] = breaker
        return found

    async def reset_breaker(self, customer: str) -> None:
        """Close a breaker: one round trip."""
        async with self._turn():
            await self._client.delete(CustomerKeys(customer).breaker)

    async def forget_windows(self, customer: str) -> None:
        """Drop what stands against a customer's windows. Walks all keys: for the reconcile loop, not for a request."""
        pattern = CustomerKeys(customer).windows_pattern
        async with self._turn():
            for key in [key async for key in self._client.scan_iter(match=pattern, count=_SCAN_COUNT)]:
                await self._client.delete(key)

    async def fetch_hold_ids(self, customer: str) -> dict[str, datetime]:
        """Ids of the customer's open holds, with the moment each was placed (to the microsecond)."""
        async with self._turn():
            records = await self._client.hgetall(CustomerKeys(customer).holds)
        return {unescape(str(hold_id)): placed_at_of(str(record)) for hold_id, record in records.items()}

    async def fetch_customers(self) -> tuple[str, ...]:
        """Customers that have open holds, sorted. Walks all keys: for the reconcile loop, not for a request."""
        async with self._turn():
            keys = {key async for key in self._client.scan_iter(match=HOLDS_PATTERN, count=_SCAN_COUNT)}
        return tuple(sorted(customer_of(key) for key in keys))

    async def check(self) -> None:
        """Write a short-lived key: a replica, a full memory and a failed disk all show."""
        async with self._turn():
            await self._client.set(CHECK_KEY, "1", ex=CHECK_TTL_S)

    async def close(self) -> None:
        """Stop fillings and close connections."""
        await self._refill.close()
        await close_client(self._client)

    async def _fill(self, snapshot: Snapshot) -> None:
        async with self._turn():
            await scripts.fill_windows(self._client, snapshot, self._clock.now())

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and let only the port's error out."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._turns.acquire()
        except TimeoutError:
            raise BudgetStoreUnavailable("all connections to Redis are waiting for an answer") from None
        try:
            with keeping_cancellation():
                yield
        # A cluster's errors have a root of their own; OSError stands for TimeoutError and what sockets raise.
        except (RedisError, RedisClusterException, OSError) as error:
            raise BudgetStoreUnavailable(f"Redis: {error}") from error
        finally:
            self._turns.release()


def _assert_one_customer(windows: tuple[Window, ...]) -> None:
    assert len({window.customer for window in windows}) == 1, windows
