"""Put the data plane before a recording upstream, with a handler that records every job and sends it on.

Stands for the whole gate where only the door, the routes and the ways matter: no budget is asked.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from bqgate.admission.job_writes import JobWrites
from bqgate.bigquery.credentials import CallerCredentials, UpstreamCredentials
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.clock import SystemClock
from bqgate.domain.job import JobRef
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Credential
from bqgate.domain.tier import Directory, Tier
from bqgate.gate import proxies
from bqgate.gate.dispatch import Dispatcher
from bqgate.gate.door import SERVER_OPTIONS, Door, add_data_plane
from bqgate.gate.identify import Identification
from bqgate.gate.isolation import Extent, Isolation
from bqgate.gate.middleware import install
from bqgate.gate.passthrough import Passthrough
from bqgate.gate.request_context import RequestContext
from bqgate.gate.routes import Route
from bqgate.gate.submission import Submission
from bqgate.identity.open_door import EverybodyIn
from bqgate.ports import Authenticator, Upstream
from bqgate.wire.exchange import Answer, Call
from bqgate.wire.forwarded import Networks
from tests.support.list_trail import ListTrail
from tests.support.recording_upstream import RecordingUpstream, recording_upstream


class ListJournal:
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, object]]] = []

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        """Not kept."""

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Not kept."""

    def note(self, event: str, /, **fields: object) -> None:
        self.notes.append((event, fields))


async def _nothing_to_book(job: JobRef, credential: Credential) -> None:
    """No job here has a hold."""


@dataclass
class Judged:
    """One job as the handler saw it."""

    call: Call
    route: Route
    document: Mapping[str, Any]


@dataclass
class RecordingHandler:
    """Sends every job on with one more label, or answers `answer`, or raises `failure`."""

    upstream: Upstream
    judged: list[Judged] = field(default_factory=list)
    answer: Answer | None = None
    failure: Exception | None = None

    async def handle_query(self, ctx: RequestContext, submission: Submission, /) -> Answer:
        self.judged.append(Judged(ctx.call, ctx.route, submission.document))
        if self.failure is not None:
            raise self.failure
        if self.answer is not None:
            return self.answer
        return await self.upstream.exchange(
            submission.forward({**submission.document, "judged": True}), credential=Credential()
        )


@dataclass
class GateStand:
    """A running gate: its URL, what stands behind it, what it noted."""

    url: str
    upstream: RecordingUpstream
    handler: RecordingHandler
    journal: ListJournal
    session: aiohttp.ClientSession
    app: web.Application


@asynccontextmanager
async def gate_stand(
    credentials: UpstreamCredentials | None = None,
    *,
    authenticator: Authenticator | None = None,
    trail: ListTrail | None = None,
    trusted: Networks = (),
    public_url: str | None = None,
) -> AsyncIterator[GateStand]:
    """A gate before a recorder, and a client session that changes nothing on its own."""
    async with recording_upstream() as recorder:
        upstream = HttpUpstream(recorder.url, credentials or CallerCredentials())
        handler = RecordingHandler(upstream)
        journal = ListJournal()
        app = data_plane(handler, upstream, journal, authenticator=authenticator, trail=trail)
        proxies.install(app, trusted=trusted, public_url=public_url)
        runner = web.AppRunner(app, shutdown_timeout=1, **SERVER_OPTIONS)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        try:
            yield GateStand(f"http://{host}:{port}", recorder, handler, journal, session, app)
        finally:
            await session.close()
            await runner.cleanup()
            await upstream.close()


def data_plane(
    handler: RecordingHandler,
    upstream: Upstream,
    journal: ListJournal,
    *,
    authenticator: Authenticator | None = None,
    trail: ListTrail | None = None,
) -> web.Application:
    """The data plane as app puts it together."""
    app = web.Application()
    install(app, journal)
    clock = SystemClock()
    tier = Tier("standard", daily_nanos=1, monthly_nanos=1, emergency_nanos=1)
    policies = PolicySnapshot(Directory({}, {}, tier), PriceList(PricingModel.ON_DEMAND, 1, 1))
    trail = trail or ListTrail()
    identification = Identification(
        authenticator=authenticator or EverybodyIn(),
        policies=policies,
        trail=trail,
        clock=clock,
        passes_credentials=True,
        submissions_only=False,
    )
    dispatcher = Dispatcher(
        identification=identification,
        handler=handler,
        passthrough=Passthrough(upstream, _nothing_to_book, JobWrites(lambda _: None)),
        isolation=Isolation(
            extent=Extent.NOTHING,
            allows_unknown=False,
            policies=policies,
            bigquery=GoogleBigQuery(upstream),
            upstream=upstream,
            trail=trail,
            clock=clock,
        ),
        clock=clock,
        journal=journal,
    )
    add_data_plane(app, Door(dispatcher))
    return app
