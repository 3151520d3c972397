"""Open a hold for a query and end it: captured, void, or handed to the poller. Holds end here and nowhere else.

The handler opens a hold; each request under it is an Attempt, which ends with its ``with`` block. A repeated
jobs.insert joins the hold of the request that it repeats, at this gate or another. An attempt records when it begins to
send and how it ended.
When the last attempt at this gate has ended, settlement/evidence.py says what all of them prove, and the hold ends in a
task of its own, so that no caller waits for it. A crash leaves an open hold in the ledger; reconcile hands it to the
poller.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, assert_never

from bqgate.admission.admit import Admission, Admitted, CachedOnly
from bqgate.admission.hold_service import HoldService
from bqgate.admission.refusals import Refused
from bqgate.domain.errors import AttemptEnded
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef
from bqgate.domain.principal import Credential
from bqgate.gate.request_context import RequestContext
from bqgate.settlement.evidence import Evidence, Inquiry, NothingSent, NotSent, Told, Unknown, conclude
from bqgate.settlement.poller import Poller

_Outcome = Admitted | Refused | CachedOnly


@dataclass(slots=True)
class OpenHold:
    """A hold with queries under way at this gate. `is_repeat`: its first attempt was made elsewhere, or earlier."""

    hold: Hold
    credential: Credential
    is_repeat: bool
    under_way: int = 0
    evidence: list[Evidence] = field(default_factory=list)


class Attempt:
    """One request under a hold. Nothing is sent before `begin_to_send`, and it ends once.

    `is_answering`: BigQuery's answer is on its way to the caller, and ends the attempt.
    """

    def __init__(
        self,
        admitted: Admitted,
        open_hold: OpenHold,
        end_hold: Callable[[OpenHold], asyncio.Task[None] | None],
        *,
        has_lapsed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.admitted = admitted
        self.is_answering = False
        self._open_hold = open_hold
        self._end_hold = end_hold
        self._has_lapsed = has_lapsed
        self._evidence: Evidence = NotSent()
        self._is_ended = False
        self._ending: asyncio.Task[None] | None = None

    @property
    def hold(self) -> Hold:
        """The hold that covers this request."""
        return self.admitted.hold

    def begin_to_send(self) -> None:
        """From here on BigQuery may have the query.

        Raises:
            AttemptEnded: as check_cover.
        """
        self.check_cover()
        self._evidence = Unknown()

    def check_cover(self) -> None:
        """Return where the hold covers what is sent next.

        Raises:
            AttemptEnded: this gate stood still for so long that others may have ended the hold.
        """
        if self._has_lapsed():
            raise AttemptEnded("This gate stood still for too long to know whether the query is still covered.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End with the block; or, once BigQuery's answer is on its way to the caller, with that answer."""
        if not self.is_answering:
            self.end()

    def end(self, evidence: Evidence | None = None) -> None:
        """End the attempt with what is known of it, and with the last one the hold. Again: nothing changes."""
        if self._is_ended:
            return
        self._is_ended = True
        self._open_hold.evidence.append(self._evidence if evidence is None else evidence)
        self._open_hold.under_way -= 1
        if not self._open_hold.under_way:
            self._ending = self._end_hold(self._open_hold)

    async def ended(self) -> None:
        """End the attempt; return when its hold has ended too, unless the poller or another attempt has to end it."""
        self.end()
        if self._ending is not None:
            await asyncio.shield(self._ending)


