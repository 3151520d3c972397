from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.money import MAX_NANOS
from bqgate.domain.units import PPM
from bqgate.policies.values import (
    Share,
    UsdAmount,
    read_account,
    read_data,
    read_email_or_domain,
    read_reservation,
    read_share,
    read_usd,
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


@pytest.mark.parametrize("value", ["ann@acme.com", "Ann.O'Neil+bq@Data.Acme.co.uk", "ACME.com", "x1.example"])
def test_principals_are_addresses_and_domains_in_small_letters(value: str) -> None:
    """Nobody is two customers by writing a name in capitals."""
    assert read_email_or_domain(value) == value.lower()


@pytest.mark.parametrize(
    "value",
    ["", "everybody", "@acme.com", "ann@", "ann@acme", "a b@acme.com", "*.acme.com", "-x.com", "a@b@c.de", "a.b."],
)
def test_what_is_neither_an_address_nor_a_domain_is_refused(value: str) -> None:
    """No wildcards, and no bare top-level domain that would let half the world in."""
    with pytest.raises(ValueError, match="neither an e-mail address nor a domain"):
        read_email_or_domain(value)


@pytest.mark.parametrize("value", ["none", "projects/acme-prod/locations/europe-west3/reservations/batch-1"])
def test_a_reservation_is_a_full_path_or_none(value: str) -> None:
    """A name alone may be of any project."""
    assert read_reservation(value) == value
    for bad in ("batch-1", "US.batch-1", f"{value}/x", "projects/p/reservations/r", ""):
        with pytest.raises(ValueError, match="is no reservation"):
            read_reservation(bad)


def test_a_service_account_is_an_address() -> None:
    """Only a whole address can be impersonated."""
    assert read_account("r@p.iam.gserviceaccount.com") == "r@p.iam.gserviceaccount.com"
    with pytest.raises(ValueError, match="is not a service account"):
        read_account("iam.gserviceaccount.com")


@pytest.mark.parametrize("name", ["a/b", "..%2f", "a?x=", "a#", "a:x", "{}", "ä", "a b", ""])
def test_a_service_account_is_nothing_else_in_a_url(name: str) -> None:
    """IAM's address has it in its path."""
    with pytest.raises(ValueError, match="is not a service account"):
        read_account(f"{name}@p.iam.gserviceaccount.com")


@pytest.mark.parametrize(
    "value",
    [
        "acme-prod",
        "acme-prod.sales",
        "example.com:reports.sales_2026",
        "gs://acme",
        "gs://acme-x.y/",
        "gs://acme/a/b c",
    ],
)
def test_data_is_a_project_a_dataset_or_a_bucket(value: str) -> None:
    """A prefix may end anywhere; it may hold what an object's name may hold, but for spaces."""
    if " " in value:
        with pytest.raises(ValueError, match="is no data"):
            read_data(value)
    else:
        assert read_data(value) == value


@pytest.mark.parametrize(
    "value", ["", "a.b.c", "a.", ".b", "s3://x/y", "gs://", "gs://a", "gs://acme/*", "*", "acme-prod.*", "a b", "p.d-1"]
)
def test_what_is_no_data_is_refused(value: str) -> None:
    """Tables and wildcards are refused rather than taken for something that matches nothing, or everything."""
    with pytest.raises(ValueError, match="is no data"):
        read_data(value)
