"""Let so many calls to Redis be under way at once, and no more of what goes wrong below leave than the port's error.

Used by redis_store. Each call waits for its turn, within a bound, and asks the breaker of the budget store first.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from redis.exceptions import RedisClusterException, RedisError

from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.budgets.redis_client import RedisClient, learn_nodes, redis_call
from bqgate.budgets.refill import UnknownWindows
from bqgate.domain.errors import BudgetStoreUnavailable


class RedisTurns:
    """Turns of one client. `timeout_s` is how long a call waits for its own; `breaker` None: Redis is always tried."""

    def __init__(
        self, client: RedisClient, *, timeout_s: float, connections_max: int, breaker: CircuitBreaker | None
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(connections_max)
        self._breaker = breaker

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """One call to Redis: its block.

        Raises:
            BudgetStoreUnavailable: Redis did not answer, or is left alone, or no turn came.
            UnknownWindows: Redis answered that it does not know them.
        """
        permit = None if self._breaker is None else self._breaker.ask(BudgetStoreUnavailable)
        with nullcontext() if permit is None else permit.failing_on(BudgetStoreUnavailable):
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._turns.acquire()
            except TimeoutError:
                raise BudgetStoreUnavailable("all connections to Redis are waiting for an answer") from None
            try:
                with redis_call():
                    await learn_nodes(self._client)
                    yield
            except UnknownWindows:
                if permit is not None:
                    permit.succeed()  # Redis answered
                raise
            # A cluster's errors have a root of their own; OSError stands for TimeoutError and what sockets raise.
            except (RedisError, RedisClusterException, OSError) as error:
                raise BudgetStoreUnavailable(f"Redis: {error}") from error
            finally:
                self._turns.release()
