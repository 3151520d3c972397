"""URLs of Redis in all their forms, and what is none."""

import pytest

from bqgate.budgets.redis_address import RedisAddress, Topology, read_address
from bqgate.budgets.redis_client import fault_of_url


def test_sentinels_with_everything() -> None:
    """Several hosts with and without ports, the master's name, a database, credentials and TLS for both kinds."""
    address = read_address(
        "rediss+sentinel://gate:p%40ss@s1:26380,[::1],s3/my%20master/2?ssl_ca_certs=/ca.pem&sentinel_password=w%26t"
    )
    assert address.topology is Topology.SENTINEL
    assert address.hosts == (("s1", 26380), ("::1", 26379), ("s3", 26379))
    assert address.service == "my master"
    tls = {"ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert address.options == {"username": "gate", "password": "p@ss", "db": 2, **tls}
    assert address.sentinel_options == {"password": "w&t", **tls}


def test_a_cluster_by_several_nodes() -> None:
    """Any of them tells all the others, so a gate may start while one is away."""
    address = read_address("redis+cluster://:w@n1:7000,n2:7001,n3?socket_timeout=3")
    assert address.hosts == (("n1", 7000), ("n2", 7001), ("n3", 6379))
    assert address.options == {"password": "w", "socket_timeout": 3.0}


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://h", "unix:///run/redis.sock"])
def test_one_server_is_left_to_redis_py(url: str) -> None:
    """Its URL is handed on as it is."""
    assert read_address(url) == RedisAddress(Topology.SINGLE, url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://", "redis://"),
        ("unix+cluster:///run/redis", "redis://"),
        ("redis+sentinel://h", "names no master"),
        ("redis+sentinel://h/", "names no master"),
        ("redis+sentinel://h/mymaster/first", "names no database"),
        ("redis+cluster://h1,,h2", "comma"),
        ("redis+cluster://h/3", "none but 0"),
        ("rediss+cluster://u:p@h1,h2:7000/1?socket_timeout=1", "none but 0"),
        ("redis+cluster://", "comma"),
        ("redis+sentinel://h:first/mymaster", "ort"),
        ("redis+sentinel://[::1/mymaster", "IPv6"),
        ("redis+sentinel://h/m?socket_timeout=soon", "socket_timeout"),
    ],
)
def test_what_is_no_url_of_redis_is_refused(url: str, says: str) -> None:
    """ValueError, also where redis-py would have found the fault later."""
    with pytest.raises(ValueError, match=says):
        read_address(url)
    assert fault_of_url(url) is not None


def test_the_fault_is_told_that_it_is() -> None:
    """Not what a URL looks like in general, where it is known what is missing or too much in this one."""
    assert "names no master" in str(fault_of_url("redis+sentinel://:s3cret@h1,h2"))
    assert "none but 0" in str(fault_of_url("redis+cluster://:s3cret@h1/1"))
    assert "s3cret" not in str(fault_of_url("redis+sentinel://:s3cret#@h1/m"))


def test_blanks_around_hosts_are_no_part_of_their_names() -> None:
    """Else a Sentinel would be missed only when it is needed."""
    hosts = read_address("redis+sentinel://:p@h1, h2:7 ,h3/mymaster").hosts
    assert hosts == (("h1", 26379), ("h2", 7), ("h3", 26379))


@pytest.mark.parametrize("option", ["nonsense=1", "sentinel_nonsense=1"])
def test_an_option_that_nobody_knows_is_named(option: str) -> None:
    """Found before anything is connected."""
    assert "nonsense" in str(fault_of_url(f"redis+sentinel://s/mymaster?{option}"))


def test_no_password_is_shown() -> None:
    """An address prints without its secrets."""
    assert "7rtQ" not in repr(read_address("redis+sentinel://:7rtQ@s/m?sentinel_password=7rtQ"))
