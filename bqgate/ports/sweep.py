"""Say where the sweep reads BigQuery's jobs, and where it remembers how far it has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bqgate.domain.job import Job, JobRef
from bqgate.domain.place import Place


@dataclass(frozen=True, slots=True)
class JobsRead:
    """Jobs that were made in a span of time, oldest first, without the statements of scripts.

    `is_whole` False: there are more than are read at once, and these are some of them. `masked_count` are jobs that
    show neither whose they are nor what they used, because the gate may not see that: neither absent nor free.
    `is_region_missing`: one did not answer, so that its jobs are not among these.
    """

    jobs: tuple[Job, ...]
    is_whole: bool = True
    masked_count: int = 0
    is_region_missing: bool = False


class JobReader(Protocol):
    """Where all jobs of a project are read, whoever made them."""

    async def read_jobs(self, place: Place, *, since: datetime, until: datetime) -> JobsRead:
        """Jobs made at `since` or later and before `until`.

        Raises:
            UpstreamRefused: the gate may not list them.
            UpstreamUnavailable: no answer, or 5xx.
            OwnQueriesSpent: looking costs something, and as much was spent as may be.
            LedgerUnavailable: looking costs something, and it could not be recorded.
        """


class RegionSource(Protocol):
    """Where it is learnt in which regions a project has jobs."""

    async def fetch_regions(self, project_id: str, *, since: datetime) -> frozenset[str]:
        """Regions, in small letters, of jobs made since a moment, as far as a bounded look shows them.

        Raises:
            UpstreamRefused: the gate may not list them.
            UpstreamUnavailable: no answer, or 5xx.
        """


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that is to be looked at again, because it ran when it was looked at."""

    ref: JobRef
    created_at: datetime


class SweepStore(Protocol):
    """How far the sweep has come, by place, and the jobs that ran on. Everything may be said twice."""

    async def fetch_marks(self) -> Mapping[Place, datetime]:
        """Up to which moment of their making all jobs of a place have been looked at.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_pending(self, project_id: str) -> tuple[PendingJob, ...]:
        """Jobs of a project to be looked at again, oldest first, a bounded number.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def advance(self, place: Place, *, swept_until: datetime, pending: Sequence[PendingJob]) -> None:
        """Set a mark, which never goes back, and note the jobs that ran on, in one transaction.

        Raises:
            LedgerUnavailable: not written, or unknown; do it again.
        """

    async def note_pending(self, pending: Sequence[PendingJob]) -> None:
        """Note jobs that ran on, of places whose marks stay.

        Raises:
            LedgerUnavailable: not written, or unknown; do it again.
        """

    async def drop_marks(self, places: Sequence[Place]) -> None:
        """Forget places that are not swept any more, so that they hold nobody's oldest mark back.

        Raises:
            LedgerUnavailable: not written, or unknown; do it again.
        """

    async def drop_pending(self, jobs: Sequence[JobRef]) -> None:
        """Forget jobs that are done with.

        Raises:
            LedgerUnavailable: not written, or unknown; do it again.
        """

    async def fetch_booked_places(self, *, since: datetime) -> frozenset[Place]:
        """Projects and regions of jobs booked since a moment; region "" where it was not told.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_beginning(self) -> datetime | None:
        """When the first hold was placed or the first entry booked; None: there is nothing yet.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
