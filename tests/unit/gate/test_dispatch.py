import asyncio
import json
from io import BytesIO

import pytest
from yarl import URL

from bqgate.domain.errors import UpstreamUnavailable
from tests.support.gate_stand import GateStand
from tests.support.recording_upstream import replying

UPLOAD = "/upload/bigquery/v2/projects/p/jobs"
QUERY = {"configuration": {"query": {"query": "SELECT 1"}}}


@pytest.mark.parametrize("prefix", ["", "/bigquery/v2", "/w/team-a"])
@pytest.mark.parametrize("path", ["projects/p/queries", "projects/p/jobs"])
async def test_both_submitting_methods_meet_the_handler(gate: GateStand, prefix: str, path: str) -> None:
    """jobs.query and jobs.insert are judged, with BigQuery's own path and the workload."""
    async with gate.session.post(f"{gate.url}{prefix}/{path}?prettyPrint=false", json=QUERY) as answer:
        assert answer.status == 200
    (judged,) = gate.handler.judged
    assert (judged.call.path, judged.call.query) == (f"/bigquery/v2/{path}", "prettyPrint=false")
    assert judged.route.workload == ("team-a" if "/w/" in prefix else None)
    assert judged.document == QUERY
    assert json.loads(gate.upstream.last.body) == QUERY | {"judged": True}


async def test_a_query_on_the_upload_path_meets_the_handler(gate: GateStand) -> None:
    """Neither a multipart nor a resumable upload carries a query past the gate."""
    body = b"--b\r\n\r\n" + json.dumps(QUERY).encode() + b"\r\n--b\r\n\r\nmedia\r\n--b--"
    headers = {"Content-Type": "multipart/related; boundary=b"}
    async with gate.session.post(f"{gate.url}{UPLOAD}?uploadType=multipart", data=body, headers=headers) as answer:
        assert answer.status == 200
    assert b'"judged":true' in gate.upstream.last.body
    assert gate.upstream.last.body.endswith(b"\r\n--b\r\n\r\nmedia\r\n--b--")
    async with gate.session.post(f"{gate.url}{UPLOAD}?uploadType=resumable", json=QUERY) as answer:
        assert answer.status == 200
    assert [judged.document for judged in gate.handler.judged] == [QUERY, QUERY]


async def test_an_overridden_query_meets_the_handler(gate: GateStand) -> None:
    """The real verb decides: a POST that means GET is no query, and no override hides one."""
    headers = {"X-HTTP-Method-Override": "GET", "Content-Type": "application/x-www-form-urlencoded"}
    url = f"{gate.url}/bigquery/v2/projects/p/queries/j"
    async with gate.session.post(url, data=b"pageToken=x%2Fy", headers=headers) as answer:
        assert answer.status == 200
    assert (gate.upstream.last.method, gate.upstream.last.target) == (
        "GET",
        "/bigquery/v2/projects/p/queries/j?pageToken=x%2Fy",
    )
    async with gate.session.post(
        f"{gate.url}/projects/p/queries", json={}, headers={"X-HTTP-Method-Override": "PUT"}
    ) as (answer):
        assert answer.status == 501
    assert gate.handler.judged == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/unknown", 501),
        ("GET", "/w/BAD/projects", 400),
        ("POST", "/projects/p/queries?alt=proto", 400),
        ("GET", "/projects/p/queries/j?alt=proto", 200),
        ("PUT", f"{UPLOAD}?uploadType=multipart", 400),
        ("POST", f"{UPLOAD}?uploadType=media", 400),
        ("POST", "/projects/p/queries?$httpMethod=GET", 501),
    ],
)
async def test_what_cannot_be_judged_does_not_pass(gate: GateStand, method: str, path: str, status: int) -> None:
    """Refusals come in BigQuery's form and BigQuery hears nothing."""
    async with gate.session.request(method, gate.url + path, data=b"{}") as answer:
        assert answer.status == status
        if status != 200:
            assert (await answer.json())["error"]["code"] == status
    assert len(gate.upstream.received) == (status == 200)


async def test_a_failure_of_the_handler_is_answered(gate: GateStand) -> None:
    """The port's errors end as BigQuery's."""
    gate.handler.failure = UpstreamUnavailable("down")
    async with gate.session.post(f"{gate.url}/projects/p/queries", json={}) as answer:
        assert (await answer.json())["error"]["errors"][0]["reason"] == "backendError"


async def test_bigquerys_refusal_is_passed_on_unchanged(gate: GateStand) -> None:
    """An error of BigQuery's is not rewritten."""
    gate.upstream.reply = replying(404, b'{"error": {"code": 404}}', {"Content-Type": "application/json"})
    async with gate.session.get(f"{gate.url}/projects/p/jobs/j") as answer:
        assert (answer.status, await answer.read()) == (404, b'{"error": {"code": 404}}')


@pytest.mark.parametrize("path", ["/projects/p/queries", "/projects/p/jobs", f"{UPLOAD}?uploadType=resumable"])
async def test_a_job_larger_than_bigquery_takes_is_refused(gate: GateStand, path: str) -> None:
    """Past ten megabytes nothing is kept and nothing is sent on; the caller is told the bound."""
    async with gate.session.post(gate.url + path, data=BytesIO(b'{"query": "' + b"x" * 11 * 2**20 + b'"}')) as answer:
        assert answer.status == 413
        assert "10485760" in (await answer.json())["error"]["message"]
    assert (gate.handler.judged, gate.upstream.received) == ([], [])


async def test_a_job_cut_off_on_its_way_is_not_judged(gate: GateStand) -> None:
    """A body shorter than it says never becomes a job."""
    _, writer = await asyncio.open_connection("127.0.0.1", URL(gate.url).port)
    writer.write(b'POST /projects/p/queries HTTP/1.1\r\nHost: gate\r\nContent-Length: 99\r\n\r\n{"query": "SELECT 1"}')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with gate.session.get(f"{gate.url}/projects") as answer:
        assert answer.status == 200
    assert gate.handler.judged == []
