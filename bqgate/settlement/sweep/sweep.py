"""Go through all places round by round, each from its mark to now, and see to it that every job is booked.

Run by app at the one replica that holds the lease; calls a JobReader, job_booking, pending_jobs and the SweepStore. A
mark says up to which moment of their making all jobs of a place have been looked at. Lists and views show jobs late,
and clocks differ, so each round begins `overlap` before the mark. Order keeps it safe: first the jobs of a span are
booked, then the mark moves, with the jobs that ran on, in one transaction; after a crash in between they are looked at
again, and each is booked once whoever looks. An outside failure ends the work at one place; the next round goes on from
the mark, however long ago that is. Where reading costs something and as much was spent as may be, jobs are read the
free way, which shows all but queries without a job, and the marks stay.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bqgate.domain.errors import (
    BudgetStoreUnavailable,
    LedgerUnavailable,
    OwnQueriesSpent,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bqgate.domain.job import Job, JobRef
from bqgate.domain.place import Place
from bqgate.ports import BudgetStore, Clock, JobReader, JobsRead, PendingJob, SweepStore, Telemetry
from bqgate.settlement.sweep.job_booking import JobBooking
from bqgate.settlement.sweep.pending_jobs import PendingJobs
from bqgate.settlement.sweep.places import Places
from bqgate.settlement.sweep.spans import MASKED, PIECE, read_beginning
from bqgate.wire.error_reply import message_of, reason_of
from bqgate.wire.job_identity import CLOCK_SKEW

# BigQuery keeps the history of jobs for so long (https://cloud.google.com/bigquery/docs/information-schema-jobs).
HISTORY = timedelta(days=180)
FIRST_LOOK_BACK = timedelta(days=1)
_PLACES_AT_ONCE = 4
FORBIDDEN = frozenset({401, 403, 404})
_BUSY = frozenset({"rateLimitExceeded", "quotaExceeded"})


@dataclass(frozen=True, slots=True)
class SweepPace:
    """How often, how far each round looks back behind its mark, and how far a first look goes.

    `look_back` None: to the beginning of the ledger, at most FIRST_LOOK_BACK.
    """

    interval_s: int = 60
    overlap: timedelta = timedelta(minutes=10)
    look_back: timedelta | None = None


class Sweep:
    """Rounds over all places. `run` it in one task, at one replica."""

    def __init__(
        self,
        *,
        reader: JobReader,
        free_reader: JobReader,
        places: Places,
        booking: JobBooking,
        pending: PendingJobs,
        store: SweepStore,
        budgets: BudgetStore,
        clock: Clock,
        telemetry: Telemetry,
        pace: SweepPace,
    ) -> None:
        self._reader = reader
        self._free_reader = free_reader
        self._places = places
        self._booking = booking
        self._pending = pending
        self._store = store
        self._budgets = budgets
        self._clock = clock
        self._telemetry = telemetry
        self._pace = pace
        self._marks: dict[Place, datetime] = {}
        self._free_marks: dict[str, datetime] = {}  # by project: how far the free way was gone beyond its marks
        self._first: dict[Place, datetime] = {}  # since when a place was looked at that never was before

    @property
    def mark_age_s(self) -> float:
        """How far behind now the oldest mark is; 0 where there is none. At a replica that does not sweep, 0."""
        oldest = min(self._marks.values(), default=None)
        return 0.0 if oldest is None else max(0.0, (self._clock.now() - oldest) / timedelta(seconds=1))

    async def run(self) -> None:
        """One round now, then one every interval, until cancelled."""
        try:
            while True:
                await self.sweep()
                await self._clock.sleep(self._pace.interval_s)
        finally:
            self._marks.clear()  # another replica goes on, and knows

    async def sweep(self) -> None:
        """One round. Outside failures are counted; what they kept from being done, the next round does."""
        begun_s = self._clock.monotonic_s()
        try:
            marks = await self._store.fetch_marks()
            places = await self._places.current(marks)
            wanted = self._places.wanted()  # those that refuse too: they fall behind
            self._marks = {place: mark for place, mark in marks.items() if place in wanted}
            await self._sweep_all(places)
        except LedgerUnavailable as error:
            self._tell_failure("ledger", error)
        self._tell_bypasses()
        await self._tell_budgets()
        self._telemetry.observe("sweep_seconds", self._clock.monotonic_s() - begun_s)

    async def _sweep_all(self, places: Sequence[Place]) -> None:
        """Place by place, a few at once; the places of a project one after the other."""
        by_project: dict[str, list[Place]] = {}
        for place in places:
            by_project.setdefault(place.project_id, []).append(place)
        waiting = iter(by_project.items())

        async def work() -> None:
            for project_id, of_project in waiting:  # each takes the next; a task for each project would be thousands
                await self._sweep_project(project_id, of_project)

        await asyncio.gather(*(work() for _ in range(_PLACES_AT_ONCE)))

    async def _sweep_project(self, project_id: str, places: Sequence[Place]) -> None:
        try:
            jobless = {each.ref: each.created_at for each in await self._pending.ask_again(project_id)}
            await self._sweep_places(project_id, places, jobless)
            self._places.accept(Place(project_id))
        except UpstreamRefused as refused:
            self._refused(Place(project_id), refused)
        except UpstreamUnavailable as error:
            self._tell_failure("bigquery", error, project_id)
        except LedgerUnavailable as error:
            self._tell_failure("ledger", error, project_id)

    async def _sweep_places(self, project_id: str, places: Sequence[Place], jobless: Mapping[JobRef, datetime]) -> None:
        try:
            for place in places:
                try:
                    await self._sweep_place(place, jobless)
                    self._places.accept(place)
                except UpstreamRefused as refused:
                    if not place.region or refused.status in {401, 403}:
                        raise
                    self._refused(place, refused)
            self._free_marks.pop(project_id, None)
        except OwnQueriesSpent as error:  # said by those who keep the bound
            self._telemetry.count("failures_total", system="own_queries", step="sweep")
            if project_id not in self._free_marks:
                self._telemetry.log("sweep_waits", project_id=project_id, error=str(error))
            await self._sweep_freely(project_id)

    async def _sweep_freely(self, project_id: str) -> None:
        """Book what the free way shows since a project's oldest mark. Marks stay: it does not show everything."""
        now = self._clock.now()
        mark = self._free_marks.get(project_id)
        since = min(
            (self._behind(place, mark or at) for place, at in self._marks.items() if place.project_id == project_id),
            default=now,
        )
        since = max(since, now - HISTORY)
        piece = PIECE
        while since < now:
            read, until = await self._read(self._free_reader, Place(project_id), since, min(since + piece, now))
            unfinished = await self._booking.book(read.jobs)
            await self._store.note_pending(_pending(unfinished, now))
            piece = _next_piece(until - since)
            self._free_marks[project_id] = since = until
        self._free_marks.setdefault(project_id, now)

    async def _sweep_place(self, place: Place, jobless: Mapping[JobRef, datetime]) -> None:
        """From the mark to now, in pieces. A region that did not answer keeps the mark where it is."""
        now = self._clock.now()
        since = await self._begin(place, now)
        since = min([since, *(at for ref, at in jobless.items() if _is_in(place, ref))])
        is_behind, piece = False, PIECE
        if since >= now:
            await self._store.advance(place, swept_until=now, pending=())
        while since < now:
            read, until = await self._read(self._reader, place, since, min(since + piece, now))
            unfinished = await self._booking.book(read.jobs)
            await self._store.drop_pending(
                [job.ref for job in read.jobs if job.usage is not None and job.ref in jobless]
            )
            if read.is_region_missing and not is_behind:
                is_behind = True
                self._tell_failure("bigquery", UpstreamUnavailable("A region did not list its jobs."), place.project_id)
            await self._store.advance(
                place, swept_until=self._marks[place] if is_behind else until, pending=_pending(unfinished, now)
            )
            if not is_behind:
                self._marks[place] = max(until, self._marks[place])
            since, piece = until, _next_piece(until - since)

    async def _begin(self, place: Place, now: datetime) -> datetime:
        """Where to go on. What was never looked at gets a mark first: it is behind from now on, though it refuses."""
        mark = self._marks.get(place)
        if mark is not None and mark <= now + CLOCK_SKEW:
            return max(self._behind(place, min(mark, now)), now - HISTORY)
        if mark is not None:  # a clock was ahead, and is set back: nobody knows how far it had come
            await self._store.drop_marks([place])
        since = await self._first_since(now)
        await self._store.advance(place, swept_until=since, pending=())
        self._marks[place] = self._first[place] = since
        return since

    def _behind(self, place: Place, mark: datetime) -> datetime:
        """Where to go on from a mark: behind it, for BigQuery shows jobs late, but not before the first look."""
        since = mark - self._pace.overlap
        return max(since, self._first.get(place, since))

    async def _read(
        self, reader: JobReader, place: Place, since: datetime, until: datetime
    ) -> tuple[JobsRead, datetime]:
        """All jobs of the beginning of a span, and where that ends.

        Raises:
            UpstreamRefused: also where some are masked.
        """
        read, until = await read_beginning(reader, place, since=since, until=until)
        if read.masked_count:
            self._telemetry.count("sweep_jobs_total", read.masked_count, state="masked")
            raise UpstreamRefused(403, MASKED)
        return read, until

    async def _first_since(self, now: datetime) -> datetime:
        """How far back a place is looked at that never was: what is older than the ledger was nobody's to book."""
        if self._pace.look_back is not None:
            return now - self._pace.look_back
        beginning = await self._store.fetch_beginning()
        return max(beginning or now, now - FIRST_LOOK_BACK)

    def _tell_bypasses(self) -> None:
        """One line for each customer; the ledger has each job."""
        for customer, costs in sorted(self._booking.untold.bypasses.items()):
            self._telemetry.log("bypass_booked", customer=customer, jobs=len(costs), cost_nanos=sum(costs))
        self._booking.untold.bypasses.clear()

    async def _tell_budgets(self) -> None:
        """Let the accounts that have changed in the ledger alone be filled from it before their next decision."""
        for account in sorted(self._booking.untold.accounts):
            try:
                await self._budgets.forget_windows(account)
            except BudgetStoreUnavailable as error:
                self._tell_failure("budgets", error)
                return
            self._booking.untold.accounts.discard(account)

    def _refused(self, place: Place, refused: UpstreamRefused) -> None:
        said = message_of(refused.body) or refused.body.decode(errors="replace")
        reason = reason_of(refused.body)
        is_no_region = refused.status == 404 or (refused.status == 400 and reason == "invalid")
        if is_no_region if place.region else (refused.status in FORBIDDEN and reason not in _BUSY):
            self._telemetry.count("sweep_refusals_total")
            self._places.refuse(place, said)
        else:
            self._tell_failure("bigquery", UpstreamUnavailable(said), place.project_id)

    def _tell_failure(self, system: str, error: Exception, project_id: str | None = None) -> None:
        self._telemetry.count("failures_total", system=system, step="sweep")
        self._telemetry.log("sweep_broken_off", system=system, project_id=project_id, error=str(error))


def _next_piece(last: timedelta) -> timedelta:
    """How much to read after a span that was short enough: where jobs are dense, not to begin at the longest again."""
    return min(PIECE, 2 * last)


def _pending(jobs: Sequence[Job], now: datetime) -> list[PendingJob]:
    return [PendingJob(job.ref, job.created_at or now) for job in jobs]


def _is_in(place: Place, ref: JobRef) -> bool:
    return place.project_id == ref.project_id and place.region in {"", (ref.location or "").lower()}
