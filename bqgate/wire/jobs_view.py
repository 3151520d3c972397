"""Read rows of INFORMATION_SCHEMA.JOBS_BY_PROJECT as jobs, and write the question that brings them.

Used by bigquery.jobs_by_project. Columns: https://cloud.google.com/bigquery/docs/information-schema-jobs. The view is
partitioned by creation_time, so the question is about a span of it; it names only the columns that are read, because
each is billed. A query without a job is in the view under its queryId. A column that is NULL says nothing: under
row-level security those of the cost are. Values are those of ports.QueryAnswer: text, or None.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bqgate.domain.job import Job, JobRef, Outcome, Usage
from bqgate.domain.place import Place
from bqgate.domain.statements import is_multi_statement
from bqgate.wire.fields import count_at
from bqgate.wire.job_labels import CUSTOMER_LABEL, HOLD_LABEL, callers_labels

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_NAME = re.compile(r"[a-z0-9][a-z0-9.:-]*")
_COLUMNS = (
    "creation_time",
    "end_time",
    "job_id",
    "job_type",
    "statement_type",
    "state",
    "user_email",
    "principal_subject",
    "reservation_id",
    "edition",
    "total_bytes_processed",
    "total_bytes_billed",
    "total_slot_ms",
    "cache_hit",
    "error_result.reason AS error_reason",
    "labels",
    "parent_job_id",
)


def jobs_question(place: Place) -> str:
    """The query for jobs made in [@since, @until), oldest first, no statements of scripts, at most @rows_max.

    Names cannot be parameters.

    Raises:
        ValueError: one is no name of a project or a region.
    """
    for name in (place.project_id, place.region):
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a project or a region")
    return (
        f"SELECT {', '.join(_COLUMNS)} FROM {place.information_schema}.JOBS_BY_PROJECT "  # noqa: S608 - names cannot be parameters
        "WHERE creation_time >= @since AND creation_time < @until AND parent_job_id IS NULL "
        "ORDER BY creation_time LIMIT @rows_max"
    )


def job_in_row(row: Mapping[str, Any], place: Place) -> Job | None:
    """The job of a row; None where the row does not say which job, when it was made, or whose it is."""
    job_id, created_at = _text(row, "job_id"), _moment(row, "creation_time")
    principal = _text(row, "user_email") or _text(row, "principal_subject")
    if job_id is None or created_at is None or principal is None:
        return None
    labels = _labels(row.get("labels"))
    ref = JobRef(place.project_id, job_id, place.location)
    return Job(
        ref=ref,
        usage=_usage(row, ref) if _text(row, "state") == "DONE" else None,
        hold_id=labels.get(HOLD_LABEL),
        owner=labels.get(CUSTOMER_LABEL),
        parent_id=_text(row, "parent_job_id"),
        created_at=created_at,
        is_query=_is_query(row),
        principal=principal,
        labels=callers_labels(labels),
    )


def _usage(row: Mapping[str, Any], ref: JobRef) -> Usage:
    kind = _text(row, "statement_type")
    outcome = _outcome(row)
    billed = count_at(row, "total_bytes_billed")
    reservation = _text(row, "reservation_id")
    return Usage(
        job=ref,
        outcome=outcome,
        bytes_processed=count_at(row, "total_bytes_processed") or 0,
        bytes_billed=0 if billed is None and not _is_query(row) else billed,
        slot_ms=count_at(row, "total_slot_ms"),
        statement_type=kind,
        cache_hit=outcome is Outcome.CACHED,
        reservation=reservation,
        # Parents bear none.
        is_reservation_known=reservation is not None or (_is_query(row) and not is_multi_statement(kind)),
        edition=_text(row, "edition"),
        user_email=_text(row, "user_email"),
        ended_at=_moment(row, "end_time"),
    )


def _outcome(row: Mapping[str, Any]) -> Outcome:
    reason = _text(row, "error_reason")
    if reason is not None:
        return Outcome.STOPPED if reason == "stopped" else Outcome.FAILED
    return Outcome.CACHED if _text(row, "cache_hit") == "true" else Outcome.DONE


def _is_query(row: Mapping[str, Any]) -> bool:
    return _text(row, "job_type") in {"QUERY", None}


def _labels(value: Any) -> dict[str, str]:
    """The repeated record of keys and values as a map."""
    records = [each for each in value if isinstance(each, Mapping)] if isinstance(value, tuple | list) else []
    found = {each.get("key"): each.get("value") for each in records}
    return {key: text for key, text in found.items() if isinstance(key, str) and isinstance(text, str)}


def _moment(row: Mapping[str, Any], name: str) -> datetime | None:
    micros = count_at(row, name)
    return None if micros is None or micros > _LAST_MICROS else _EPOCH + timedelta(microseconds=micros)


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) and value else None
