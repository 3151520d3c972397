import pytest

from bqgate.settings.fields import (
    SecretUrl,
    is_loopback,
    read_budgets_url,
    read_host_pattern,
    read_issuer_url,
    read_ledger_url,
    read_network,
    read_web_url,
)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bigquery.googleapis.com",
        "ftp://x",
        "https://",
        "https://x:notaport",
        "https://x:0",
        "https://x?y",
        "http://[",
        5,
    ],
)
def test_what_is_no_server_is_refused(value: object) -> None:
    """An upstream is the root of a web server."""
    with pytest.raises(ValueError, match=r".+"):
        read_web_url(value)


@pytest.mark.parametrize("value", ["https://bigquery.googleapis.com", "http://127.0.0.1:9050", "http://[::1]:9050"])
def test_a_server_is_kept_without_a_slash_at_its_end(value: str) -> None:
    """The gate's paths begin with one."""
    assert read_web_url(value + "/") == read_web_url(value) == value


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://:hunter2@cache", "redis://:*****@cache"),
        ("rediss+cluster://me:hunter2@a,b", "rediss+cluster://me:*****@a,b"),
        ("redis://me:hun@ter2@cache/0", "redis://me:*****@cache/0"),
        ("redis://me:hunt/er2@cache/0", "redis://me:*****@cache/0"),
        ("redis://cache?password=hunter2&db=1", "redis://cache?password=*****&db=1"),
    ],
)
def test_a_password_is_masked_however_it_is_written(url: str, shown: str) -> None:
    """Also one with letters that should have been escaped."""
    secret = read_budgets_url(url)
    assert str(secret) == shown
    assert "hunter2" not in repr(secret)
    assert secret.reveal() == url


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory", "", 5]
)
def test_a_ledger_is_a_file_or_a_server(url: object) -> None:
    """What would be forgotten is no ledger."""
    with pytest.raises(ValueError, match=r".+"):
        read_ledger_url(url)
    assert read_ledger_url("sqlite:////var/lib/bqgate.db") == SecretUrl("sqlite:////var/lib/bqgate.db")


@pytest.mark.parametrize(
    "value",
    ["https://login.example.com/realms/data/v2.0/", "https://x.eu.auth0.example/", "http://127.0.0.1:9000/issuer"],
)
def test_an_issuer_is_kept_letter_by_letter(value: str) -> None:
    """A slash at its end is part of the name that tokens bear."""
    assert read_issuer_url(value) == value


@pytest.mark.parametrize(
    "value", ["", "login.example.com", "http://login.example.com", "https://x#y", "https://a:b@x", 5]
)
def test_what_is_no_issuer_is_refused(value: object) -> None:
    """Keys that come in the clear over a network would be anybody's."""
    with pytest.raises(ValueError, match=r".+"):
        read_issuer_url(value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("lo", False)],
)
def test_loopback_is_this_machine_only(host: str, *, expected: bool) -> None:
    """Every address of 127/8 is this machine; every other may be reached over the network."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("postgresql://bqgate:p%40ss@h/db", ("bqgate", "p@ss")),
        ("postgresql://bqgate@h/db?password=p%40ss", ("bqgate", "p@ss")),
        ("rediss://:s3cret@h:6379/0", ("", "s3cret")),
        ("postgresql://bqgate@h/db", None),
        ("redis://:@h/0", None),
        ("memory://", None),
        ("sqlite:///bqgate.db", None),
        ("redis://[", None),
    ],
)
def test_a_url_tells_its_login_to_who_judges_it(url: str, login: tuple[str, str] | None) -> None:
    """User and password as the server gets them, wherever in the URL the password stands."""
    assert SecretUrl(url).login == login


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("10.0.0.7", "10.0.0.7/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("FD00:0::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
    ],
)
def test_a_network_is_an_address_or_a_cidr(value: str, network: str) -> None:
    """Both families, in any of their spellings; what was read may be read again."""
    assert str(read_network(value)) == network
    assert read_network(read_network(value)) == read_network(value)


@pytest.mark.parametrize(
    "value", ["", "proxy", "10.0.0.7/8", "10.0.0.0/33", "10.0.0.0-10.0.0.9", "*", 10, None, "10.0.0.1:80"]
)
def test_what_is_no_network_is_refused(value: object) -> None:
    """Names, ranges and stars are not looked up or guessed."""
    with pytest.raises(ValueError, match=r"must be an address|names one address"):
        read_network(value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("Gate.Example.com.", "gate.example.com"),
        ("*.Example.com", "*.example.com"),
        ("*", "*"),
        ("gate", "gate"),
        ("10.0.0.7", "10.0.0.7"),
        ("::1", "::1"),
        ("my_gate.svc.cluster.local", "my_gate.svc.cluster.local"),
    ],
)
def test_names_by_which_the_gate_is_called(value: str, read: str) -> None:
    """Compared in one spelling."""
    assert read_host_pattern(value) == read


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("https://gate.example.com", "alone"),
        ("gate.example.com/bq", "alone"),
        ("gate.example.com:8443", "port"),
        ("*.10.0.0.7", "name"),
        ("gate.*.example.com", "name"),
        ("*.*", "name"),
        ("münchen.example", "punycode"),
        ("a b", "name"),
        ("", "name"),
        (5, "name"),
    ],
)
def test_what_is_no_name_says_what_to_write(value: object, why: str) -> None:
    """A port and a scheme are no part of a host."""
    with pytest.raises(ValueError, match=why):
        read_host_pattern(value)
