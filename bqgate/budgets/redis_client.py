"""Open a client of Redis by URL (redis_address.py), with every wait bounded and nothing repeated.

Used by all that is on Redis in this room. Connects at the first call. ValueError leaves it for a URL of no Redis.

Every call goes through `redis_call`, for two things that go wrong below it. redis-py sends by asyncio.wait_for, which
before Python 3.12 forgets a cancellation that comes in the very step in which sending ends
(https://github.com/python/cpython/issues/86296). A loop that calls Redis would then run on for ever, and the gate that
waits for its end would never stop. And when one connection to a cluster's node breaks, redis-py closes all that are
idle, also one that a call has just taken.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis.asyncio import ConnectionPool, Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from bqgate.budgets.redis_address import AddressFault, RedisAddress, Topology, read_address

RedisClient = Redis | RedisCluster

# Where a slot has moved its new node is noted. Else redis-py closes all connections after five such answers, in the
# midst of others' calls.
_KEPT_OPEN = {"reinitialize_steps": 0}


@contextmanager
def redis_call() -> Iterator[None]:
    """Have a block that was cancelled end as cancelled, also where something in it forgot that.

    A cancellation that the task was told before the block is not told again.

    Raises:
        redis.exceptions.ConnectionError: the connection was closed under the call, or Sentinels named no master.
    """
    task = asyncio.current_task()
    assert task is not None, "only a task can be cancelled"
    told = task.cancelling()
    try:
        yield
    except MasterNotFoundError as error:
        raise RedisConnectionError(_without_objects(str(error))) from None
    except AttributeError as error:
        if error.obj is not None or error.name != "writelines":
            raise
        raise RedisConnectionError("the connection was closed before the call was sent") from error
    finally:
        if task.cancelling() > told:
            raise asyncio.CancelledError


def _without_objects(text: str) -> str:
    """What redis-py says of Sentinels, without the clients that it prints: who they are, the settings say."""
    said, _, of_each = text.partition(" : ")
    faults = sorted(set(re.findall(r" - (?:\w+:)?(\w+)", of_each)))
    return f"{said}; of Sentinels: {', '.join(faults)}" if faults else said


def open_client(url: str, *, timeout_s: float, connections_max: int) -> RedisClient:
    """Make a client: redis://, rediss:// (TLS), unix://, and the first two with +sentinel or +cluster.

    Args:
        url: options in its query beat the arguments, as redis-py has it.
        timeout_s: to connect, and again for each answer; to ask each Sentinel, as long again.
        connections_max: for a cluster, to each node. The pool refuses more, so callers take turns before it.

    Raises:
        ValueError: the URL is of no such kind.
    """
    address = read_address(url)
    options = {**waits(timeout_s), "max_connections": connections_max, "decode_responses": True, "protocol": 2}
    match address.topology:
        case Topology.SINGLE:
            return Redis.from_url(address.url, **options)
        case Topology.SENTINEL:
            return Redis(connection_pool=open_sentinel_pool(address, **options))
        case Topology.CLUSTER:
            return RedisCluster(startup_nodes=nodes_of(address), **{**options, **_KEPT_OPEN, **address.options})


async def learn_nodes(client: RedisClient) -> None:
    """Ask a cluster for its nodes, once: until then redis-py sends scripts to any of them, to be sent on."""
    if isinstance(client, RedisCluster):
        await client.initialize()


def open_single_clients(url: str, *, timeout_s: float, connections_max: int) -> tuple[Redis, ...]:
    """Make a client of one server; of a cluster, one of each node that the URL names.

    Arguments and errors are those of open_client.
    """
    address = read_address(url)
    if address.topology is not Topology.CLUSTER:
        client = open_client(url, timeout_s=timeout_s, connections_max=connections_max)
        assert isinstance(client, Redis)
        return (client,)
    options = {**waits(timeout_s), "max_connections": connections_max, "decode_responses": True, "protocol": 2}
    return tuple(Redis(host=host, port=port, **{**options, **address.options}) for host, port in address.hosts)


def open_sentinel_pool(address: RedisAddress, **options: Any) -> SentinelConnectionPool:
    """Connections to the master that Sentinels name, asked each time one is made."""
    for_sentinels = {**waits(options["socket_timeout"]), "protocol": 2, **address.sentinel_options}
    sentinels = Sentinel(list(address.hosts), sentinel_kwargs=for_sentinels)  # type: ignore[no-untyped-call]  # redis-py's
    merged = {**options, **address.options}
    return SentinelConnectionPool(address.service, sentinels, **merged)  # type: ignore[no-untyped-call]  # redis-py's


def nodes_of(address: RedisAddress) -> list[ClusterNode]:
    """The nodes of a cluster that are asked first for all the others."""
    return [ClusterNode(host, port) for host, port in address.hosts]


def waits(timeout_s: float) -> dict[str, Any]:
    """Options of every connection: bounded waits, and no second try by redis-py."""
    # A caller that waits for a decision is told at once.
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}


def fault_of_url(url: str) -> str | None:
    """What is wrong with a URL, as far as that shows without connecting; never quotes it, since it holds a password."""
    _, _, behind_host = url.partition("://")[2].partition("/")
    if "@" in behind_host:
        return "holds a password with a character that ends the host; percent-encode it (/ is %2F, # is %23, ? is %3F)"
    try:
        open_client(url, timeout_s=1, connections_max=1)
        for client in open_single_clients(url, timeout_s=1, connections_max=1):
            client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # it does not connect yet
    except AddressFault as fault:
        return str(fault)
    except TypeError as error:  # redis-py hands options on to its classes as they are
        option = re.search(r"argument '(\w+)'", str(error))
        return f"has an option that redis-py does not know: {option[1] if option else 'see its documentation'}"
    except (ValueError, RedisError):
        return (
            "is no URL that redis-py understands; write redis://USER:PASSWORD@HOST:PORT/0, "
            "redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/MASTER/0 or redis+cluster://USER:PASSWORD@HOST:PORT, "
            "and options as redis-py does"
        )
    return None


async def close_client(client: RedisClient) -> None:
    """Close its connections. One whose other end does not take leave in time is dropped, which is no failure."""
    with suppress(RedisError, OSError):
        await client.aclose()
        if isinstance(client, Redis):
            # A pool that was handed in is not closed with its client.
            await close_pool(client.connection_pool)


async def close_pool(pool: ConnectionPool) -> None:
    """Close connections, and those to Sentinels. One whose other end does not take leave in time is dropped."""
    with suppress(RedisError, OSError):
        await pool.disconnect()
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()
