"""Say whether a job of BigQuery's can be the one that a hold was placed for.

Used where a job is looked for by its label, and where one was found by its id. A label proves nothing alone: whoever
can read another query's may write it on a job of their own, in a session for one. The kind of job, its project and the
moment of its making are BigQuery's word. A job that lacks the label is not another's for that: its session or its
script may have changed it. Pure. Reference: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from bqgate.domain.job import Job, JobRef
from bqgate.wire.fields import camel_keys, count_at, moment_at, object_at
from bqgate.wire.job_labels import CUSTOMER_LABEL, HOLD_LABEL, callers_labels
from bqgate.wire.job_resource import job_ref_from, usage_from

# BigQuery's clock and ours differ; a job may seem older than its hold.
CLOCK_SKEW = timedelta(minutes=2)
_OTHER_KINDS = frozenset({"load", "copy", "extract"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Claim(StrEnum):
    """What a job resource says of whose job it is."""

    LABELLED = "labelled"  # it bears the hold's label, and all else fits
    POSSIBLE = "possible"  # all else fits
    FOREIGN = "foreign"  # another kind of job, another project's, or older than the hold


def claim_of(job: Mapping[str, Any], *, hold_id: str, project_id: str, since: datetime) -> Claim:
    """What a job says.

    Args:
        job: the Job, with its configuration (jobs.get, or jobs.list with projection=full).
        hold_id: the hold's.
        project_id: in which project it was submitted.
        since: the earliest moment at which the hold's job can have been made; clocks may differ by CLOCK_SKEW.
    """
    configuration = _part(job, "configuration")
    created_ms = created_at_ms(job)
    is_query = "query" in configuration and not configuration.keys() & _OTHER_KINDS
    job_project_id = _part(job, "jobReference").get("projectId")
    is_of_project = isinstance(job_project_id, str) and may_be_project(job_project_id, asked=project_id)
    if not is_query or not is_of_project or created_ms is None or created_ms < earliest_ms(since):
        return Claim.FOREIGN
    return Claim.LABELLED if _part(configuration, "labels").get(HOLD_LABEL) == hold_id.lower() else Claim.POSSIBLE


def with_project_id(document: Mapping[str, Any], number: str, project_id: str) -> Mapping[str, Any]:
    """A submitted job that names its project by id, where its reference names it by its number.

    Raises:
        MalformedRequest: the reference is none.
    """
    body = camel_keys(document, path="")
    reference = object_at(body, "jobReference")
    if reference is None or reference.get("projectId") != number:
        return document
    return body | {"jobReference": reference | {"projectId": project_id}}


def may_be_project(project_id: str, *, asked: str) -> bool:
    """Whether a job of this project may have been submitted to the project that was asked for.

    Who asks by a project's number is answered with its id, and only BigQuery knows which number is whose.
    """
    return project_id == asked or asked.isdecimal()


def job_from(document: Mapping[str, Any], *, asked: JobRef) -> Job:
    """A Job resource as settlement sees it; `asked` is how it was asked for."""
    configuration = _part(document, "configuration")
    labels = _part(configuration, "labels")
    label, owner = labels.get(HOLD_LABEL), labels.get(CUSTOMER_LABEL)
    parent_id = _part(document, "statistics").get("parentJobId")
    return Job(
        ref=job_ref_from(_part(document, "jobReference")) or asked,
        usage=usage_from(document),
        hold_id=label if isinstance(label, str) else None,
        owner=owner if isinstance(owner, str) else None,
        parent_id=parent_id if isinstance(parent_id, str) and parent_id else None,
        created_at=moment_at(_part(document, "statistics"), "creationTime"),
        is_query=_is_query(configuration),
        principal=_text(document.get("user_email")) or _text(document.get("principal_subject")),
        labels=callers_labels(labels),
    )


def is_masked(document: Mapping[str, Any]) -> bool:
    """Whether a listed job (projection=full) hides whose it is or what it used, as from those who may not see it.

    Such a job is neither absent nor free (https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/list).
    """
    has_maker = _text(document.get("user_email")) or _text(document.get("principal_subject"))
    return not has_maker or created_at_ms(document) is None


def earliest_ms(since: datetime) -> int:
    """The least creationTime, in milliseconds since 1970, of a job that was made at this moment or later."""
    return (since - CLOCK_SKEW - _EPOCH) // timedelta(milliseconds=1)


def created_at_ms(job: Mapping[str, Any]) -> int | None:
    """When a job was made, in milliseconds since 1970; None where it does not say."""
    return count_at(_part(job, "statistics"), "creationTime")


def _is_query(configuration: Mapping[str, Any]) -> bool:
    kind = configuration.get("jobType")
    return not configuration.keys() & _OTHER_KINDS and (not isinstance(kind, str) or kind == "QUERY")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}
