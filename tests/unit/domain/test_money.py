import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.money import MAX_NANOS, format_usd, parse_usd, show_usd


@given(st.integers(min_value=0, max_value=MAX_NANOS))
def test_text_and_nanos_are_the_same_amount(nanos: int) -> None:
    """Writing an amount and reading it back loses nothing."""
    assert nanos == parse_usd(format_usd(nanos))


@pytest.mark.parametrize(
    ("text", "nanos"),
    [("0", 0), ("5.00", 5_000_000_000), ("0.000000001", 1), (" 12.5 ", 12_500_000_000), ("1e2", 100_000_000_000)],
)
def test_dollars_are_read_exactly(text: str, nanos: int) -> None:
    """A decimal string of dollars becomes exact nano-dollars."""
    assert nanos == parse_usd(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not an amount"),
        ("five", "not an amount"),
        ("-1", "negative"),
        ("NaN", "not a finite"),
        ("Infinity", "not a finite"),
        ("0.0000000001", "finer"),
        ("9007199.254740992", "largest"),
        ("1e999999", "largest"),
    ],
)
def test_what_is_no_amount_is_refused_by_name(text: str, fault: str) -> None:
    """Text that is not an amount is refused and the fault is named."""
    with pytest.raises(ValueError, match=fault):
        parse_usd(text)


def test_amounts_show_two_decimals_and_more_only_where_needed() -> None:
    """Whole dollars show cents; fractions of a cent are not hidden."""
    assert ["5.00", "0.10", "0.000005", "-1.50"] == [
        format_usd(nanos) for nanos in (5 * 10**9, 10**8, 5_000, -1_500_000_000)
    ]


@pytest.mark.parametrize(
    ("nanos", "up", "down"),
    [
        (0, "0.00", "0.00"),
        (1, "0.000000001", "0.000000001"),
        (412_345, "0.000413", "0.000412"),
        (28_500_000, "0.0285", "0.0285"),
        (99_999_999, "0.10", "0.0999"),
        (100_000_000, "0.10", "0.10"),
        (420_000_001, "0.43", "0.42"),
        (9_802_734_375, "9.81", "9.80"),
        (10_000_000_000, "10.00", "10.00"),
        (MAX_NANOS, "9007199.26", "9007199.25"),
        (-412_345, "-0.000412", "-0.000413"),
        (-9_802_734_375, "-9.80", "-9.81"),
    ],
)
def test_people_read_cents_and_never_nothing_for_something(nanos: int, up: str, down: str) -> None:
    """Amounts are shown in cents, or with three digits below ten cents, rounded up or down as asked."""
    assert (up, down) == (show_usd(nanos), show_usd(nanos, rounds_up=False))


@given(st.integers(min_value=0, max_value=10**13), st.integers(min_value=0, max_value=10**13), st.integers(0, 10**13))
def test_what_does_not_fit_does_not_fit_as_shown(spent: int, cost: int, limit: int) -> None:
    """What is spent and a cost that together pass a limit pass it as shown, too; nothing but zero reads as zero."""
    shown = parse_usd(show_usd(spent)) + parse_usd(show_usd(cost))
    assert spent + cost <= limit or shown > parse_usd(show_usd(limit, rounds_up=False))
    assert (spent == 0) == (parse_usd(show_usd(spent)) == 0)
