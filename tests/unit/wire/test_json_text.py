import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.wire.json_text import DEPTH_MAX, JsonNumber, read_json, write_json

NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,10})?", fullmatch=True)


@pytest.mark.parametrize(
    "number",
    [
        "1234567890123456789.123456789",
        "1.10",
        "1.0",
        "1",
        "-0",
        "-0.0",
        "1e9",
        "1E+9",
        "1E400",
        "1e-400",
        "1e999999999999999999999",
        "12345678901234567890123456789",
        "9" * 4_000,
    ],
)
def test_a_number_goes_out_as_it_came(number: str) -> None:
    """A digit that is lost is another value of a NUMERIC parameter; how it is written is the caller's too."""
    text = f'{{"a":{number},"b":[{number},{{"c":{number}}}]}}'
    assert write_json(read_json(text)) == text


@given(NUMBERS)
def test_every_number_keeps_its_text(number: str) -> None:
    """There is no form of JSON's grammar that is rounded or rewritten."""
    assert write_json(read_json(f"[{number}]")) == f"[{number}]"


@given(st.lists(st.text() | NUMBERS))
def test_text_that_looks_like_a_number_stays_text(texts: list[str]) -> None:
    """No string of a caller's becomes a number on its way."""
    assert json.loads(write_json([JsonNumber("1.10"), *texts]))[1:] == texts


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a": -Infinity}', "01", "1.", ".5", "+1", "0x10", "1e", '"\\ud800"', '"\\udc001.5"']
)
def test_what_is_no_json_is_refused(text: str) -> None:
    """Neither the numbers that JavaScript knows beside JSON's, nor half characters."""
    with pytest.raises(ValueError, match=r".+"):
        read_json(text)


def test_sorted_keys_make_one_text_of_equal_documents() -> None:
    """A fingerprint of a document does not depend on the order of its keys, but on every digit."""
    one, other = read_json('{"a": 1.10, "b": 2}'), read_json('{"b": 2, "a": 1.10}')
    assert write_json(one, sort_keys=True) == write_json(other, sort_keys=True)
    assert write_json(one) != write_json(read_json('{"a": 1.1, "b": 2}'))


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_what_is_read_can_be_written_inside_others(opening: str, closing: str) -> None:
    """A text as deep as Python can just read could not be written again: an internal error."""
    for depth in (DEPTH_MAX + 1, 900):
        with pytest.raises(ValueError, match="nested deeper"):
            read_json(opening * depth + "1" + closing * depth)
    text = opening * DEPTH_MAX + "1" + closing * DEPTH_MAX
    assert write_json(read_json(text)) == text
    assert read_json(write_json(["[{" * 500, *[[1]] * 500])) == ["[{" * 500, *[[1]] * 500]
