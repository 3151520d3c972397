"""Start query jobs, dry-run them, and answer jobs.query.

jobs.insert hands its query configurations to `dry_run` and `start`; jobs.query comes here with a QueryRequest, which is
turned into the same configuration, so that both methods mean the same. What leaves is a Job record, a Reply, or an
ApiError.

Sources: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query (requestId: mutating statements are not
repeated within 15 minutes; jobCreationMode) and captured answers of real dry runs (no jobId in them).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bqgate.sandbox import shapes
from bqgate.sandbox.job_json import (
    definition,
    etag_of,
    ms,
    on_wire,
    references,
    schema_json,
    table_json,
    written_by,
)
from bqgate.sandbox.jobs import Job, canonical_location, new_anonymous_table, new_id
from bqgate.sandbox.query_work import QueryWork, check_query
from bqgate.sandbox.replies import ApiError, Reply, from_warehouse
from bqgate.sandbox.results import PageWish, failure_of, first_page
from bqgate.sandbox.users import User
from bqgate.sandbox.warehouse import NotFound, Plan, WarehouseError
from bqgate.sandbox.world import Call, World

REPEAT_WINDOW = timedelta(minutes=15)
WAIT_MS_DEFAULT = 10_000
# jobs.query and getQueryResults answer after about 200 s at most, whatever was asked for.
WAIT_MS_MAX = 200_000
LABEL = re.compile(r"[\w-]{0,63}")
READ_ONLY = {"SELECT", ""}


@dataclass(frozen=True)
class Wish:
    """A query that somebody wants to run: where, as whom, and the checked configuration."""

    project: str
    location: str
    user: User
    configuration: dict[str, Any]

    @property
    def query(self) -> Mapping[str, Any]:
        part: Mapping[str, Any] = self.configuration["query"]
        return part


def wish_of(world: World, call: Call, configuration: dict[str, Any], location: str) -> Wish:
    """Check a query configuration and find the location that it runs in.

    Raises:
        ApiError: 400 or 501.
    """
    check_query(configuration["query"])
    check_labels(configuration.get("labels", {}))
    return Wish(call.project, location or _default_location(world, call, configuration), call.user, configuration)


def check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if len(labels) > 64 or not key or not LABEL.fullmatch(key) or not LABEL.fullmatch(value):
            raise ApiError(400, "invalid", f"Label key or value is invalid: {key}:{value}", location="labels")


def _default_location(world: World, call: Call, configuration: Mapping[str, Any]) -> str:
    default = configuration["query"].get("defaultDataset", {})
    if default.get("datasetId"):
        try:
            info = world.warehouse.get_dataset(default.get("projectId") or call.project, default["datasetId"])
        except NotFound:
            return world.settings.default_location
        return canonical_location(info.location)
    return world.settings.default_location


async def dry_run(world: World, wish: Wish) -> tuple[Plan, bool]:
    """Plan a query; True beside the plan: its result is in the cache.

    Raises:
        ApiError: The error that the query would have.
    """
    work = QueryWork(world, wish.user, wish.project, wish.location, wish.configuration)
    try:
        plan = await world.runner.in_thread(work.plan)
    except WarehouseError as error:
        raise from_warehouse(error) from error
    return plan, work.cached(plan) is not None


def dry_run_job(world: World, wish: Wish, plan: Plan, call: Call, *, cache_hit: bool) -> Reply:
    """Build the Job that a dry run by jobs.insert answers: DONE, and without a jobId."""
    bytes_processed = "0" if cache_hit else str(plan.bytes_processed)
    query: dict[str, Any] = {
        "totalBytesProcessed": bytes_processed,
        "totalBytesBilled": "0",
        "totalBytesProcessedAccuracy": plan.accuracy,
        "statementType": plan.statement_type,
        "cacheHit": cache_hit,
    }
    query |= references(plan) | definition(plan)
    if plan.schema:
        query["schema"] = schema_json(plan.schema)
    if plan.undeclared_parameters:
        query["undeclaredQueryParameters"] = list(plan.undeclared_parameters)
    configuration = on_wire(wish.configuration)
    destination = written_by(plan) or new_anonymous_table(wish.project, wish.user.email)
    configuration["query"].setdefault("destinationTable", table_json(destination))
    body = {
        "kind": "bigquery#job",
        "id": f"{wish.project}:{wish.location}.",
        "selfLink": f"{call.root_url}/bigquery/v2/projects/{wish.project}/jobs/?location={wish.location}",
        "user_email": wish.user.email,
        "principal_subject": f"user:{wish.user.email}",
        "configuration": {**configuration, "dryRun": True, "jobType": "QUERY"},
        "jobReference": {"projectId": wish.project, "location": wish.location},
        "statistics": {
            "creationTime": ms(world.clock.now()),
            "totalBytesProcessed": bytes_processed,
            "query": query,
        },
        "status": {"state": "DONE"},
    }
    return Reply(body={"etag": etag_of(body), **body})


def start(world: World, wish: Wish, job_id: str, *, creation_reason: str = "REQUESTED") -> Job:
    """Make the job and set it going.

    Raises:
        ApiError: 400 or 409 for its id.
    """
    work = QueryWork(world, wish.user, wish.project, wish.location, wish.configuration)
    job = Job(
        project=wish.project,
        location=wish.location,
        id=job_id,
        user_email=wish.user.email,
        configuration=wish.configuration,
        type="QUERY",
        created_at=world.clock.now(),
        creation_reason=creation_reason,
        destination=work.destination or new_anonymous_table(wish.project, wish.user.email),
    )
    world.jobs.add(job)
    world.runner.start(job, work)
    return job


class QueryMethod:
    """jobs.query, with its memory of request ids."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._requests: dict[str, tuple[Job, datetime]] = {}

    async def answer(self, call: Call) -> Reply:
        request = shapes.checked(call.body, shapes.QUERY_REQUEST)
        location = canonical_location(request["location"]) if request.get("location") else ""
        wish = wish_of(self._world, call, configuration_of(request), location)
        if request.get("queryResultsFormat", "STRUCT_ENCODING") == "ARROW":
            raise ApiError(501, "notImplemented", "The sandbox does not support queryResultsFormat ARROW")
        if request.get("dryRun"):
            plan, cache_hit = await dry_run(self._world, wish)
            return Reply(body=_dry_run_response(wish, plan, cache_hit=cache_hit))
        job = await self._first_of(call, request)
        optional = request.get("jobCreationMode") == "JOB_CREATION_OPTIONAL"
        if job is None:
            job = start(self._world, wish, new_id(), creation_reason="OTHER" if optional else "REQUESTED")
            # Until it is clear whether a job is needed, nobody can have heard of its id.
            job.hidden = optional
            self._remember(call, request, job)
        wait_ms = min(request.get("timeoutMs", WAIT_MS_DEFAULT), WAIT_MS_MAX)
        complete = await self._world.clock.wait_for(job.done, wait_ms / 1000)
        return await self._response(job, request, complete=complete)

    async def _first_of(self, call: Call, request: Mapping[str, Any]) -> Job | None:
        """Find the job that a repeated request started; reading is not worth remembering, it runs again."""
        found = self._requests.get(_request_key(call, request))
        if not request.get("requestId") or found is None:
            return None
        job, until = found
        if self._world.clock.now() >= until:
            return None
        await job.planned.wait()
        return None if job.statement_type in READ_ONLY else job

    def _remember(self, call: Call, request: Mapping[str, Any], job: Job) -> None:
        if not request.get("requestId"):
            return
        now = self._world.clock.now()
        for key in [key for key, (_, until) in self._requests.items() if until <= now]:
            del self._requests[key]
        self._requests[_request_key(call, request)] = (job, now + REPEAT_WINDOW)

    async def _response(self, job: Job, request: Mapping[str, Any], *, complete: bool) -> Reply:
        body: dict[str, Any] = {"kind": "bigquery#queryResponse", "queryId": job.id, "location": job.location}
        body |= {"creationTime": ms(job.created_at), "jobComplete": complete}
        if complete:
            if job.error:
                raise failure_of(job)
            form = request.get("formatOptions", {})
            wish = PageWish(
                count=request.get("maxResults"),
                use_int64_timestamp=form.get("useInt64Timestamp", False),
                output_format=form.get("timestampOutputFormat", ""),
            )
            body |= await asyncio.to_thread(first_page, job, wish, self._world.settings)
            body |= _charges(job)
        if job.hidden and not (complete and "pageToken" not in body and not job.children):
            job.hidden = False
            job.creation_reason = "LARGE_RESULTS" if complete else "LONG_RUNNING"
            for child in job.children:
                child.hidden = False
        if not job.hidden:
            body["jobReference"] = {"projectId": job.project, "jobId": job.id, "location": job.location}
            body["jobCreationReason"] = {"code": job.creation_reason}
        return Reply(body=body)


