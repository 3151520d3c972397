"""Let many callers share one transaction (group commit).

Every query waits for its hold to be on disk before it is forwarded, and a disk flush takes longer than everything
else in that transaction. So there is one writer for a ledger: while it commits one group, callers queue up, and the
next group is all that waits. Called by database_writer, and calls it back for one transaction. Leaves: each caller's
own result, or LedgerUnavailable: the queue is full (it sheds), the time is up, the database failed. When a group fails,
its writes are tried one by one, so that only the culprit's caller hears of it; every write may be done twice.

A caller who gave up before its write was begun is left out of the group: it was told that nothing is recorded.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from bqgate.domain.errors import LedgerUnavailable

WriteT = TypeVar("WriteT")
ResultT = TypeVar("ResultT")

# One transaction stays far below the time limit: 256 bookings take less than 0.1 s on SQLite.
GROUP_MAX = 256


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[WriteT, ResultT]):
    write: WriteT
    result: "asyncio.Future[ResultT]"


class GroupCommit(Generic[WriteT, ResultT]):
    """A bounded queue of writes and the one task that empties it, group by group.

    Args:
        transact: does writes in one transaction and returns a result for each; all of them or none.
        timeout_s: the longest a caller waits, queue included.
        waiting_max: how many writes may wait; past it submit refuses at once.
    """

    def __init__(
        self, transact: Callable[[Sequence[WriteT]], Awaitable[list[ResultT]]], *, timeout_s: float, waiting_max: int
    ) -> None:
        self._transact = transact
        self._timeout_s = timeout_s
        self._waiting_max = waiting_max
        self._waiting: deque[_Waiting[WriteT, ResultT]] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._is_closed = False

    async def submit(self, write: WriteT) -> ResultT:
        """Do a write in the next transaction and return when it is committed.

        Raises:
            LedgerUnavailable: not done, or unknown.
        """
        if self._is_closed:
            raise LedgerUnavailable("The ledger is closed.")
        if len(self._waiting) >= self._waiting_max:
            raise LedgerUnavailable(f"The ledger is overloaded: {self._waiting_max} writes are waiting for it.")
        result: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(write, result))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain(), name="ledger writer")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await result
        except TimeoutError:
            raise LedgerUnavailable(f"The ledger did not write within {self._timeout_s} s.") from None

    async def close(self) -> None:
        """Finish what waits and take nothing more. Bounded: those who wait give up in their own time."""
        self._is_closed = True
        if self._draining is not None:
            await asyncio.wait({self._draining})

    async def _drain(self) -> None:
        while self._waiting:
            group: list[_Waiting[WriteT, ResultT]] = []
            while self._waiting and len(group) < GROUP_MAX:
                waiting = self._waiting.popleft()
                if not waiting.result.done():
                    group.append(waiting)
            if group:
                await self._commit(group)

    async def _commit(self, group: list[_Waiting[WriteT, ResultT]]) -> None:
        loop = asyncio.get_running_loop()
        gives_up_at_s = loop.time() + self._timeout_s
        error = await self._try(group)
        if error is None:
            return
        for waiting in group:
            if len(group) > 1 and loop.time() < gives_up_at_s:
                error = await self._try([waiting])
            if error is not None and not waiting.result.done():
                waiting.result.set_exception(error)

    async def _try(self, group: list[_Waiting[WriteT, ResultT]]) -> BaseException | None:
        """Write a group and hand out the results; return why it was not written."""
        task = asyncio.ensure_future(self._transact([waiting.write for waiting in group]))
        await asyncio.wait({task})
        error = task.exception()  # whatever it is, it belongs to the callers, and the writer lives on
        if error is not None:
            return error
        for waiting, result in zip(group, task.result(), strict=True):
            if not waiting.result.done():
                waiting.result.set_result(result)
        return None
