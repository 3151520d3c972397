"""Describe a query before it runs (QueryRequest, Estimate) and a job after it ran (Usage).

QueryRequest is made by wire.query_request from what the caller sent; Estimate by wire.job_resource from a dry run's
answer; Usage from a finished job or from a jobs.query answer. Words are those of BigQuery's REST reference
(https://cloud.google.com/bigquery/docs/reference/rest/v2/Job). Bytes are bytes, slots are slot-milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from bqgate.domain.sql_facts import FEDERATED, SqlFacts
from bqgate.domain.statements import is_multi_statement


class Method(StrEnum):
    """Which of BigQuery's two methods submits the query."""

    INSERT = "jobs.insert"
    QUERY = "jobs.query"


@dataclass(frozen=True, slots=True)
class JobRef:
    """BigQuery's jobReference. Location None: the US or EU multi-region, where BigQuery finds it alone."""

    project_id: str
    job_id: str
    location: str | None = None

    def may_be(self, other: "JobRef") -> bool:
        """Whether two references may name one job: as BigQuery finds one without a location in the US and the EU."""
        if (self.project_id, self.job_id) != (other.project_id, other.job_id):
            return False
        one, two = (self.location or "").lower(), (other.location or "").lower()
        return one == two or ({one, two} <= {"", "us", "eu"} and "" in {one, two})


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One query as the caller submitted it. `body` is the parsed JSON of the whole request, one meaning per key.

    `facts` are what its text, `sql`, may do. `fingerprint` is a hash of all that decides its estimate.
    """

    method: Method
    project_id: str
    body: Mapping[str, Any] = field(repr=False)
    sql: str = field(repr=False)
    facts: SqlFacts
    fingerprint: str = ""
    dry_run: bool = False
    job_id: str | None = None
    request_id: str | None = None
    location: str | None = None
    maximum_bytes_billed: int | None = None
    use_query_cache: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def short_fingerprint(self) -> str:
        """The beginning of the fingerprint, as a hold and its booking show it."""
        return self.fingerprint[:16]

    @property
    def idempotency_key(self) -> str | None:
        """What makes a repeat of this request the same request; None where every one is a new query."""
        if self.job_id is not None:
            return f"job:{self.project_id}:{self.job_id}"
        if self.request_id is not None:
            return f"request:{self.project_id}:{self.request_id}"
        return None


class Accuracy(StrEnum):
    """totalBytesProcessedAccuracy of a dry run."""

    UNKNOWN = "UNKNOWN"
    PRECISE = "PRECISE"
    UPPER_BOUND = "UPPER_BOUND"
    LOWER_BOUND = "LOWER_BOUND"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a dry run says. `unknown_because` names why its bytes bound nothing; None where they do.

    Names are "project.dataset.table". `targets` are what the statement writes, makes, changes or drops: tables, views,
    routines, and datasets as "project.dataset"; the anonymous table of a plain result is none. `project_id` is where
    it would run, by BigQuery's word; None where BigQuery has not answered.
    """

    bytes_processed: int
    statement_type: str
    table_count: int
    accuracy: Accuracy = Accuracy.PRECISE
    location: str | None = None
    user_email: str | None = None
    referenced_tables: tuple[str, ...] = ()
    referenced_views: tuple[str, ...] = ()
    referenced_routines: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    cache_hit: bool = False
    unknown_because: str | None = None
    project_id: str | None = None

    @property
    def is_known(self) -> bool:
        return self.unknown_because is None

    def with_calls(self, facts: SqlFacts) -> "Estimate":
        """The same, unknown where the query's text calls what no dry run and no cap bounds."""
        if facts.unbounded_because == FEDERATED and self.unknown_because != "script":
            return replace(self, unknown_because=FEDERATED)
        if self.is_known and facts.unbounded_because is not None:
            return replace(self, unknown_because=facts.unbounded_because)
        return self


class Outcome(StrEnum):
    """How a job ended, as far as its cost is concerned."""

    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"  # free, unless BigQuery reports what it billed
    STOPPED = "stopped"  # cancelled; billed at what BigQuery billed
    ASSUMED = "assumed"  # nobody could learn the end: booked at its hold
    REFUSED = "refused"  # the gate said no; nothing ran
    NEVER_RAN = "never_ran"  # forwarded, and BigQuery made no job


@dataclass(frozen=True, slots=True)
class Usage:
    """What a finished job used. None in a field that a price needs: BigQuery did not say, which is not zero.

    `bytes_billed` is hidden under row-level security. `reservation` None: the job ran on demand, if
    `is_reservation_known`; jobs.query does not tell, nor does the parent of a script. `children` are the jobs of a
    script's statements, as many as were listed; None: nobody asked.
    `ended_at` None: not told.
    """

    job: JobRef | None
    outcome: Outcome
    bytes_processed: int = 0
    bytes_billed: int | None = None
    slot_ms: int | None = None
    statement_type: str | None = None
    cache_hit: bool = False
    reservation: str | None = None
    is_reservation_known: bool = True
    edition: str | None = None
    table_count: int = 0
    user_email: str | None = None
    children: "tuple[Usage, ...] | None" = None
    ended_at: datetime | None = None

    @property
    def ran_in(self) -> str | None:
        """The reservation that it ran in, "" where it ran on demand; None where nobody has told."""
        if self.job is None or self.outcome is Outcome.ASSUMED or not self.is_reservation_known:
            return None
        return self.reservation or ""

    @property
    def is_free_unless_reported(self) -> bool:
        """Whether missing bytes and slots mean none: results from the cache, and errors.

        Source: https://cloud.google.com/bigquery/docs/best-practices-costs.
        """
        return self.outcome in {Outcome.CACHED, Outcome.FAILED}

    @property
    def is_billable(self) -> bool:
        """Whether BigQuery may bill it: by what is reported, however the job ended; or a script by its statements."""
        if self.outcome in {Outcome.REFUSED, Outcome.NEVER_RAN}:
            return False
        return (
            is_multi_statement(self.statement_type)
            or bool(self.bytes_billed or self.slot_ms)
            or (not self.is_free_unless_reported and (self.bytes_billed is None or self.slot_ms is None))
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A job as BigQuery shows it. `usage` None: it is pending or running.

    `hold_id` is the hold that the gate's label names, in the label's small letters; None: it bears none. Callers cannot
    set that label through the gate. `owner` is the label of its customer, where BigQuery takes all customers for one.
    `parent_id` is the script whose statement it is. `principal` is who made it, by BigQuery's word, None where that is
    hidden; `labels` are those that are not the gate's.
    """

    ref: JobRef
    usage: Usage | None = None
    hold_id: str | None = None
    owner: str | None = None
    parent_id: str | None = None
    created_at: datetime | None = None
    is_query: bool = True
    principal: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
