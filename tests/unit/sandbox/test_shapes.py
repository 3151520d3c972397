from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.sandbox import shapes
from bqgate.sandbox.json_text import Literal
from bqgate.sandbox.replies import ApiError

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_known_keys_stay_and_unknown_ones_go() -> None:
    """Unknown keys are ignored, int64 may be a string, null means not given."""
    body = {"query": "SELECT 1", "maximumBytesBilled": "12", "new": {"x": 1}, "timeoutMs": 5, "location": None}
    kept = {"query": "SELECT 1", "maximumBytesBilled": 12, "timeoutMs": 5}
    assert shapes.checked(body, shapes.QUERY_REQUEST) == kept


@pytest.mark.parametrize("value", ["1e9", Literal("1e9"), Literal("1000000000.0"), "1000000000.0", 10**9, "0.1E+10"])
def test_whole_numbers_may_be_written_in_many_ways(value: Any) -> None:
    """Exponents and zeros behind the point, in quotes or not."""
    assert shapes.checked({"maximumBytesBilled": value}, shapes.QUERY_REQUEST) == {"maximumBytesBilled": 10**9}


def test_whole_numbers_lose_no_digit() -> None:
    """No integer passes through a float; zero is zero whatever its exponent."""
    body = {"maximumBytesBilled": Literal("9223372036854775807.0"), "jobTimeoutMs": Literal("-0e999999999")}
    assert shapes.checked(body, shapes.QUERY_REQUEST) == {"maximumBytesBilled": 2**63 - 1, "jobTimeoutMs": 0}


def test_a_parameters_number_is_its_text() -> None:
    """The value of a parameter is a string; a number that stands there keeps its digits."""
    value = {"value": Literal("1.10"), "arrayValues": [{"value": 12}], "structValues": {"a": {"value": True}}}
    body = {"queryParameters": [{"name": "a", "parameterValue": value}]}
    texts = {"value": "1.10", "arrayValues": [{"value": "12"}], "structValues": {"a": {"value": "true"}}}
    kept = {"queryParameters": [{"name": "a", "parameterValue": texts}]}
    assert shapes.checked(body, shapes.QUERY_REQUEST) == kept


@pytest.mark.parametrize("mode", ["JOB_CREATION_OPTIONAL", 2, "2", Literal("2.0")])
def test_enums_may_be_numbers(mode: Any) -> None:
    """Generated clients write them so."""
    kept = {"jobCreationMode": "JOB_CREATION_OPTIONAL"}
    assert shapes.checked({"jobCreationMode": mode}, shapes.QUERY_REQUEST) == kept


def test_snake_case_means_the_camel_case_twin() -> None:
    """`dry_run` is dryRun, as in every JSON mapping of protocol buffers."""
    assert shapes.checked({"dry_run": True}, shapes.QUERY_REQUEST) == {"dryRun": True}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": 1}, "query"),
        ({"dryRun": "maybe"}, "dryRun"),
        ({"maximumBytesBilled": "1e-3"}, "maximumBytesBilled"),
        ({"maximumBytesBilled": Literal("10485760.5")}, "maximumBytesBilled"),
        ({"maximumBytesBilled": "1e999999999"}, "maximumBytesBilled"),
        ({"maximumBytesBilled": "1e99999999999999999999"}, "maximumBytesBilled"),
        ({"maximumBytesBilled": "9.223372036854775808e18"}, "maximumBytesBilled"),
        ({"maxSlots": 2**31}, "maxSlots"),
        ({"timeoutMs": "4294967296"}, "timeoutMs"),
        ({"jobCreationMode": 9}, "jobCreationMode"),
        ({"queryParameters": [{"parameterValue": {"value": []}}]}, "queryParameters[0].parameterValue.value"),
        ({"maximumBytesBilled": 2**63}, "maximumBytesBilled"),
        ({"maximumBytesBilled": True}, "maximumBytesBilled"),
        ({"timeoutMs": -1}, "timeoutMs"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"labels": []}, "labels"),
        ({"queryParameters": {}}, "queryParameters"),
        ({"defaultDataset": {"datasetId": 5}}, "defaultDataset.datasetId"),
        ({"connectionProperties": [{"key": "a"}, {"key": 2}]}, "connectionProperties[1].key"),
    ],
)
def test_wrong_type_names_the_field(body: dict[str, Any], field: str) -> None:
    """A value of the wrong type is a 400 `invalid` with the field's path."""
    with pytest.raises(ApiError) as refusal:
        shapes.checked(body, shapes.QUERY_REQUEST)
    assert (refusal.value.status, refusal.value.reason, refusal.value.location) == (400, "invalid", field)


@given(st.dictionaries(st.sampled_from([*shapes.QUERY_REQUEST, *shapes.JOB, "x"]), ANY_JSON))
def test_whatever_comes_is_taken_or_refused(body: dict[str, Any]) -> None:
    """No body makes the check fail in another way than with an ApiError."""
    for shape in (shapes.QUERY_REQUEST, shapes.JOB, shapes.TABLE, shapes.INSERT_ALL):
        with contextlib.suppress(ApiError):
            assert isinstance(shapes.checked(body, shape), dict)
