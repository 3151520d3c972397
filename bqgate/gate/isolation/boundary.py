"""Stand between a known caller and BigQuery: what may pass, and what of the answer may come back.

Called by the dispatch step (`answer`, for every call that submits no job) and around the handler (`judged_submission`,
`judged_estimate`, `submitted`). Who is judged is asked anew for each call, so that an admin's change holds at once.
Admins are not judged. What leaves: calls and answers, or AccessDenied and JobNotFound, which are told to the audit log
on their way out.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import partial

from bqgate.domain.audit import AuditEvent
from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import AccessDenied
from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.principal import Principal, Role
from bqgate.gate.body import without_body
from bqgate.gate.forward import observed
from bqgate.gate.isolation.denials import dataset_denied, project_denied, use_denied
from bqgate.gate.isolation.ids import check_path
from bqgate.gate.isolation.job_bodies import JobBody
from bqgate.gate.isolation.lists import Send, filtered_list, keeps_dataset, keeps_project
from bqgate.gate.isolation.own_jobs import OwnJobs
from bqgate.gate.isolation.owners import JobOwners
from bqgate.gate.isolation.queries import Bounds, QueryJudge, bounds_of
from bqgate.gate.isolation.resources import ResourceBodies, judged_arguments
from bqgate.gate.isolation.rules import RULES, WITH_BODIES, Rule
from bqgate.gate.isolation.taken_ids import as_chosen, chosen_id, own_id, under_id, unpacked
from bqgate.gate.isolation.upload_sessions import UploadSessions, unmarked
from bqgate.gate.long_texts import LongTexts
from bqgate.gate.outcome import Seen
from bqgate.gate.request_context import RequestContext
from bqgate.gate.routes import Kind
from bqgate.gate.submission import Submission
from bqgate.ports import AuditLog, Clock, DryRunner, PolicySource, Upstream
from bqgate.wire.http_message import HttpRequest, HttpResponse
from bqgate.wire.job_labels import customer_label
from bqgate.wire.query_response import job_ref_in, read_members

Handle = Callable[[RequestContext, Submission], Awaitable[HttpResponse]]

# What a chunk of an upload is answered that was not the last.
_MORE_TO_COME = 308
_UNJUDGED = frozenset({Role.ADMIN, Role.SUPER_ADMIN})


class IsolationMode(StrEnum):
    """How much the gate keeps apart itself."""

    NOTHING = "nothing"  # every caller is trusted
    DATA = "data"  # BigQuery's IAM tells callers apart; customers with `data` are held to it besides
    ALL = "all"  # to BigQuery all customers are one


class Isolation:
    """What one customer may do among others.

    Args:
        isolation_mode: how much is kept apart.
        allows_unknown: queries pass of which nobody can say all that they touch.
        uploads: whose a resumable upload is.
    """

    def __init__(
        self,
        *,
        isolation_mode: IsolationMode,
        allows_unknown: bool,
        policies: PolicySource,
        bigquery: DryRunner,
        long_texts: LongTexts,
        upstream: Upstream,
        audit_log: AuditLog,
        clock: Clock,
        uploads: UploadSessions,
    ) -> None:
        self._isolation_mode = isolation_mode
        self._allows_unknown = allows_unknown
        self._policies = policies
        self._audit_log = audit_log
        self._clock = clock
        self._uploads = uploads
        self._judge = QueryJudge(bigquery, long_texts)
        self._bodies = ResourceBodies(self._judge)
        self._owners = JobOwners(upstream, clock)

    def watches(self, principal: Principal) -> bool:
        """Whether the caller's queries are judged, so that even its dry runs need one of the gate's."""
        return self._scope_of(principal) is not None

    def judged_submission(self, ctx: RequestContext, submission: Submission) -> Submission:
        """A submitted job that names only what is its customer's, marked as the customer's.

        Raises:
            AccessDenied: it names something else.
            MalformedRequest: it is not a job.
        """
        scope = self._scope_of(ctx.principal)
        if scope is None:
            return submission
        project_id = ctx.route.project_id or ""
        with self._told(ctx):
            owner = None
            if self._isolation_mode is IsolationMode.ALL:
                owner = customer_label(ctx.principal.customer)
                _check_jobs_project(scope, project_id)
                check_path(ctx.route.params, ctx.call.query)
            body = JobBody(scope, project_id, owner)
            return replace(submission, document=body.judged(ctx.route.method_id, submission.document))

    async def judged_estimate(
        self, ctx: RequestContext, request: QueryRequest, ask: Callable[[], Awaitable[Estimate]]
    ) -> Estimate:
        """The estimate that `ask` brings, where the query stays within its customer's scope.

        Raises:
            AccessDenied: it does not, or nobody can say.
            UpstreamRefused: BigQuery refuses the query.
            UpstreamUnavailable: BigQuery does not answer.
        """
        scope = self._scope_of(ctx.principal)
        if scope is None:
            return await ask()
        is_alone = self._isolation_mode is IsolationMode.ALL
        customer = ctx.principal.customer
        bounds = bounds_of(request, customer, scope, is_alone=is_alone, allows_unknown=self._allows_unknown)
        with self._told(ctx):
            return await self._judge.judge_request(request, bounds, ctx.principal.credential, ask)

    def submitted(self, ctx: RequestContext, submission: Submission, handle: Handle) -> Awaitable[HttpResponse]:
        """The answer to a judged job, whose owner is known from here on.

        Where another has the id that was chosen, the job is made under one of the customer's own; a repeat of its own
        job is answered as BigQuery answers it.

        Args:
            ctx: the call and who asks.
            submission: from `judged_submission`.
            handle: the handler's way to BigQuery; called again where the first try met another's job.
        """
        if self._isolation_mode is not IsolationMode.ALL or ctx.route.method_id != "jobs.insert":
            return handle(ctx, submission)
        return self._submitted(ctx, submission, handle)

    async def _submitted(self, ctx: RequestContext, submission: Submission, handle: Handle) -> HttpResponse:
        """The same where all customers are one to BigQuery, of a job that has an id."""
        scope = self._scope_of(ctx.principal)
        if scope is None:
            return self._noted(ctx, await handle(ctx, submission))
        owner, project_id = customer_label(ctx.principal.customer), ctx.route.project_id or ""
        job_id = chosen_id(submission.document)
        own = own_id(job_id, owner) if job_id is not None and not scope.has_alone(project_id) else None
        if ctx.route.kind is not Kind.UPLOAD:
            answer = await handle(ctx, submission)
            if own is not None and answer.status == 409:
                answer, is_taken = await self._jobs(ctx, scope).is_taken(ctx, submission.document, answer)
                if is_taken:
                    return as_chosen(self._noted(ctx, await handle(ctx, under_id(submission, own))), owner)
            return self._noted(ctx, answer)
        answer = self._noted(ctx, await handle(ctx, under_id(submission, own) if own is not None else submission))
        answer = self._uploads.marked(answer, project_id=project_id, owner=owner)
        # The start of a resumable upload is answered with its address and nothing else.
        return answer if own is None or answer.header("location") is not None else as_chosen(answer, owner)

    def _noted(self, ctx: RequestContext, answer: HttpResponse) -> HttpResponse:
        """BigQuery's answer to a job that was submitted; it tells where the job is."""
        if answer.status != 200:
            return answer
        owner = customer_label(ctx.principal.customer)

        def note(seen: Seen) -> None:
            job = job_ref_in(read_members(seen.text))
            if job is not None:
                self._owners.note(job, owner)

        return observed(answer, note)

    async def answer(self, ctx: RequestContext, send: Send) -> HttpResponse:
        """The answer to a call that submits no job.

        Args:
            ctx: the call and who asks.
            send: the way to BigQuery.

        Raises:
            AccessDenied: the caller may not.
            JobNotFound: the job is not there, or another's.
            MalformedRequest, BodyTooLarge: the call cannot be judged.
        """
        scope = self._scope_of(ctx.principal) if self._isolation_mode is IsolationMode.ALL else None
        if scope is None:
            return await send(unmarked(ctx.call) if ctx.route.kind is Kind.CHUNK else ctx.call)
        with self._told(ctx):
            return await self._answer(ctx, scope, send)

    async def _answer(self, ctx: RequestContext, scope: DataScope, send: Send) -> HttpResponse:
        route = ctx.route
        check_path(route.params, ctx.call.query)
        rule = RULES.get(route.method_id, Rule.REFUSED)
        if rule not in WITH_BODIES:
            ctx.call = without_body(ctx.call)  # which nobody would have judged
        match rule:
            case Rule.SUBMITS if route.kind is Kind.CHUNK:
                return await self._chunk(ctx, scope, send)
            case Rule.OWN_JOB:
                return await self._jobs(ctx, scope).answer(ctx, send)
            case Rule.JOB_LIST:
                return await self._jobs(ctx, scope).listed(ctx, send)
            case Rule.PROJECT_LIST | Rule.DATASET_LIST:
                return await self._list(ctx, rule, scope, send)
            case Rule.PROJECT:
                _check_jobs_project(scope, route.project_id or "")
                return await send(ctx.call)
            case Rule.SUBMITS | Rule.REFUSED:
                raise use_denied(f"The method {route.method_id}")
            case _:
                return await send(await self._within_dataset(ctx, rule, scope))

    async def _within_dataset(self, ctx: RequestContext, rule: Rule, scope: DataScope) -> HttpRequest:
        """A call on a dataset or what is in it, where all that it names is in scope."""
        call, route = ctx.call, ctx.route
        project_id, dataset_id = route.project_id or "", route.params.get("datasetId", "")
        if rule is Rule.TABLE_READ and scope.allows_result(project_id, dataset_id, route.params.get("tableId", "")):
            return call
        if route.method_id != "datasets.insert" and not scope.allows_dataset(project_id, dataset_id):
            raise dataset_denied(project_id, dataset_id, f"bigquery.{route.method_id}")
        if rule in {Rule.DATASET, Rule.TABLE_READ}:
            return call
        if rule is Rule.ARGUMENTS:
            return await judged_arguments(call, route)
        customer = ctx.principal.customer
        bounds = Bounds(customer, scope, (project_id,), is_alone=True, allows_unknown=self._allows_unknown)
        return await self._bodies.judged(call, route, rule, bounds, ctx.principal.credential)

    async def _chunk(self, ctx: RequestContext, scope: DataScope, send: Send) -> HttpResponse:
        project_id, owner = ctx.route.project_id or "", customer_label(ctx.principal.customer)
        _check_jobs_project(scope, project_id)
        chunk = self._uploads.checked(ctx.call, project_id=project_id, owner=owner)
        answer = self._uploads.marked(await send(unpacked(chunk)), project_id=project_id, owner=owner)
        return answer if answer.status == _MORE_TO_COME else as_chosen(answer, owner)

    async def _list(self, ctx: RequestContext, rule: Rule, scope: DataScope, send: Send) -> HttpResponse:
        call, project_id = ctx.call, ctx.route.project_id or ""
        if rule is Rule.PROJECT_LIST:
            return await filtered_list(call, send, name="projects", keep=partial(keeps_project, scope))
        if not scope.shows_project(project_id):
            raise project_denied(project_id, "bigquery.datasets.list")
        return await filtered_list(call, send, name="datasets", keep=partial(keeps_dataset, scope))

    def _jobs(self, ctx: RequestContext, scope: DataScope) -> OwnJobs:
        return OwnJobs(self._owners, scope, customer_label(ctx.principal.customer), partial(self._tell, ctx))

    def _scope_of(self, principal: Principal) -> DataScope | None:
        """What the caller is held to; None: to nothing."""
        if self._isolation_mode is IsolationMode.NOTHING or principal.role in _UNJUDGED:
            return None
        customer_registry = self._policies.customer_registry
        customer = customer_registry.customer(principal.customer)
        if self._isolation_mode is IsolationMode.DATA and customer.data is None:
            return None
        return DataScope.of(customer, customer_registry.shared_projects)

    @contextmanager
    def _told(self, ctx: RequestContext) -> Iterator[None]:
        """Tell the audit log of a refusal that leaves."""
        try:
            yield
        except AccessDenied as denied:
            self._tell(ctx, denied.target)
            raise

    def _tell(self, ctx: RequestContext, target: str) -> None:
        principal = ctx.principal
        self._audit_log.record(
            AuditEvent(
                at=self._clock.now(),
                action="access.refused",
                actor=principal.name,
                target=target,
                role=principal.role.value,
                subject=principal.credential.subject or "",
                customer=principal.customer,
                source=ctx.call.peer,
                request_id=ctx.call.request_id,
                detail=ctx.route.method_id,
            )
        )


def _check_jobs_project(scope: DataScope, project_id: str) -> None:
    if not scope.may_run_jobs_in(project_id):
        raise project_denied(project_id, "bigquery.jobs.create")