def _request_key(call: Call, request: Mapping[str, Any]) -> str:
    shaping = {name: value for name, value in request.items() if name not in {"timeoutMs", "maxResults"}}
    return json.dumps([call.project, call.user.cache_key, shaping], sort_keys=True)


def configuration_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a QueryRequest into a job's configuration."""
    configuration: dict[str, Any] = {name: request[name] for name in shapes.JOB_CHOICES if name in request}
    configuration["query"] = {name: request[name] for name in shapes.QUERY_CHOICES if name in request}
    return configuration


def _charges(job: Job) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "totalBytesBilled": str(job.bytes_billed),
        "totalSlotMs": str(job.slot_ms),
        "statementType": job.statement_type,
    }
    if job.started_at and job.ended_at:
        shown |= {"startTime": ms(job.started_at), "endTime": ms(job.ended_at)}
    return shown


def _dry_run_response(wish: Wish, plan: Plan, *, cache_hit: bool) -> dict[str, Any]:
    """Build what jobs.query answers to a dry run: no referencedTables, no accuracy, no jobId."""
    return {
        "kind": "bigquery#queryResponse",
        "schema": schema_json(plan.schema),
        "jobReference": {"projectId": wish.project, "location": wish.location},
        "location": wish.location,
        "totalBytesProcessed": "0" if cache_hit else str(plan.bytes_processed),
        "totalBytesBilled": "0",
        "jobComplete": True,
        "cacheHit": cache_hit,
        "statementType": plan.statement_type,
    }
