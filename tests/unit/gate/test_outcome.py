"""What BigQuery's answer to one attempt proves of the job's cost."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef, Method, Outcome
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.gate.outcome import Seen, classify_response
from bqgate.settlement.evidence import Denied, Evidence, JobMade, Told, Unknown

JOB = JobRef("p", "j", "US")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
REFERENCE = {"projectId": "p", "jobId": "j", "location": "US"}
QUERY_DONE = {
    "jobComplete": True,
    "jobReference": REFERENCE,
    "totalBytesBilled": "5",
    "totalSlotMs": "1",
    "statementType": "SELECT",
}


def proof(
    seen: Seen,
    *,
    method: Method = Method.INSERT,
    is_script: bool = False,
    model: PricingModel = PricingModel.BLENDED,
) -> Evidence:
    hold = Hold(
        id="h",
        customer="c",
        principal="a",
        project_id="p",
        amount_nanos=1,
        window_keys={},
        placed_at=NOW,
        deadline_at=NOW,
        job=JOB if method is Method.INSERT else None,
    )
    return classify_response(seen, method=method, hold=hold, is_script=is_script, prices=PriceList(model, 1, 1))


def error(reason: str) -> str:
    return json.dumps({"error": {"errors": [{"reason": reason}]}})


def test_a_complete_query_answer_settles_at_once() -> None:
    """The cost stands in the answer."""
    known = proof(Seen(200, json.dumps(QUERY_DONE), is_whole=True), method=Method.QUERY)
    assert isinstance(known, Told)
    assert known.usage.bytes_billed == 5


@pytest.mark.parametrize("last", [{}, {"cacheHit": True, "totalBytesBilled": "0"}, {"statementType": "SCRIPT"}])
def test_an_answer_to_a_script_may_speak_of_its_last_statement(last: dict[str, Any]) -> None:
    """That one may be small, or come from the cache, while those before it are billed."""
    seen = Seen(200, json.dumps(QUERY_DONE | last), is_whole=True)
    assert proof(seen, method=Method.QUERY, is_script=True) == JobMade(JOB)


def test_prices_by_reservation_need_the_job() -> None:
    """A jobs.query answer names no reservation, so capacity and auto ask for the job."""
    seen = Seen(200, json.dumps(QUERY_DONE), is_whole=True)
    assert proof(seen, method=Method.QUERY, model=PricingModel.AUTO) == JobMade(JOB)


def test_a_cut_answer_still_tells_which_job_it_was() -> None:
    """The job reference stands at the beginning."""
    text = json.dumps({"jobReference": REFERENCE, "rows": []})[:-4]
    assert proof(Seen(200, text, is_whole=False), method=Method.QUERY) == JobMade(JOB)


def inserted(error: dict[str, str] | None = None, **statistics: Any) -> Seen:
    status = {"state": "DONE"} | ({"errorResult": error} if error else {})
    return Seen(200, json.dumps({"jobReference": REFERENCE, "status": status, "statistics": statistics}), is_whole=True)


QUERY = {"statementType": "SELECT", "totalBytesBilled": "10485760", "totalBytesProcessed": "5"}


def test_an_inserted_job_is_asked_after_until_it_is_done() -> None:
    """RUNNING is no end; DONE is, failed or not."""
    running = json.dumps({"jobReference": REFERENCE, "status": {"state": "RUNNING"}})
    assert proof(Seen(200, running, is_whole=True)) == JobMade(JOB)
    for error_result, outcome in ((None, Outcome.DONE), ({"reason": "invalid"}, Outcome.FAILED)):
        known = proof(inserted(error_result, query=QUERY, totalSlotMs="1"))
        assert isinstance(known, Told)
        assert (known.usage.outcome, known.usage.bytes_billed) == (outcome, 10_485_760)


def test_what_a_field_mask_left_out_is_asked_for() -> None:
    """A caller's mask may hide bytes, slots, the kind, the reservation, or all of a failure's statistics."""
    asked = JobMade(JOB)
    assert proof(inserted()) == asked
    assert proof(inserted({"reason": "invalid"})) == asked
    assert proof(inserted(query=QUERY)) == asked
    assert proof(inserted(totalSlotMs="1", query=QUERY | {"totalBytesBilled": None})) == asked
    assert proof(inserted(totalSlotMs="1", query=QUERY | {"statementType": None})) == asked
    assert proof(inserted(totalSlotMs="1", query=QUERY), model=PricingModel.AUTO) == asked
    known = proof(inserted(totalSlotMs="1", reservation_id="p:US.r", query=QUERY), model=PricingModel.AUTO)
    assert isinstance(known, Told)


@pytest.mark.parametrize("status", [408, 409, 425, 499, 500, 502, 503, 504])
@pytest.mark.parametrize("method", list(Method))
def test_what_proves_nothing(status: int, method: Method) -> None:
    """After a server's own trouble the job may exist, and behind a conflict there is one: whose, only asking tells."""
    assert proof(Seen(status, "", is_whole=True), method=method) == Unknown()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 413, 429, 501])
def test_a_refused_insert_is_denied(status: int) -> None:
    """It made no job, which asking confirms."""
    assert proof(Seen(status, error("whatever"), is_whole=True)) == Denied()


@pytest.mark.parametrize(
    ("reason", "is_script", "may_bill"),
    [("invalidQuery", False, False), ("stopped", False, True), ("invalidQuery", True, True)],
)
def test_a_failed_query_is_free_unless_it_was_a_script_or_stopped(
    reason: str, *, is_script: bool, may_bill: bool
) -> None:
    """Earlier statements of a script and cancelled jobs may be billed."""
    seen = Seen(400, error(reason), is_whole=True)
    assert proof(seen, method=Method.QUERY, is_script=is_script) == Denied(may_bill=may_bill)


def test_a_refusal_that_cannot_be_read_may_bill() -> None:
    """An answer of 400 without BigQuery's error says nothing of what ran before it."""
    assert proof(Seen(400, "<html>", is_whole=True), method=Method.QUERY) == Denied(may_bill=True)


@pytest.mark.parametrize("text", ['{"a":' + "[" * 100_000, '{"error":' + '{"a":' * 100_000])
@pytest.mark.parametrize("method", list(Method))
def test_an_answer_that_is_nested_without_end_is_one_that_cannot_be_read(text: str, method: Method) -> None:
    """It proves what its status proves, and raises nothing: whoever reads it ends an attempt with it."""
    made = JobMade(JOB if method is Method.INSERT else None)
    denied = Denied(may_bill=method is Method.QUERY)
    assert proof(Seen(200, text, is_whole=True), method=method) == made
    assert proof(Seen(400, text, is_whole=True), method=method) == denied


def test_what_passes_its_cap_did_not_run() -> None:
    """BigQuery refuses it before it runs; a script's statements are refused one by one."""
    seen = Seen(400, error("bytesBilledLimitExceeded"), is_whole=True)
    told = proof(seen, method=Method.QUERY)
    assert isinstance(told, Told)
    assert (told.usage.outcome, told.usage.bytes_billed) == (Outcome.FAILED, 0)
    assert proof(seen, method=Method.QUERY, is_script=True) == Denied(may_bill=True)
