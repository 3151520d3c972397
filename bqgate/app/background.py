"""Run what works beside the requests: the poller, the reconciler, the renewal of the gate's token.

Used by root. One of the two places that catch everything: a task without a caller would fail unseen. Stopping is
bounded: libraries lose cancellations now and then (redis-py does, see budgets.redis_client), so a task that goes on is
told again, and one that will not end is named in the log and left behind.
"""

import asyncio
from collections.abc import Awaitable, Callable

from bqgate.ports import Clock, Telemetry

# A background task that fails is started again after this pause.
RESTART_S = 1

# A task that has not ended is cancelled again after this pause, so many times in all.
AGAIN_S = 1.0
CANCELLED_TIMES_MAX = 10


class Background:
    """Tasks beside the requests. One that fails is a bug: it is logged, counted and started again."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(self._keep_running(name, run), name=name))

    async def stop(self, *, again_s: float = AGAIN_S) -> None:
        """Return when all have ended, or when some have not though they were told again every `again_s` seconds."""
        running = set(self._tasks)
        for _ in range(CANCELLED_TIMES_MAX):
            if not running:
                return
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=again_s)
            for task in running:
                self._telemetry.log(
                    "background_task_lingers", task=task.get_name(), error="it goes on though cancelled"
                )

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - the edge for tasks without a caller: nobody else would see it
                self._telemetry.count("failures_total", system="background", step=name)
                self._telemetry.log("background_task_failed", task=name, error=type(error).__name__)
            await self._clock.sleep(RESTART_S)
