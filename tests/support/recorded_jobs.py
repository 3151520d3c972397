"""Jobs as BigQuery shows them in jobs.list and in INFORMATION_SCHEMA.JOBS_BY_PROJECT, for the sweep to make sense of.

Own writing, after the documented fields and columns (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job,
https://cloud.google.com/bigquery/docs/information-schema-jobs). Each case has both shapes of one job, so that a
test can hold them against each other.
"""

from typing import Any

CREATED_MS = 1_795_521_600_123  # 2026-11-24 12:00:00.123 UTC
ENDED_MS = CREATED_MS + 4_500

Case = tuple[dict[str, Any], dict[str, Any]]


def listed(job_id: str, *, query: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A finished job of jobs.list, by the sweep's field mask. `changes` replace parts of it; None takes one away."""
    document: dict[str, Any] = {
        "user_email": "eve@acme.example",
        "principal_subject": "user:eve@acme.example",
        "jobReference": {"projectId": "acme-prod", "jobId": job_id, "location": "US"},
        "status": {"state": "DONE"},
        "configuration": {"jobType": "QUERY"},
        "statistics": {
            "creationTime": str(CREATED_MS),
            "endTime": str(ENDED_MS),
            "totalBytesProcessed": "20971520",
            "totalSlotMs": "2345",
            "query": {
                "statementType": "SELECT",
                "totalBytesProcessed": "20971520",
                "totalBytesBilled": "20971520",
                "totalSlotMs": "2345",
                "cacheHit": False,
                **(query or {}),
            },
        },
    }
    statistics = changes.pop("statistics", {})
    document |= changes
    document["statistics"] = {
        name: value for name, value in {**document["statistics"], **statistics}.items() if value is not None
    }
    return {name: value for name, value in document.items() if value is not None}


def row(job_id: str, **changes: Any) -> dict[str, Any]:
    """The same job as a row of JOBS_BY_PROJECT, in the values of ports.QueryAnswer."""
    return {
        "creation_time": str(CREATED_MS * 1000),
        "end_time": str(ENDED_MS * 1000),
        "job_id": job_id,
        "job_type": "QUERY",
        "statement_type": "SELECT",
        "state": "DONE",
        "user_email": "eve@acme.example",
        "principal_subject": "user:eve@acme.example",
        "reservation_id": None,
        "edition": None,
        "total_bytes_processed": "20971520",
        "total_bytes_billed": "20971520",
        "total_slot_ms": "2345",
        "cache_hit": "false",
        "error_reason": None,
        "labels": (),
        "parent_job_id": None,
        **changes,
    }


_NO_QUERY = {"statementType": None, "totalBytesProcessed": None, "totalBytesBilled": None, "totalSlotMs": None}
_RESERVED = {"reservation_id": "acme-admin:US.prod", "edition": "ENTERPRISE"}

# Name → the job as jobs.list shows it, and as the view does.
CASES: dict[str, Case] = {
    "plain": (listed("plain"), row("plain")),
    "labelled": (
        listed(
            "labelled",
            configuration={
                "jobType": "QUERY",
                "labels": {"bqgate_hold": "h1", "bqgate_customer": "c1", "team": "data"},
            },
        ),
        row(
            "labelled",
            labels=(
                {"key": "bqgate_hold", "value": "h1"},
                {"key": "bqgate_customer", "value": "c1"},
                {"key": "team", "value": "data"},
            ),
        ),
    ),
    "running": (
        listed("running", status={"state": "RUNNING"}, statistics={"endTime": None, "query": {}}),
        row("running", state="RUNNING", end_time=None, total_bytes_billed=None),
    ),
    "pending": (
        listed("pending", status={"state": "PENDING"}, statistics={"endTime": None, "query": None}),
        row("pending", state="PENDING", end_time=None, total_bytes_billed=None, total_bytes_processed=None),
    ),
    "cached": (
        listed(
            "cached",
            query={"cacheHit": True, "totalBytesBilled": "0", "totalBytesProcessed": "0", "totalSlotMs": None},
            statistics={"totalBytesProcessed": "0", "totalSlotMs": None},
        ),
        row("cached", cache_hit="true", total_bytes_billed="0", total_bytes_processed="0", total_slot_ms=None),
    ),
    "failed": (
        listed(
            "failed",
            status={"state": "DONE", "errorResult": {"reason": "invalidQuery"}},
            query=dict.fromkeys(("totalBytesBilled", "totalBytesProcessed", "totalSlotMs")),
            statistics={"totalBytesProcessed": None, "totalSlotMs": None},
        ),
        row(
            "failed",
            error_reason="invalidQuery",
            total_bytes_billed=None,
            total_bytes_processed=None,
            total_slot_ms=None,
        ),
    ),
    "stopped": (
        listed("stopped", status={"state": "DONE", "errorResult": {"reason": "stopped"}}),
        row("stopped", error_reason="stopped"),
    ),
    "row-level security": (
        listed(
            "rls",
            query={"totalBytesBilled": None, "totalBytesProcessed": None},
            statistics={"totalBytesProcessed": None},
        ),
        row("rls", total_bytes_billed=None, total_bytes_processed=None),
    ),
    "in a reservation": (listed("reserved", statistics=_RESERVED), row("reserved", **_RESERVED)),
    "script": (
        listed("script", query={"statementType": "SCRIPT"}),
        row("script", statement_type="SCRIPT"),
    ),
    "statement of a script": (
        listed("part", statistics={"parentJobId": "script"}),
        row("part", parent_job_id="script"),
    ),
    "load": (
        listed(
            "load",
            configuration={"jobType": "LOAD"},
            statistics={"query": None, "totalBytesProcessed": None, "totalSlotMs": "77"},
        ),
        row(
            "load",
            job_type="LOAD",
            statement_type=None,
            total_bytes_billed=None,
            total_bytes_processed=None,
            total_slot_ms="77",
            cache_hit=None,
        ),
    ),
    "of a workforce identity": (
        listed(
            "workforce",
            user_email=None,
            principal_subject="principal://iam.googleapis.com/locations/global/x/subject/eve",
        ),
        row(
            "workforce",
            user_email=None,
            principal_subject="principal://iam.googleapis.com/locations/global/x/subject/eve",
        ),
    ),
}

# Jobs that hide whose they are, as BigQuery shows those of others to who may not see all.
MASKED: dict[str, dict[str, Any]] = {
    "no maker, no figures": {
        "jobReference": {"projectId": "acme-prod", "jobId": "masked", "location": "US"},
        "status": {"state": "DONE"},
        "state": "DONE",
    },
    "no statistics": listed("masked", statistics={"creationTime": None}),
    "no maker": listed("masked", user_email=None, principal_subject=None),
}
