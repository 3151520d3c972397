"""Take one query through the request path: read, estimate, hold, wait, forward. This package's docstring has the map.

Called by dispatch.py, which knows who asks, for every jobs.insert and jobs.query, whether alone, in a batch or by
upload. Returns BigQuery's answer, streamed, or a refusal in BigQuery's format. Failures of outside systems leave as the
ports' exceptions, which the middleware answers.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bqgate.admission.admit import Admission, CachedOnly, booked_name
from bqgate.admission.estimates.estimator import DRY_RUN_REFUSED
from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.admission.queue.admission_queue import AdmissionQueue, Shed
from bqgate.admission.queued_query import queued_query_of
from bqgate.admission.refusals import Refused
from bqgate.admission.reservations import judge_reservations
from bqgate.domain.decision import MAKE_IT_CHEAPER, Throttle
from bqgate.domain.errors import UnsupportedRequest
from bqgate.domain.job import QueryRequest
from bqgate.domain.tier import Mode
from bqgate.domain.touched import Touched
from bqgate.gate.answer_headers import with_admission, with_decision
from bqgate.gate.cap_exceeded import check_gates_cap
from bqgate.gate.forward import forward, readable, with_job_noted
from bqgate.gate.holds import Attempt, Holds
from bqgate.gate.isolation import Isolation
from bqgate.gate.long_texts import LongTexts
from bqgate.gate.payers import Payers, line_of
from bqgate.gate.reply import answer_for_reject, answer_for_shed
from bqgate.gate.request_context import RequestContext
from bqgate.gate.routes import Kind, Route
from bqgate.gate.submission import Submission
from bqgate.gate.throttle_labels import throttle_labels
from bqgate.observe.request_fields import note_caller
from bqgate.ports import Advisor, PolicySource, Telemetry, Upstream
from bqgate.wire.http_message import HttpRequest, HttpResponse
from bqgate.wire.job_labels import HOLD_LABEL, WORKLOAD_LABEL, check_room
from bqgate.wire.query_request import cached_only_body, forward_body, parse_insert, parse_query
from bqgate.wire.query_string import values_of
from bqgate.wire.query_text import sql_in
from bqgate.wire.slowing import slowed_body
from bqgate.wire.writes import job_named, touched_by, touched_by_job, touched_by_unread


class QueryHandler:
    """The request path over its ports."""

    def __init__(
        self,
        *,
        admission: Admission,
        holds: Holds,
        writes: JobWrites,
        admission_queue: AdmissionQueue,
        policies: PolicySource,
        payers: Payers,
        isolation: Isolation,
        long_texts: LongTexts,
        upstream: Upstream,
        telemetry: Telemetry,
        advisor: Advisor | None = None,
        contact: str = "",
    ) -> None:
        """Take the ports. `contact` is whom a refused caller is told to ask; it may be set at any time."""
        self._admission = admission
        self._holds = holds
        self._writes = writes
        self._admission_queue = admission_queue
        self._policies = policies
        self._payers = payers
        self._isolation = isolation
        self._long_texts = long_texts
        self._upstream = upstream
        self._telemetry = telemetry
        self._advisor = advisor
        self.contact = contact

    async def handle_query(self, ctx: RequestContext, submission: Submission) -> HttpResponse:
        """Take one submitted job through the path.

        Args:
            ctx: the request, and who asks.
            submission: its parsed JSON, and what builds the request that goes to BigQuery.
        """
        ctx.customer = self._policies.customer_registry.customer(ctx.principal.customer)
        read = partial(_read, ctx.route, submission.document)
        query = await self._long_texts.read(line_of(ctx.principal), sql_in(submission.document), read)
        if query is None:
            return await self._load(ctx, submission)
        ctx.query = query
        _refuse_delayed_start(ctx.call)
        if query.dry_run or ctx.customer.mode is Mode.OFF:
            if self._isolation.watches(ctx.principal):  # a free dry run may still name other customers' tables
                await self._estimate(ctx)
            return await self._pass_query(ctx, submission)
        check_room(query, workload=ctx.principal.workload)
        judge_reservations(query, ctx.customer, self._policies.prices)
        await self._estimate(ctx)
        note_caller(ctx.customer.id, booked_name(ctx.principal, ctx.estimate))
        answer = await self._hold_and_run(ctx, submission)
        if answer is None:  # its tables have grown since the estimate was cached
            self._admission.forget_estimate(ctx.query, ctx.principal)
            await self._estimate(ctx)
            answer = await self._hold_and_run(ctx, submission, is_last=True)
        assert answer is not None, "the second answer stands, whatever it is"
        return answer

    async def _hold_and_run(
        self, ctx: RequestContext, submission: Submission, *, is_last: bool = False
    ) -> HttpResponse | None:
        """Hold what it may cost, wait for its turn, forward it. None: the estimate was too small, try a fresh one."""
        match await self._holds.open(ctx):
            case Refused() as refused:
                return await self._refuse(ctx, refused)
            case CachedOnly(decision_id=decision_id):
                self._count(ctx, "cached")
                answer = await self._pass(ctx, submission.build_request(cached_only_body(ctx.query)), "cached")
                return with_decision(answer, "cached", decision_id, 0, ctx.watch)
            case attempt:
                with attempt:
                    return await self._run(ctx, submission, attempt, is_last=is_last)

    async def _run(
        self, ctx: RequestContext, submission: Submission, attempt: Attempt, *, is_last: bool
    ) -> HttpResponse | None:
        """Wait for the turn of a query that is held, and forward it. None: as above."""
        self._count(ctx, attempt.hold.decision)
        try:
            await self._take_turn(ctx, attempt)
        except Shed as shed:
            await attempt.ended()  # or a client that repeats at once would meet its own attempt
            return answer_for_shed(str(shed), retry_after_s=shed.retry_after_s)
        labels = throttle_labels(attempt.admitted, waited_ms=ctx.watch.span_ms("wait"))
        call = submission.build_request(self._body_to_send(ctx, attempt, labels))
        self._writes.begin_under(attempt.hold, touched_by(ctx.query, ctx.estimate))
        with ctx.watch.step("upstream"):
            answer = await forward(self._upstream, call, ctx, attempt, prices=self._policies.prices)
        answer = with_admission(answer, attempt.admitted, labels, ctx.watch)
        if is_last or ctx.route.kind is Kind.UPLOAD:  # an upload's media can be sent once
            return answer
        answer, is_too_small = await check_gates_cap(answer, ctx, attempt.hold)
        if is_too_small:
            await attempt.ended()
        return None if is_too_small else answer

    async def _estimate(self, ctx: RequestContext) -> None:
        """Dry-run the query, and check that the customer may touch all that it names. Its answer says who pays."""
        ask = partial(self._admission.estimate, ctx.query, ctx.principal, ctx.customer)
        with ctx.watch.step("dryrun"):
            ctx.estimate = await self._isolation.judged_estimate(ctx, ctx.query, ask)
            if ctx.estimate.project_id is not None:
                ctx.principal = self._payers.settled(ctx.principal, ctx.estimate.project_id)
            elif ctx.estimate.unknown_because == DRY_RUN_REFUSED:
                ctx.principal = await self._payers.asked(ctx.principal, ctx.query.project_id)
        ctx.customer = self._policies.customer_registry.customer(ctx.principal.customer)

    async def _take_turn(self, ctx: RequestContext, attempt: Attempt) -> None:
        queued = queued_query_of(attempt.admitted, ctx.customer)
        if not self._admission_queue.lets_through(queued):
            with ctx.watch.step("wait"):
                await self._admission_queue.wait(queued)

    def _body_to_send(self, ctx: RequestContext, attempt: Attempt, more_labels: Mapping[str, str]) -> dict[str, Any]:
        """The query as it goes to BigQuery: with its hold's cap and label, slowed down where little is left."""
        hold = attempt.hold
        labels = {HOLD_LABEL: hold.id}
        if ctx.principal.workload is not None:
            labels[WORKLOAD_LABEL] = ctx.principal.workload
        body = forward_body(
            ctx.query,
            job_id=hold.job.job_id if hold.job else "",
            maximum_bytes_billed=hold.maximum_bytes_billed,
            labels=labels,
            notes=more_labels,
            is_script=ctx.estimate.unknown_because is not None,
        )
        if isinstance(attempt.admitted.decision, Throttle):
            return slowed_body(body, ctx.query.method, ctx.customer.tier.throttling.slowdown)
        return body

    async def _refuse(self, ctx: RequestContext, refused: Refused) -> HttpResponse:
        """Answer a refusal, with advice where a cheaper query would pass. It is booked already."""
        reject = refused.reject
        if self._advisor is not None and reject.suggestion == MAKE_IT_CHEAPER:
            with ctx.watch.step("advice"):
                advice = await self._advisor.advise(ctx.query, ctx.estimate, ctx.principal.credential)
            reject = replace(reject, suggestion=advice or MAKE_IT_CHEAPER)
        self._count(ctx, "reject", reject.reason.value)
        answer = answer_for_reject(
            reject,
            customer=ctx.customer.id,
            decision_id=refused.decision_id,
            estimate_bytes=refused.bytes_at_most,
            cap_bytes=refused.cap_bytes,
            contact=self.contact,
        )
        return with_decision(
            answer, "reject", refused.decision_id, reject.amount_nanos, ctx.watch, reason=reject.reason.value
        )

    async def _pass_query(self, ctx: RequestContext, submission: Submission) -> HttpResponse:
        """A query that no budget covers. What it writes outdates the estimates of others, before and after."""
        query, call = ctx.query, submission.build_request(ctx.query.body)
        if query.dry_run:
            return await self._pass(ctx, call, "dry_run")
        job = job_named(query.project_id, submission.document)
        return await self._pass_write(ctx, call, "off", job=job, touched=touched_by_unread(query))

    async def _load(self, ctx: RequestContext, submission: Submission) -> HttpResponse:
        """Pass a load, copy or extract job, which no budget covers, and drop estimates of what it writes."""
        project_id, document = ctx.route.project_id or "", submission.document
        job, touched = job_named(project_id, document), touched_by_job(project_id, document)
        return await self._pass_write(ctx, submission.build_request(document), "load", job=job, touched=touched)

    async def _pass_write(
        self, ctx: RequestContext, call: HttpRequest, kind: str, *, job: str | None, touched: Touched | None
    ) -> HttpResponse:
        """Pass a job that may write. `job` None: BigQuery chooses its id, and its answer names it."""
        if touched is None:
            return await self._pass(ctx, call, kind)
        self._writes.begin(job, touched)
        if job is not None:
            answer = await self._pass(ctx, call, kind)
            self._writes.look(job)
            return answer
        answer = await self._pass(ctx, readable(call), kind)
        self._writes.begin(None, touched)
        project_id = ctx.route.project_id or ""
        return with_job_noted(answer, lambda made: self._writes.begin(f"{project_id}:{made.job_id}", touched))

    async def _pass(self, ctx: RequestContext, call: HttpRequest, kind: str) -> HttpResponse:
        """Forward what no budget covers: load, copy and extract jobs, dry runs, customers in mode off."""
        self._telemetry.count("passed_total", kind=kind)
        return await self._upstream.send(call, credential=ctx.principal.credential)

    def _count(self, ctx: RequestContext, decision: str, reason: str = "") -> None:
        self._telemetry.count("decisions_total", decision=decision, reason=reason, mode=ctx.customer.mode.value)


def _read(route: Route, document: Mapping[str, Any]) -> QueryRequest | None:
    project_id = route.project_id or ""
    if route.method_id == "jobs.query":
        return parse_query(project_id, document)
    return parse_insert(project_id, document)


def _refuse_delayed_start(call: HttpRequest) -> None:
    """Refuse a query as a resumable upload: its job would start with the last chunk, perhaps days after its hold ended.

    No client submits queries so; a query in a multipart upload starts at once and is gated like any other.
    """
    if values_of(call.query, "uploadType") == ("resumable",):
        raise UnsupportedRequest("bqgate takes queries by jobs.insert and jobs.query, not by resumable upload.")
