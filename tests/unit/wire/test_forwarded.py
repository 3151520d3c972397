from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.wire.forwarded import AsCalled, is_among, read_forwarded
from bqgate.wire.http_message import Headers

PROXIES = tuple(ip_network(text) for text in ("10.0.0.0/8", "fd00::/8", "192.0.2.1/32"))
PEER = "10.0.0.1"


def read(headers: dict[str, str] | Headers, elements: Any = (), *, peer: str = PEER) -> AsCalled:
    pairs = tuple(headers.items()) if isinstance(headers, dict) else headers
    return read_forwarded(pairs, elements, peer=peer, proxies=PROXIES)


@pytest.mark.parametrize("peer", ["203.0.113.9", "2001:db8::1", "", "unix:", "192.0.2.2"])
def test_nobody_else_is_believed(peer: str) -> None:
    """What a caller writes of itself counts for nothing where it is no proxy of the list; without a list nobody is."""
    headers = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    assert read(headers, [{"for": "198.51.100.7", "host": "evil.example"}], peer=peer) == AsCalled(peer)
    assert read_forwarded(tuple(headers.items()), (), peer=PEER, proxies=()) == AsCalled(PEER)


def test_a_trusted_proxy_tells_address_scheme_host_and_prefix() -> None:
    """Both families of headers say the same."""
    as_called = AsCalled("198.51.100.7", "https", "gate.example:8443")
    assert as_called == read(
        {"x-forwarded-for": "198.51.100.7", "X-FORWARDED-PROTO": "HTTPS", "X-Forwarded-Host": "gate.example:8443"}
    )
    assert as_called == read({}, [{"for": "198.51.100.7:4711", "proto": "https", "host": "gate.example:8443"}])
    assert read({"X-Forwarded-Prefix": "/data/bq/"}) == AsCalled(PEER, prefix="/data/bq")


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7, 10.0.0.9", "198.51.100.7"),
        ("198.51.100.7, 10.0.0.9 ,192.0.2.1", "198.51.100.7"),
        ("10.0.0.5, 10.0.0.9", "10.0.0.5"),
        ("1.1.1.1, unknown, 10.0.0.9", "10.0.0.9"),
        ("1.1.1.1, _hidden", PEER),
        ("1.1.1.1, ", PEER),
        ("", PEER),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("198.51.100.7, ::ffff:10.0.0.9", "198.51.100.7"),
        ("fe80::1%eth0", PEER),
        ("198.51.100.7\u00e4", PEER),
    ],
)
def test_the_client_is_the_last_who_is_no_proxy(chain: str, client: str) -> None:
    """Proxies add to the right; what stands left of the first stranger was written by that stranger."""
    assert read({"X-Forwarded-For": chain}).address == client


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "fd00::1", "192.0.2.1"])
def test_a_proxy_may_call_over_ipv6(peer: str) -> None:
    """An IPv4 address that a dual-stack socket shows is that IPv4 address."""
    assert read({"X-Forwarded-For": "198.51.100.7"}, peer=peer).address == "198.51.100.7"


