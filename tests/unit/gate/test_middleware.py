from bqgate.domain.errors import BodyTooLarge, LedgerUnavailable, UpstreamRefused
from bqgate.wire.http_message import HttpResponse
from tests.support.gate_stand import GateStand


async def test_every_answer_has_a_request_id(gate: GateStand) -> None:
    """Good and bad answers name the request, each another one; an id that the handler chose stays."""
    ids = set()
    for path in ("/projects", "/unknown") * 20:
        async with gate.session.get(gate.url + path) as answer:
            ids.add(answer.headers["X-Bqgate-Request-Id"])
    assert len(ids) == 40
    assert {len(each) for each in ids} == {16}
    gate.handler.answer = HttpResponse(200, (("X-Bqgate-Request-Id", "decision"),), b"{}")
    async with gate.session.post(f"{gate.url}/projects/p/queries", json={}) as answer:
        assert answer.headers.getall("X-Bqgate-Request-Id") == ["decision"]


async def test_a_bug_is_an_internal_error_that_tells_nothing(gate: GateStand) -> None:
    """Whoever asks learns an id; what failed and where is in the log, without what was in it."""
    gate.handler.failure = RuntimeError("secret token ya29")
    async with gate.session.post(f"{gate.url}/projects/p/queries", json={}) as answer:
        text = await answer.text()
        assert answer.status == 500
        assert (await answer.json())["error"]["errors"][0]["reason"] == "internalError"
        assert answer.headers["X-Bqgate-Request-Id"] in text
    ((event, fields),) = gate.telemetry.notes
    assert (event, fields["error"]) == ("bug", "RuntimeError")
    assert "handle_query" in str(fields["where"])
    assert "ya29" not in text + str(fields)


async def test_failures_of_ports_become_answers(gate: GateStand) -> None:
    """Each failure has its status, and BigQuery's own refusal its own body."""
    for failure, status in (
        (LedgerUnavailable("away"), 503),
        (BodyTooLarge(12), 413),
        (UpstreamRefused(403, b'{"error": {}}'), 403),
    ):
        gate.handler.failure = failure
        async with gate.session.post(f"{gate.url}/projects/p/queries", json={}) as answer:
            assert answer.status == status
    assert gate.telemetry.notes == []
