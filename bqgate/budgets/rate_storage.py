"""Open the Redis in which rate limits are counted, by the URL that the budgets have.

Called by app, and only where the settings name a Redis: the package redis is an extra. Every wait is bounded and
nothing is repeated, as for the budgets themselves. Failures leave as limits.errors.StorageError.
"""

from contextlib import suppress
from typing import Any

from limits.aio.storage import RedisClusterStorage, RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from bqgate.budgets.redis_address import Topology, read_address
from bqgate.budgets.redis_client import close_pool, nodes_of, open_sentinel_pool, waits

_PREFIX = "bqgate:rates"


def open_storage(url: str, *, timeout_s: float, connections_max: int) -> RedisStorage:
    """A storage in Redis, by the URLs of redis_address. Connects later.

    `limits` is given a pool and not the URL, which it would quote in its errors.

    Raises:
        ValueError: the URL is of no such kind.
    """
    address = read_address(url)
    options: dict[str, Any] = {**waits(timeout_s), "max_connections": connections_max}
    if address.topology is Topology.CLUSTER:
        nodes: dict[str, Any] = {"startup_nodes": nodes_of(address)}
        return RedisClusterStorage(
            "redis+cluster://",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=_PREFIX,
            **{**options, **nodes, **address.options},
        )
    is_named = address.topology is Topology.SENTINEL
    pool: dict[str, Any] = {
        "connection_pool": open_sentinel_pool(address, **options)
        if is_named
        else ConnectionPool.from_url(address.url, **options)
    }
    return RedisStorage("redis://", wrap_exceptions=True, implementation="redispy", key_prefix=_PREFIX, **pool)


async def close_storage(storage: RedisStorage) -> None:
    """Give back its connections; one whose other end does not take leave in time is dropped."""
    assert isinstance(storage.bridge, RedispyBridge)
    with suppress(RedisError, OSError):
        await storage.bridge.storage.aclose()
        # A pool that was handed in is not closed with its client.
        pool = getattr(storage.bridge.storage, "connection_pool", None)
        if pool is not None:
            await close_pool(pool)
