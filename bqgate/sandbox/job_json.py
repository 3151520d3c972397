"""Show jobs as the REST API does: the Job resource, and the rows of INFORMATION_SCHEMA.JOBS.

Handlers call it with a job and the runner's word on how far the job has come; pure but for that. int64 values are
strings, moments are milliseconds since 1970 as strings.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job
and https://cloud.google.com/bigquery/docs/information-schema-jobs
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bqgate.sandbox.jobs import Job
from bqgate.sandbox.settings import SandboxSettings
from bqgate.sandbox.warehouse import DmlStats, Field, Plan, TableRef

# int64 fields of configurations that are numbers inside and strings on the wire.
INT64_KEYS = {
    "jobTimeoutMs",
    "maxSlots",
    "maximumBytesBilled",
    "statementByteBudget",
    "statementTimeoutMs",
    "expirationMs",
}


def ms(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))


def etag_of(body: Any) -> str:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).digest()
    return digest[:16].hex()


def table_json(ref: TableRef) -> dict[str, str]:
    return {"projectId": ref.project, "datasetId": ref.dataset, "tableId": ref.table}


def fields_json(fields: Iterable[Field]) -> list[dict[str, Any]]:
    shown = []
    for each in fields:
        entry: dict[str, Any] = {"name": each.name, "type": each.type, "mode": each.mode}
        if each.fields:
            entry["fields"] = fields_json(each.fields)
        if each.element:
            entry["rangeElementType"] = {"type": each.element}
        if each.description:
            entry["description"] = each.description
        shown.append(entry)
    return shown


def schema_json(fields: Iterable[Field]) -> dict[str, Any]:
    return {"fields": fields_json(fields)}


def dml_json(dml: DmlStats) -> dict[str, str]:
    return {
        "insertedRowCount": str(dml.inserted),
        "updatedRowCount": str(dml.updated),
        "deletedRowCount": str(dml.deleted),
    }


def on_wire(value: Any, key: str = "") -> Any:
    """Turn a checked configuration back into REST JSON."""
    if isinstance(value, dict):
        return {name: on_wire(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [on_wire(each) for each in value]
    return str(value) if key in INT64_KEYS else value


def configuration_json(job: Job) -> dict[str, Any]:
    shown: dict[str, Any] = on_wire(job.configuration)
    shown["jobType"] = job.type
    if job.type == "QUERY":
        query = {"priority": "INTERACTIVE", "writeDisposition": "WRITE_TRUNCATE", **shown["query"]}
        destination = _destination(job)
        if destination and job.parent is None:
            query["destinationTable"] = table_json(destination)
        shown["query"] = query
    return shown


def _destination(job: Job) -> TableRef | None:
    return (job.plan and written_by(job.plan)) or job.destination


def written_by(plan: Plan) -> TableRef | None:
    """Where rows go: what CREATE TABLE AS and DML write is shown as the destination, as at Google."""
    writes = {"CREATE_TABLE_AS_SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE_TABLE"}
    return plan.target if plan.statement_type in writes else None


def job_resource(job: Job, settings: SandboxSettings, *, progress: float, root_url: str) -> dict[str, Any]:
    """Build the Job resource; `progress` is the share of its time that has passed, 0 to 1."""
    body: dict[str, Any] = {
        "kind": "bigquery#job",
        "id": job.full_id,
        "selfLink": f"{root_url}/bigquery/v2/projects/{job.project}/jobs/{job.id}?location={job.location}",
        "user_email": job.user_email,
        "principal_subject": f"user:{job.user_email}",
        "jobReference": {"projectId": job.project, "jobId": job.id, "location": job.location},
        "configuration": configuration_json(job),
        "jobCreationReason": {"code": job.creation_reason},
        "statistics": statistics_json(job, settings, progress),
        "status": status_json(job),
    }
    return {"etag": etag_of(body), **body}


def status_json(job: Job) -> dict[str, Any]:
    if job.state == "DONE" and job.error:
        return {"state": "DONE", "errorResult": job.error, "errors": [job.error]}
    return {"state": job.state}


def statistics_json(job: Job, settings: SandboxSettings, progress: float) -> dict[str, Any]:
    slot_ms = job.slot_ms if job.state == "DONE" else int(job.slot_ms * progress)
    shown: dict[str, Any] = {"creationTime": ms(job.created_at)}
    if job.started_at:
        shown["startTime"] = ms(job.started_at)
    if job.ended_at:
        shown["endTime"] = ms(job.ended_at)
        shown["finalExecutionDurationMs"] = str(int(ms(job.ended_at)) - int(shown["startTime"]))
    if job.parent:
        shown["parentJobId"] = job.parent.id
        shown["scriptStatistics"] = {"evaluationKind": "STATEMENT"}
    if job.children:
        shown["numChildJobs"] = str(len(job.children))
    shown |= _reservation(job, settings)
    if job.type == "QUERY":
        shown["totalBytesProcessed"] = str(job.bytes_processed)
        shown["totalSlotMs"] = str(slot_ms)
        shown["query"] = query_statistics(job, slot_ms)
    elif job.load is not None:
        shown["load" if job.type == "LOAD" else "copy"] = job.load
    return shown


def _reservation(job: Job, settings: SandboxSettings) -> dict[str, str]:
    """Name the reservation that a job ran in; parents of scripts have none, `reservation: none` forces on demand."""
    if not settings.reservation_id or job.configuration.get("reservation") == "none" or job.children:
        return {}
    return {"reservation_id": settings.reservation_id, "edition": settings.edition or "ENTERPRISE"}


def query_statistics(job: Job, slot_ms: int) -> dict[str, Any]:
    """Build `statistics.query` of a job that runs or ran."""
    if job.plan is None:
        return {}
    if job.state != "DONE":
        return {"statementType": job.plan.statement_type, "totalSlotMs": str(slot_ms)}
    shown: dict[str, Any] = {
        "statementType": job.plan.statement_type,
        "totalBytesProcessed": str(job.bytes_processed),
        "totalBytesBilled": str(job.bytes_billed),
        "totalSlotMs": str(slot_ms),
        "cacheHit": job.cache_hit,
        "billingTier": 1 if job.bytes_billed else 0,
    }
    if not job.cache_hit:
        shown |= references(job.plan)
    dml = job.result.dml if job.result else None
    if dml:
        shown["dmlStats"] = dml_json(dml)
        shown["numDmlAffectedRows"] = str(dml.affected)
    return shown | definition(job.plan)


def references(plan: Plan) -> dict[str, Any]:
    """What a query reads: tables, and the logical views on the way to them."""
    shown: dict[str, Any] = {}
    if plan.referenced_tables:
        shown["referencedTables"] = [table_json(ref) for ref in plan.referenced_tables]
    if plan.referenced_views:
        shown["referencedLogicalViews"] = [table_json(ref) for ref in plan.referenced_views]
    return shown


def definition(plan: Plan) -> dict[str, Any]:
    """What DDL is about, and what it does to it."""
    if not plan.ddl_operation:
        return {}
    shown: dict[str, Any] = {"ddlOperationPerformed": plan.ddl_operation}
    if plan.target:
        shown["ddlTargetTable"] = table_json(plan.target)
    if plan.target_dataset:
        project, dataset = plan.target_dataset
        shown["ddlTargetDataset"] = {"projectId": project, "datasetId": dataset}
    return shown


def jobs_view_row(job: Job, settings: SandboxSettings, *, progress: float) -> dict[str, Any]:
    """Build a row of INFORMATION_SCHEMA.JOBS."""
    return {
        "creation_time": job.created_at,
        "start_time": job.started_at,
        "end_time": job.ended_at,
        "project_id": job.project,
        "user_email": job.user_email,
        "principal_subject": f"user:{job.user_email}",
        "job_id": job.id,
        "job_type": job.type,
        "statement_type": job.statement_type or None,
        "priority": job.query.get("priority", "INTERACTIVE") if job.type == "QUERY" else None,
        "state": job.state,
        "query": job.query.get("query"),
        "error_result": job.error if job.state == "DONE" else None,
        "cache_hit": job.cache_hit,
        "total_bytes_processed": job.bytes_processed,
        "total_bytes_billed": job.bytes_billed,
        "total_slot_ms": job.slot_ms if job.state == "DONE" else int(job.slot_ms * progress),
        "labels": [{"key": key, "value": value} for key, value in job.configuration.get("labels", {}).items()],
        "parent_job_id": job.parent.id if job.parent else None,
        "query_dialect": "GOOGLE_SQL" if job.type == "QUERY" else None,
        "job_creation_reason": {"code": job.creation_reason},
        **_reservation(job, settings),
        "destination_table": _view_table(destination) if (destination := _destination(job)) else None,
        "referenced_tables": (
            [_view_table(ref) for ref in job.plan.referenced_tables] if job.plan and not job.cache_hit else []
        ),
        "location": job.location,
    }


def _view_table(ref: TableRef) -> dict[str, str]:
    return {"project_id": ref.project, "dataset_id": ref.dataset, "table_id": ref.table}
