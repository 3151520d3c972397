from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.money import MAX_NANOS
from bqgate.domain.units import PPM
from bqgate.settings.fields import (
    SecretUrl,
    Share,
    UsdAmount,
    read_budgets_url,
    read_ledger_url,
    read_share,
    read_usd,
    read_web_url,
    read_whole,
    read_zone,
)


@given(st.integers(0, MAX_NANOS))
def test_every_amount_is_read_as_it_is_shown(nanos: int) -> None:
    """No nano-dollar is lost between showing and reading."""
    assert read_usd(str(UsdAmount(nanos))) == UsdAmount(nanos)


@given(st.integers(0, PPM))
def test_every_share_is_read_as_it_is_shown(ppm: int) -> None:
    """No part per million is lost."""
    assert read_share(str(Share(ppm))) == Share(ppm)


@pytest.mark.parametrize("value", [5.0, True, None, [], "", "1,50", "nan", "-1", "1e99", -3])
def test_what_is_no_amount_is_refused(value: object) -> None:
    """Money is a plain decimal; a float is refused even where it looks exact."""
    with pytest.raises(ValueError, match=r".+"):
        read_usd(value)


@pytest.mark.parametrize("value", [0.5, True, None, "", "half", "1.1", "-0.1", "0.0000001", "nan", "inf", 2])
def test_what_is_no_share_is_refused(value: object) -> None:
    """A ratio is a decimal between 0 and 1 of at most six decimals."""
    with pytest.raises(ValueError, match=r".+"):
        read_share(value)


@pytest.mark.parametrize(("value", "number"), [(5, 5), ("5", 5), ("-5", -5), ("010", 10)])
def test_whole_numbers_come_as_numbers_or_text(value: object, number: int) -> None:
    """The environment has only text."""
    assert read_whole(value) == number


@pytest.mark.parametrize("value", [True, 5.0, "5.0", "", "five", None, "9" * 30])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    """`true` is not 1."""
    with pytest.raises(ValueError, match="whole number"):
        read_whole(value)


@pytest.mark.parametrize("value", ["", "America", "../etc/passwd", "CET+1", 5, None])
def test_what_is_no_time_zone_is_refused(value: object) -> None:
    """Only names of the IANA database; a folder of it is none."""
    with pytest.raises(ValueError, match="time zone"):
        read_zone(value)
    assert read_zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")


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
