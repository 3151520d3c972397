from typing import Any

import pytest

from bqgate.domain.job import Method
from bqgate.domain.throttling import Slowdown
from bqgate.wire.slowing import slowed_body

ALL = Slowdown(to_batch=True, max_slots=100, job_timeout_ms=60_000)
INSERT = {"configuration": {"query": {"query": "SELECT 1", "priority": "INTERACTIVE"}, "labels": {"a": "b"}}}


def test_a_job_goes_in_batch_with_bounds() -> None:
    """jobs.insert has all three; nothing else of it changes, and the caller's document stays as it was."""
    assert slowed_body(INSERT, Method.INSERT, ALL) == {
        "configuration": {
            "query": {"query": "SELECT 1", "priority": "BATCH"},
            "labels": {"a": "b"},
            "maxSlots": "100",
            "jobTimeoutMs": "60000",
        }
    }
    assert INSERT["configuration"]["query"] == {"query": "SELECT 1", "priority": "INTERACTIVE"}


def test_jobs_query_has_no_priority() -> None:
    """It gets the two bounds."""
    body = slowed_body({"query": "SELECT 1"}, Method.QUERY, ALL)
    assert body == {"query": "SELECT 1", "maxSlots": "100", "jobTimeoutMs": "60000"}


@pytest.mark.parametrize(("own", "sent"), [("5000", "5000"), (5000, "5000"), ("90000", "60000"), (None, "60000")])
def test_the_tighter_bound_stays(own: Any, sent: str) -> None:
    """A tier never widens what the caller bounded."""
    given = {} if own is None else {"jobTimeoutMs": own}
    assert slowed_body({"query": "SELECT 1", **given}, Method.QUERY, ALL)["jobTimeoutMs"] == sent


@pytest.mark.parametrize("method", list(Method))
def test_a_tier_that_slows_nothing_changes_nothing(method: Method) -> None:
    """The wait alone is the throttle."""
    body = INSERT if method is Method.INSERT else {"query": "SELECT 1"}
    assert slowed_body(body, method, Slowdown()) == body


@pytest.mark.parametrize("own", [-1, "-5", 0, "0"])
def test_a_bound_that_bounds_nothing_is_none(own: Any) -> None:
    """What is zero or less is no tighter bound of the caller's: the tier's holds."""
    body = slowed_body({"query": "SELECT 1", "maxSlots": own, "jobTimeoutMs": own}, Method.QUERY, ALL)
    assert (body["maxSlots"], body["jobTimeoutMs"]) == ("100", "60000")
