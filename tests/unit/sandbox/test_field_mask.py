from __future__ import annotations

from typing import Any

import pytest

from bqgate.sandbox import field_mask
from bqgate.sandbox.replies import ApiError

JOB: dict[str, Any] = {
    "id": "p:US.a",
    "status": {"state": "DONE", "errors": [{"reason": "x", "message": "m"}]},
    "jobReference": {"projectId": "p", "jobId": "a"},
}


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        ("id", {"id": "p:US.a"}),
        ("id,status/state", {"id": "p:US.a", "status": {"state": "DONE"}}),
        ("status(state, errors(reason))", {"status": {"state": "DONE", "errors": [{"reason": "x"}]}}),
        ("status/errors/reason", {"status": {"errors": [{"reason": "x"}]}}),
        ("jobReference(jobId),id", {"id": "p:US.a", "jobReference": {"jobId": "a"}}),
        ("*", JOB),
        ("*/state", {"id": "p:US.a", "status": {"state": "DONE"}, "jobReference": {}}),
        ("nothing", {}),
    ],
)
def test_mask_keeps_what_it_names(mask: str, kept: dict[str, Any]) -> None:
    """Lists, nested parts, slashes and stars select as in Google's partial responses."""
    assert field_mask.apply(field_mask.parse(mask), JOB) == kept


@pytest.mark.parametrize("mask", ["", ",", "a(", "a)b", "a(b", "a//b", "(a)", "a b;"])
def test_broken_mask_is_refused(mask: str) -> None:
    """A mask that can not be parsed is a 400 that names it."""
    with pytest.raises(ApiError, match="Invalid field selection"):
        field_mask.parse(mask)
