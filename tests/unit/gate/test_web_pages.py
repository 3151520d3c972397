"""How often refusals of web pages are logged."""

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from bqgate.gate.http import middleware
from bqgate.gate.http.web_pages import LOG_EVERY_S, PageGuard, PageRules
from bqgate.wire.authority import KnownHosts
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock

OPEN = PageRules(
    KnownHosts({"localhost"}),
    checks_every_path=True,
    open_paths=frozenset(),
    refuses_foreign_pages=True,
    public_url=None,
)


async def spend(_request: web.Request) -> web.Response:
    """What no page gets here."""
    return web.Response()


async def test_a_minute_has_one_line_and_the_next_says_how_many_there_were() -> None:
    """Of each kind; what is shown of a caller's text is bounded."""
    clock, telemetry, app = ManualClock(), ListTelemetry(), web.Application()
    pages = PageGuard(
        OPEN,
        answer_problem=lambda status, text: web.Response(status=status, text=text),
        clock=clock,
        telemetry=telemetry,
    )
    middleware.install(app, telemetry, page_refusal=pages.refusal)
    app.router.add_get("/v1/spend", spend)
    async with TestServer(app) as server, ClientSession() as session:
        own = f"127.0.0.1:{server.port}"

        async def ask(status: int, **headers: str) -> None:
            async with session.get(server.make_url("/v1/spend"), headers=headers) as answer:
                assert answer.status == status

        for number in range(5):
            await ask(421, Host=f"evil-{number}.example")
        await ask(403, Origin="http://" + "x" * 4_000)
        clock.advance(LOG_EVERY_S)
        await ask(421, Host="later.example")
    told = [(fields["reason"], fields["host"], fields["unwritten"]) for _, fields in telemetry.notes]
    assert told == [
        ("UnknownHost", "evil-0.example", 0),
        ("ForeignPage", own, 0),
        ("UnknownHost", "later.example", 4),
    ]
    assert len(str(telemetry.notes[1][1]["origin"])) < 400
