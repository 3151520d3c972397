"""Play BigQuery for simulated gates, with books of its own: what it billed is written here and nowhere else.

Two ports over one set of jobs: SimulatedUpstream for what callers send (jobs.insert, jobs.query, cancel, delete), as
bytes, and SimulatedBigQuery for what the gate asks in its own name, the
sweep's lists of all jobs among it. What a query does is its Plan; how one request fares on its way is its Fate, which
the caller's context bears.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any

from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.job import Estimate, Job, JobRef, Outcome, Usage
from bqgate.domain.place import Place
from bqgate.domain.principal import Credential
from bqgate.domain.units import MIB
from bqgate.ports import JobsRead
from bqgate.wire.error_reply import error_body
from bqgate.wire.http_message import HttpRequest, HttpResponse
from bqgate.wire.job_labels import HOLD_LABEL
from tests.simulation.event_loop import OUTSIDE, SimulatedLoop
from tests.simulation.network import Port, Wire, Wires

# jobs.query waits so long for its job, unless told otherwise.
QUERY_WAITS_S = 10.0
ANSWERS_WITHIN_S = 30.0
REQUEST_ID_KEPT_S = 900.0
# So few that spans are cut in halves.
READ_AT_ONCE = 6


class Way(StrEnum):
    """How one request fares."""

    WELL = "well"
    UNREACHED = "unreached"  # no connection: nothing was sent
    LOST = "lost"  # sent, and it never arrives
    LATE = "late"  # it arrives seconds after the gate has given up
    STUCK = "stuck"  # it arrives minutes after
    BUSY_BEFORE = "busy_before"  # 503, and nothing was done
    BUSY_AFTER = "busy_after"  # 503, and the work was done
    DENIED = "denied"  # 403
    UNANSWERED = "unanswered"  # done, and no answer comes
    CUT = "cut"  # the answer breaks off


@dataclass(frozen=True, slots=True)
class Fate:
    """How one request fares, and when it arrives where it is late."""

    way: Way = Way.WELL
    late_s: float = 0.0


FATE: ContextVar[Fate] = ContextVar("FATE", default=Fate())  # noqa: B039 - frozen


@dataclass(frozen=True, slots=True)
class Plan:
    """What one query does. `estimate_mib` is what its dry run says, `billed_mib` what it really bills.

    `outcome` "script" is a script of two statements, whose dry run bounds nothing; "overrun" ignores the cap.
    """

    number: int
    estimate_mib: int
    billed_mib: int
    runs_s: float
    outcome: str = "done"
    location: str = "US"
    is_rerun: bool = False
    listed_after_s: float = 0.5

    @property
    def sql(self) -> str:
        """Names the plan, so that a dry run finds it."""
        return f"SELECT a FROM d.t{self.number}"


@dataclass(eq=False)
class BilledJob:
    """One job as the books have it. `bytes_billed` is final once it has ended."""

    ref: JobRef
    plan: Plan
    hold_id: str
    created_at: datetime
    created_s: float
    cap_bytes: int | None
    is_stuck: bool = False  # its request came minutes late
    past_by: str | None = None  # who made it past the gates; it may bear the label of a hold all the same
    outcome: Outcome | None = None
    bytes_billed: int = 0
    figures: set[int] = field(default_factory=set)  # all that it was ever said to have billed
    is_deleted: bool = False
    on_end: list[Callable[[], None]] = field(default_factory=list)

    @property
    def most_bytes(self) -> int:
        """What it may bill at the most, as far as is known now."""
        if self.outcome is not None:
            return self.bytes_billed
        return self.cap_bytes if self.cap_bytes is not None else self.plan.billed_mib * MIB

    @property
    def usage(self) -> Usage | None:
        """What it used, once it has ended."""
        if self.outcome is None:
            return None
        return Usage(
            job=self.ref,
            outcome=self.outcome,
            bytes_processed=self.bytes_billed,
            bytes_billed=self.bytes_billed,
            slot_ms=1,
            statement_type="SCRIPT" if self.plan.outcome == "script" else "SELECT",
            cache_hit=self.outcome is Outcome.CACHED,
        )


class BigQueryServer:
    """All jobs, and what they billed. `on_job` is told of each job that is made."""

    def __init__(
        self,
        loop: SimulatedLoop,
        now: Callable[[], datetime],
        plans: Mapping[str, Plan],
        on_job: Callable[[BilledJob], None],
        log: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.now = now
        self.plans = plans
        self.jobs: dict[tuple[str, str], BilledJob] = {}
        self.tokens_end_s: float | None = None
        self.stuck_count = 0  # requests that will arrive minutes late
        self._request_ids: dict[str, BilledJob] = {}
        self._on_job = on_job
        self._log = log

    def estimate(self, sql: str) -> Estimate:
        """A dry run's answer."""
        plan = self.plans[sql]
        if plan.outcome == "script":
            return Estimate(0, "SCRIPT", 0, location=plan.location, unknown_because="script", project_id="p")
        return Estimate(
            plan.estimate_mib * MIB,
            "SELECT",
            1,
            location=plan.location,
            referenced_tables=(f"p.d.t{plan.number}",),
            project_id="p",
        )

    def insert(self, body: Mapping[str, Any], *, is_stuck: bool = False) -> BilledJob | None:
        """Make a job under the caller's id; None: that id is taken."""
        reference, configuration = body["jobReference"], body["configuration"]
        key = (reference["projectId"], reference["jobId"])
        if key in self.jobs:
            return None
        query = configuration["query"]
        return self._make(key, query, configuration.get("labels", {}), is_stuck=is_stuck)

    def query(self, body: Mapping[str, Any], *, is_stuck: bool = False) -> BilledJob:
        """Make a job, or find the one that this requestId has made, where BigQuery does not run it again."""
        request_id = body.get("requestId")
        known = self._request_ids.get(request_id or "")
        if known is not None and self.loop.time() - known.created_s < REQUEST_ID_KEPT_S and not known.plan.is_rerun:
            return known
        job = self._make(("p", f"made_{len(self.jobs):04}"), body, body.get("labels", {}), is_stuck=is_stuck)
        if request_id is not None:
            self._request_ids[request_id] = job
        return job

    def _make(
        self, key: tuple[str, str], query: Mapping[str, Any], labels: Mapping[str, str], *, is_stuck: bool
    ) -> BilledJob:
        plan = self.plans[query["query"]]
        cap = query.get("maximumBytesBilled")
        job = self.jobs[key] = BilledJob(
            ref=JobRef(*key, plan.location),
            plan=plan,
            hold_id=labels.get(HOLD_LABEL, ""),
            created_at=self.now(),
            created_s=self.loop.time(),
            cap_bytes=None if cap is None else int(cap),
            is_stuck=is_stuck,
        )
        self._log(f"bigquery makes {key[1]} under {job.hold_id}")
        self._on_job(job)
        self.loop.call_later(plan.runs_s, self._end, job, context=OUTSIDE)
        return job

    def insert_past(self, plan: Plan, *, past_by: str, label: str) -> None:
        """Somebody runs a query past the gates, labelled as they please."""
        ref = JobRef("p", f"past{plan.number:03}", plan.location)
        job = BilledJob(ref, plan, label, self.now(), self.loop.time(), cap_bytes=None, past_by=past_by)
        self.jobs[ref.project_id, ref.job_id] = job
        self._log(f"bigquery makes {ref.job_id} past the gates, labelled {label!r}")
        self.loop.call_later(plan.runs_s, self._end, job, context=OUTSIDE)

    def correct(self, job: BilledJob, mib: int) -> None:
        """Report from now on that a job has billed something else."""
        job.bytes_billed = mib * MIB
        job.figures.add(job.bytes_billed)
        self._log(f"bigquery has billed {job.ref.job_id} at {job.bytes_billed}")

    def _end(self, job: BilledJob) -> None:
        if job.outcome is not None:
            return
        wanted = job.plan.billed_mib * MIB
        is_too_big = job.cap_bytes is not None and wanted > job.cap_bytes and job.plan.outcome != "overrun"
        match job.plan.outcome:
            case "cached":
                job.outcome = Outcome.CACHED
            case "failed":
                job.outcome = Outcome.FAILED
            case _ if is_too_big:
                job.outcome = Outcome.FAILED
            case "failed_late":
                job.outcome, job.bytes_billed = Outcome.FAILED, wanted
            case _:
                job.outcome, job.bytes_billed = Outcome.DONE, wanted
        self._log(f"bigquery ends {job.ref.job_id} at {job.bytes_billed}")
        self._tell_end(job)

    def cancel(self, key: tuple[str, str]) -> bool:
        """Stop a job soon; it bills half."""
        job = self.jobs.get(key)
        if job is None or job.is_deleted:
            return False
        self.loop.call_later(0.3, self._stop, job, context=OUTSIDE)
        return True

    def _stop(self, job: BilledJob) -> None:
        if job.outcome is None:
            job.outcome, job.bytes_billed = Outcome.STOPPED, job.plan.billed_mib // 2 * MIB
            if job.cap_bytes is not None and job.bytes_billed > job.cap_bytes:
                job.bytes_billed = 0
            self._log(f"bigquery stops {job.ref.job_id} at {job.bytes_billed}")
            self._tell_end(job)

    def _tell_end(self, job: BilledJob) -> None:
        job.figures.add(job.bytes_billed)
        told, job.on_end = job.on_end, []
        for tell in told:
            tell()

    def delete(self, key: tuple[str, str]) -> bool:
        """Forget a job that has ended; its bill stands."""
        job = self.jobs.get(key)
        if job is None or job.outcome is None:
            return False
        job.is_deleted = True
        return True

    def show(self, ref: JobRef) -> Job:
        """jobs.get: outside of US and EU only with the location."""
        job = self.jobs.get((ref.project_id, ref.job_id))
        if job is None or job.is_deleted or job.ref.location not in {"US", ref.location}:
            raise JobNotFound(ref.job_id)
        return _shown(job)

    def read(self, place: Place, since: datetime, until: datetime) -> JobsRead:
        """jobs.list of everybody's jobs by the moment of their making; late, as it is by label."""
        now_s = self.loop.time()
        found = [
            _shown(job)
            for job in self.jobs.values()
            if job.ref.project_id == place.project_id
            and place.region in {"", (job.ref.location or "").lower()}
            and since <= job.created_at < until
            and self._is_listed(job, now_s)
        ]
        if len(found) > READ_AT_ONCE:
            return JobsRead((), is_whole=False)
        return JobsRead(tuple(sorted(found, key=lambda job: job.created_at or since)))

    def find(self, hold_id: str, since: datetime) -> JobRef | None:
        """jobs.list by label: a new job is listed a moment after it was made."""
        now_s = self.loop.time()
        for job in self.jobs.values():
            if self._is_listed(job, now_s) and job.hold_id == hold_id.lower() and job.created_at >= since:
                return job.ref
        return None

    def copied_label(self, pick: int) -> str:
        """The label of a job that is listed, as who may list jobs can read it; "" where there is none."""
        now_s = self.loop.time()
        found = [job.hold_id for job in self.jobs.values() if job.past_by is None and self._is_listed(job, now_s)]
        return found[pick % len(found)] if found else ""

    def _is_listed(self, job: BilledJob, now_s: float) -> bool:
        return now_s >= job.created_s + job.plan.listed_after_s and not job.is_deleted

    def children(self, ref: JobRef) -> tuple[Usage, ...]:
        """A script's two statements, which have billed all of it."""
        job = self.jobs[ref.project_id, ref.job_id]
        half = job.bytes_billed // 2 // MIB * MIB
        return tuple(
            Usage(JobRef("p", f"{ref.job_id}_{number}", ref.location), Outcome.DONE, size, size, 1, "SELECT")
            for number, size in enumerate((half, job.bytes_billed - half))
        )

    def check(self, credential: Credential | None) -> None:
        """Refuse a token that has expired."""
        is_callers = credential is not None and credential.authorization is not None
        if is_callers and self.tokens_end_s is not None and self.loop.time() >= self.tokens_end_s:
            raise UpstreamRefused(401, error_body(401, "authError", "Invalid Credentials"))


