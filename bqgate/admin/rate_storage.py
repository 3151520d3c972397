"""Open the Redis in which rate limits are counted, by the URL that the budgets have.

Called by app, and only where the settings name a Redis: the package redis is an extra. Every wait is bounded and
nothing is repeated, as for the budgets themselves. Failures leave as limits.errors.StorageError.
"""

from contextlib import suppress
from typing import Any

from limits.aio.storage import RedisClusterStorage, RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from redis.asyncio import ConnectionPool
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

_CLUSTER_SCHEMES = {"redis+cluster://": "redis://", "rediss+cluster://": "rediss://"}
_PREFIX = "bqgate:rates"


def open_storage(url: str, *, timeout_s: float, connections_max: int) -> RedisStorage:
    """A storage in Redis: redis://, rediss:// (TLS), unix://, redis+cluster://, rediss+cluster://. Connects later.

    `limits` is given a pool and not the URL, which it would quote in its errors.

    Raises:
        ValueError: the URL is of no such kind.
    """
    waits: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    for cluster_scheme, scheme in _CLUSTER_SCHEMES.items():
        if url.startswith(cluster_scheme):
            options: dict[str, Any] = {**parse_url(scheme + url.removeprefix(cluster_scheme))}
            node = ClusterNode(host=options.pop("host", "localhost"), port=options.pop("port", 6379))
            options["ssl"] = options.pop("connection_class", None) is SSLConnection
            options |= {"startup_nodes": [node], "max_connections": connections_max}
            return RedisClusterStorage(
                "redis+cluster://",
                wrap_exceptions=True,
                implementation="redispy",
                key_prefix=_PREFIX,
                **options,
                **waits,
            )
    pool: dict[str, Any] = {"connection_pool": ConnectionPool.from_url(url, max_connections=connections_max, **waits)}
    return RedisStorage("redis://", wrap_exceptions=True, implementation="redispy", key_prefix=_PREFIX, **pool)


async def close_storage(storage: RedisStorage) -> None:
    """Give back its connections; one whose other end does not take leave in time is dropped."""
    assert isinstance(storage.bridge, RedispyBridge)
    with suppress(RedisError, OSError):
        await storage.bridge.storage.aclose()
        # A pool that was handed in is not closed with its client.
        pool = getattr(storage.bridge.storage, "connection_pool", None)
        if pool is not None:
            await pool.disconnect()
