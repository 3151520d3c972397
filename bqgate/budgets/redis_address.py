"""Read the URL of a Redis: one server, a master that Sentinels name, or a cluster. Pure.

Used by redis_client and rate_storage. Schemes are redis:// and rediss:// (TLS), unix://, and with +sentinel or +cluster
behind either of the first two, which may name several hosts; options behind the ? are those of redis-py's connections.
`sentinel_` before an option means the connections to the Sentinels alone. ValueError leaves it for anything else; where
it is an AddressFault, its text may be shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

_SENTINEL_PORT = 26379
_REDIS_PORT = 6379
_FOR_SENTINELS = "sentinel_"


class AddressFault(ValueError):
    """What is wrong with a URL, in words that quote nothing of it, since it holds a password."""


class Topology(Enum):
    """How many servers there are, and who says which to ask."""

    SINGLE = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is. `options` are arguments of redis-py's clients, passwords among them.

    `hosts` are any nodes of a cluster, or the Sentinels, which know the master by the name `service`; of one server
    there are none, it is in `url`.
    """

    topology: Topology
    url: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_address(url: str) -> RedisAddress:
    """Read a URL.

    Raises:
        AddressFault: it is of no Redis, or names no server.
        ValueError: something in it is not as redis-py would have it.
    """
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if scheme in {"redis", "rediss", "unix"}:
        return RedisAddress(Topology.SINGLE, url)
    if base not in {"redis", "rediss"} or kind not in {Topology.SENTINEL.value, Topology.CLUSTER.value}:
        raise AddressFault("a Redis has a redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// URL")
    topology = Topology(kind)
    before_path = rest.partition("?")[0].partition("/")[0]
    login, at, hosts = before_path.rpartition("@")
    path, _, query = rest.removeprefix(before_path).partition("?")
    service, database = "", path.strip("/")
    if topology is Topology.SENTINEL:
        service, _, database = database.partition("/")
        if not service:
            raise AddressFault("names no master; write redis+sentinel://HOST:26379,HOST:26379/MASTER/0")
    if database and not database.isdecimal():
        raise AddressFault("names no database; write its number at the end of the path")
    if topology is Topology.CLUSTER and database.strip("0"):
        raise AddressFault("names a database, and a cluster has none but 0")
    options: dict[str, Any] = {**parse_url(f"{base}://{login}{at}localhost/{database}?{query}")}
    options.pop("host")
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    own = {name: value for name, value in options.items() if not name.startswith(_FOR_SENTINELS)}
    tls = {name: value for name, value in own.items() if name.startswith("ssl")}
    for_sentinels = {
        name.removeprefix(_FOR_SENTINELS): value for name, value in options.items() if name.startswith(_FOR_SENTINELS)
    }
    return RedisAddress(
        topology,
        f"{base}://{before_path}",
        tuple(_read_host(host, _SENTINEL_PORT if service else _REDIS_PORT) for host in hosts.split(",")),
        unquote(service),
        own,
        {**tls, **for_sentinels} if service else {},
    )


def _read_host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text.strip()}")
    if not parts.hostname:
        raise AddressFault("names no host, or a comma too many")
    return parts.hostname, parts.port or port