class SimulatedBigQuery:
    """ports.BigQuery, JobCanceller and JobReader over one gate's wire."""

    def __init__(self, server: BigQueryServer, wire: Wire) -> None:
        self._server = server
        self._wire = wire

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        sql = body["configuration"]["query"]["query"]
        return await self._wire.call("dry run", lambda: self._server.estimate(sql))

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        def work() -> Job:
            self._server.check(credential)
            return self._server.show(job)

        return await self._wire.call(f"get {job.job_id}", work)

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        return await self._wire.call(f"children of {job.job_id}", lambda: self._server.children(job))

    async def find_job(
        self, *, project_id: str, hold_id: str, since: datetime, credential: Credential | None
    ) -> JobRef | None:
        def work() -> JobRef | None:
            self._server.check(credential)
            return self._server.find(hold_id, since)

        return await self._wire.call(f"list {hold_id}", work)

    async def cancel_job(self, job: JobRef, *, credential: Credential | None) -> None:
        def work() -> None:
            if not self._server.cancel((job.project_id, job.job_id)):
                raise JobNotFound(job.job_id)

        await self._wire.call(f"cancel {job.job_id}", work)

    async def read_jobs(self, place: Place, *, since: datetime, until: datetime) -> JobsRead:
        return await self._wire.call("read jobs", lambda: self._server.read(place, since, until))

    async def fetch_regions(self, project_id: str, *, since: datetime) -> frozenset[str]:
        raise AssertionError("jobs are not read by regions")


