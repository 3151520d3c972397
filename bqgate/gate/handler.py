"""Tell the story of a query: admit, wait, forward (the map is in this package's docstring).

Called by the dispatch step, which knows who asks, for every jobs.insert and jobs.query, be it alone, in a batch or on
the upload path. What leaves is an Answer: BigQuery's own, streamed, or a refusal in BigQuery's format. Failures of
outside systems leave as the ports' exceptions, for the middleware to answer.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from bqgate.admission.admit import Admission, Admitted, CachedOnly, Refused, booked_name
from bqgate.admission.reservations import judge_reservations
from bqgate.admission.waiting.fair_queue import Visit
from bqgate.admission.waiting.room import Shed, WaitingRoom
from bqgate.admission.waiting.visits import visit_of
from bqgate.domain.decision import MAKE_IT_CHEAPER, Throttle
from bqgate.domain.errors import UnsupportedRequest
from bqgate.domain.job import Estimate, Method, QueryRequest
from bqgate.domain.money import format_usd
from bqgate.domain.principal import Principal
from bqgate.domain.scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.tier import Customer, Mode
from bqgate.gate.arrival import Arrival
from bqgate.gate.forward import Forwarder, Settle
from bqgate.gate.isolation import Isolation
from bqgate.gate.outcome import AskLater, NothingRan
from bqgate.gate.reply import answer_for_reject, answer_for_shed, error_answer
from bqgate.gate.routes import Route
from bqgate.gate.slow_note import notes_of
from bqgate.gate.stopwatch import Stopwatch
from bqgate.gate.submission import Forward, Submission
from bqgate.observe.request_fields import note_caller
from bqgate.ports import Advisor, Clock, Journal, PolicySource, Upstream
from bqgate.wire.exchange import Answer, Call
from bqgate.wire.query_request import (
    HOLD_LABEL,
    REASON_LABEL,
    WORKLOAD_LABEL,
    cached_only_body,
    forward_body,
    parse_insert,
    parse_query,
)
from bqgate.wire.query_string import values_of
from bqgate.wire.slowing import slowed


class QueryHandler:
    """The request path over its ports."""

    def __init__(
        self,
        *,
        admission: Admission,
        waiting_room: WaitingRoom,
        policies: PolicySource,
        isolation: Isolation,
        upstream: Upstream,
        forwarder: Forwarder,
        settle: Settle,
        clock: Clock,
        journal: Journal,
        advisor: Advisor | None = None,
        contact: str = "",
    ) -> None:
        """Take the ports. `contact` is whom a refused caller is told to ask; it may be set at any time."""
        self._admission = admission
        self._waiting_room = waiting_room
        self._policies = policies
        self._isolation = isolation
        self._upstream = upstream
        self._forwarder = forwarder
        self._settle = settle
        self._clock = clock
        self._journal = journal
        self._advisor = advisor
        self.contact = contact

    async def handle_query(self, arrival: Arrival, submission: Submission) -> Answer:
        """Take one submitted job through the path.

        Args:
            arrival: the request as it came, and who asks.
            submission: its parsed JSON, and what makes the call that goes upstream from a body.
        """
        submission = self._isolation.judged_submission(arrival, submission)
        answer = await self._answer(arrival, submission)
        return self._isolation.noted(arrival, answer)

    async def _answer(self, arrival: Arrival, submission: Submission) -> Answer:
        principal, watch, write_call = arrival.principal, arrival.watch, submission.forward
        customer = self._policies.directory.customer(principal.customer)
        request = _read(arrival.route, submission.document)
        if request is None:
            return await self._pass(write_call(submission.document), principal, "load")
        _refuse_delayed_start(arrival.call)
        if request.dry_run or customer.mode is Mode.OFF:
            if self._isolation.watches(principal):  # what is free may still tell of others
                await self._estimate(arrival, request, customer)
            return await self._pass(write_call(request.body), principal, "dry_run" if request.dry_run else "off")
        judge_reservations(request, customer, self._policies.prices)
        estimate = await self._estimate(arrival, request, customer)
        note_caller(customer.id, booked_name(principal, estimate))
        with watch.step("hold"):
            outcome = await self._admit(request, principal, customer, estimate)
        match outcome:
            case Refused():
                advised = await self._advised(outcome, request, principal, estimate, watch)
                return self._refused(advised, customer, watch)
            case CachedOnly():
                self._count("cached", "", customer)
                answer = await self._pass(write_call(cached_only_body(request)), principal, "cached")
                return _shown(answer, "cached", outcome.decision_id, 0, watch)
            case Admitted():
                return await self._admitted(outcome, request, principal, customer, write_call, watch)
            case _:
                assert_never(outcome)

    async def _estimate(self, arrival: Arrival, request: QueryRequest, customer: Customer) -> Estimate:
        """The dry run, and whether all that it names is the customer's to touch."""
        ask = partial(self._admission.estimate, request, arrival.principal, customer)
        with arrival.watch.step("dryrun"):
            return await self._isolation.judged_estimate(arrival, request, ask)

    async def _admit(
        self, request: QueryRequest, principal: Principal, customer: Customer, estimate: Estimate
    ) -> Admitted | Refused | CachedOnly:
        """Admit to the end even when the caller leaves meanwhile, so that no hold is left half placed."""
        admitting = asyncio.ensure_future(self._admission.admit(request, principal, customer, estimate))
        try:
            return await asyncio.shield(admitting)
        except asyncio.CancelledError:
            admitting.add_done_callback(lambda done: self._abandon(done, principal))
            raise

    def _abandon(self, admitting: asyncio.Task[Admitted | Refused | CachedOnly], principal: Principal) -> None:
        if not admitting.cancelled() and admitting.exception() is None:
            outcome = admitting.result()
            if isinstance(outcome, Admitted):
                self._leave(outcome, principal)

    async def _admitted(
        self,
        admitted: Admitted,
        request: QueryRequest,
        principal: Principal,
        customer: Customer,
        write_call: Forward,
        watch: Stopwatch,
    ) -> Answer:
        is_waiting = admitted.is_replay and self._waiting_room.is_waiting(admitted.hold.id)
        if is_waiting or (admitted.is_replay and request.method is Method.QUERY):
            # BigQuery would run a repeated SELECT a second time under one hold; the client is asked to wait instead.
            # So it is where the first attempt still waits here: it may yet be sent away, and its hold voided.
            return error_answer(503, "backendError", "bqgate: an earlier attempt of this request is still running.")
        self._count(admitted.hold.decision, "", customer)
        try:
            await self._take_turn(visit_of(admitted, customer), watch)
        except Shed as shed:
            ending = self._leave(admitted, principal)
            if ending is not None:  # first the hold, or a client that repeats at once would meet its own attempt
                await asyncio.shield(ending)
            return answer_for_shed(str(shed), retry_after_s=shed.retry_after_s)
        except BaseException:
            self._leave(admitted, principal)
            raise
        labels = {HOLD_LABEL: admitted.hold.id}
        if principal.workload is not None:
            labels[WORKLOAD_LABEL] = principal.workload
        notes = notes_of(admitted, waited_ms=watch.span_ms("wait"))
        body = forward_body(
            request,
            job_id=admitted.hold.job.job_id if admitted.hold.job else "",
            maximum_bytes_billed=admitted.size.maximum_bytes_billed,
            labels=labels,
            notes=notes,
            is_script=admitted.estimate.unknown_because is not None,
        )
        if isinstance(admitted.decision, Throttle):
            body = slowed(body, request.method, customer.tier.throttling.slowdown)
        with watch.step("upstream"):
            answer = await self._forwarder.forward(write_call(body), admitted, request.method, principal)
        answer = _with_header(answer, "X-Bqgate-Balance-Usd", _balance(admitted))
        if notes:
            answer = _with_header(answer, "X-Bqgate-Reason", notes[REASON_LABEL])
        return _shown(answer, admitted.hold.decision, admitted.hold.id, admitted.hold.amount_nanos, watch)

    async def _take_turn(self, visit: Visit, watch: Stopwatch) -> None:
        if not self._waiting_room.lets_through(visit):
            with watch.step("wait"):
                await self._waiting_room.wait(visit)

    def _leave(self, admitted: Admitted, principal: Principal) -> asyncio.Task[Any] | None:
        """Give up before anything was sent; an earlier attempt's hold is not ours to void."""
        verdict = AskLater(admitted.hold.job) if admitted.is_replay else NothingRan()
        return self._settle(admitted, verdict, principal)

    async def _advised(
        self, refused: Refused, request: QueryRequest, principal: Principal, estimate: Estimate, watch: Stopwatch
    ) -> Refused:
        """The refusal with what would help this query, where a cheaper one would pass. It is booked already."""
        if self._advisor is None or refused.reject.suggestion != MAKE_IT_CHEAPER:
            return refused
        with watch.step("advice"):
            advice = await self._advisor.advise(request, estimate, principal.credential)
        return replace(refused, reject=replace(refused.reject, suggestion=advice or MAKE_IT_CHEAPER))

    def _refused(self, refused: Refused, customer: Customer, watch: Stopwatch) -> Answer:
        self._count("reject", refused.reject.reason.value, customer)
        answer = answer_for_reject(
            refused.reject,
            customer=customer.id,
            decision_id=refused.decision_id,
            estimate_bytes=refused.bytes_at_most,
            cap_bytes=refused.cap_bytes,
            contact=self.contact,
        )
        answer = _with_header(answer, "X-Bqgate-Reason", refused.reject.reason.value)
        return _shown(answer, "reject", refused.decision_id, refused.reject.amount_nanos, watch)

    async def _pass(self, call: Call, principal: Principal, kind: str) -> Answer:
        """What costs nothing: load, copy and extract jobs, the caller's own dry runs, customers that are off."""
        self._journal.count("passed_total", kind=kind)
        return await self._upstream.exchange(call, credential=principal.credential)

    def _count(self, decision: str, reason: str, customer: Customer) -> None:
        self._journal.count("decisions_total", decision=decision, reason=reason, mode=customer.mode.value)


