import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.wire.authority import (
    Authority,
    KnownHosts,
    Origin,
    origin_at,
    read_authority,
    read_origin,
    target_authority,
)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("gate.example", Authority("gate.example", None, is_address=False)),
        ("Gate.EXAMPLE.:8080", Authority("gate.example", 8080, is_address=False)),
        ("my_gate:", Authority("my_gate", None, is_address=False)),
        ("xn--mnchen-3ya.example", Authority("xn--mnchen-3ya.example", None, is_address=False)),
        ("10.0.0.7:1", Authority("10.0.0.7", 1, is_address=True)),
        ("10.0.0.7.", Authority("10.0.0.7", None, is_address=True)),
        ("10.0.0.256", Authority("10.0.0.256", None, is_address=False)),
        ("[2001:DB8:0::7]:443", Authority("2001:db8::7", 443, is_address=True)),
        ("[fe80::1%eth0]", Authority("fe80::1", None, is_address=True)),
    ],
)
def test_hosts_have_one_spelling(text: str, authority: Authority) -> None:
    """Whatever letters, dots and zones a client writes."""
    assert read_authority(text) == authority


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "a b",
        "a@b",
        "a/b",
        "a..b",
        ".a",
        "a:b",
        "a:70000",
        "[::1",
        "::1",
        "[1.2.3.4]",
        "[::1]x",
        "a" * 64,
        "ä",
    ],
)
def test_what_is_no_host(text: str) -> None:
    """A login, a blank, a path and what is too long are no part of a host."""
    assert read_authority(text) is None


@given(st.text(max_size=60))
def test_whatever_is_sent_is_read_or_refused(text: str) -> None:
    """Nothing is raised, and what was read is read alike."""
    authority = read_authority(text)
    if authority is not None:
        written = f"[{authority.host}]" if ":" in authority.host else authority.host
        assert read_authority(written) == Authority(authority.host, None, is_address=authority.is_address)
    assert target_authority(text) is None or "://" in text
    assert read_origin(text) is None or "://" in text


def test_origins_are_equal_by_scheme_host_and_port() -> None:
    """The scheme's own port may be left out."""
    gate = read_authority("gate.example")
    assert gate is not None
    assert read_origin("HTTPS://Gate.example:443") == origin_at("https", gate) == Origin("https", "gate.example", 443)
    assert read_origin("http://gate.example") == Origin("http", "gate.example", 80)
    assert read_origin("http://[::1]:8080") == Origin("http", "::1", 8080)
    for text in ("null", "", "file://", "https://", "https://a/", "https://u@a", "ftp://a", "https://a, https://b"):
        assert read_origin(text) is None


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/projects", None),
        ("//evil.example/projects", None),
        ("*", None),
        ("/a?u=http://evil.example", None),
        ("http://evil.example:1/a", "evil.example:1"),
        ("http://a@evil.example?x", "a@evil.example"),
    ],
)
def test_only_an_absolute_target_names_a_host(target: str, said: str | None) -> None:
    """As it stands there, a login included."""
    assert target_authority(target) == said


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("gate.example", True),
        ("a.gate.example", False),
        ("below.example", False),
        ("a.below.example", True),
        ("a.b.below.example", True),
        ("abelow.example", False),
        ("10.0.0.7", True),
        ("[::1]", True),
    ],
)
def test_a_star_stands_for_what_is_below_a_name(host: str, is_known: bool) -> None:
    """One label or more, and not the name itself; addresses are known to everybody."""
    authority = read_authority(host)
    assert authority is not None
    assert KnownHosts({"gate.example", "*.below.example"}).has(authority) is is_known
    assert KnownHosts({"*"}).has(authority)
