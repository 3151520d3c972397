"""Read BigQuery's Job resource: a dry run's answer as an Estimate, a finished job as Usage.

Called by the bigquery room and, for answers that stream past, by the gate. Facts:
https://cloud.google.com/bigquery/docs/reference/rest/v2/Job (statistics), script parents bear the sum of their children
and row-level security hides bytes (https://cloud.google.com/bigquery/docs/information-schema-jobs). All int64 are
strings. A field that is missing is never read as zero cost.
"""

from collections.abc import Mapping
from typing import Any

from bqgate.domain.job import Accuracy, Estimate, JobRef, Outcome, Usage
from bqgate.domain.statements import buys, is_known, is_multi_statement, reads_nothing
from bqgate.wire.fields import count_at, moment_at

# Definitions with a query that a dry run may size at nothing.
_CHARGED_DDL = frozenset({"CREATE_MODEL", "CREATE_MATERIALIZED_VIEW"})
# A dry run lists at most so many of the tables that a query reads ...
_TABLES_LISTED_MAX = 50
# ... and a query may read at most so many (https://cloud.google.com/bigquery/quotas#query_jobs).
_TABLES_PER_QUERY_MAX = 1_000
_ACCURACIES = {each.value: each for each in Accuracy}
_BOUNDS = frozenset({Accuracy.PRECISE, Accuracy.UPPER_BOUND})
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
_OTHER_TYPES = frozenset({"LOAD", "COPY", "EXTRACT"})
_LEAVES = ("tableId", "routineId", "propertyGraphId")


def estimate_from(job: Mapping[str, Any], *, asked: str | None = None) -> Estimate:
    """What a dry run says, and whether its bytes bound the bill. Without statistics it bounds nothing.

    What the query's text calls elsewhere is not in it: Estimate.with_calls. `asked` is the project by the name by which
    it was asked for.
    """
    statistics = _part(job, "statistics")
    query = _part(statistics, "query")
    tables = _names(query, "referencedTables")
    accuracy = _accuracy(query.get("totalBytesProcessedAccuracy"))
    processed = count_at(query, "totalBytesProcessed")
    if processed is None:
        processed = count_at(statistics, "totalBytesProcessed")
    statement_type = str(query.get("statementType") or "")
    email = job.get("user_email")
    reference = _part(job, "jobReference")
    return Estimate(
        bytes_processed=processed or 0,
        statement_type=statement_type,
        table_count=len(tables) if len(tables) < _TABLES_LISTED_MAX else _TABLES_PER_QUERY_MAX,
        accuracy=accuracy,
        location=reference.get("location"),
        user_email=email if isinstance(email, str) else None,
        referenced_tables=tables,
        referenced_views=_names(query, "referencedLogicalViews") + _names(query, "referencedPropertyGraphs"),
        referenced_routines=_names(query, "referencedRoutines"),
        targets=_targets(job, query),
        cache_hit=query.get("cacheHit") is True,
        unknown_because=_why_unknown(
            statistics, processed, statement_type, accuracy, has_tables=bool(tables) or _has_hidden(query)
        ),
        project_id=_text(reference.get("projectId")) or asked,
    )


def usage_from(job: Mapping[str, Any]) -> Usage | None:
    """What a job used; None while it is pending or running. What is not told is None, and not zero."""
    status = _part(job, "status")
    if status.get("state") != "DONE":
        return None
    statistics = _part(job, "statistics")
    query = _part(statistics, "query")
    outcome = _outcome(status, cached=query.get("cacheHit") is True)
    billed = count_at(query, "totalBytesBilled")
    if billed is None and _is_no_query(job):
        billed = 0
    kind = _text(query.get("statementType"))
    reservation = _text(statistics.get("reservation_id"))
    return Usage(
        job=job_ref_from(_part(job, "jobReference")),
        outcome=outcome,
        bytes_processed=count_at(query, "totalBytesProcessed") or count_at(statistics, "totalBytesProcessed") or 0,
        bytes_billed=billed,
        slot_ms=_first(count_at(statistics, "totalSlotMs"), count_at(query, "totalSlotMs")),
        statement_type=kind,
        cache_hit=outcome is Outcome.CACHED,
        reservation=reservation,
        # Parents bear none, and an answer without statistics tells nothing at all.
        is_reservation_known=reservation is not None or bool(query and not is_multi_statement(kind)),
        edition=_text(statistics.get("edition")),
        table_count=len(query.get("referencedTables") or ()),
        user_email=_text(job.get("user_email")),
        ended_at=moment_at(statistics, "endTime"),
    )


