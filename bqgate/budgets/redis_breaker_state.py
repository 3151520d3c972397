"""Share circuit-breaker state between gates through Redis: the SharedBreakerState of breakers.shared_state.

Made by app, beside the budget store and on the same Redis. One string key for each name, `bqgate:system:<name>`, with
the word "open" or "closed" and an expiry, so that a gate that dies leaves no word behind; it is no customer's and no
part of a budget (those keys are in keys.py). Nothing is repeated. BudgetStoreUnavailable leaves it for whatever Redis
or the network does.
"""

from typing import Self

from redis.exceptions import RedisClusterException, RedisError

from bqgate.budgets.keys import escape
from bqgate.budgets.redis_client import RedisClient, close_client, open_client, redis_call
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.units import MS_PER_S

_OPEN, _CLOSED = "open", "closed"
_CONNECTIONS_MAX = 4


class RedisBreakerState:
    """Shared breaker state in Redis. `client` decodes answers; it is closed with it."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    @classmethod
    def open(cls, url: str, *, timeout_s: float = 1.0) -> Self:
        """Make one by the URL of a budget store. Connects at the first call.

        Raises:
            ValueError: the URL is of no Redis.
        """
        return cls(open_client(url, timeout_s=timeout_s, connections_max=_CONNECTIONS_MAX))

    async def write(self, name: str, *, is_open: bool, for_s: float) -> None:
        """See breakers.shared_state.SharedBreakerState."""
        try:
            state = _OPEN if is_open else _CLOSED
            with redis_call():
                await self._client.set(_key(name), state, px=max(round(for_s * MS_PER_S), 1))
        except (RedisError, RedisClusterException, OSError) as error:
            raise BudgetStoreUnavailable(f"Redis: {error}") from error

    async def read(self, name: str) -> tuple[bool, float] | None:
        """See breakers.shared_state.SharedBreakerState."""
        key = _key(name)
        try:
            with redis_call():
                state = await self._client.get(key)
                left_ms = 0 if state is None else await self._client.pttl(key)
        except (RedisError, RedisClusterException, OSError) as error:
            raise BudgetStoreUnavailable(f"Redis: {error}") from error
        return None if left_ms <= 0 else (state == _OPEN, left_ms / MS_PER_S)

    async def close(self) -> None:
        """Close connections."""
        await close_client(self._client)


def _key(name: str) -> str:
    return f"bqgate:system:{escape(name)}"
