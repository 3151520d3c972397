import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.wire.json_slices import SMALL_CHARS_MAX, JsonSlices, TooManyValues, elements_of, end_of_value
from bqgate.wire.json_text import DEPTH_MAX, JsonText, read_json, write_json

PADDING = " " * SMALL_CHARS_MAX  # what is longer is read in slices
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def read(text: str, **options: Any) -> Any:
    reading = JsonSlices(text, **options)
    for _ in reading.slices():
        pass
    return reading.value()


@given(VALUES, st.lists(VALUES, max_size=4), st.booleans())
def test_what_is_large_is_read_as_what_is_small(rest: object, parameters: list[object], is_ascii: bool) -> None:
    """Parameters stay text, letter by letter, and all else has the value that it has when it is read at one go."""
    text = json.dumps({"query": "q", "queryParameters": parameters, "rest": rest}, ensure_ascii=is_ascii)
    document = read(text + PADDING)
    kept = document["queryParameters"]
    assert isinstance(kept, JsonText)
    assert kept.text == json.dumps(parameters, ensure_ascii=is_ascii)
    assert document["rest"] == read_json(text)["rest"]
    assert json.loads(write_json(document)) == json.loads(text)


@given(VALUES, st.sampled_from(["", " ", ",", "]", "[", '"']))
def test_a_value_ends_where_json_says(value: object, behind: str) -> None:
    """Whatever stands behind it."""
    text = json.dumps([value])
    assert end_of_value(text + behind, 0) == len(text)


@given(st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=6))
def test_a_list_is_read_element_by_element(entries: list[dict[str, object]]) -> None:
    """Each is the text that stands there."""
    texts = [text for text in elements_of(json.dumps(entries, indent=1)) if text is not None]
    assert [json.loads(text) for text in texts] == entries


@pytest.mark.parametrize(
    "text",
    [
        '{"queryParameters":["\'"],"query":"q"',
        '{"queryParameters":[\'"]\',1],"query":"q"}',
        '{"queryParameters":[/*]*/1]}',
        '{"queryParameters":[NaN]}',
        '{"a":NaN,"queryParameters":[1]}',
        '{"queryParameters":[1]',
        '{"queryParameters":["a]}',
        '{"queryParameters":["a\\',
        '{"queryParameters":' + "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1) + "}",
        '{"queryParameters":[x]}',
        '{"queryParameters":[1],}',
    ],
)
def test_what_another_reader_might_read_otherwise_is_refused(text: str) -> None:
    """Comments, single quotes and bare names could move the end of a value for whoever takes them."""
    with pytest.raises(ValueError, match=r"\w"):
        read(text + PADDING)


def test_values_beside_the_parameters_are_counted() -> None:
    """Parameters of any number are handed on; of the rest a bounded number is taken apart. Commas in text are none."""
    many = ",".join(["1"] * 50_000)
    assert read(f'{{"queryParameters":[{many}],"query":"{many}"}}', values_max=10)["query"] == many
    with pytest.raises(TooManyValues):
        read(f'{{"other":[{many}]}}', values_max=10)


def test_the_digest_tells_parameters_apart() -> None:
    """It stands for them in a fingerprint."""
    one, same, other = (read(f'{{"queryParameters":[{number}]}}{PADDING}')["queryParameters"] for number in (1, 1, 2))
    assert write_json([one], with_digests=True) == write_json([same], with_digests=True)
    assert write_json([one], with_digests=True) != write_json([other], with_digests=True)
