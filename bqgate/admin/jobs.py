"""Show booked jobs and refusals: all of them in pages, and one by any of its names.

Mounted by control_plane; asks the Ledger, and its reports for lists. A job has several names: BigQuery's, which its
clients print as project:location.jobid, and the id of the gate's decision, which a refusal's message and
X-Bqgate-Request-Id say. Who asks sees what the table of roles says; what is another's and what is not there are the
same 404.
"""

import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from bqgate.admin.documents import answer_document, write_entry, write_hold, write_moment
from bqgate.admin.operation import Answered, Operation, Parameter, Place
from bqgate.admin.parameters import (
    CUSTOMER_IN_QUERY,
    NAME_CHARS_MAX,
    PRINCIPAL_IN_QUERY,
    PROJECT_IN_QUERY,
    WORKLOAD_IN_QUERY,
    Parameters,
)
from bqgate.admin.problem import MEDIA_TYPE, Problem
from bqgate.admin.schemas import JobsDocument, JobShown, JobState
from bqgate.domain.entry import Entry, EntryFilter, EntryKind, EntryLookup, Origin
from bqgate.domain.errors import MalformedRequest
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef
from bqgate.domain.money import format_usd
from bqgate.domain.principal import Identity
from bqgate.ports import Clock, Ledger, LedgerReports

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000

_MOMENT: dict[str, Any] = {"type": "string", "format": "date-time"}
_KINDS = tuple(kind.value for kind in EntryKind)
_ORIGINS = tuple(origin.value for origin in Origin)
# How BigQuery's clients print a job: example.com:acme-prod:US.job_1. A project may have a domain before a colon.
_JOB_NAME = re.compile(
    r"(?:(?P<project>[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}):)?(?:(?P<location>[A-Za-z0-9-]+)\.)?(?P<job>[A-Za-z0-9_-]{1,1024})"
)
_NAMED_MAX = 5
_FILTERS = (
    "customer",
    "principal",
    "project_id",
    "workload",
    "kind",
    "origin",
    "since",
    "until",
    "page_token",
    "page_size",
)


