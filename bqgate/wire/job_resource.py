"""Read BigQuery's Job resource: a dry run's answer as an Estimate, a finished job as Usage.

Called by the bigquery room and, for answers that stream past, by the gate. Facts:
https://cloud.google.com/bigquery/docs/reference/rest/v2/Job (statistics), script parents bear the sum of their children
and row-level security hides bytes (https://cloud.google.com/bigquery/docs/information-schema-jobs). All int64 are
strings. A field that is missing is never read as zero cost.
"""

import re
from collections.abc import Mapping
from typing import Any

from bqgate.domain.job import Accuracy, Estimate, JobRef, Outcome, Usage
from bqgate.wire.fields import count_at
from bqgate.wire.sql_calls import FEDERATED, unbounded_calls

# Statements that read no data and are never charged (data definition without a query).
_FREE_DDL = re.compile(r"(CREATE|ALTER|DROP|UNDROP|TRUNCATE|GRANT|REVOKE)_|(BEGIN|COMMIT|ROLLBACK)_TRANSACTION")
_CHARGED_DDL = frozenset({"CREATE_TABLE_AS_SELECT", "CREATE_MODEL", "CREATE_MATERIALIZED_VIEW"})
_MULTI_STATEMENT = frozenset({"SCRIPT", "CALL", "EXECUTE_IMMEDIATE"})
# Where a dry run names what a statement writes, makes, changes or drops.
_TARGETS = (
    "ddlTargetTable",
    "ddlDestinationTable",
    "ddlTargetDataset",
    "ddlTargetRoutine",
    "ddlTargetRowAccessPolicy",
    "dclTargetTable",
    "dclTargetView",
    "dclTargetDataset",
)
_LEAVES = ("tableId", "routineId", "propertyGraphId")


def estimate_from(job: Mapping[str, Any], *, sql: str) -> Estimate:
    """What a dry run says, and whether its bytes bound the bill. Without statistics it bounds nothing."""
    statistics = _part(job, "statistics")
    query = _part(statistics, "query")
    tables = _names(query, "referencedTables")
    accuracy = _accuracy(query.get("totalBytesProcessedAccuracy"))
    processed = count_at(query, "totalBytesProcessed")
    if processed is None:
        processed = count_at(statistics, "totalBytesProcessed")
    statement_type = str(query.get("statementType") or "")
    email = job.get("user_email")
    return Estimate(
        bytes_processed=processed or 0,
        statement_type=statement_type,
        table_count=len(tables),
        accuracy=accuracy,
        location=_part(job, "jobReference").get("location"),
        user_email=email if isinstance(email, str) else None,
        referenced_tables=tables,
        referenced_views=_names(query, "referencedLogicalViews") + _names(query, "referencedPropertyGraphs"),
        referenced_routines=_names(query, "referencedRoutines"),
        targets=_targets(job, query),
        cache_hit=query.get("cacheHit") is True,
        unknown_because=_why_unknown(
            statistics, processed, statement_type, accuracy, has_tables=bool(tables) or _has_hidden(query), sql=sql
        ),
    )


def usage_from(job: Mapping[str, Any]) -> Usage | None:
    """What a job used; None while it is pending or running."""
    status = _part(job, "status")
    if status.get("state") != "DONE":
        return None
    statistics = _part(job, "statistics")
    query = _part(statistics, "query")
    outcome = _outcome(status, cached=query.get("cacheHit") is True)
    billed = count_at(query, "totalBytesBilled")
    if billed is None and "query" not in statistics:
        billed = 0  # load, copy and extract jobs process no query bytes; a failed query may have no statistics
    edition = statistics.get("edition")
    reservation = statistics.get("reservation_id")
    email = job.get("user_email")
    return Usage(
        job=job_ref_from(_part(job, "jobReference")),
        outcome=outcome,
        bytes_processed=count_at(query, "totalBytesProcessed") or count_at(statistics, "totalBytesProcessed") or 0,
        bytes_billed=0 if outcome in {Outcome.CACHED, Outcome.FAILED} and billed is None else billed,
        slot_ms=count_at(statistics, "totalSlotMs") or count_at(query, "totalSlotMs") or 0,
        statement_type=str(query.get("statementType") or ""),
        cache_hit=outcome is Outcome.CACHED,
        reservation=reservation if isinstance(reservation, str) else None,
        edition=edition if isinstance(edition, str) else None,
        table_count=len(query.get("referencedTables") or ()),
        user_email=email if isinstance(email, str) else None,
    )


def job_ref_from(reference: Mapping[str, Any]) -> JobRef | None:
    """A jobReference as a JobRef; None without a job id (a dry run, a query without a job)."""
    project_id, job_id, location = (reference.get(name) for name in ("projectId", "jobId", "location"))
    if not (isinstance(project_id, str) and isinstance(job_id, str) and project_id and job_id):
        return None
    return JobRef(project_id=project_id, job_id=job_id, location=location if isinstance(location, str) else None)


def _why_unknown(
    statistics: Mapping[str, Any],
    processed: int | None,
    statement_type: str,
    accuracy: Accuracy,
    *,
    has_tables: bool,
    sql: str,
) -> str | None:
    """Name why the bytes of a dry run bound nothing; None where they do."""
    if statement_type in _MULTI_STATEMENT:
        return "script"
    called = unbounded_calls(sql)
    if called == FEDERATED:
        return FEDERATED
    if _part(statistics, "rowLevelSecurityStatistics").get("rowLevelSecurityApplied") is True:
        return "row_level_security"
    if accuracy is Accuracy.LOWER_BOUND:
        return "lower_bound"
    if processed is None:
        return "no_statistics"
    is_free = _FREE_DDL.match(statement_type) is not None and statement_type not in _CHARGED_DDL
    if processed == 0 and has_tables and not is_free:
        return "zero_bytes"
    if processed == 0 and statement_type in _CHARGED_DDL - {"CREATE_TABLE_AS_SELECT"}:
        return "zero_bytes"
    return called


def _outcome(status: Mapping[str, Any], *, cached: bool) -> Outcome:
    error = status.get("errorResult")
    if isinstance(error, dict):
        return Outcome.STOPPED if error.get("reason") == "stopped" else Outcome.FAILED
    return Outcome.CACHED if cached else Outcome.DONE


def _accuracy(value: Any) -> Accuracy:
    try:
        return Accuracy(value)
    except ValueError:
        return Accuracy.UNKNOWN


def _names(query: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """The references of a list, in its order."""
    references = query.get(field)
    return tuple(_name(each) for each in references or () if isinstance(each, dict))


def _has_hidden(query: Mapping[str, Any]) -> bool:
    """Whether a dry run names what may read or call more than it tells."""
    return bool(query.get("referencedLogicalViews") or query.get("referencedRoutines"))


def _targets(job: Mapping[str, Any], query: Mapping[str, Any]) -> tuple[str, ...]:
    """What is written: where rows go that are no plain result, and what definitions are about."""
    destination = _part(_part(_part(job, "configuration"), "query"), "destinationTable")
    named = [_part(query, field) for field in _TARGETS]
    if not str(destination.get("datasetId", "_")).startswith("_"):
        named.append(destination)
    return tuple(dict.fromkeys(_name(each) for each in named if each))


def _name(reference: Mapping[str, Any]) -> str:
    """A reference to a dataset, or to something in one, as a dotted name."""
    leaf = next((reference[name] for name in _LEAVES if name in reference), None)
    dataset = f"{reference.get('projectId')}.{reference.get('datasetId')}"
    return dataset if leaf is None else f"{dataset}.{leaf}"


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}
