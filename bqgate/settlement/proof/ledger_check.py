"""Go through projects and time, and compare what BigQuery says of each job with what the ledger has.

Used by the command line; calls a JobReader, BigQuery, the Ledger and a ProofSource, and changes nothing. Of each piece
of time of each project first all jobs are read and looked for in the ledger; then the charges that none of them was
matched with are asked after one by one. So memory is bounded by the jobs of a piece. A project that the gate may not
see, or sees masked, is told as not looked at, and nothing is said about its charges.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import Job
from bqgate.domain.place import Place
from bqgate.ports import BigQuery, Clock, JobReader, Ledger, PolicySource, ProofSource, SweepStore
from bqgate.settlement.held_prices import HeldPrices
from bqgate.settlement.inquiry import with_children
from bqgate.settlement.proof.judging import Judge
from bqgate.settlement.proof.report import Cause, CheckReport, Difference, NotLooked, Unproven
from bqgate.settlement.proof.unlisted import Unlisted
from bqgate.settlement.sweep.matching import match_jobs
from bqgate.settlement.sweep.places import LIST_ALL, ROLE
from bqgate.settlement.sweep.spans import MASKED, PIECE, read_beginning
from bqgate.settlement.sweep.sweep import FORBIDDEN, HISTORY
from bqgate.wire.error_reply import message_of

_BATCH = 500
_REGION_AWAY = "a region did not list its jobs"
_EVERYWHERE = "*"
_NO_PROJECTS = NotLooked(_EVERYWHERE, "nobody has a project, and nothing is booked in one", "name one with --project")
_TOO_EARLY = NotLooked(
    _EVERYWHERE,
    f"BigQuery keeps jobs for {HISTORY.days} days: what was made before, and came past the gate, nobody can see",
    "begin later with --since",
)


@dataclass(frozen=True, slots=True)
class CheckSpan:
    """Jobs made at `since` or later and before `until`; of one customer, or of one project, or of all."""

    since: datetime
    until: datetime
    customer: str | None = None
    project_id: str | None = None


class LedgerCheck:
    """Compares one span."""

    def __init__(
        self,
        *,
        reader: JobReader,
        bigquery: BigQuery,
        ledger: Ledger,
        proofs: ProofSource,
        sweeps: SweepStore,
        policies: PolicySource,
        clock: Clock,
        is_open: bool,
    ) -> None:
        """Take the ports; `is_open`: every caller is trusted, so that a project may be called like its customer."""
        self._reader = reader
        self._bigquery = bigquery
        self._ledger = ledger
        self._proofs = proofs
        self._sweeps = sweeps
        self._policies = policies
        self._prices = HeldPrices(ledger, policies)
        self._clock = clock
        self._is_open = is_open

    async def check(self, span: CheckSpan, on_piece: Callable[[str, float], None] | None = None) -> CheckReport:
        """All differences. `on_piece` hears the project, and how much of all is done.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        report = CheckReport(projects=await self._projects_of(span))
        if not report.projects:
            report.not_looked.append(_NO_PROJECTS)
        if span.since < self._clock.now() - HISTORY:
            report.not_looked.append(_TOO_EARLY)
        judge = Judge(
            report,
            registry=self._policies.customer_registry,
            is_open=self._is_open,
            customer=span.customer,
            marks=await self._sweeps.fetch_marks(),
            began_at=await self._sweeps.fetch_beginning(),
        )
        unlisted = Unlisted(report, ledger=self._ledger, bigquery=self._bigquery, now=self._clock.now())
        for number, project_id in enumerate(report.projects):
            try:
                async for done in self._check_project(project_id, span, report, judge, unlisted):
                    if on_piece is not None:
                        on_piece(project_id, (number + done) / len(report.projects))
            except UpstreamRefused as refused:
                report.not_looked.append(_refused(project_id, refused))
            except UpstreamUnavailable as error:
                report.not_looked.append(NotLooked(project_id, str(error), "try again"))
        await self._check_rest(span, report)
        return report

    async def _projects_of(self, span: CheckSpan) -> list[str]:
        """The projects that are anybody's, and those that the ledger has booked in."""
        if span.project_id is not None:
            return [span.project_id]
        registry = self._policies.customer_registry
        owned = registry.customer_by_project
        named = [each for each in owned if span.customer in {None, owned[each]}]
        named += registry.shared_projects
        named += sorted(place.project_id for place in await self._sweeps.fetch_booked_places(since=span.since))
        # Those that are called by their numbers come last: their jobs bear ids of projects that are compared by then.
        return sorted(dict.fromkeys(named), key=str.isdecimal)

    async def _check_project(
        self, project_id: str, span: CheckSpan, report: CheckReport, judge: Judge, unlisted: Unlisted
    ) -> AsyncIterator[float]:
        """Piece by piece; yields how much is done."""
        before, matched = set[str](), set[str]()  # charges: a job may be booked in the piece after it was made
        since, kept_from = span.since, self._clock.now() - HISTORY
        while since < span.until:
            until = min(max(since + PIECE, kept_from), span.until)
            async for jobs in self._jobs(Place(project_id), max(since, kept_from), until, report):
                own = [job for job in jobs if not _is_of_another(job, project_id, report.projects)]
                matched |= await self._judge(own, judge)
            after_id = ""
            while page := await self._proofs.fetch_charges_made(
                project_id, since=since, until=until, customer=span.customer, after_id=after_id
            ):
                left = [entry.id for entry in page if entry.id not in before | matched]
                await self._check_charges(left, judge, unlisted, since, until)
                after_id = page[-1].id
            before, matched, since = matched, set(), until
            yield (since - span.since) / (span.until - span.since)

    async def _jobs(
        self, place: Place, since: datetime, until: datetime, report: CheckReport
    ) -> AsyncIterator[Sequence[Job]]:
        """The jobs of a piece, some at a time.

        Raises:
            UpstreamRefused: some are masked.
        """
        while since < until:
            read, end = await read_beginning(self._reader, place, since=since, until=until)
            if read.masked_count:
                raise UpstreamRefused(403, MASKED)
            away = NotLooked(place.project_id, _REGION_AWAY, "try again")
            if read.is_region_missing and away not in report.not_looked:
                report.not_looked.append(away)
            for start in range(0, len(read.jobs), _BATCH):
                yield read.jobs[start : start + _BATCH]
            since = end

    async def _judge(self, jobs: Sequence[Job], judge: Judge) -> set[str]:
        """Judge jobs; the ids of their charges."""
        charge_ids = set[str]()
        whole = [await with_children(self._bigquery, job) for job in jobs]
        for match in await match_jobs(self._ledger, whole, running={}, now=self._clock.now()):
            judge.judge(match, await self._prices.for_booking(match.booked, match.hold))
            if match.booked is not None:
                charge_ids.add(match.booked.charge.id)
        return charge_ids

    async def _check_charges(
        self, charge_ids: Sequence[str], judge: Judge, unlisted: Unlisted, since: datetime, until: datetime
    ) -> None:
        for booked in await self._ledger.find_booked(charge_ids=charge_ids) if charge_ids else ():
            job = await unlisted.job_of(booked, since=since, until=until)
            if job is not None:
                await self._judge([job], judge)

    async def _check_rest(self, span: CheckSpan, report: CheckReport) -> None:
        """What has no job: queries without one, and adjustments without a charge."""
        if span.project_id is not None:
            return
        within = {"since": span.since, "until": span.until}
        count, nanos = await self._proofs.fetch_jobless(**within, customer=span.customer)
        report.leave_unproven(Unproven.NO_JOB, nanos, count=count)
        for entry in await self._proofs.fetch_stray_adjustments(**within, customer=span.customer):
            report.differ(
                Difference(Cause.STRAY, entry.customer, entry.principal, entry.job, 0, entry.cost_nanos, entry.id)
            )


def _is_of_another(job: Job, project_id: str, projects: Sequence[str]) -> bool:
    """Whether a job in the list of a project's number is in the list of the project's id too."""
    return project_id.isdecimal() and job.ref.project_id != project_id and job.ref.project_id in projects


def _refused(project_id: str, refused: UpstreamRefused) -> NotLooked:
    said = message_of(refused.body) or refused.body.decode(errors="replace")
    if refused.status not in FORBIDDEN:
        return NotLooked(project_id, said, "see what BigQuery says, and mend that")
    return NotLooked(
        project_id, said, f"give the account that the gate has of its own the role {ROLE} in {project_id} ({LIST_ALL})"
    )