class JobViews:
    """The views of jobs."""

    def __init__(self, *, ledger: Ledger, reports: LedgerReports, clock: Clock) -> None:
        self._ledger = ledger
        self._reports = reports
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        page_size = {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE}
        return (
            Operation(
                "jobs.list",
                "GET",
                "/v1/jobs",
                "Booked jobs newest first, refusals among them",
                "costs",
                self.list,
                parameters=(
                    CUSTOMER_IN_QUERY,
                    PRINCIPAL_IN_QUERY,
                    PROJECT_IN_QUERY,
                    WORKLOAD_IN_QUERY,
                    Parameter("kind", "Of this kind only.", schema={"type": "string", "enum": list(_KINDS)}),
                    Parameter(
                        "origin",
                        "Through the gate only (gate), or past it: jobs that the sweep found (bypass), what was "
                        "metered without a job (metered), the gate's own queries (own).",
                        schema={"type": "string", "enum": list(_ORIGINS)},
                    ),
                    Parameter("since", "Booked at this moment or later.", schema=_MOMENT),
                    Parameter("until", "Booked before this moment.", schema=_MOMENT),
                    Parameter("page_token", "next_page_token of the page before.", schema={"type": "string"}),
                    Parameter("page_size", "How many at most.", schema=page_size),
                ),
                answers={200: Answered("A page of jobs.", JobsDocument)},
            ),
            Operation(
                "jobs.show",
                "GET",
                "/v1/jobs/{job_id}",
                "One job or refusal, by any of its names",
                "costs",
                self.show,
                parameters=(
                    Parameter(
                        "job_id",
                        "A job's id, with its project and location where it has namesakes (acme-prod:US.job_1); or the "
                        "id that a refusal or X-Bqgate-Request-Id says.",
                        Place.PATH,
                    ),
                    CUSTOMER_IN_QUERY,
                ),
                answers={
                    200: Answered("The job.", JobShown),
                    404: Answered("There is none, or it is not yours to see.", media_type=MEDIA_TYPE),
                    409: Answered("Several jobs have this id; ask by one's whole name.", media_type=MEDIA_TYPE),
                },
            ),
        )

    async def list(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/jobs."""
        parameters = Parameters(request, _FILTERS)
        since, until = parameters.moment("since"), parameters.moment("until")
        if since is not None and until is not None and since > until:
            raise Problem(400, "since is later than until.", field="since")
        kind, origin = parameters.one_of("kind", _KINDS), parameters.one_of("origin", _ORIGINS)
        wanted = EntryFilter(
            customer=parameters.customer(),
            principal=parameters.principal(),
            project_id=parameters.printable("project_id", chars_max=NAME_CHARS_MAX),
            workload=parameters.printable("workload", chars_max=NAME_CHARS_MAX),
            since=since,
            until=until,
            kind=None if kind is None else EntryKind(kind),
            origin=None if origin is None else Origin(origin),
            page_size=parameters.integer("page_size", default=PAGE_SIZE, at_least=1, at_most=PAGE_SIZE_MAX),
            page_token=parameters.text("page_token"),
        )
        now = self._clock.now()
        try:
            page = await self._reports.fetch_entries(wanted)
        except MalformedRequest as malformed:
            raise Problem(400, malformed.message, field=malformed.field or "page_token") from None
        return answer_document(
            JobsDocument(
                jobs=tuple(write_entry(entry) for entry in page.entries),
                next_page_token=page.next_page_token,
                as_of=write_moment(now),
            )
        )

    async def show(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/jobs/{job_id}."""
        parameters = Parameters(request, ("customer",))
        asked = request.match_info["job_id"]
        wanted = _lookup_of(asked, parameters)
        now = self._clock.now()
        # The hold before the entry: what is booked in between is found then, and nothing is missed.
        holds = [] if wanted is None else await self._open_holds(wanted)
        entries = () if wanted is None else await self._entries(wanted)
        if wanted is None or not (holds or entries):
            raise Problem(404, f"There is no job or decision {asked[:128]!r} that you may see.", field="job_id")
        booked = {entry.hold_id for entry in entries}
        open_holds = [hold for hold in holds if hold.id not in booked]
        _refuse_namesakes(asked, entries, open_holds)
        return answer_document(
            JobShown(
                state=_state_of(entries),
                cost_usd=format_usd(sum(entry.cost_nanos for entry in entries)),
                entries=tuple(write_entry(entry) for entry in entries),
                hold=write_hold(open_holds[0], now) if open_holds else None,
                as_of=write_moment(now),
            )
        )

    async def _entries(self, wanted: EntryLookup) -> Sequence[Entry]:
        """What is booked, adjustments too. A decision's id is the gate's own, so it goes before a job's of that id."""
        found = await self._ledger.find_entries(wanted)
        decided = [entry for entry in found if wanted.decision_id in {entry.id, entry.hold_id}]
        job = next((entry.job for entry in decided if entry.job is not None), None)
        if not decided:
            return found
        if job is None:
            return decided
        of_job = EntryLookup(job.job_id, None, job.project_id, job.location, wanted.customer, wanted.principal)
        return [entry for entry in await self._ledger.find_entries(of_job) if entry.job == job]

    async def _open_holds(self, wanted: EntryLookup) -> Sequence[Hold]:
        return [
            hold
            for hold in await self._ledger.fetch_open_holds(wanted.customer)
            if wanted.principal in {None, hold.principal} and _is_named(hold, wanted)
        ]


def _lookup_of(asked: str, parameters: Parameters) -> EntryLookup | None:
    """What to look for; None: no job and no decision is called so."""
    name = _JOB_NAME.fullmatch(asked)
    if name is None:
        return None
    is_bare = name["project"] is None and name["location"] is None
    return EntryLookup(
        job_id=name["job"],
        decision_id=asked if is_bare else None,
        project_id=name["project"],
        location=name["location"],
        customer=parameters.customer(),
        principal=parameters.principal(),
    )


def _is_named(hold: Hold, wanted: EntryLookup) -> bool:
    if wanted.decision_id == hold.id:
        return True
    job = hold.job
    if job is None or job.job_id != wanted.job_id or wanted.project_id not in {None, job.project_id}:
        return False
    return wanted.location is None or (job.location or wanted.location).lower() == wanted.location.lower()


def _refuse_namesakes(asked: str, entries: Sequence[Entry], holds: Sequence[Hold]) -> None:
    """A job id is unique in its project and location only.

    Raises:
        Problem: several jobs are meant.
    """
    jobs = [*(entry.job for entry in entries), *(hold.job for hold in holds)]
    named = {_whole_name(job) for job in jobs if job is not None}
    if len(named) > 1:
        shown = ", ".join(sorted(named)[:_NAMED_MAX])
        raise Problem(409, f"Several jobs are called {asked[:128]!r}; ask for one of: {shown}.", field="job_id")


def _whole_name(job: JobRef) -> str:
    where = "" if job.location is None else f"{job.location}."
    return f"{job.project_id}:{where}{job.job_id}"


def _state_of(entries: Sequence[Entry]) -> JobState:
    if not entries:
        return JobState.HELD
    is_refused = all(entry.kind is EntryKind.REFUSAL for entry in entries)
    return JobState.REFUSED if is_refused else JobState.BOOKED
