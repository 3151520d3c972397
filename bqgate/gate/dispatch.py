"""Route one call: to the query handler, through to BigQuery, or, for a batch, each of its calls by itself.

Called by the HTTP server with a call as it came, and by the batch step with the calls inside. Who asks and who pays is
found out first (identify.py, payers.py), before the body is read. Every request that could start a job goes to the
handler, by whatever path or encoding it came.
"""

import secrets
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import Protocol

from bqgate.domain.errors import UnsupportedRequest
from bqgate.gate.batch import answer_batch
from bqgate.gate.batch_log import note_part
from bqgate.gate.discovery import Discovery
from bqgate.gate.identify import Identification
from bqgate.gate.isolation import Isolation
from bqgate.gate.masked_answer import with_mask
from bqgate.gate.method_override import real_verb, with_real_verb
from bqgate.gate.passthrough import Passthrough, gate_root, with_gate_location
from bqgate.gate.payers import Payers
from bqgate.gate.request_context import RequestContext
from bqgate.gate.routes import SUBMISSIONS, Kind, Route, resolve
from bqgate.gate.stopwatch import Stopwatch
from bqgate.gate.submission import Submission, check_chunk, read_submission, read_upload
from bqgate.observe.request_fields import begin_request, note_caller
from bqgate.ports import Clock, Telemetry
from bqgate.wire.http_message import HttpRequest, HttpResponse
from bqgate.wire.job_identity import with_project_id

# Google takes neither in a batch (https://cloud.google.com/bigquery/docs/batch): "no media, no batch".
_NOT_IN_BATCH = frozenset({Kind.BATCH, Kind.UPLOAD, Kind.CHUNK, Kind.DISCOVERY})


class SubmissionHandler(Protocol):
    """What handles submitted jobs: gate.handler."""

    async def handle_query(self, ctx: RequestContext, submission: Submission, /) -> HttpResponse:
        """Answer a submitted job. `submission.build_request` may be used once."""


class Dispatcher:
    """The router behind the HTTP server."""

    def __init__(
        self,
        *,
        identification: Identification,
        payers: Payers,
        handler: SubmissionHandler,
        passthrough: Passthrough,
        discovery: Discovery,
        isolation: Isolation,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._identification = identification
        self._payers = payers
        self._handler = handler
        self._passthrough = passthrough
        self._discovery = discovery
        self._isolation = isolation
        self._clock = clock
        self._telemetry = telemetry

    async def dispatch(self, call: HttpRequest, *, origin: str) -> HttpResponse:
        """Answer a call.

        Args:
            call: as it came; its path is the gate's.
            origin: the gate's scheme and host as the caller used them.
        """
        route = resolve(real_verb(call), call.path)
        root = gate_root(origin, route)
        if route.kind is Kind.DISCOVERY:  # public: clients read it before they log in
            return await self._discovery.answer(call, path=route.upstream_path, root=root)
        ctx = await self._received(call, route)
        if route.kind is Kind.BATCH:
            return await answer_batch(
                ctx.call,
                dispatch=partial(self._dispatch_part, batch=call, workload=route.workload),
                tell=partial(note_part, self._telemetry, call.request_id),
                new_boundary=partial(secrets.token_hex, 12),
                clock=self._clock,
            )
        return await self._answer(ctx, root=root)

    async def _dispatch_part(self, call: HttpRequest, *, batch: HttpRequest, workload: str | None) -> HttpResponse:
        """Answer a call inside a batch. It inherits the batch's workload, and may have credentials of its own."""
        begin_request()
        call = replace(call, peer=batch.peer, request_id=batch.request_id)
        route = resolve(real_verb(call), call.path)
        if route.kind in _NOT_IN_BATCH:
            raise UnsupportedRequest("A batch may hold neither uploads nor batches nor discovery.")
        route = replace(route, workload=route.workload or workload)
        return await self._answer(await self._received(call, route), root="")

    async def _received(self, call: HttpRequest, route: Route) -> RequestContext:
        """Identify the caller, then apply a method override, which may read the body."""
        watch = Stopwatch(self._clock, self._telemetry)
        with watch.step("identify"):
            principal = await self._identification.identify(call, route)
            if route.kind in SUBMISSIONS:
                route, principal = await self._payers.by_id(route, principal)
        note_caller(principal.customer, principal.name)
        return RequestContext(await self._upstream_call(call, route), route, principal, watch)

    async def _upstream_call(self, call: HttpRequest, route: Route) -> HttpRequest:
        meant = await with_real_verb(call)
        if meant.path == route.upstream_path:
            return meant
        return HttpRequest(
            meant.method, route.upstream_path, meant.query, meant.headers, meant.body, call.peer, call.request_id
        )

    def _answer(self, ctx: RequestContext, *, root: str) -> Awaitable[HttpResponse]:
        match ctx.route.kind:
            case Kind.SUBMIT:
                return self._submitted(ctx, read_submission(ctx.call))
            case Kind.UPLOAD:
                return self._located(self._submitted(ctx, read_upload(ctx.call)), root=root)
            case Kind.CHUNK:
                check_chunk(ctx.call)
                return self._located(self._pass(ctx), root=root)
            case _:
                return self._pass(ctx)

    async def _located(self, answering: Awaitable[HttpResponse], *, root: str) -> HttpResponse:
        return with_gate_location(await answering, root=root)

    async def _submitted(self, ctx: RequestContext, reading: Awaitable[Submission]) -> HttpResponse:
        submission = await reading
        if ctx.route.project_number is not None:
            document = with_project_id(submission.document, ctx.route.project_number, ctx.route.project_id or "")
            submission = replace(submission, document=document)
        judged = self._isolation.judged_submission(ctx, submission)
        answer = await self._isolation.submitted(ctx, judged, self._handler.handle_query)
        return await with_mask(answer, submission.mask)

    async def _pass(self, ctx: RequestContext) -> HttpResponse:
        async def send(call: HttpRequest) -> HttpResponse:
            return await self._passthrough.send(call, ctx.route, ctx.principal.credential)

        return await self._isolation.answer(ctx, send)