class Holds:
    """The holds with queries under way at this gate.

    `release` frees a query's concurrency slot, by its hold's id; `learn_job` is told of a job that has not ended.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        service: HoldService,
        poller: Poller,
        release: Callable[[str], None],
        learn_job: Callable[[Hold, JobRef], None],
    ) -> None:
        self._admission = admission
        self._service = service
        self._poller = poller
        self._release = release
        self._learn_job = learn_job
        self._open: dict[str, OpenHold] = {}
        self._ending: set[asyncio.Task[Any]] = set()

    async def open(self, ctx: RequestContext) -> Attempt | Refused | CachedOnly:
        """Hold what the context's query may cost, on all budgets or on none; or join the hold that it repeats.

        Admission runs to its end even when the caller disconnects, so that no hold is left half placed. An Attempt must
        be ended: by its ``with`` block.

        Raises:
            AttemptEnded: it repeats a request that it cannot join.
            BudgetStoreUnavailable, LedgerUnavailable: nothing was held.
        """
        credential = ctx.principal.credential
        loop = asyncio.get_running_loop()
        decided: asyncio.Future[None] = loop.create_future()
        admitting = loop.create_task(self._admit(ctx, decided))
        try:
            with ctx.watch.step("hold"):
                await decided
        except asyncio.CancelledError:
            admitting.add_done_callback(lambda done: self._abandon(done, credential))
            self._finish(admitting)
            raise
        outcome = admitting.result()
        return self._join(outcome, credential) if isinstance(outcome, Admitted) else outcome

    def under_way(self) -> frozenset[str]:
        """The ids of the holds with queries under way at this gate."""
        return frozenset(self._open)

    async def drain(self, *, limit_s: float | None = None) -> None:
        """Wait until no hold is being ended, or placed for a caller that has left, at most `limit_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._ending:
                    await asyncio.wait(self._ending)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        """Let a task that nobody waits for come to its end."""
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _admit(self, ctx: RequestContext, decided: asyncio.Future[None]) -> _Outcome:
        """Admit a query, and wake its caller, who may have left by then."""
        try:
            return await self._admission.admit(ctx.query, ctx.principal, ctx.customer, ctx.estimate)
        finally:
            if not decided.done():
                decided.set_result(None)

    def _abandon(self, admitting: asyncio.Task[_Outcome], credential: Credential) -> None:
        if not admitting.cancelled() and admitting.exception() is None:
            outcome = admitting.result()
            if isinstance(outcome, Admitted):
                self._join(outcome, credential).end()

    def _join(self, admitted: Admitted, credential: Credential) -> Attempt:
        hold_id = admitted.hold.id
        open_hold = self._open.get(hold_id)
        if open_hold is None:
            open_hold = self._open[hold_id] = OpenHold(admitted.hold, credential, admitted.is_repeat)
        self._service.stay(hold_id)
        open_hold.is_repeat = open_hold.is_repeat and admitted.is_repeat
        open_hold.under_way += 1
        return Attempt(admitted, open_hold, self._end, has_lapsed=lambda: self._service.has_lapsed(hold_id))

    def _end(self, open_hold: OpenHold) -> asyncio.Task[None] | None:
        """End a hold by what its attempts at this gate prove, or have the poller find out."""
        hold = open_hold.hold
        ending: Coroutine[Any, Any, None]
        del self._open[hold.id]
        self._service.leave(hold.id)
        match conclude(open_hold.evidence):
            case Told(usage=usage):
                self._release(hold.id)
                ending = self._poller.settle(hold, usage)
            case NothingSent() if open_hold.is_repeat:
                # The gate of the first attempt sees that another joined, and asks BigQuery.
                if not self._poller.watches(hold.id):
                    self._release(hold.id)
                return None
            case NothingSent():
                self._release(hold.id)
                attempts = len(open_hold.evidence)
                ending = self._poller.give_back(hold, open_hold.credential, attempts=attempts)
            case Inquiry() as inquiry:
                if inquiry.job is not None:
                    self._learn_job(hold, inquiry.job)
                known = None if open_hold.is_repeat else len(open_hold.evidence)
                self._poller.watch(hold, open_hold.credential, inquiry=inquiry, attempts=known)
                return None
            case conclusion:
                assert_never(conclusion)
        task = asyncio.get_running_loop().create_task(ending)
        self._finish(task)
        return task
