"""Put the data plane before a recording upstream, with a handler that records every job and sends it on.

Stands for the whole gate where only the door, the routes and the ways matter: no budget is asked.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web

from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.bigquery.credentials import CallerCredentials, UpstreamCredentials
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.clock import SystemClock
from bqgate.domain.job import JobRef
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Credential
from bqgate.domain.tier import CustomerRegistry, Tier
from bqgate.gate.body_room import BodyLimits, BodyRoom
from bqgate.gate.discovery import Discovery
from bqgate.gate.dispatch import Dispatcher
from bqgate.gate.http.http_server import SERVER_OPTIONS, HttpServer, add_data_plane
from bqgate.gate.http.middleware import install
from bqgate.gate.http.proxies import as_called
from bqgate.gate.http.router import new_application
from bqgate.gate.identify import Identification
from bqgate.gate.isolation import Isolation, IsolationMode
from bqgate.gate.isolation.upload_sessions import UploadSessions
from bqgate.gate.long_texts import LongTexts
from bqgate.gate.passthrough import Passthrough
from bqgate.gate.payers import Payers
from bqgate.gate.request_context import RequestContext
from bqgate.gate.routes import Route
from bqgate.gate.submission import Submission
from bqgate.identity.open_access import OpenAuthenticator
from bqgate.ports import Authenticator, Upstream
from bqgate.wire.forwarded import Networks
from bqgate.wire.http_message import HttpRequest, HttpResponse
from tests.support.list_audit_log import ListAuditLog
from tests.support.recording_upstream import RecordingUpstream, recording_upstream


class ListTelemetry:
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, object]]] = []

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        """Not kept."""

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Not kept."""

    def log(self, event: str, /, **fields: object) -> None:
        self.notes.append((event, fields))


async def _nothing_to_book(job: JobRef, credential: Credential) -> None:
    """No job here has a hold."""


@dataclass
class Judged:
    """One job as the handler saw it."""

    call: HttpRequest
    route: Route
    document: Mapping[str, Any]


@dataclass
class RecordingHandler:
    """Sends every job on with one more label, or answers `answer`, or raises `failure`."""

    upstream: Upstream
    judged: list[Judged] = field(default_factory=list)
    answer: HttpResponse | None = None
    failure: Exception | None = None

    async def handle_query(self, ctx: RequestContext, submission: Submission, /) -> HttpResponse:
        self.judged.append(Judged(ctx.call, ctx.route, submission.document))
        if self.failure is not None:
            raise self.failure
        if self.answer is not None:
            return self.answer
        return await self.upstream.send(
            submission.build_request({**submission.document, "judged": True}), credential=ctx.principal.credential
        )


@dataclass
class GateStand:
    """A running gate: its URL, what stands behind it, what it noted."""

    url: str
    upstream: RecordingUpstream
    handler: RecordingHandler
    telemetry: ListTelemetry
    session: aiohttp.ClientSession
    app: web.Application


@asynccontextmanager
async def gate_stand(
    credentials: UpstreamCredentials | None = None,
    *,
    authenticator: Authenticator | None = None,
    audit_log: ListAuditLog | None = None,
    trusted: Networks = (),
    public_url: str | None = None,
    bodies: BodyLimits | None = None,
) -> AsyncIterator[GateStand]:
    """A gate before a recorder, and a client session that changes nothing on its own."""
    async with recording_upstream() as recorder:
        upstream = HttpUpstream(recorder.url, credentials or CallerCredentials())
        handler = RecordingHandler(upstream)
        telemetry = ListTelemetry()
        app = data_plane(
            handler,
            upstream,
            telemetry,
            authenticator=authenticator,
            audit_log=audit_log,
            trusted=trusted,
            public_url=public_url,
            bodies=bodies,
        )
        runner = web.AppRunner(app, shutdown_timeout=1, **SERVER_OPTIONS)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        try:
            yield GateStand(f"http://{host}:{port}", recorder, handler, telemetry, session, app)
        finally:
            await session.close()
            await runner.cleanup()
            await upstream.close()


def data_plane(
    handler: RecordingHandler,
    upstream: Upstream,
    telemetry: ListTelemetry,
    *,
    authenticator: Authenticator | None = None,
    audit_log: ListAuditLog | None = None,
    trusted: Networks = (),
    public_url: str | None = None,
    bodies: BodyLimits | None = None,
) -> web.Application:
    """The data plane as app puts it together."""
    app = new_application()
    install(app, telemetry, called=partial(as_called, trusted=trusted, public_url=public_url))
    clock = SystemClock()
    tier = Tier("standard", daily_nanos=1, monthly_nanos=1, emergency_nanos=1)
    policies = PolicySnapshot(CustomerRegistry({}, {}, tier), PriceList(PricingModel.ON_DEMAND, 1, 1))
    audit_log = audit_log or ListAuditLog()
    payers = Payers(policies, GoogleBigQuery(upstream), passes_credentials=True)
    identification = Identification(
        authenticator=authenticator or OpenAuthenticator(),
        payers=payers,
        audit_log=audit_log,
        clock=clock,
        submissions_only=False,
    )
    dispatcher = Dispatcher(
        identification=identification,
        payers=payers,
        handler=handler,
        discovery=Discovery(upstream, clock),
        passthrough=Passthrough(upstream, _nothing_to_book, JobWrites(lambda _: None, lambda _: None)),
        isolation=Isolation(
            isolation_mode=IsolationMode.NOTHING,
            allows_unknown=False,
            policies=policies,
            bigquery=GoogleBigQuery(upstream),
            long_texts=LongTexts(),
            upstream=upstream,
            audit_log=audit_log,
            clock=clock,
            uploads=UploadSessions("0" * 32),
        ),
        clock=clock,
        telemetry=telemetry,
    )
    add_data_plane(app, HttpServer(dispatcher, BodyRoom(bodies or BodyLimits(), clock, telemetry)))
    return app
