"""BigQuery behind its guards, time limit, metrics, retry and breaker: a real client, a server that fails as told."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web

from bqgate.bigquery.credentials import CallerCredentials, UpstreamCredentials
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.retrying import Retries
from bqgate.bigquery.service_account import ServiceAccountCredentials
from bqgate.bigquery.timeouts import Timeouts
from bqgate.bigquery.upstream import Guards, HttpUpstream
from bqgate.breakers.circuit_breaker import BreakerRules, CircuitBreaker
from bqgate.clock import SystemClock
from bqgate.domain.errors import UpstreamNotTried, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.job import JobRef
from bqgate.domain.principal import Credential
from bqgate.observe.logs import LogFormat, make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.wire.http_message import HttpRequest, HttpResponse
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock
from tests.support.recording_upstream import RecordingUpstream, replying
from tests.support.tcp_fault_proxy import TcpFaultProxy

RULES = BreakerRules(failures_to_open=3, cooldown_s=7.5)
TIMEOUTS = Timeouts(longest_s=5, slack_s=0.05, upload_s=5, control_s=5)
API = "/bigquery/v2/projects/p"
READ = HttpRequest("GET", f"{API}/datasets")
POLL = HttpRequest("GET", f"{API}/queries/j", "timeoutMs=1")
INSERT = HttpRequest("POST", f"{API}/jobs", body=b'{"jobReference": {"jobId": "mine"}}')


class Scene:
    """A guarded way to a recorder, on a clock moved by hand."""

    def __init__(self, url: str, credentials: UpstreamCredentials | None = None, *, pause: float = 0.0) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.log = io.StringIO()
        telemetry = PrometheusTelemetry(
            self.metrics, make_logger(self.log, self.clock, level=logging.INFO, log_format=LogFormat.JSON)
        )
        self.breaker = CircuitBreaker("upstream", RULES, self.clock, telemetry)
        # Pauses of no length pass by themselves.
        self.retries = Retries(self.clock, telemetry, draw=lambda: pause)
        guards = Guards(TIMEOUTS, telemetry, self.retries, self.breaker)
        self.upstream = HttpUpstream(url, credentials or CallerCredentials(), guards)

    async def ask(self, call: HttpRequest = READ, *, read_timeout_s: float | None = None, customer: str = "") -> int:
        credential = Credential(customer=customer)
        answer = await self.upstream.send(call, credential=credential, read_timeout_s=read_timeout_s)
        await _close(answer)
        return answer.status

    def answers(self, status: str) -> float:
        return self.metrics.value("bqgate_upstream_answers_total", status=status)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What was noted of an event, but for its moment and level."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [
            {name: value for name, value in line.items() if name not in {"at", "level", "event"}}
            for line in lines
            if line["event"] == event
        ]


async def _close(answer: HttpResponse) -> None:
    close = getattr(answer.body, "aclose", None)
    if close is not None:
        await close()


async def _silence(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.fixture
async def scene(recorder: RecordingUpstream) -> AsyncIterator[Scene]:
    made = Scene(recorder.url)
    yield made
    await made.upstream.close()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_answers_that_are_bigquerys_fault_open_it(scene: Scene, recorder: RecordingUpstream, status: int) -> None:
    """Each is passed on; after the third BigQuery is left alone, and it is said at once and for how long."""
    recorder.reply = replying(status)
    assert [await scene.ask() for _ in range(3)] == [status] * 3
    for _ in range(5):
        with pytest.raises(UpstreamNotTried) as caught:
            await scene.ask()
        assert (caught.value.retry_after_s, caught.value.may_have_worked) == (8, False)
    assert len(recorder.received) == 3


@pytest.mark.parametrize("status", [200, 308, 400, 401, 403, 404, 409, 429, 501])
async def test_answers_that_are_nobodys_or_the_callers_fault_do_not(
    scene: Scene, recorder: RecordingUpstream, status: int
) -> None:
    """However often: BigQuery answered, which also ends a row of failures."""
    recorder.reply = replying(503)
    assert [await scene.ask() for _ in range(2)] == [503] * 2
    recorder.reply = replying(status)
    assert [await scene.ask() for _ in range(5)] == [status] * 5
    recorder.reply = replying(503)
    assert [await scene.ask() for _ in range(2)] == [503] * 2
    assert scene.breaker.state_number == 0


async def test_no_answer_in_time_opens_it(scene: Scene, recorder: RecordingUpstream) -> None:
    """The gate's own limit ran out, three times."""
    recorder.reply = _silence
    for _ in range(3):
        with pytest.raises(UpstreamTimeout):
            await scene.ask(read_timeout_s=0.05)
    assert scene.breaker.state_number == 2


