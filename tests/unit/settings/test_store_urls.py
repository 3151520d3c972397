import pytest

from bqgate.settings import SettingsInvalid, ledger_rules, load_settings, rules


def message_of(variable: str, url: str) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(None, {variable: url})
    (fault,) = caught.value.faults
    return fault.message


@pytest.mark.parametrize(
    ("variable", "url", "extra"),
    [
        ("BQGATE_BUDGETS__URL", "redis://127.0.0.1", "redis"),
        ("BQGATE_BUDGETS__URL", "rediss+cluster://127.0.0.1", "redis"),
        ("BQGATE_LEDGER__URL", "postgresql://h/b", "postgres"),
    ],
)
def test_a_store_whose_driver_is_missing_is_a_fault(
    variable: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings say what to install, before anything is opened."""
    for module in (rules, ledger_rules):
        monkeypatch.setattr(module, "find_spec", lambda _name: None)
    assert f"pip install 'bqgate[{extra}]'" in message_of(variable, url)


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "rediss"])
@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("127.0.0.1:first/0", "USER:PASSWORD"),
        ("127.0.0.1:99999", "USER:PASSWORD"),
        ("[::1", "USER:PASSWORD"),
        ("127.0.0.1/0?socket_timeout=soon", "USER:PASSWORD"),
        ("127.0.0.1/0?nonsense=1", "nonsense"),
        (":7rtQ/z2Lw@127.0.0.1:6379", "%2F"),
        (":1234/z2Lw@127.0.0.1:6379", "%2F"),
    ],
)
def test_a_url_that_redis_makes_nothing_of_is_a_fault(scheme: str, rest: str, says: str) -> None:
    """Found without connecting, and never quoted: it may hold a password."""
    said = message_of("BQGATE_BUDGETS__URL", f"{scheme}://{rest}")
    assert says in said
    assert "z2Lw" not in said
    assert "7rtQ" not in said


@pytest.mark.parametrize("url", ["redis://127.0.0.1", "redis://ann:p%2Fw@h:1/2?socket_timeout=3", "unix:///run/redis"])
def test_a_url_of_redis_is_taken(url: str) -> None:
    """Also one with options of redis-py."""
    assert load_settings(None, {"BQGATE_BUDGETS__URL": url}).budgets.url.reveal() == url


@pytest.mark.parametrize("url", ["postgresql://gate:p@ss@h/b", "postgresql://h:first/b"])
def test_a_url_that_is_none_of_postgresql_is_a_fault(url: str) -> None:
    """What is wrong is said without quoting it."""
    assert "ss@" not in message_of("BQGATE_LEDGER__URL", url)