def test_several_lines_are_one_list() -> None:
    """A proxy may add a line of its own instead of adding to the one that is there."""
    assert read((("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "198.51.100.7"))).address == "198.51.100.7"


def test_the_host_is_the_one_that_the_client_called() -> None:
    """Each proxy may tell the host it was called by; the one that faces the client counts, and nothing left of it."""
    headers = {
        "X-Forwarded-For": "1.1.1.1, 198.51.100.7, 10.0.0.9",
        "X-Forwarded-Host": "evil.example, gate.example, inner.example",
        "X-Forwarded-Proto": "gopher, https, http",
    }
    assert read(headers) == AsCalled("198.51.100.7", "https", "gate.example")
    elements = [
        {"for": "1.1.1.1", "host": "evil.example"},
        {"for": "198.51.100.7", "host": "gate.example", "proto": "https"},
        {"for": "10.0.0.9", "host": "inner.example", "proto": "http"},
    ]
    assert read({}, elements) == AsCalled("198.51.100.7", "https", "gate.example")


def test_a_single_value_is_the_outermost_proxys() -> None:
    """Most proxies write one host and hand on the one that they got."""
    headers = {"X-Forwarded-For": "198.51.100.7, 10.0.0.9", "X-Forwarded-Host": "gate.example"}
    assert read(headers).host == "gate.example"


def test_two_families_that_differ_are_not_believed() -> None:
    """A proxy that writes one family may hand on the other as a caller wrote it."""
    headers = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Host": "gate.example", "X-Forwarded-Proto": "https"}
    assert read(headers, [{"for": "1.1.1.1", "host": "evil.example", "proto": "http"}]) == AsCalled(PEER)
    same = read(headers, [{"for": "198.51.100.7", "host": "gate.example"}])
    assert same == AsCalled("198.51.100.7", "https", "gate.example")


def test_what_one_family_leaves_out_the_other_may_say() -> None:
    """Who says nothing of an address does not deny another's."""
    headers = {"X-Forwarded-Host": "gate.example"}
    assert read(headers, [{"for": "198.51.100.7", "proto": "https"}]) == AsCalled(
        "198.51.100.7", "https", "gate.example"
    )
    assert read({"X-Forwarded-For": "198.51.100.7"}, [{"proto": "https"}]) == AsCalled("198.51.100.7", "https")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        'a"',
        "a/b",
        "a@b",
        "a\\b",
        "<a>",
        "a:b",
        "a:99999999",
        "[::1",
        "::1",
        "a,b",
        "-",
        "ä.example",
        "a" * 300,
    ],
)
def test_a_malformed_host_is_no_host(host: str) -> None:
    """Nothing that is no host gets into a header or a document of the gate's."""
    assert read({"X-Forwarded-Host": host}).host != host
    assert read({}, [{"for": "198.51.100.7", "host": host}]).host is None


@pytest.mark.parametrize(
    "host", ["gate.example", "GATE.example:1", "my_gate", "10.1.2.3:8080", "[2001:db8::1]", "[::1]:9"]
)
def test_a_host_may_have_a_port(host: str) -> None:
    """Names and addresses of both kinds."""
    assert read({"X-Forwarded-Host": host}).host == host


@pytest.mark.parametrize(
    "prefix", ["bq", "/a//b", "/../x", "/a/.", "//evil.example", "/a?b", "/a b", "/%2e%2e", "/a\\b"]
)
def test_a_malformed_prefix_is_no_prefix(prefix: str) -> None:
    """A prefix is a plain path, which cannot lead elsewhere."""
    assert read({"X-Forwarded-Prefix": prefix}).prefix == ""


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_proxy_says_is_read(chain: str, host: str, prefix: str) -> None:
    """No text makes the reading fail, and what it leaves can stand in a URL."""
    headers = {"X-Forwarded-For": chain, "X-Forwarded-Host": host, "X-Forwarded-Prefix": prefix}
    told = read(headers, [{"for": chain, "host": host, "proto": prefix}])
    assert told.host is None or told.host.isascii()
    assert told.prefix.isascii()
    assert told.scheme in {None, "http", "https"}


def test_what_is_no_address_is_in_no_network() -> None:
    """A peer without an address is nobody's proxy."""
    assert not is_among("somewhere", PROXIES)
    assert is_among("10.255.0.1", PROXIES)


def test_a_hostile_line_is_read_in_no_time() -> None:
    """A line of 32 KiB that is no Forwarded at its very end is not tried in many ways."""
    for text in (" ;" * 15_000 + "(", 'a="' * 10_000, "a=1:1" * 6_000, "a=b; " * 6_000 + '"'):
        assert read((("Forwarded", text),), [{"host": "evil.example"}]).host is None