async def test_a_poll_that_runs_out_proves_nothing(scene: Scene, recorder: RecordingUpstream) -> None:
    """Its caller chose how long to wait."""
    recorder.reply = _silence
    for _ in range(5):
        with pytest.raises(UpstreamTimeout):
            await scene.ask(POLL)
    assert scene.breaker.state_number == 0


async def test_one_customers_failures_are_its_own(scene: Scene, recorder: RecordingUpstream) -> None:
    """While another customer is active, the 500s that one provokes shut BigQuery for nobody; those of two do."""
    assert await scene.ask(customer="globex") == 200
    recorder.reply = replying(500)
    for _ in range(10):
        assert await scene.ask(customer="acme") == 500
    assert scene.breaker.state_number == 0
    recorder.reply = replying(200)
    assert await scene.ask(customer="globex") == 200
    recorder.reply = replying(500)
    for customer in ("acme", "acme", "globex"):
        assert await scene.ask(customer=customer) == 500
    assert scene.breaker.state_number == 2


async def test_a_customers_own_time_limits_are_its_own(scene: Scene, recorder: RecordingUpstream) -> None:
    """So are the answers that do not come to one."""
    assert await scene.ask(customer="globex") == 200
    recorder.reply = _silence
    for _ in range(5):
        with pytest.raises(UpstreamTimeout):
            await scene.ask(read_timeout_s=0.02, customer="acme")
    assert scene.breaker.state_number == 0


async def test_refused_connections_are_nobodys_doing(recorder: RecordingUpstream) -> None:
    """One customer's three are enough, however many others are active: BigQuery is not there."""
    async with TcpFaultProxy("127.0.0.1", int(recorder.url.rsplit(":", 1)[1])) as proxy:
        scene = Scene(f"http://127.0.0.1:{proxy.port}")
        for customer in ("acme", "globex"):
            assert await scene.ask(customer=customer) == 200
        proxy.refuse()
        for _ in range(3):
            with pytest.raises(UpstreamUnavailable):
                await scene.ask(customer="acme")
        assert scene.breaker.state_number == 2
        await scene.upstream.close()


async def test_answers_are_counted_by_class(scene: Scene, recorder: RecordingUpstream) -> None:
    """Each is in its class; of those that are BigQuery's fault there is a line."""
    for status in (200, 308, 404, 501, 503):
        recorder.reply = replying(status)
        assert await scene.ask() == status
    assert {name: scene.answers(name) for name in ("2xx", "3xx", "4xx", "5xx", "none")} == {
        "2xx": 1,
        "3xx": 1,
        "4xx": 1,
        "5xx": 2,
        "none": 0,
    }
    told = {"method": "GET", "path": READ.path, "error": "BigQuery is not answering (status 503)."}
    assert scene.lines("upstream_failed") == [told]


async def test_no_answer_is_counted_once_and_told(scene: Scene, recorder: RecordingUpstream) -> None:
    """As none; the line names the request and not its query string, which may bear a token."""
    recorder.reply = _silence
    with pytest.raises(UpstreamTimeout):
        await scene.ask(HttpRequest("GET", "/jobs", "key=secret", request_id="r1"), read_timeout_s=0.02)
    assert scene.answers("none") == 1
    told = {"method": "GET", "path": "/jobs", "error": "BigQuery is not answering (no answer in time)."}
    assert scene.lines("upstream_failed") == [told | {"request_id": "r1"}]


async def test_a_call_that_was_not_sent_has_no_line(scene: Scene, recorder: RecordingUpstream) -> None:
    """While BigQuery is left alone, the breaker has told so once, and thousands of calls are not told again."""
    recorder.reply = replying(503)
    for _ in range(3):
        await scene.ask()
    for _ in range(5):
        with pytest.raises(UpstreamNotTried):
            await scene.ask()
    assert (scene.answers("none"), len(scene.lines("upstream_failed"))) == (5, 3)
    assert len(scene.lines("system_breaker_open")) == 1


