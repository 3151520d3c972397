"""Call Redis, and let no more of what goes wrong below leave than the port's error.

Used by redis_store. Every call asks the breaker of the budget store first. Scripts go over one connection that all
share (redis_line.py); a cluster has no such one, so that scripts to it take turns as everything else does: so many
calls are under way at once, and each waits for its turn within a bound.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Concatenate, ParamSpec, TypeVar

from redis.exceptions import RedisClusterException, RedisError

from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.budgets.lua_script import ScriptClient
from bqgate.budgets.redis_client import RedisClient, learn_nodes, redis_call
from bqgate.budgets.redis_line import Dropped, RedisLine
from bqgate.budgets.refill import UnknownWindows
from bqgate.domain.errors import BudgetStoreUnavailable

AnswerT = TypeVar("AnswerT")
ArgsP = ParamSpec("ArgsP")

# A cluster's errors have a root of their own; OSError stands for TimeoutError and what sockets raise.
_FAULTS = (RedisError, RedisClusterException, OSError)


class RedisTurns:
    """Calls to one Redis. `timeout_s` is how long one waits for its turn; `breaker` None: Redis is always tried.

    `line` None: scripts take turns too.
    """

    def __init__(
        self,
        client: RedisClient,
        line: RedisLine | None,
        *,
        timeout_s: float,
        connections_max: int,
        breaker: CircuitBreaker | None,
    ) -> None:
        self._client = client
        self._line = line
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(connections_max)
        self._breaker = breaker

    async def run(
        self,
        script: Callable[Concatenate[ScriptClient, ArgsP], Awaitable[AnswerT]],
        *args: ArgsP.args,
        **options: ArgsP.kwargs,
    ) -> AnswerT:
        """Run a script; what scripts.py has for it is called with what it goes over.

        Raises:
            BudgetStoreUnavailable: Redis did not answer, or is left alone, or no turn came.
            UnknownWindows: Redis answered that it does not know them.
        """
        if self._line is None:
            async with self.take():
                return await script(self._client, *args, **options)
        permit = None if self._breaker is None else self._breaker.ask(BudgetStoreUnavailable)
        with nullcontext() if permit is None else permit.failing_on(BudgetStoreUnavailable):
            try:
                return await script(self._line, *args, **options)
            except UnknownWindows:
                if permit is not None:
                    permit.succeed()  # Redis answered
                raise
            except _FAULTS as error:
                if permit is not None and isinstance(error, Dropped):
                    permit.leave()  # the call that broke the connection says it
                raise BudgetStoreUnavailable(f"Redis: {error}") from error

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """One call to Redis that is no script: its block.

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
            except _FAULTS as error:
                raise BudgetStoreUnavailable(f"Redis: {error}") from error
            finally:
                self._turns.release()
