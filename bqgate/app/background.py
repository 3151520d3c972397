"""Run what works beside the requests: the poller, the reconciler, the renewal of the gate's token.

Used by root. One of the two places that catch everything: a task without a caller would fail unseen.
"""

import asyncio
from collections.abc import Awaitable, Callable

from bqgate.ports import Clock, Journal

# A background task that fails is started again after this pause.
RESTART_S = 1


class Background:
    """Tasks beside the requests. One that fails is a bug: it is logged, counted and started again."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.ensure_future(self._keep_running(name, run)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - the edge for tasks without a caller: nobody else would see it
                self._journal.count("failures_total", system="background", step=name)
                self._journal.note("background_task_failed", task=name, error=type(error).__name__)
            await self._clock.sleep(RESTART_S)
