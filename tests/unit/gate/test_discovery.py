import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from bqgate.bigquery.credentials import CallerCredentials
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.gate.body import read_bounded
from bqgate.gate.discovery import FAILED_S, FRESH_S, REFUSED_S, STALE_S, Discovery
from bqgate.wire.http_message import HttpRequest
from tests.support.gate_stand import GateStand
from tests.support.manual_clock import ManualClock
from tests.support.recording_upstream import RecordingUpstream, recording_upstream, replying

DISCOVERY = {
    "rootUrl": "https://bigquery.googleapis.com/",
    "baseUrl": "https://bigquery.googleapis.com/bigquery/v2/",
    "mtlsRootUrl": "https://bigquery.mtls.googleapis.com/",
    "batchPath": "batch/bigquery/v2",
    "endpoints": [{"endpointUrl": "https://bigquery.europe-west1.rep.googleapis.com/"}],
    "schemas": {"Job": {"id": "Job"}},
}
PATH = "/discovery/v1/apis/bigquery/v2/rest"
OF_SERVICE = "/$discovery/rest"


class Stand:
    """A cache before a recorder."""

    def __init__(self, recorder: RecordingUpstream, upstream: HttpUpstream) -> None:
        self.recorder = recorder
        self.clock = ManualClock()
        self.discovery = Discovery(upstream, self.clock)

    async def ask(self, query: str = "", *, path: str = PATH, root: str = "http://gate") -> tuple[int, bytes]:
        call = HttpRequest("GET", path, query, (("Authorization", "Bearer t"), ("Cookie", "c")))
        answer = await self.discovery.answer(call, path=path, root=root)
        return answer.status, await read_bounded(answer.body, bytes_max=2**20)

    async def settled(self) -> None:
        """Return when nothing is asked upstream."""
        await asyncio.gather(*self.discovery._asking.values())


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with recording_upstream() as recorder:
        recorder.reply = replying(200, json.dumps(DISCOVERY).encode(), {"Content-Type": "application/json"})
        upstream = HttpUpstream(recorder.url, CallerCredentials())
        stand = Stand(recorder, upstream)
        yield stand
        await stand.discovery.close()
        await upstream.close()


@pytest.mark.parametrize("path", ["/$discovery/rest?version=v2", "/discovery/v1/apis/bigquery/v2/rest"])
@pytest.mark.parametrize("workload", ["", "/w/team-a"])
async def test_the_discovery_document_names_the_gate(gate: GateStand, path: str, workload: str) -> None:
    """Clients that build their URLs from it come back to the gate; the rest of it is BigQuery's."""
    gate.upstream.reply = replying(
        200, json.dumps(DISCOVERY).encode(), {"ETag": '"e"', "Content-Type": "application/json"}
    )
    async with gate.session.get(gate.url + workload + path, headers={"Accept-Encoding": "gzip"}) as answer:
        document = await answer.json()
        assert "ETag" not in answer.headers
    root = f"{gate.url}{workload}/"
    assert (document["rootUrl"], document["baseUrl"], document["mtlsRootUrl"]) == (root, f"{root}bigquery/v2/", root)
    assert (document["servicePath"], document["batchPath"]) == ("bigquery/v2/", "batch/bigquery/v2")
    assert document["schemas"] == DISCOVERY["schemas"]
    assert "googleapis.com" not in json.dumps(document)
    assert gate.upstream.last.header("accept-encoding") is None


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [(404, b"no", 404), (200, b"<html>", 503), (200, b"[]", 503), (200, b"[" * 100_000, 503)],
    ids=["refused", "no JSON", "no object", "nested without end"],
)
async def test_a_discovery_answer_that_is_none(gate: GateStand, status: int, body: bytes, wanted: int) -> None:
    """BigQuery's refusal passes; what is no document is an upstream failure."""
    gate.upstream.reply = replying(status, body)
    async with gate.session.get(f"{gate.url}/$discovery/rest") as answer:
        assert answer.status == wanted


async def test_strangers_cost_bigquery_one_call_an_hour(stand: Stand) -> None:
    """Whatever parameters, headers and addresses they make up, and however many come at once."""
    queries = ["", *(f"x={number}&fields=a{number}&key=k{number}&alt=json" for number in range(200))]
    answers = await asyncio.gather(*(stand.ask(query, root=f"http://h{len(query)}") for query in queries))
    assert {status for status, _ in answers} == {200}
    await asyncio.gather(*(stand.ask(f"version=v2&x={number}", path=OF_SERVICE) for number in range(200)))
    assert [each.target for each in stand.recorder.received] == [PATH, f"{OF_SERVICE}?version=v2"]
    stand.clock.advance(FRESH_S - 1)
    await stand.ask()
    assert len(stand.recorder.received) == 2
    assert len(stand.discovery._kept) == 2


