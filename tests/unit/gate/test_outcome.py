import json
from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef, Method, Outcome
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.gate.outcome import AskLater, Known, NothingRan, Seen, Verdict, judge

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


def verdict(
    seen: Seen,
    *,
    method: Method = Method.INSERT,
    is_script: bool = False,
    is_replay: bool = False,
    model: PricingModel = PricingModel.BLENDED,
) -> Verdict:
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
    return judge(
        seen, method=method, hold=hold, is_script=is_script, is_replay=is_replay, prices=PriceList(model, 1, 1)
    )


def error(reason: str) -> str:
    return json.dumps({"error": {"errors": [{"reason": reason}]}})


def test_a_complete_query_answer_settles_at_once() -> None:
    """The cost stands in the answer."""
    known = verdict(Seen(200, json.dumps(QUERY_DONE), is_whole=True), method=Method.QUERY)
    assert isinstance(known, Known)
    assert known.usage.bytes_billed == 5


def test_prices_by_reservation_need_the_job() -> None:
    """A jobs.query answer names no reservation, so capacity and auto ask for the job."""
    seen = Seen(200, json.dumps(QUERY_DONE), is_whole=True)
    assert verdict(seen, method=Method.QUERY, model=PricingModel.AUTO) == AskLater(JOB, is_made=True)


def test_a_cut_answer_still_tells_which_job_it_was() -> None:
    """The job reference stands at the beginning."""
    text = json.dumps({"jobReference": REFERENCE, "rows": []})[:-4]
    assert verdict(Seen(200, text, is_whole=False), method=Method.QUERY) == AskLater(JOB, is_made=True)


def inserted(error: dict[str, str] | None = None, **statistics: Any) -> Seen:
    status = {"state": "DONE"} | ({"errorResult": error} if error else {})
    return Seen(200, json.dumps({"jobReference": REFERENCE, "status": status, "statistics": statistics}), is_whole=True)


QUERY = {"statementType": "SELECT", "totalBytesBilled": "10485760", "totalBytesProcessed": "5"}


def test_an_inserted_job_is_asked_after_until_it_is_done() -> None:
    """RUNNING is no end; DONE is, failed or not."""
    running = json.dumps({"jobReference": REFERENCE, "status": {"state": "RUNNING"}})
    assert verdict(Seen(200, running, is_whole=True)) == AskLater(JOB, is_made=True)
    for error_result, outcome in ((None, Outcome.DONE), ({"reason": "invalid"}, Outcome.FAILED)):
        known = verdict(inserted(error_result, query=QUERY, totalSlotMs="1"))
        assert isinstance(known, Known)
        assert (known.usage.outcome, known.usage.bytes_billed) == (outcome, 10_485_760)


def test_what_a_field_mask_left_out_is_asked_for() -> None:
    """A caller's mask may hide bytes, slots, the kind, the reservation, or all of a failure's statistics."""
    asked = AskLater(JOB, is_made=True)
    assert verdict(inserted()) == asked
    assert verdict(inserted({"reason": "invalid"})) == asked
    assert verdict(inserted(query=QUERY)) == asked
    assert verdict(inserted(totalSlotMs="1", query=QUERY | {"totalBytesBilled": None})) == asked
    assert verdict(inserted(totalSlotMs="1", query=QUERY | {"statementType": None})) == asked
    assert verdict(inserted(totalSlotMs="1", query=QUERY), model=PricingModel.AUTO) == asked
    known = verdict(inserted(totalSlotMs="1", reservation_id="p:US.r", query=QUERY), model=PricingModel.AUTO)
    assert isinstance(known, Known)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_after_a_server_error_the_job_may_exist(status: int) -> None:
    """Nobody voids a hold on a 5xx."""
    assert verdict(Seen(status, "", is_whole=True)) == AskLater(JOB)


def test_a_refused_insert_made_no_job() -> None:
    """Whatever the refusal; the job behind a 409 is another request's, and this hold pays for nobody else's job."""
    assert verdict(Seen(409, error("duplicate"), is_whole=True)) == NothingRan()
    assert verdict(Seen(403, error("accessDenied"), is_whole=True)) == NothingRan()
    assert verdict(Seen(501, error("notImplemented"), is_whole=True)) == NothingRan()


def test_a_repeat_never_voids_the_first_attempts_hold() -> None:
    """Another attempt may have made the job that this answer denies."""
    assert verdict(Seen(400, error("invalid"), is_whole=True), is_replay=True) == AskLater(JOB)
    assert verdict(Seen(409, error("duplicate"), is_whole=True), is_replay=True) == AskLater(JOB)


@pytest.mark.parametrize(
    ("reason", "is_script", "expected"),
    [("invalidQuery", False, Known), ("stopped", False, AskLater), ("invalidQuery", True, AskLater)],
)
def test_a_failed_query_is_free_unless_it_was_a_script_or_stopped(
    reason: str, is_script: bool, expected: type[Verdict]
) -> None:
    """Earlier statements of a script and cancelled jobs may be billed."""
    seen = Seen(400, error(reason), is_whole=True)
    assert isinstance(verdict(seen, method=Method.QUERY, is_script=is_script), expected)