def usages_in(page: Mapping[str, Any]) -> tuple[Usage, ...]:
    """The finished jobs of a page of jobs.list (projection=full)."""
    jobs = page.get("jobs")
    found = [usage_from(job) for job in (jobs if isinstance(jobs, list) else ()) if isinstance(job, dict)]
    return tuple(usage for usage in found if usage is not None)


def job_ref_from(reference: Mapping[str, Any]) -> JobRef | None:
    """A jobReference as a JobRef; None without a job id (a dry run, a query without a job)."""
    project_id, job_id = _text(reference.get("projectId")), _text(reference.get("jobId"))
    location = reference.get("location")
    if project_id is None or job_id is None:
        return None
    return JobRef(project_id=project_id, job_id=job_id, location=location if isinstance(location, str) else None)


def _why_unknown(
    statistics: Mapping[str, Any],
    processed: int | None,
    statement_type: str,
    accuracy: Accuracy,
    *,
    has_tables: bool,
) -> str | None:
    """Name why the bytes of a dry run bound nothing; None where they do."""
    may_read = not reads_nothing(statement_type)
    is_row_secured = _part(statistics, "rowLevelSecurityStatistics").get("rowLevelSecurityApplied") is True
    for reason, holds in (
        ("script", is_multi_statement(statement_type)),
        ("purchase", buys(statement_type)),
        ("row_level_security", is_row_secured),
        ("lower_bound", accuracy is Accuracy.LOWER_BOUND),
        ("no_statistics", processed is None),
        ("statement_type", not is_known(statement_type)),
        ("accuracy", may_read and accuracy not in _BOUNDS),
        ("zero_bytes", may_read and processed == 0 and (has_tables or statement_type in _CHARGED_DDL)),
    ):
        if holds:
            return reason
    return None


def _outcome(status: Mapping[str, Any], *, cached: bool) -> Outcome:
    error = status.get("errorResult")
    if isinstance(error, dict):
        return Outcome.STOPPED if error.get("reason") == "stopped" else Outcome.FAILED
    return Outcome.CACHED if cached else Outcome.DONE


def _accuracy(value: Any) -> Accuracy:
    return _ACCURACIES.get(value, Accuracy.UNKNOWN) if isinstance(value, str) else Accuracy.UNKNOWN


def _is_no_query(job: Mapping[str, Any]) -> bool:
    """Whether it is surely a load, copy or extract job, which processes no query bytes."""
    return _part(job, "configuration").get("jobType") in _OTHER_TYPES or any(
        kind in _part(job, part) for kind in ("load", "copy", "extract") for part in ("configuration", "statistics")
    )


def _text(value: Any) -> str | None:
    return value if type(value) is str and value else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _names(query: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """The references of a list, in its order."""
    references = query.get(field)
    return tuple([_name(each) for each in references if isinstance(each, dict)]) if references else ()


def _has_hidden(query: Mapping[str, Any]) -> bool:
    """Whether a dry run names what may read or call more than it tells."""
    return bool(query.get("referencedLogicalViews") or query.get("referencedRoutines"))


def _targets(job: Mapping[str, Any], query: Mapping[str, Any]) -> tuple[str, ...]:
    """What is written: where rows go that are no plain result, and what definitions are about."""
    destination = _part(_part(_part(job, "configuration"), "query"), "destinationTable")
    named = [_part(query, field) for field in _TARGETS if field in query]
    if not str(destination.get("datasetId", "_")).startswith("_"):
        named.append(destination)
    return tuple(dict.fromkeys([_name(each) for each in named if each]))


def _name(reference: Mapping[str, Any]) -> str:
    """A reference to a dataset, or to something in one, as a dotted name."""
    dataset = f"{reference.get('projectId')}.{reference.get('datasetId')}"
    for name in _LEAVES:
        if name in reference:
            leaf = reference[name]
            return dataset if leaf is None else f"{dataset}.{leaf}"
    return dataset


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if type(value) is dict else {}