def _read(route: Route, document: Mapping[str, Any]) -> QueryRequest | None:
    project_id = route.project_id or ""
    if route.method_id == "jobs.query":
        return parse_query(project_id, document)
    return parse_insert(project_id, document)


def _refuse_delayed_start(call: Call) -> None:
    """Refuse a query as a resumable upload: its job would start with the last chunk, perhaps days after its hold ended.

    No client submits queries so; a query in a multipart upload starts at once and is gated like any other.
    """
    if values_of(call.query, "uploadType") == ("resumable",):
        raise UnsupportedRequest("bqgate takes queries by jobs.insert and jobs.query, not by resumable upload.")


def _with_header(answer: Answer, name: str, value: str) -> Answer:
    return replace(answer, headers=(*answer.headers, (name, value)))


def _shown(answer: Answer, decision: str, decision_id: str, cost_nanos: int, watch: Stopwatch) -> Answer:
    """The answer with what the gate tells of itself."""
    told = (
        ("X-Bqgate-Decision", decision),
        ("X-Bqgate-Request-Id", decision_id),
        ("X-Bqgate-Cost-Usd", format_usd(cost_nanos)),
        ("Server-Timing", watch.server_timing()),
    )
    return replace(answer, headers=(*answer.headers, *told))


def _balance(admitted: Admitted) -> str:
    """What is left in the customer's tightest budget; 0 under a limit that observing let pass.

    The deployment's is nobody's to see but an admin's.
    """
    seen = [balance for balance in admitted.balances if balance.window.customer != DEPLOYMENT_ACCOUNT]
    left = [balance.balance_nanos for balance in seen if balance.balance_nanos is not None]
    return format_usd(max(min(left), 0)) if left else "unlimited"
