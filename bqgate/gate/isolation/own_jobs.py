"""Answer calls on jobs that are there: to the customer whose label a job bears, and to nobody else.

Called by boundary.py. A job that is another's is answered for as one that is not there. What leaves: BigQuery's answer,
or JobNotFound in its words.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bqgate.admission.hold_factory import JOB_ID_PREFIX
from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import JobNotFound, MalformedRequest
from bqgate.domain.job import JobRef
from bqgate.domain.principal import Credential
from bqgate.gate.body import close_body, plain_body, read_bounded
from bqgate.gate.isolation.denials import project_denied
from bqgate.gate.isolation.lists import Send, filtered_list
from bqgate.gate.isolation.owners import NOBODY, JobOwners, absent, label_of, parent_of
from bqgate.gate.isolation.taken_ids import as_chosen, asked_by_id, chosen_in, has_ending, own_id
from bqgate.gate.request_context import RequestContext
from bqgate.wire.http_message import HttpRequest, HttpResponse, without
from bqgate.wire.query_string import values_of, without_parameters

_REFUSAL_BYTES_MAX = 1024 * 1024
_ENCODING_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding", "content-md5"})


@dataclass(frozen=True, slots=True)
class OwnJobs:
    """The jobs of one customer. `owner` is its label, `tell` is called with the name of a job that is another's."""

    owners: JobOwners
    scope: DataScope
    owner: str
    tell: Callable[[str], None]

    async def answer(self, ctx: RequestContext, send: Send) -> HttpResponse:
        """The answer to a call on one job.

        Raises:
            JobNotFound: it is not there, or another's.
            MalformedRequest: it is not clear which job.
        """
        call, route = ctx.call, ctx.route
        location = _location_of(call)
        asked = JobRef(route.project_id or "", route.params["jobId"], location)
        if not self.scope.may_run_jobs_in(asked.project_id):
            raise absent(asked)
        job, found_at = await self._found(asked, ctx.principal.credential)
        if location is None and found_at:
            # What was judged is what is asked: another job of this id may be made elsewhere meanwhile.
            call = _with(call, "location", found_at)
        if route.method_id == "jobs.delete":
            self.owners.forget(replace(job, location=location or found_at))
        if job.job_id == asked.job_id:
            return await send(call)
        ctx.route = replace(route, params={**route.params, "jobId": job.job_id})
        try:
            return as_chosen(await send(asked_by_id(call, asked, job.job_id)), self.owner)
        except MalformedRequest as refused:  # it runs, and is not to be deleted yet
            message = refused.message.replace(job.job_id, asked.job_id)
            raise MalformedRequest(message, reason=refused.reason, field=refused.field) from None
        except JobNotFound:
            raise absent(asked) from None

    async def listed(self, ctx: RequestContext, send: Send) -> HttpResponse:
        """The answer to jobs.list.

        Raises:
            AccessDenied: the customer may run no jobs there.
        """
        call, project_id, credential = ctx.call, ctx.route.project_id or "", ctx.principal.credential
        if not self.scope.may_run_jobs_in(project_id):
            raise project_denied(project_id, "bigquery.jobs.list")
        for parent_id in values_of(call.query, "parentJobId")[-1:]:
            call = await self._with_parent(call, JobRef(project_id, parent_id, None), credential)
        wants_all = [value.lower() for value in values_of(call.query, "projection")][-1:] == ["full"]
        keep = partial(self._keeps, credential=credential, wants_all=wants_all)
        return await filtered_list(call, send, name="jobs", keep=keep, extra="projection=full")

    async def is_taken(
        self, ctx: RequestContext, document: Mapping[str, Any], answer: HttpResponse
    ) -> tuple[HttpResponse, bool]:
        """Whether BigQuery refused a job because its id is another's, and the answer, read.

        Where the job cannot be seen it may be the customer's own, which must not run twice; but a customer's service
        account sees all that it has made.
        """
        plain = HttpRequest("GET", "/", headers=answer.headers, body=answer.body)
        try:
            body = await read_bounded(plain_body(plain), bytes_max=_REFUSAL_BYTES_MAX)
        finally:
            await close_body(answer.body)
        answer = replace(answer, headers=without(answer.headers, _ENCODING_HEADERS), body=body)
        reference = document.get("jobReference") or {}
        job = JobRef(ctx.route.project_id or "", str(reference.get("jobId")), None)
        said = re.search(
            rf"Already Exists: Job [^\s\"]*:([A-Za-z0-9-]+)\.{re.escape(job.job_id)}(?![\w-])",
            body.decode("utf-8", "replace"),
        )
        location = said[1] if said is not None else reference.get("location")
        try:
            job_there = replace(job, location=location or None)
            owner, _ = await self.owners.find(job_there, ctx.principal.credential, is_fresh=True)
        except JobNotFound:
            owner = self.owner if said is None or ctx.principal.credential.account is None else NOBODY
        if owner != self.owner:
            self.tell(f"job {job.project_id}:{job.job_id}")
        return answer, owner != self.owner

    async def _found(self, asked: JobRef, credential: Credential) -> tuple[JobRef, str]:
        """The customer's job of this id, whichever id it was made under, and where it is."""
        is_foreign = False
        for job in self._made_under(asked):
            try:
                owner, found_at = await self.owners.find(job, credential, is_fresh=self._may_change_hands(job))
            except JobNotFound:
                continue
            if owner == self.owner:
                return job, found_at
            is_foreign = True
        if is_foreign:
            self.tell(f"job {asked.project_id}:{asked.job_id}")
        raise absent(asked)

    def _made_under(self, asked: JobRef) -> list[JobRef]:
        """What a job of this id may be called, what is known already before what must be asked for."""
        own = None if self.scope.has_alone(asked.project_id) else own_id(asked.job_id, self.owner)
        jobs = [asked] if own is None else [asked, replace(asked, job_id=own)]
        return sorted(jobs, key=lambda job: self.owners.kept(job) != self.owner)

    def _may_change_hands(self, job: JobRef) -> bool:
        """Whether another customer may make a job of this id once it is deleted, at another gate than this one."""
        is_chosen = not job.job_id.startswith(JOB_ID_PREFIX) and not has_ending(job.job_id)
        return is_chosen and not self.scope.has_alone(job.project_id)

    async def _with_parent(self, call: HttpRequest, parent: JobRef, credential: Credential) -> HttpRequest:
        try:
            job, _ = await self._found(parent, credential)
        except JobNotFound:
            return call  # its children will be found to be another's
        return call if job.job_id == parent.job_id else _with(call, "parentJobId", job.job_id)

    async def _keeps(self, job: Mapping[str, Any], *, credential: Credential, wants_all: bool) -> bool:
        parent = parent_of(job)
        try:
            owner = label_of(job) if parent is None else (await self.owners.find(parent, credential))[0]
        except JobNotFound:  # deleted meanwhile
            return False
        if isinstance(job, dict):
            chosen_in(job, self.owner)
            if not wants_all:
                job.pop("configuration", None)
        return owner == self.owner


def _location_of(call: HttpRequest) -> str | None:
    locations = values_of(call.query, "location")
    if len(locations) > 1:
        raise MalformedRequest("location is given twice.", field="location")
    return locations[0] if locations and locations[0] else None


def _with(call: HttpRequest, name: str, value: str) -> HttpRequest:
    query = without_parameters(call.query, {name.lower()})
    return replace(call, query="&".join(part for part in (query, f"{name}={value}") if part))
