"""Start what operators run: a master with a replica and three Sentinels, and a cluster of three masters.

Fixtures: `redis_sentinel_url` and `redis_cluster_url`, empty, and the same for all tests of a session; `sentinel_set`
and `replicated_cluster`, for tests that break them. They start in two seconds, and a failover takes as long.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
import redis

from tests.support.redis_server import RedisServer, redis_servers, wait_until

SLOT_COUNT = 16384
SERVICE = "budgets"
_SYNC_AT_ONCE = ("--repl-diskless-sync-delay", "0")


@dataclass
class SentinelSet:
    """Servers of which one is the master; the Sentinels say which."""

    servers: list[RedisServer]
    sentinels: list[RedisServer]
    login: str = ""
    options: str = ""

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{self.login}{hosts}/{SERVICE}/0{self.options}"

    def master(self) -> RedisServer:
        """Whom the Sentinels call the master now."""
        with self.sentinels[0].client() as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def replica(self) -> RedisServer:
        """The other one."""
        master = self.master()
        return next(server for server in self.servers if server is not master)

    def wait_for_promotion_of(self, server: RedisServer) -> None:
        """Until all Sentinels name it, and it takes writes."""

        def is_promoted() -> bool:
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    answer = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
                    if int(answer[1]) != server.port:
                        return False
            with server.client() as client:
                return bool(client.info("replication")["role"] == "master")

        wait_until(is_promoted, "the replica is promoted", timeout_s=30)


@dataclass
class Cluster:
    """Masters that share the slots, and replicas of them."""

    masters: list[RedisServer]
    replicas: list[RedisServer]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{master.port}" for master in self.masters)

    def owner_of(self, key: str) -> RedisServer:
        """The master that has a key's slot."""
        for server in [*self.masters, *self.replicas]:
            with suppress(redis.RedisError), server.client() as client:
                slot = int(client.execute_command("CLUSTER", "KEYSLOT", key))
                for first, last, (_, port, *_), *_ in _raw_slots(client):
                    if first <= slot <= last:
                        return next(each for each in [*self.masters, *self.replicas] if each.port == port)
        raise AssertionError(f"nobody has {key}")

    def flush(self) -> None:
        for master in self.masters:
            with master.client() as client:
                client.flushall()


@pytest.fixture(scope="session")
def _lasting_sentinels() -> Iterator[SentinelSet]:
    with redis_servers() as make:
        yield start_sentinel_set(make)


@pytest.fixture(scope="session")
def _lasting_cluster() -> Iterator[Cluster]:
    with redis_servers() as make:
        yield start_cluster(make)


@pytest.fixture
def redis_sentinel_url(_lasting_sentinels: SentinelSet) -> str:
    """The URL of an empty master that three Sentinels name."""
    with _lasting_sentinels.master().client() as client:
        client.flushall()
    return _lasting_sentinels.url


@pytest.fixture
def redis_cluster_url(_lasting_cluster: Cluster) -> str:
    """The URL of an empty cluster of three masters."""
    _lasting_cluster.flush()
    return _lasting_cluster.url


@pytest.fixture
def sentinel_set() -> Iterator[SentinelSet]:
    """A master, a replica that is in step, three Sentinels that know one another: for the test alone."""
    with redis_servers() as make:
        yield start_sentinel_set(make)


@pytest.fixture
def replicated_cluster() -> Iterator[Cluster]:
    """Three masters, and a replica of each: for the test alone."""
    with redis_servers() as make:
        yield start_cluster(make, has_replicas=True)


def start_sentinel_set(make: Callable[..., RedisServer], *options: str, sentinel_config: str = "") -> SentinelSet:
    """Start them; `options` are those of the two servers."""
    master = make(*_SYNC_AT_ONCE, *options)
    replica = make(*_SYNC_AT_ONCE, "--replicaof", "127.0.0.1", str(master.port), *options)
    config = (
        f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} 500\n"
        f"sentinel failover-timeout {SERVICE} 3000\n"
        f"{sentinel_config}"
    )
    sentinels = [make("--sentinel", config=config) for _ in range(3)]
    started = SentinelSet([master, replica], sentinels)

    def is_whole() -> bool:
        for sentinel in sentinels:
            with sentinel.client() as client:
                state = client.sentinel_masters()[SERVICE]
            if (state["num-other-sentinels"], state["num-slaves"]) != (2, 1):
                return False
        with replica.client() as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    wait_until(is_whole, "Sentinels know one another and the replica", timeout_s=30)
    return started


def start_cluster(make: Callable[..., RedisServer], *options: str, has_replicas: bool = False) -> Cluster:
    """Start a cluster of three masters."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *_SYNC_AT_ONCE, *options)
    masters = [make(*options) for _ in range(3)]
    replicas = [make(*options) for _ in masters] if has_replicas else []
    everybody = [*masters, *replicas]
    for number, master in enumerate(masters):
        slots = range(SLOT_COUNT * number // 3, SLOT_COUNT * (number + 1) // 3)
        with master.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *slots)
    for server in everybody[1:]:
        with server.client() as client:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", masters[0].port)

    def know_one_another() -> bool:
        return all(info["cluster_known_nodes"] == str(len(everybody)) for info in map(_cluster_info, everybody))

    wait_until(know_one_another, "the nodes know one another", timeout_s=30)
    for master, replica in zip(masters, replicas, strict=False):
        with master.client() as at_master, replica.client() as client:
            node_id = at_master.execute_command("CLUSTER", "MYID")
            wait_until(lambda: _replicate(client, node_id), "it knows its master")  # noqa: B023 - called at once

    def is_whole() -> bool:
        return all(info["cluster_state"] == "ok" for info in map(_cluster_info, everybody)) and all(
            map(_is_in_step, replicas)
        )

    wait_until(is_whole, "the cluster is whole", timeout_s=30)
    return Cluster(masters, replicas)


def _replicate(client: redis.Redis, node_id: str) -> bool:
    client.execute_command("CLUSTER", "REPLICATE", node_id)  # type: ignore[no-untyped-call]  # redis-py types it not
    return True


def _is_in_step(replica: RedisServer) -> bool:
    with replica.client() as client:
        return bool(client.info("replication")["master_link_status"] == "up")


def _cluster_info(server: RedisServer) -> dict[str, str]:
    with server.client() as client:
        answer = client.execute_command("CLUSTER", "INFO")
    return answer if isinstance(answer, dict) else dict(line.split(":", 1) for line in answer.split())


def _raw_slots(client: redis.Redis) -> list[tuple[int, int, list[object]]]:
    answer = client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]  # redis-py types it not
    if isinstance(answer, dict):  # redis-py reads it
        return [(first, last, [*nodes["primary"]]) for (first, last), nodes in answer.items()]
    return list(answer)
