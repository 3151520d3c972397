"""Answer jobs.insert, get, list, cancel and delete.

Called by the server with a Call; starts jobs through `query_jobs` and `load_jobs`. What leaves is a Reply, or an
ApiError. An insert of a query that is wrong answers 200 and a job that has failed; only its dry run is an error.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bqgate.sandbox import load_jobs, query_jobs, shapes
from bqgate.sandbox.job_json import job_resource, ms
from bqgate.sandbox.jobs import Job, canonical_location, new_id
from bqgate.sandbox.replies import ApiError, Reply
from bqgate.sandbox.results import offset_of, token_of
from bqgate.sandbox.world import Call, World

KINDS = ("query", "load", "copy", "extract")
LIST_PAGE_MAX = 1_000


def shown(world: World, job: Job, call: Call) -> dict[str, Any]:
    return job_resource(job, world.settings, progress=world.runner.progress(job), root_url=call.root_url)


async def insert(world: World, call: Call, upload: Path | None = None) -> Reply:
    """Start a job, or dry-run a query; `upload` is the file that came along on the upload path."""
    body = shapes.checked(call.body, shapes.JOB)
    configuration = body.get("configuration", {})
    kind = _kind_of(configuration)
    reference = body.get("jobReference", {})
    if reference.get("projectId", call.project) != call.project:
        raise ApiError(
            400, "invalid", f"Value {reference['projectId']} in content does not agree with value {call.project}"
        )
    location = canonical_location(reference["location"]) if reference.get("location") else ""
    job_id = reference["jobId"] if "jobId" in reference else new_id()
    dry_run = configuration.pop("dryRun", False)
    if kind == "query":
        wish = query_jobs.wish_of(world, call, configuration, location)
        if dry_run:
            plan, cache_hit = await query_jobs.dry_run(world, wish)
            return query_jobs.dry_run_job(world, wish, plan, call, cache_hit=cache_hit)
        job = query_jobs.start(world, wish, job_id)
    elif dry_run:
        raise ApiError(400, "invalid", "Dry run is defined for query jobs only", location="configuration.dryRun")
    else:
        query_jobs.check_labels(configuration.get("labels", {}))
        job = load_jobs.start(world, call, configuration, job_id, location, upload)
    await world.runner.settled(job)
    return Reply(body=shown(world, job, call))


def _kind_of(configuration: dict[str, Any]) -> str:
    kinds = [kind for kind in KINDS if kind in configuration]
    if not kinds:
        raise ApiError(
            400, "required", "Required parameter is missing: configuration.query", location="configuration.query"
        )
    if len(kinds) > 1:
        raise ApiError(400, "invalid", f"Exactly one job configuration must be given, not {' and '.join(kinds)}")
    if kinds[0] == "extract":
        raise ApiError(501, "notImplemented", "The sandbox does not support extract jobs")
    return kinds[0]


async def get(world: World, call: Call) -> Reply:
    job = world.jobs.find(call.project, call.params["jobId"], call.text("location"))
    return Reply(body=shown(world, job, call))


async def cancel(world: World, call: Call) -> Reply:
    job = world.jobs.find(call.project, call.params["jobId"], call.text("location"))
    job.stop.set()
    return Reply(body={"kind": "bigquery#jobCancelResponse", "job": shown(world, job, call)})


async def delete(world: World, call: Call) -> Reply:
    job = world.jobs.find(call.project, call.params["jobId"], call.text("location"))
    if job.parent:
        raise ApiError(400, "invalid", "Only a parent job can be deleted; its children go with it")
    if job.state != "DONE":
        raise ApiError(400, "invalid", f"Job {job.full_id} is still running and can not be deleted")
    world.jobs.remove(job)
    return Reply(204)


async def list_jobs(world: World, call: Call) -> Reply:
    """List jobs, the newest first; the children of a script only when their parent is named."""
    first, last = call.number("minCreationTime"), call.number("maxCreationTime")
    states = {state.upper() for state in call.query.getall("stateFilter", [])}
    parent_id = call.text("parentJobId")
    chosen = [
        job
        for job in reversed(list(world.jobs))
        if job.project == call.project
        and not job.hidden
        and (job.parent.id if job.parent else "") == parent_id
        and (call.flag("allUsers") or parent_id or job.user_email == call.user.email)
        and (not states or job.state in states)
        and (first is None or int(ms(job.created_at)) >= first)
        and (last is None or int(ms(job.created_at)) <= last)
    ]
    start = offset_of(call.text("pageToken")) if call.text("pageToken") else 0
    count = min(call.number("maxResults") or LIST_PAGE_MAX, LIST_PAGE_MAX)
    full = call.text("projection", "minimal").lower() == "full"
    body: dict[str, Any] = {
        "kind": "bigquery#jobList",
        "etag": f"{len(chosen)}",
        "jobs": [_listed(shown(world, job, call), full=full) for job in chosen[start : start + count]],
    }
    if start + count < len(chosen):
        body["nextPageToken"] = token_of(start + count)
    return Reply(body=body)


def _listed(resource: dict[str, Any], *, full: bool) -> dict[str, Any]:
    """Shape a job as lists show it: its state at the top too, and no configuration in the minimal projection."""
    resource["state"] = resource["status"]["state"]
    if "errorResult" in resource["status"]:
        resource["errorResult"] = resource["status"]["errorResult"]
    if not full:
        del resource["configuration"]
    return resource
