"""Forward calls that no budget covers, streamed and unchanged.

Called by dispatch.py; calls the Upstream port. The Location of a resumable upload
(https://cloud.google.com/bigquery/docs/reference/api-uploads) names BigQuery's own address and would lead the caller
past the gate, so it is rewritten.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import urlsplit

from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.domain.errors import MalformedRequest
from bqgate.domain.job import JobRef
from bqgate.domain.principal import Credential
from bqgate.gate.routes import Route
from bqgate.ports import Upstream
from bqgate.wire.http_message import HttpRequest, HttpResponse
from bqgate.wire.query_string import values_of
from bqgate.wire.writes import touched_by_route

PrepareDeletion = Callable[[JobRef, Credential], Awaitable[None]]


class Passthrough:
    """The way to BigQuery for calls that are not metered. `prepare_deletion` books a job before it is deleted."""

    def __init__(self, upstream: Upstream, prepare_deletion: PrepareDeletion, writes: JobWrites) -> None:
        self._upstream = upstream
        self._prepare_deletion = prepare_deletion
        self._writes = writes

    async def send(self, call: HttpRequest, route: Route, credential: Credential) -> HttpResponse:
        """Forward a call as it is. A job is booked before it is deleted; a write drops estimates that it outdates.

        Raises:
            MalformedRequest, JobNotFound, UpstreamRefused, UpstreamUnavailable, LedgerUnavailable: the job cannot be
                booked.
        """
        if route.method_id == "jobs.delete":
            await self._prepare_deletion(_job_of(call, route), credential)
        touched = touched_by_route(route.method_id, route.params)
        self._writes.begin(None, touched)
        answer = await self._upstream.send(call, credential=credential)
        self._writes.begin(None, touched)  # what was estimated meanwhile may be of before or after it
        if "jobId" in route.params:
            self._writes.look(f"{route.project_id}:{route.params['jobId']}")
        return answer


def _job_of(call: HttpRequest, route: Route) -> JobRef:
    """The job that a path and its location name."""
    locations = values_of(call.query, "location")
    if len(locations) > 1:
        raise MalformedRequest("location is given twice.", field="location")
    return JobRef(route.project_id or "", route.params["jobId"], locations[0] or None if locations else None)


def gate_root(origin: str, route: Route) -> str:
    """The gate's address as this caller uses it, without a slash at the end."""
    return origin if route.workload is None else f"{origin}/w/{route.workload}"


def with_gate_location(answer: HttpResponse, *, root: str) -> HttpResponse:
    """The same answer with its Location pointing to the gate, so that the chunks of an upload come this way too."""
    headers = tuple((key, _moved(value, root) if key.lower() == "location" else value) for key, value in answer.headers)
    return replace(answer, headers=headers)


def _moved(location: str, root: str) -> str:
    parts = urlsplit(location)
    return f"{root}{parts.path}?{parts.query}" if parts.query else f"{root}{parts.path}"
