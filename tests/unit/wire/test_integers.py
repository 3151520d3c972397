from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.errors import MalformedRequest
from bqgate.wire.integers import INT32, INT64, UINT32, Integer, integer_at, settled_integer, whole_number
from bqgate.wire.json_text import JsonNumber


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e9", 10**9),
        ("1E+9", 10**9),
        ("1000000000.0", 10**9),
        ("10485760.000", 10485760),
        ("123.45e2", 12345),
        ("1200e-2", 12),
        ("-1e2", -100),
        ("-0", 0),
        ("-0.0e7", 0),
        ("0e999999999999", 0),
        ("0.0000000000e-9999999999", 0),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775807.0", 2**63 - 1),
        ("9.223372036854775807e18", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0." + "0" * 5_000 + "5e5001", 5),
    ],
)
def test_a_whole_number_may_be_written_in_many_ways(text: str, number: int) -> None:
    """An int64 of Google's JSON may have an exponent or zeros behind the point, and no digit of it is lost."""
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "10485760.5",
        "1e-1",
        "15e-1",
        "1e999999999",
        "-1e99999999999999999999",
        "1e-999999999",
        "9" * 5_000,
        "1e" + "9" * 5_000,
        "",
        " 1",
        "1 ",
        "+1",
        "1.",
        ".5",
        "1e",
        "0x10",
        "1_000",
        "\u0661",
        "NaN",
        "Infinity",
        "ten",
    ],
)
def test_what_is_no_whole_number_is_none(text: str) -> None:
    """Fractions, numbers beyond all integers, and what is not written as JSON writes numbers; in no time at all."""
    assert whole_number(text) is None


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 40))
def test_moving_the_point_changes_nothing(number: int, places: int) -> None:
    """A number with its point moved and an exponent that moves it back is the same number."""
    sign, digits = ("-" if number < 0 else ""), str(abs(number)).rjust(places + 1, "0")
    at = len(digits) - places
    assert whole_number(f"{sign}{digits[:at]}.{digits[at:] or '0'}e{places}") == number


@pytest.mark.parametrize(
    ("kind", "value", "is_taken"),
    [
        (INT64, str(2**63 - 1), True),
        (INT64, str(2**63), False),
        (INT64, -(2**63), True),
        (INT64, JsonNumber(str(-(2**63) - 1)), False),
        (INT32, 2**31 - 1, True),
        (INT32, 2**31, False),
        (INT32, JsonNumber("2147483648.0"), False),
        (UINT32, "4294967295", True),
        (UINT32, JsonNumber("4.294967296e9"), False),
        (UINT32, -1, False),
        (INT64, True, False),
        (INT64, [], False),
        (INT64, JsonNumber("10485760.5"), False),
    ],
)
def test_a_number_must_fit_its_field(kind: Integer, value: Any, *, is_taken: bool) -> None:
    """Each field has its type's range, as in Google's own reading; what passes it is refused, never cut."""
    if is_taken:
        assert integer_at({"n": value}, "n", kind) == int(value)
        return
    with pytest.raises(MalformedRequest):
        integer_at({"n": value}, "n", kind)


def test_a_fraction_is_refused_in_googles_words() -> None:
    """The caller is told which field, of which type, and what it wrote."""
    with pytest.raises(MalformedRequest) as caught:
        integer_at({"maximumBytesBilled": JsonNumber("10485760.5")}, "maximumBytesBilled", INT64, path="query.")
    assert caught.value.message == "Invalid value at 'query.maximum_bytes_billed' (TYPE_INT64), 10485760.5"
    assert (caught.value.reason, caught.value.field) == ("invalid", "query.maximumBytesBilled")
    with pytest.raises(MalformedRequest, match=r"\(TYPE_UINT32\), \"soon\"$"):
        integer_at({"timeoutMs": "soon"}, "timeoutMs", UINT32)


@pytest.mark.parametrize(
    ("value", "settled"),
    [
        (JsonNumber("1e9"), 10**9),
        ("1e9", "1000000000"),
        ("1000000000.0", "1000000000"),
        ("007", "7"),
        (JsonNumber("-0"), 0),
        (5, 5),
        ("5", "5"),
        ("", ""),
        (None, None),
    ],
)
def test_what_was_read_is_what_is_sent(value: Any, settled: Any) -> None:
    """A number that was judged goes on in plain digits, as a number or in quotes as it came."""
    holder = {"n": value}
    settled_integer(holder, "n", INT64)
    assert holder == {"n": settled}