class SimulatedUpstream:
    """ports.Upstream of one gate."""

    def __init__(self, server: BigQueryServer, wires: Wires, port: Port) -> None:
        self._server = server
        self._wires = wires
        self._port = port

    async def send(
        self, call: HttpRequest, *, credential: Credential, read_timeout_s: float | None = None
    ) -> HttpResponse:
        """One request of a caller's, as its Fate has it."""
        loop, port = self._server.loop, self._port
        if port.process.is_dead:
            raise asyncio.CancelledError
        fate = FATE.get()
        answered: asyncio.Future[HttpResponse] = loop.create_future()
        if port.burns("before"):
            loop.call_soon(port.crash, context=OUTSIDE)
            return await answered
        if fate.way is Way.UNREACHED:
            raise UpstreamUnavailable("no connection", may_have_worked=False)
        if fate.way in {Way.LATE, Way.STUCK}:
            self._server.stuck_count += fate.way is Way.STUCK
            answered.add_done_callback(partial(self._arrive_late, call, fate), context=OUTSIDE)
        elif fate.way is not Way.LOST:
            loop.call_later(0.005, self._arrive, call, fate, answered, context=OUTSIDE)
        loop.call_later(ANSWERS_WITHIN_S, _give_up, answered, context=OUTSIDE)
        if port.burns("sent"):
            loop.call_soon(port.crash, context=OUTSIDE)
        return await answered

    async def close(self) -> None:
        """Nothing is open."""

    def _arrive_late(self, call: HttpRequest, fate: Fate, answered: "asyncio.Future[HttpResponse]") -> None:
        """The gate has given up, or its caller has left; what it sent is still on its way."""
        self._server.loop.call_later(fate.late_s, self._arrive, call, fate, answered, context=OUTSIDE)

    def _arrive(self, call: HttpRequest, fate: Fate, answered: "asyncio.Future[HttpResponse]") -> None:
        self._wires.log(f"g{self._port.number} upstream {call.method} {call.path}: {fate.way}")

        def reply(status: int, body: bytes) -> None:
            if fate.way is Way.BUSY_AFTER:
                status, body = 503, error_body(503, "backendError", "Try again")
            if fate.way is not Way.UNANSWERED:
                self._server.loop.call_later(0.003, self._answer, answered, status, body, fate, context=OUTSIDE)

        match fate.way:
            case Way.BUSY_BEFORE:
                reply(503, error_body(503, "backendError", "Try again"))
            case Way.DENIED:
                reply(403, error_body(403, "accessDenied", "Access Denied"))
            case _:
                self._server.stuck_count -= fate.way is Way.STUCK
                self._work(call, reply, is_stuck=fate.way is Way.STUCK)
                self._wires.after_each()

    def _work(self, call: HttpRequest, reply: Callable[[int, bytes], None], *, is_stuck: bool) -> None:
        server = self._server
        names = call.path.split("/")
        if call.method == "DELETE" or names[-1] == "cancel":
            key = (names[4], names[6])
            is_done = server.cancel(key) if names[-1] == "cancel" else server.delete(key)
            reply(*((200, b"{}") if is_done else (404, error_body(404, "notFound", "Not found: Job"))))
            return
        assert isinstance(call.body, bytes)
        body = json.loads(call.body)
        if names[-1] == "jobs":
            made = server.insert(body, is_stuck=is_stuck)
            if made is None:
                reply(409, error_body(409, "duplicate", "Already Exists: Job"))
            else:
                reply(200, _job_document(made))
            return
        job = server.query(body, is_stuck=is_stuck)
        if job.outcome is not None:
            reply(*_query_answer(job))
            return
        waiting = [reply]

        def tell() -> None:
            while waiting:
                waiting.pop()(*_query_answer(job))

        job.on_end.append(tell)
        server.loop.call_later(QUERY_WAITS_S, tell, context=OUTSIDE)

    def _answer(self, answered: "asyncio.Future[HttpResponse]", status: int, body: bytes, fate: Fate) -> None:
        if self._port.burns("answered"):
            self._port.crash()
        elif not answered.done():
            chunks = Chunks(self._server.loop, self._port, body, is_cut=fate.way is Way.CUT)
            answered.set_result(HttpResponse(status, (("Content-Type", "application/json"),), chunks))


