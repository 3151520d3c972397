import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.job import JobRef, Outcome
from bqgate.wire.query_response import job_ref_in, read_members, usage_in_query_answer

ANSWER: dict[str, Any] = {
    "kind": "bigquery#queryResponse",
    "schema": {"fields": [{"name": '"jobReference": {', "type": "STRING"}]},
    "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
    "rows": [{"f": [{"v": "}"}]}] * 3,
    "jobComplete": True,
    "totalBytesProcessed": "5",
    "totalBytesBilled": "10485760",
    "totalSlotMs": "12",
}


@given(st.integers(min_value=0, max_value=len(json.dumps(ANSWER))))
def test_the_beginning_of_an_answer_is_read_without_its_end(cut: int) -> None:
    """Every whole member before the cut is found, none is invented."""
    members = read_members(json.dumps(ANSWER)[:cut])
    assert members.items() <= ANSWER.items()


def test_a_whole_answer_is_read_whole() -> None:
    """Nothing is lost when nothing is cut, pretty-printed or not."""
    assert ANSWER == read_members(json.dumps(ANSWER)) == read_members(json.dumps(ANSWER, indent=2))
    assert job_ref_in(ANSWER) == JobRef("p", "j", "US")


@given(st.text(max_size=60))
def test_what_is_no_json_has_no_members(text: str) -> None:
    """Any text is survived."""
    assert isinstance(read_members(text), dict)


def test_a_complete_answer_states_its_own_cost() -> None:
    """Bytes billed and slots are in a jobs.query answer, and enough to book."""
    usage = usage_in_query_answer(ANSWER)
    assert usage is not None
    assert (Outcome.DONE, 10_485_760, 12) == (usage.outcome, usage.bytes_billed, usage.slot_ms)


def test_an_answer_that_leaves_out_a_number_states_no_cost() -> None:
    """A running query, or one whose bytes or slots are missing, must be asked after; a cache hit need not."""
    for missing in ("totalBytesBilled", "totalSlotMs", "jobComplete"):
        assert usage_in_query_answer({name: value for name, value in ANSWER.items() if name != missing}) is None
    cached = usage_in_query_answer({"jobComplete": True, "cacheHit": True})
    assert cached is not None
    assert cached.outcome is Outcome.CACHED