async def test_nothing_of_the_caller_goes_upstream(stand: Stand) -> None:
    """What is kept for all must not depend on one, and no token of a caller's is spent on it."""
    await stand.ask("access_token=secret")
    names = {name.lower() for name, _ in stand.recorder.last.headers}
    assert not names & {"authorization", "cookie"}
    assert "secret" not in stand.recorder.last.target


async def test_each_caller_is_led_to_the_gate_as_it_knows_it(stand: Stand) -> None:
    """The root is put in for each; one with quotes stays a text of JSON."""
    for root in ("http://a", "https://b/w/team", 'http://"c\\'):
        _, text = await stand.ask(root=root)
        document = json.loads(text)
        assert (document["rootUrl"], document["baseUrl"]) == (f"{root}/", f"{root}/bigquery/v2/")


async def test_another_version_is_not_there(stand: Stand) -> None:
    """The gate speaks v2; nobody upstream is asked for v3."""
    assert (await stand.ask("version=v3", path=OF_SERVICE))[0] == 404
    assert stand.recorder.received == []


async def test_an_old_document_serves_while_it_is_asked_again(stand: Stand) -> None:
    """Nobody waits for the new one; while BigQuery is away the old one stays, and is asked for now and then."""
    await stand.ask()
    stand.clock.advance(FRESH_S)
    stand.recorder.reply = replying(200, json.dumps(DISCOVERY | {"revision": "2"}).encode())
    assert b"revision" not in (await stand.ask())[1]
    await stand.settled()
    assert b"revision" in (await stand.ask())[1]
    stand.recorder.reply = replying(503, b"away")
    stand.clock.advance(2 * STALE_S)
    for _ in range(5):
        assert b"revision" in (await stand.ask())[1]
    assert len(stand.recorder.received) == 3
    stand.clock.advance(FAILED_S)
    assert b"revision" in (await stand.ask())[1]
    assert len(stand.recorder.received) == 4


async def test_a_refusal_is_kept_for_a_minute(stand: Stand) -> None:
    """And then it is asked again: a private endpoint may not have the document yet."""
    stand.recorder.reply = replying(404, b"no")
    for _ in range(5):
        assert await stand.ask() == (404, b"no")
    assert len(stand.recorder.received) == 1
    stand.clock.advance(REFUSED_S)
    stand.recorder.reply = replying(200, json.dumps(DISCOVERY).encode())
    assert (await stand.ask())[0] == 200


async def test_a_failure_is_kept_for_some_seconds(stand: Stand) -> None:
    """A flood of callers is no flood upstream while BigQuery is away."""
    stand.recorder.reply = replying(200, b"<html>")
    for _ in range(5):
        with pytest.raises(UpstreamUnavailable, match="not a JSON object"):
            await stand.ask()
    assert len(stand.recorder.received) == 1
    stand.clock.advance(FAILED_S)
    stand.recorder.reply = replying(200, json.dumps(DISCOVERY).encode())
    assert (await stand.ask())[0] == 200


async def test_callers_that_leave_do_not_ask_again(stand: Stand) -> None:
    """The question goes on without whoever began it; the next ones wait for the same answer."""
    may_answer = asyncio.Event()

    async def reply(_request: web.Request) -> web.Response:
        await may_answer.wait()
        return web.Response(body=json.dumps(DISCOVERY).encode())

    stand.recorder.reply = reply
    for _ in range(20):
        leaving = asyncio.create_task(stand.ask())
        await asyncio.wait_for(stand.recorder.has_call.wait(), 5)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    staying = asyncio.create_task(stand.ask())
    may_answer.set()
    assert (await staying)[0] == 200
    assert len(stand.recorder.received) == 1


async def test_head_has_the_length_of_the_document(gate: GateStand) -> None:
    """And no body; the document comes with a length, too, and says that it is its asker's alone."""
    gate.upstream.reply = replying(200, json.dumps(DISCOVERY).encode(), {"Cache-Control": "public, max-age=3600"})
    async with gate.session.get(gate.url + PATH) as answer:
        length = len(await answer.read())
        assert answer.headers["Content-Length"] == str(length)
        assert answer.headers.getall("Cache-Control") == ["private"]
    async with gate.session.head(gate.url + PATH) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(length))
    assert len(gate.upstream.received) == 1


async def test_a_form_in_place_of_the_query_is_not_read(gate: GateStand) -> None:
    """The document is for everybody, so nothing of a stranger's body is waited for."""
    gate.upstream.reply = replying(200, json.dumps(DISCOVERY).encode())
    headers = {"X-HTTP-Method-Override": "GET", "Content-Length": "100", "Expect": "100-continue"}
    timeout = aiohttp.ClientTimeout(total=5)
    async with gate.session.post(gate.url + PATH, headers=headers, data=b"x" * 100, timeout=timeout) as answer:
        assert answer.status == 200
