"""Let an admitted query wait for its turn, and count what runs: the concurrency limiter with a clock and coroutines.

Called by the handler for every admitted query; told by gate/holds.py and the poller when a query has ended (release). A
waiting query keeps its hold; one that is shed or leaves ends its attempt. Raises Shed when the query may not run.

A query counts as running until this gate knows that its job has ended: BigQuery's answer said so, the poller learnt it,
or nobody here can ask any more. So a job that jobs.insert started counts as long as it runs, not as long as its caller
waits.
"""

import asyncio
from dataclasses import dataclass

from bqgate.admission.queue.concurrency_limiter import NO_CHANGE, ConcurrencyLimiter, QueueChange
from bqgate.admission.queue.fair_queue import QueuedQuery
from bqgate.domain.units import MS_PER_S
from bqgate.ports import Clock, Telemetry

# Retry-After of a caller that found no place, in seconds, where no pace says more.
_COME_BACK_S = 5

_STOPPING = "this gate is stopping."


class Shed(Exception):
    """There is no place, or no turn in time: 429 rateLimitExceeded, with Retry-After."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _Wait:
    """The attempts at one hold that wait for its turn, and whether one of them was let through.

    `granted` is resolved with None when the turn comes, else with why it does not.
    """

    granted: asyncio.Future[str | None]
    attempts: int = 0
    has_gone: bool = False


class AdmissionQueue:
    """The queue of one gate. `run` it in one task; without it no turn comes and no deadline passes."""

    def __init__(
        self, clock: Clock, telemetry: Telemetry, *, places: int, deadline_s: int = 30, running_max: int | None = None
    ) -> None:
        """Start empty.

        Args:
            clock: the time.
            telemetry: where waits are counted.
            places: how many may wait.
            deadline_s: how long one may wait; clients give up at 60 s.
            running_max: how many may run at once; None: any number.
        """
        self._clock = clock
        self._telemetry = telemetry
        self._deadline_s = deadline_s
        self._limiter = ConcurrencyLimiter(places=places, deadline_s=deadline_s, running_max=running_max)
        self._waits: dict[str, _Wait] = {}
        # The moment for which `run` sleeps, and what tells it of an earlier one.
        self._planned_s: float | None = None
        self._woken = asyncio.Event()
        self._is_closed = False

    @property
    def depth(self) -> int:
        """How many wait."""
        return self._limiter.depth

    @property
    def running_count(self) -> int:
        """How many run that a limit counts."""
        return self._limiter.running_count

    def lets_through(self, queued: QueuedQuery) -> bool:
        """Whether a query goes at once. It then has its place; else let it `wait`."""
        if self._limiter.depth:
            self._tell(self._limiter.advance(self._clock.monotonic_s()))
        return self._limiter.lets_through(queued)

    async def wait(self, queued: QueuedQuery) -> None:
        """Return when it is this query's turn. Attempts at one hold wait together; when all have left, so has it.

        Raises:
            Shed: there is no place, somebody with fewer waiting needs it, or its turn did not come in time.
        """
        began_s = self._clock.monotonic_s()
        wait = self._waits.get(queued.hold_id)
        if wait is None:
            wait = self._waits[queued.hold_id] = _Wait(asyncio.get_running_loop().create_future())
            if self._is_closed:
                self._refuse(queued.hold_id, "stopping", _STOPPING)
            else:
                self._tell(self._limiter.arrive(queued, began_s))
        wait.attempts += 1
        outcome = "left"
        try:
            refusal = await asyncio.shield(wait.granted)
            outcome = "granted" if refusal is None else "shed"
        finally:
            wait.attempts -= 1
            self._telemetry.observe("waits_seconds", self._clock.monotonic_s() - began_s, outcome=outcome)
            wait.has_gone = wait.has_gone or outcome == "granted"
            if not wait.attempts:
                del self._waits[queued.hold_id]
                if outcome == "left" and not wait.has_gone:
                    self.release(queued.hold_id)
        if refusal is not None:
            raise Shed(refusal, retry_after_s=max(_COME_BACK_S, -(-queued.interval_ms // MS_PER_S)))

    def release(self, hold_id: str) -> None:
        """Give back a query's place: it has ended, or will not run. Again, or unknown: nothing changes.

        A repeat that still waits when its job has ended goes: it starts nothing, and BigQuery tells it what became of
        the job.
        """
        change = self._limiter.leave(hold_id, self._clock.monotonic_s())
        if change is not NO_CHANGE:
            self._tell(change)
        self._resolve(hold_id, None)

    def close(self) -> None:
        """Send everybody away that waits, and let nobody wait any more: the gate stops."""
        self._is_closed = True
        waiting = [hold_id for hold_id, wait in self._waits.items() if not wait.granted.done()]
        for hold_id in waiting:
            self._refuse(hold_id, "stopping", _STOPPING)
        for hold_id in waiting:
            self.release(hold_id)

    async def run(self) -> None:
        """Let those go whose time has come, until cancelled."""
        while True:
            self._woken.clear()
            self._planned_s = due_s = self._limiter.next_s()
            if due_s is None:
                await self._woken.wait()
                continue
            delay_s = due_s - self._clock.monotonic_s()
            if delay_s > 0:
                await self._rest(delay_s)
            self._tell(self._limiter.advance(self._clock.monotonic_s()))

    async def _rest(self, delay_s: float) -> None:
        """Wait for a moment, or until the next moment is another."""
        waking = asyncio.ensure_future(self._woken.wait())
        sleeping = asyncio.ensure_future(self._clock.sleep(delay_s))
        try:
            await asyncio.wait({waking, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            sleeping.cancel()

    def _tell(self, change: QueueChange) -> None:
        """Wake those whose waiting a step has ended, and `run` where somebody is due before it would wake."""
        for hold_id in change.granted:
            self._resolve(hold_id, None)
        for hold_id in change.displaced:
            self._refuse(hold_id, "waiting_room", "too many queries are waiting already.")
        for hold_id in change.expired:
            self._refuse(hold_id, "waiting_deadline", f"its turn did not come within {self._deadline_s} s.")
        due_s = self._limiter.next_s()
        if due_s is not None and (self._planned_s is None or due_s < self._planned_s):
            self._woken.set()

    def _refuse(self, hold_id: str, where: str, message: str) -> None:
        self._telemetry.count("shed_total", where=where)
        self._resolve(hold_id, message)

    def _resolve(self, hold_id: str, refusal: str | None) -> None:
        wait = self._waits.get(hold_id)
        if wait is not None and not wait.granted.done():
            wait.granted.set_result(refusal)
