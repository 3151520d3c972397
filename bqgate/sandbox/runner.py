"""Take jobs from PENDING over RUNNING to DONE, each in its own time.

Handlers hand over a job with its Work. The work's two halves run in worker threads: `prepare` plans and may refuse,
`run` does it. Afterwards the job stays in RUNNING until the sandbox's clock has gone on by the job's `wall_ms` times
the time scale, so that a big query takes long without keeping a processor busy. What goes wrong becomes the job's
`errorResult`; a failed job is free. A job that is cancelled, or runs past `jobTimeoutMs`, ends with the reason
`stopped` and is billed for the share that it had done; statements of a script are billed whole once they have begun.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/cancel and
https://cloud.google.com/bigquery/docs/information-schema-jobs (which jobs are billed).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from bqgate.sandbox.clock import Clock
from bqgate.sandbox.jobs import Job, JobStore
from bqgate.sandbox.replies import error_proto
from bqgate.sandbox.warehouse import Result, Stopped, WarehouseError

T = TypeVar("T")

# How long a job waits for slots before it runs, by its priority, at time scale 1.
PENDING_MS = {"INTERACTIVE": 50, "BATCH": 2_000}
MIB = 2**20
MINIMUM_BILLED = 10 * MIB


class Work(Protocol):
    """What a job does; both halves block and run in a worker thread."""

    def prepare(self, job: Job) -> None:
        """Plan, and refuse what can be refused before it runs."""
        ...

    def run(self, job: Job) -> Result | None:
        """Do it. None: nothing that is charged (loads, copies)."""
        ...

    def interrupt(self) -> None:
        """Stop a `run` that is under way; may be called from another thread, at any time."""
        ...


@dataclass
class JobRunner:
    """Runs jobs; one task per job, held until it ends."""

    clock: Clock
    store: JobStore
    pool: ThreadPoolExecutor
    time_scale: float

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)

    def start(self, job: Job, work: Work) -> None:
        task = asyncio.create_task(self._run(job, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self, job: Job) -> None:
        """Wait until an insert may be answered: the plan is known or, where jobs take no time, all is done."""
        await job.planned.wait()
        if self.time_scale == 0:
            await job.done.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Job, work: Work) -> None:
        # Stands until the end is known: a bug, or a sandbox that closes, must not leave a job that looks well.
        job.error = error_proto("jobInternalError", "The job encountered an internal error during execution.")
        try:
            await self.in_thread(work.prepare, job)
            job.planned.set()
            await self._pend(job)
            if not job.stop.is_set():
                await self._work(job, work)
            else:
                self._stop(job)
        except WarehouseError as error:
            self._fail(job, error)
        finally:
            self._end(job)

    async def _pend(self, job: Job) -> None:
        pending_ms = PENDING_MS.get(job.query.get("priority", ""), PENDING_MS["INTERACTIVE"])
        if not job.cache_hit:
            await self._stopped_before(job, job.created_at + timedelta(milliseconds=pending_ms * self.time_scale))

    async def _work(self, job: Job, work: Work) -> None:
        job.state = "RUNNING"
        # The moment when the waiting was over, not when this task woke up: a clock that jumped ended both.
        job.started_at = self.clock.now()
        stopper = asyncio.create_task(self._interrupt_on_stop(job, work))
        try:
            result = await self.in_thread(work.run, job)
        finally:
            stopper.cancel()
        if result is None:
            job.error = None
            return
        job.wall_ms = result.wall_ms
        job.slot_ms = result.slot_ms
        job.result = result
        timeout_ms = job.configuration.get("jobTimeoutMs") or 0
        takes_ms = result.wall_ms * self.time_scale
        until_ms = min(takes_ms, timeout_ms) if timeout_ms else takes_ms
        stopped = await self._stopped_before(job, job.started_at + timedelta(milliseconds=until_ms))
        if stopped or until_ms < takes_ms:
            self._stop(job, timed_out=not stopped)
        else:
            job.error = None
            self._charge(job, result)

    async def _interrupt_on_stop(self, job: Job, work: Work) -> None:
        await job.stop.wait()
        work.interrupt()

    async def _stopped_before(self, job: Job, moment: Any) -> bool:
        return await self.clock.wait_for(job.stop, (moment - self.clock.now()).total_seconds())

    def progress(self, job: Job) -> float:
        """Share of the work that is done, 0 to 1, by the clock."""
        if job.started_at is None:
            return 0.0
        takes_ms = job.wall_ms * self.time_scale
        passed_ms = ((job.ended_at or self.clock.now()) - job.started_at).total_seconds() * 1000
        return min(1.0, max(0.0, passed_ms / takes_ms)) if takes_ms else 1.0

    def _stop(self, job: Job, *, timed_out: bool = False) -> None:
        message = "Job execution was cancelled: " + ("Job timed out" if timed_out else "User requested cancellation")
        job.error = error_proto("stopped", message)
        result, job.result = job.result, None
        if result is None:
            return
        share = self.progress(job)
        if result.children:
            self._charge(job, replace(result, children=_begun(result, share)), keep=False)
            return
        billed = -(-int(result.bytes_billed * share) // MIB) * MIB
        job.bytes_processed = int(result.bytes_processed * share)
        job.bytes_billed = min(result.bytes_billed, max(billed, MINIMUM_BILLED))
        job.slot_ms = int(result.slot_ms * share)

    def _charge(self, job: Job, result: Result, *, keep: bool = True) -> None:
        job.result = result if keep else None
        self._add_children(job, result.children)
        parts = result.children or (result,)
        job.bytes_processed = sum(part.bytes_processed for part in parts)
        job.bytes_billed = sum(part.bytes_billed for part in parts)
        job.slot_ms = sum(part.slot_ms for part in parts)

    def _fail(self, job: Job, error: WarehouseError) -> None:
        job.error = error_proto(error.reason, error.message, error.location)
        if error.children:
            self._add_children(job, error.children)
            job.bytes_processed = sum(child.bytes_processed for child in error.children)
            job.bytes_billed = sum(child.bytes_billed for child in error.children)
            job.slot_ms = sum(child.slot_ms for child in error.children)
        elif isinstance(error, Stopped) and job.plan:
            # Interrupted in the middle: how far it had come is not known, and Google may bill up to the full price.
            job.bytes_processed, job.bytes_billed = job.plan.bytes_processed, job.plan.bytes_billed_if_run

    def _add_children(self, job: Job, results: tuple[Result, ...]) -> None:
        begun_at = job.started_at or job.created_at
        for index, result in enumerate(results):
            ended_at = begun_at + timedelta(milliseconds=result.wall_ms * self.time_scale)
            child = Job(
                project=job.project,
                location=job.location,
                id=f"script_job_{hashlib.sha256(job.full_id.encode()).hexdigest()[:32]}_{index}",
                user_email=job.user_email,
                configuration={
                    "query": {"query": result.query, "useLegacySql": False, "priority": "INTERACTIVE"},
                    **({"labels": job.configuration["labels"]} if "labels" in job.configuration else {}),
                },
                type="QUERY",
                created_at=begun_at,
                state="DONE",
                started_at=begun_at,
                ended_at=ended_at,
                plan=result.plan,
                result=result,
                bytes_processed=result.bytes_processed,
                bytes_billed=result.bytes_billed,
                slot_ms=result.slot_ms,
                wall_ms=result.wall_ms,
                parent=job,
                hidden=job.hidden,
            )
            child.planned.set()
            child.done.set()
            job.children.append(child)
            self.store.add(child)
            begun_at = ended_at

    def _end(self, job: Job) -> None:
        if job.ended_at is None:
            job.ended_at = self.clock.now()
        job.started_at = job.started_at or job.ended_at
        job.state = "DONE"
        job.planned.set()
        job.done.set()


def _begun(result: Result, share: float) -> tuple[Result, ...]:
    """Return the statements of a script that had begun when `share` of its time had passed."""
    passed_ms = result.wall_ms * share
    begun, start_ms = [], 0.0
    for child in result.children:
        if start_ms > passed_ms:
            break
        begun.append(child)
        start_ms += child.wall_ms
    return tuple(begun)
