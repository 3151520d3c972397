"""Open a client of Redis or of Redis Cluster by URL, with every wait bounded and nothing repeated.

Used by all that is on Redis in this room. Connects at the first call. ValueError leaves it for a URL of no Redis.

Every call goes through `keeping_cancellation`: redis-py sends by asyncio.wait_for, which before Python 3.12 forgets a
cancellation that comes in the very step in which sending ends (https://github.com/python/cpython/issues/86296). A loop
that calls Redis would then run on for ever, and the gate that waits for its end would never stop.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

RedisClient = Redis | RedisCluster

_CLUSTER_SCHEMES = {"redis+cluster://": "redis://", "rediss+cluster://": "rediss://"}
_SCHEMES = ("redis://", "rediss://", "unix://")


@contextmanager
def keeping_cancellation() -> Iterator[None]:
    """Have a block that was cancelled end as cancelled, also where something in it forgot that.

    A cancellation that the task was told before the block is not told again.
    """
    task = asyncio.current_task()
    assert task is not None, "only a task can be cancelled"
    told = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > told:
            raise asyncio.CancelledError


def open_client(url: str, *, timeout_s: float, connections_max: int) -> RedisClient:
    """Make a client: redis://, rediss:// (TLS), unix://, redis+cluster://, rediss+cluster://.

    Args:
        url: options in its query beat the arguments, as redis-py has it.
        timeout_s: to connect, and again for each answer.
        connections_max: for a cluster, to each node. The pool refuses more, so callers take turns before it.

    Raises:
        ValueError: the URL is of no such kind.
    """
    for cluster_scheme, scheme in _CLUSTER_SCHEMES.items():
        if url.startswith(cluster_scheme):
            return RedisCluster.from_url(
                scheme + url.removeprefix(cluster_scheme),
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                max_connections=connections_max,
                retry=_no_retry(),
                decode_responses=True,
                protocol=2,
            )
    return _open_single(url, timeout_s=timeout_s, connections_max=connections_max)


def open_single_client(url: str, *, timeout_s: float, connections_max: int) -> Redis:
    """Make a client of one server: of a cluster, the node that the URL names.

    Arguments and errors are those of open_client.
    """
    for cluster_scheme, scheme in _CLUSTER_SCHEMES.items():
        url = url.replace(cluster_scheme, scheme, 1) if url.startswith(cluster_scheme) else url
    return _open_single(url, timeout_s=timeout_s, connections_max=connections_max)


def fault_of_url(url: str) -> str | None:
    """What is wrong with a URL, as far as that shows without connecting; never quotes it, since it holds a password."""
    _, _, behind_host = url.partition("://")[2].partition("/")
    if "@" in behind_host:
        return "holds a password with a character that ends the host; percent-encode it (/ is %2F, # is %23, ? is %3F)"
    try:
        open_client(url, timeout_s=1, connections_max=1)
        pool = open_single_client(url, timeout_s=1, connections_max=1).connection_pool
        pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py types it not; it does not connect yet
    except TypeError as error:  # redis-py hands options on to its classes as they are
        option = re.search(r"argument '(\w+)'", str(error))
        return f"has an option that redis-py does not know: {option[1] if option else 'see its documentation'}"
    except (ValueError, RedisError):
        return (
            "is no URL that redis-py understands; write redis://USER:PASSWORD@HOST:PORT/0, and its options as it does"
        )
    return None


async def close_client(client: RedisClient) -> None:
    """Close its connections. One whose other end does not take leave in time is dropped, which is no failure."""
    with suppress(RedisError, OSError):
        await client.aclose()


def _open_single(url: str, *, timeout_s: float, connections_max: int) -> Redis:
    if not url.startswith(_SCHEMES):
        raise ValueError("a budget store in Redis has a redis://, rediss://, unix:// or redis+cluster:// URL")
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=connections_max,
        retry=_no_retry(),
        decode_responses=True,
        protocol=2,
    )


def _no_retry() -> Retry:
    # redis-py tries again by itself unless told otherwise; a caller that waits for a decision is told at once.
    return Retry(NoBackoff(), 0)
