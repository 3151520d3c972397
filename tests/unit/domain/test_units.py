from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain import units


def test_units_are_binary_and_what_their_names_say() -> None:
    """Every unit is pinned: a wrong power would be wrong money."""
    assert (1_048_576, 1_073_741_824, 1_099_511_627_776) == (units.MIB, units.GIB, units.TIB)
    assert units.MINIMUM_BILLED_BYTES == 10_485_760
    assert (1_000, 3_600_000, 1_000_000) == (units.MS_PER_S, units.MS_PER_HOUR, units.PPM)
    assert units.INT64_MAX == 9_223_372_036_854_775_807


@given(st.integers(min_value=0, max_value=2**80), st.integers(min_value=1, max_value=2**60))
def test_division_rounds_up(numerator: int, denominator: int) -> None:
    """The quotient is the smallest whole number that covers the numerator."""
    quotient = units.ceil_div(numerator, denominator)
    assert quotient * denominator >= numerator > (quotient - 1) * denominator
