import json
from datetime import UTC, datetime

import pytest

from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef, Method, Outcome
from bqgate.domain.pricing import PricingModel
from bqgate.gate.outcome import AskLater, Known, NothingRan, Seen, Verdict, judge

JOB = JobRef("p", "j", "US")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
REFERENCE = {"projectId": "p", "jobId": "j", "location": "US"}
QUERY_DONE = {"jobComplete": True, "jobReference": REFERENCE, "totalBytesBilled": "5", "totalSlotMs": "1"}


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
    return judge(seen, method=method, hold=hold, is_script=is_script, is_replay=is_replay, model=model)


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


def test_an_inserted_job_is_asked_after_until_it_is_done() -> None:
    """RUNNING is no end; DONE is, failed or not."""
    running = json.dumps({"jobReference": REFERENCE, "status": {"state": "RUNNING"}})
    assert verdict(Seen(200, running, is_whole=True)) == AskLater(JOB, is_made=True)
    failed = json.dumps({"jobReference": REFERENCE, "status": {"state": "DONE", "errorResult": {"reason": "invalid"}}})
    known = verdict(Seen(200, failed, is_whole=True))
    assert isinstance(known, Known)
    assert known.usage.outcome is Outcome.FAILED


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