class Chunks:
    """An answer's body, in two pieces; cut off, the second never comes."""

    def __init__(self, loop: SimulatedLoop, port: Port, body: bytes, *, is_cut: bool) -> None:
        half = len(body) // 2
        self._loop = loop
        self._port = port
        self._pieces = [body[:half], body[half:]]
        self._is_cut = is_cut

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        if self._port.process.is_dead:
            raise asyncio.CancelledError
        if not self._pieces:
            raise StopAsyncIteration
        await self._loop.pass_time(0.002)
        if self._is_cut and len(self._pieces) == 1:
            raise UpstreamUnavailable("the answer broke off")
        return self._pieces.pop(0)

    async def aclose(self) -> None:
        """Read no more."""
        self._pieces.clear()


def _give_up(answered: "asyncio.Future[HttpResponse]") -> None:
    if not answered.done():
        answered.set_exception(UpstreamTimeout("no answer in time"))


def _shown(job: BilledJob) -> Job:
    return Job(job.ref, job.usage, job.hold_id or None, created_at=job.created_at, principal=job.past_by)


def _job_document(job: BilledJob) -> bytes:
    """A Job resource as jobs.insert answers it."""
    status: dict[str, Any] = {"state": "DONE" if job.outcome is not None else "RUNNING"}
    if job.outcome is Outcome.FAILED:
        status["errorResult"] = {"reason": "invalidQuery", "message": "failed"}
    document = {"jobReference": _reference(job), "status": status, "statistics": {"query": _figures(job)}}
    return json.dumps(document).encode()


def _query_answer(job: BilledJob) -> tuple[int, bytes]:
    """What jobs.query answers once its job has ended, or its wait has."""
    if job.outcome in {Outcome.FAILED, Outcome.STOPPED}:
        reason = "stopped" if job.outcome is Outcome.STOPPED or job.bytes_billed else "invalidQuery"
        return 400, error_body(400, reason, "failed")
    document: dict[str, Any] = {"jobReference": _reference(job), "jobComplete": job.outcome is not None}
    if job.outcome is not None:
        document |= {**_figures(job), "location": job.ref.location}
    return 200, json.dumps(document).encode()


def _reference(job: BilledJob) -> dict[str, Any]:
    return {"projectId": job.ref.project_id, "jobId": job.ref.job_id, "location": job.ref.location}


def _figures(job: BilledJob) -> dict[str, Any]:
    if job.outcome is None:
        return {}
    return {
        "totalBytesProcessed": str(job.bytes_billed),
        "totalBytesBilled": str(job.bytes_billed),
        "totalSlotMs": "1",
        "cacheHit": job.outcome is Outcome.CACHED,
        "statementType": "SCRIPT" if job.plan.outcome == "script" else "SELECT",
    }