async def test_an_insert_that_is_tried_again_is_counted_once(recorder: RecordingUpstream) -> None:
    """Attempts are the breaker's business; whoever reads the metrics asks how many calls were answered."""
    async with TcpFaultProxy("127.0.0.1", int(recorder.url.rsplit(":", 1)[1])) as proxy:
        scene = Scene(f"http://127.0.0.1:{proxy.port}")
        proxy.refuse()
        with pytest.raises(UpstreamUnavailable):
            await scene.ask(INSERT)
        assert (scene.answers("none"), len(scene.lines("upstream_failed"))) == (1, 1)
        assert scene.metrics.value("bqgate_retries_total", operation="jobs.insert") == 1
        await scene.upstream.close()


async def test_callers_that_leave_prove_nothing(scene: Scene, recorder: RecordingUpstream) -> None:
    """A cancelled call counts for nothing, and a trial whose caller left makes room for another."""
    recorder.reply = replying(503)
    for _ in range(3):
        await scene.ask()
    scene.clock.advance(7.5)
    recorder.has_call.clear()
    recorder.reply = _silence
    trial = asyncio.ensure_future(scene.ask())
    await recorder.has_call.wait()
    with pytest.raises(UpstreamNotTried):
        await scene.ask()
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    recorder.reply = replying(200)
    assert await scene.ask() == 200
    assert scene.breaker.state_number == 0


async def test_no_token_is_not_bigquerys_fault(recorder: RecordingUpstream) -> None:
    """While the gate has no token BigQuery is not asked, and nothing is said about it."""

    class NoSource:
        token: str | None = None
        expiry: datetime | None = None

        def refresh(self, request: object) -> None:
            """Never called."""

    scene = Scene(recorder.url, ServiceAccountCredentials(NoSource(), SystemClock(), ListTelemetry()))
    for _ in range(5):
        with pytest.raises(UpstreamNotTried, match="token"):
            await scene.ask()
    assert scene.breaker.state_number == 0
    await scene.upstream.close()


async def test_an_insert_of_which_nothing_was_sent_is_sent_again(recorder: RecordingUpstream) -> None:
    """A refused connection is tried once more after a pause; an insert that names no job is the caller's to repeat."""
    async with TcpFaultProxy("127.0.0.1", int(recorder.url.rsplit(":", 1)[1])) as proxy:
        scene = Scene(f"http://127.0.0.1:{proxy.port}", pause=1.0)
        proxy.refuse()
        with pytest.raises(UpstreamUnavailable):
            await scene.ask(HttpRequest("POST", f"{API}/jobs", body=b"{}"))
        asking = asyncio.ensure_future(scene.ask(INSERT))
        await scene.clock.wait_for_sleepers()
        await proxy.heal()
        scene.clock.advance(1)
        assert await asking == 200
        await scene.upstream.close()


async def test_an_insert_that_was_sent_is_never_sent_again(scene: Scene, recorder: RecordingUpstream) -> None:
    """Neither after an answer of 503 nor after a broken connection: its job may run."""
    recorder.reply = replying(503)
    assert await scene.ask(INSERT) == 503

    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    recorder.reply = cut
    with pytest.raises(UpstreamUnavailable):
        await scene.ask(INSERT)
    assert len(recorder.received) == 2


async def test_the_gates_own_reads_are_made_again(scene: Scene, recorder: RecordingUpstream) -> None:
    """jobs.get that met a 503 succeeds at its second attempt."""
    answers = [503, 200]

    async def reply(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": {"state": "RUNNING"}}, status=answers.pop(0))

    recorder.reply = reply
    bigquery = GoogleBigQuery(scene.upstream, retries=scene.retries)
    assert (await bigquery.fetch_job(JobRef("p", "j", "US"), credential=None)).usage is None
    assert len(recorder.received) == 2


async def test_the_gates_own_reads_do_not_press_on_while_it_is_open(scene: Scene, recorder: RecordingUpstream) -> None:
    """Attempts count as failures too, and while BigQuery is left alone there is one refusal and no attempt."""
    recorder.reply = replying(503)
    for _ in range(3):
        await scene.ask()
    bigquery = GoogleBigQuery(scene.upstream, retries=scene.retries)
    with pytest.raises(UpstreamNotTried):
        await bigquery.fetch_job(JobRef("p", "j", "US"), credential=None)
    assert len(recorder.received) == 3
