import asyncio

import pytest
from aiohttp import ServerDisconnectedError, web
from aiohttp.test_utils import TestClient, TestServer

from bqgate.domain.errors import LedgerUnavailable
from bqgate.gate.http import access_log, middleware
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock


async def _client(telemetry: ListTelemetry, clock: ManualClock) -> TestClient[web.Request, web.Application]:
    async def answer(request: web.Request) -> web.Response:
        clock.advance(0.25)
        headers = {"X-Bqgate-Decision": "reject", "X-Bqgate-Reason": "grace_over", "X-Bqgate-Cost-Usd": "0.10"}
        headers["X-Bqgate-Request-Id"] = "hold-1"
        return web.Response(headers=headers)

    async def hang(request: web.Request) -> web.Response:
        raise asyncio.CancelledError

    app = web.Application()
    access_log.install(app, telemetry, clock)
    app.add_routes([web.get("/projects/p/jobs", answer), web.get("/hang", hang), web.get("/metrics", answer)])
    client = TestClient(TestServer(app))
    await client.start_server()
    return client


async def test_a_request_is_one_line() -> None:
    """Method, path without its query string, status, duration, and what the answer's headers say of the decision."""
    telemetry, clock = ListTelemetry(), ManualClock()
    client = await _client(telemetry, clock)
    await client.get("/projects/p/jobs?key=secret")
    await client.close()
    assert telemetry.notes == [
        (
            "request",
            {
                "method": "GET",
                "path": "/projects/p/jobs",
                "status": 200,
                "duration_ms": 250,
                "request_id": "hold-1",
                "decision": "reject",
                "reason": "grace_over",
                "cost_usd": "0.10",
            },
        )
    ]


async def test_a_request_that_ends_without_an_answer_is_a_line_too() -> None:
    """A caller that left is noted as such."""
    telemetry, clock = ListTelemetry(), ManualClock()
    client = await _client(telemetry, clock)
    with pytest.raises(ServerDisconnectedError):
        await client.get("/hang")
    await client.close()
    ((_, fields),) = telemetry.notes
    assert fields["status"] == "caller_gone"


async def test_a_failure_is_named() -> None:
    """The line says what the status alone does not: which system was away."""

    async def fail(_: web.Request) -> web.Response:
        raise LedgerUnavailable("x")

    telemetry, app = ListTelemetry(), web.Application()
    access_log.install(app, telemetry, ManualClock())
    middleware.install(app, telemetry)
    app.add_routes([web.get("/fail", fail)])
    async with TestClient(TestServer(app)) as client:
        await client.get("/fail")
    ((_, fields),) = telemetry.notes
    assert (fields["status"], fields["reason"]) == (503, "LedgerUnavailable")


async def test_probes_are_not_noted() -> None:
    """A scrape every few seconds does not fill the log."""
    telemetry, clock = ListTelemetry(), ManualClock()
    client = await _client(telemetry, clock)
    await client.get("/metrics")
    await client.close()
    assert telemetry.notes == []
