from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.sandbox import shapes
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


def test_snake_case_means_the_camel_case_twin() -> None:
    """`dry_run` is dryRun, as in every JSON mapping of protocol buffers."""
    assert shapes.checked({"dry_run": True}, shapes.QUERY_REQUEST) == {"dryRun": True}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": 1}, "query"),
        ({"dryRun": "maybe"}, "dryRun"),
        ({"maximumBytesBilled": "1e3"}, "maximumBytesBilled"),
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
