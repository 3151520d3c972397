from collections.abc import AsyncIterator

import pytest

from bqgate.domain.job import JobRef
from bqgate.gate.body import read_bounded
from bqgate.gate.isolation.taken_ids import as_chosen, asked_by_id, chosen_id, has_ending, own_id
from bqgate.wire.http_message import HttpRequest, HttpResponse

OWNER = "0123456789abcdef"
OWN = own_id("daily", OWNER) or ""


def test_each_customer_has_an_id_of_its_own() -> None:
    """Always the same one, and none where the chosen one fills all of an id; what is chosen may not look like it."""
    assert OWN == own_id("daily", OWNER)
    assert OWN not in {"daily", own_id("daily", "f" * 16)}
    assert has_ending(OWN)
    assert not has_ending("daily-bqgate-job")
    assert own_id("d" * 1024, OWNER) is None


@pytest.mark.parametrize(
    "document", [{}, {"jobReference": None}, {"jobReference": {}}, {"jobReference": {"jobId": ""}}]
)
def test_most_jobs_choose_none(document: dict[str, object]) -> None:
    """Then the gate or BigQuery does."""
    assert chosen_id(document) is None


@pytest.mark.parametrize("size", [1, 7, 27, 28, 29, 1000])
async def test_the_ending_is_taken_out_wherever_an_answer_is_cut(size: int) -> None:
    """Across chunks of whatever size, once or often, at the end as well; its headers tell no length."""
    text = (
        f'{{"id": "hub:US.{OWN}", "jobReference": {{"jobId": "{OWN}"}}, "rows": ["-bqgate-", "{OWN}"]}} {OWN}'.encode()
    )

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(text), size):
            yield text[at : at + size]

    for body in (chunks(), text):
        answer = as_chosen(HttpResponse(200, (("Content-Length", "9"), ("X-A", "b")), body), OWNER)
        assert (("X-A", "b"),) == answer.headers
        assert text.replace(OWN.encode(), b"daily") == await read_bounded(answer.body, bytes_max=10_000)


@pytest.mark.parametrize(
    ("path", "job_id", "expected"),
    [
        ("/bigquery/v2/projects/hub/jobs/daily", "daily", "/bigquery/v2/projects/hub/jobs/new"),
        ("/bigquery/v2/projects/hub/queries/d%61ily", "daily", "/bigquery/v2/projects/hub/queries/new"),
        ("/bigquery/v2/projects/hub/jobs/daily/cancel", "daily", "/bigquery/v2/projects/hub/jobs/new/cancel"),
        ("/bigquery/v2/projects/hub/jobs/cancel/cancel", "cancel", "/bigquery/v2/projects/hub/jobs/new/cancel"),
        ("/bigquery/v2/projects/hub/jobs/jobs/delete", "jobs", "/bigquery/v2/projects/hub/jobs/new/delete"),
        ("/bigquery/v2/projects/jobs/j%6fbs/jobs", "jobs", "/bigquery/v2/projects/jobs/j%6fbs/new"),
    ],
)
def test_a_call_is_made_by_another_id(path: str, job_id: str, expected: str) -> None:
    """Wherever the id stands in the path, and whatever it is; the answer is to come unpacked."""
    call = asked_by_id(HttpRequest("GET", path, "", (("accept-encoding", "gzip"),)), JobRef("hub", job_id), "new")
    assert (expected, (("Accept-Encoding", "identity"),)) == (call.path, call.headers)
