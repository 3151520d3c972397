"""Hand what was seen of an answer to settlement, off the caller's path (step 10 begins).

Called by the forwarder and the handler, once for each admitted query; calls the Settler (cost known, or nothing ran)
or the Poller (somebody must ask). Returns at once: an answer of BigQuery's never waits for the books; who is sent away
before anything was sent may wait for the end of its hold. `drain` is for an orderly shutdown; what a crash loses here
is an open hold in the ledger, which reconcile picks up. A query whose job has ended gives back its place among those
that run here; the poller does so for the others.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, assert_never

from bqgate.admission.admit import Admitted
from bqgate.domain.principal import Principal
from bqgate.gate.outcome import AskLater, Known, NothingRan, Verdict
from bqgate.settlement.poller import Poller
from bqgate.settlement.settle import Settler


class Settling:
    """Starts the end of each hold."""

    def __init__(self, settler: Settler, poller: Poller, release: Callable[[str], None]) -> None:
        """Start none yet. `release` gives back a query's place among those that run, by its hold's id."""
        self._settler = settler
        self._poller = poller
        self._release = release
        self._under_way: set[asyncio.Task[Any]] = set()

    def begin(self, admitted: Admitted, verdict: Verdict, principal: Principal) -> asyncio.Task[Any] | None:
        """Settle, void or watch the hold of an admitted query.

        Returns:
            what ends the hold, which goes on whether awaited or not; None: somebody must ask BigQuery first.
        """
        match verdict:
            case Known(usage=usage):
                self._release(admitted.hold.id)
                return self._start(self._settler.settle(admitted.hold, usage))
            case NothingRan():
                self._release(admitted.hold.id)
                return self._start(self._settler.void(admitted.hold))
            case AskLater(job=job, is_made=is_made):
                self._poller.watch(admitted.hold, principal.credential, job=job, is_made=is_made)
                return None
            case _:
                assert_never(verdict)

    async def drain(self, *, limit_s: float | None = None) -> None:
        """Return when nothing is under way, or after `limit_s` seconds."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=limit_s)

    def _start(self, ending: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(ending)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task
