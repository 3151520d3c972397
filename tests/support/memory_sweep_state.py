"""Keep the sweep's marks and pending jobs in dictionaries: a ports.SweepStore beside a MemoryLedger.

The contract tests hold it to what SQLite and PostgreSQL do. Nothing waits in it, so that each call is one step.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from bqgate.domain.job import JobRef
from bqgate.domain.place import Place
from bqgate.ledger.sweep_state import PENDING_MAX
from bqgate.ports import PendingJob
from tests.support.memory_ledger import MemoryLedger

_Key = tuple[str, str, str]


class MemorySweepState:
    """Marks, and jobs that ran on."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.marks: dict[Place, datetime] = {}
        self.pending: dict[_Key, PendingJob] = {}
        self._ledger = ledger

    async def fetch_marks(self) -> Mapping[Place, datetime]:
        return dict(self.marks)

    async def fetch_pending(self, project_id: str) -> tuple[PendingJob, ...]:
        found = [each for each in self.pending.values() if each.ref.project_id == project_id]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.ref.job_id))[:PENDING_MAX])

    async def advance(self, place: Place, *, swept_until: datetime, pending: Sequence[PendingJob]) -> None:
        self.marks[place] = max(swept_until, self.marks.get(place, swept_until))
        await self.note_pending(pending)

    async def note_pending(self, pending: Sequence[PendingJob]) -> None:
        for each in pending:
            self.pending.setdefault(_key(each.ref), each)

    async def drop_marks(self, places: Sequence[Place]) -> None:
        for place in places:
            self.marks.pop(place, None)

    async def drop_pending(self, jobs: Sequence[JobRef]) -> None:
        for job in jobs:
            self.pending.pop(_key(job), None)

    async def fetch_booked_places(self, *, since: datetime) -> frozenset[Place]:
        jobs = [entry.job for entry in self._ledger.entries if entry.booked_at >= since and entry.job is not None]
        return frozenset(Place(job.project_id, (job.location or "").lower()) for job in jobs)

    async def fetch_beginning(self) -> datetime | None:
        placed = [hold.placed_at for hold in self._ledger.open_holds.values()]
        return min([*placed, *(entry.booked_at for entry in self._ledger.entries)], default=None)


def _key(job: JobRef) -> _Key:
    return job.project_id, (job.location or "").lower(), job.job_id
