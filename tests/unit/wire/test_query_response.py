import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.pricing import PriceList, PricingModel
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
    "statementType": "SELECT",
    "location": "US",
}
BLENDED, CAPACITY = PriceList(PricingModel.BLENDED, 1, 1), PriceList(PricingModel.CAPACITY, 1, 1)
REGIONAL = PriceList(PricingModel.ON_DEMAND, 1, 1, nanos_per_tib_by_location={"us": 1})


@given(st.integers(min_value=0, max_value=len(json.dumps(ANSWER))))
def test_the_beginning_of_an_answer_is_read_without_its_end(cut: int) -> None:
    """Every whole member before the cut is found, none is invented."""
    members = read_members(json.dumps(ANSWER)[:cut])
    assert members.items() <= ANSWER.items()


def test_a_whole_answer_is_read_whole() -> None:
    """Nothing but the rows is left out when nothing is cut, pretty-printed or not."""
    read = {name: value for name, value in ANSWER.items() if name != "rows"}
    assert read == read_members(json.dumps(ANSWER)) == read_members(json.dumps(ANSWER, indent=2))
    assert job_ref_in(ANSWER) == JobRef("p", "j", "US")


@given(st.text(max_size=60))
def test_what_is_no_json_has_no_members(text: str) -> None:
    """Any text is survived."""
    assert isinstance(read_members(text), dict)


def test_a_complete_answer_states_its_own_cost() -> None:
    """Bytes billed and slots are in a jobs.query answer, and enough to book."""
    usage = usage_in_query_answer(ANSWER, prices=BLENDED)
    assert usage is not None
    assert (Outcome.DONE, 10_485_760, 12) == (usage.outcome, usage.bytes_billed, usage.slot_ms)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in ANSWER.items() if name not in names}


@pytest.mark.parametrize("missing", ["totalBytesBilled", "totalSlotMs", "jobComplete", "statementType"])
def test_an_answer_that_leaves_out_what_its_price_needs_states_no_cost(missing: str) -> None:
    """A running query, or one whose bytes, slots or kind are missing, is asked after."""
    assert usage_in_query_answer(without(missing), prices=BLENDED) is None


def test_a_price_asks_for_what_it_needs_alone() -> None:
    """Slots matter where slots are charged, the place where prices are regional, the kind where it may change them."""
    assert usage_in_query_answer(without("totalSlotMs"), prices=REGIONAL) is not None
    assert usage_in_query_answer(without("location"), prices=BLENDED) is not None
    assert usage_in_query_answer(without("location"), prices=REGIONAL) is not None  # the job's reference has it
    assert usage_in_query_answer(without("location", "jobReference"), prices=REGIONAL) is None
    assert usage_in_query_answer(without("statementType"), prices=BLENDED, priced_as="SELECT") is not None
    assert usage_in_query_answer(ANSWER, prices=CAPACITY) is None  # it names no reservation


@pytest.mark.parametrize("kind", ["SCRIPT", "CALL", "SOMETHING_NEW"])
def test_a_script_is_asked_after_where_its_statements_may_cost_more(kind: str) -> None:
    """The answer does not tell of what kinds they were."""
    answer = ANSWER | {"statementType": kind}
    assert usage_in_query_answer(answer, prices=BLENDED) is None
    assert usage_in_query_answer(answer, prices=BLENDED, priced_as="CREATE_MODEL") is None
    assert (usage_in_query_answer(answer, prices=BLENDED, priced_as="SELECT") is None) is (kind != "SOMETHING_NEW")


def test_a_cache_hit_needs_nothing_else() -> None:
    """It is free, whatever the answer leaves out."""
    for prices in (BLENDED, CAPACITY, REGIONAL):
        cached = usage_in_query_answer({"jobComplete": True, "cacheHit": True}, prices=prices)
        assert cached is not None
        assert cached.outcome is Outcome.CACHED


def test_an_answer_says_when_its_job_ended() -> None:
    """As a finished job does, in milliseconds."""
    usage = usage_in_query_answer(ANSWER | {"endTime": "1764000000123"}, prices=BLENDED)
    assert usage is not None
    assert usage.ended_at == datetime(2025, 11, 24, 16, 0, 0, 123_000, tzinfo=UTC)
