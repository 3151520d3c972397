"""Keep names with the moment at which each is due, and wake whoever waits for the next.

Used by the poller and for late jobs. Each name has one moment (monotonic seconds); planning it again replaces it.
"""

import asyncio
import heapq
import itertools

from bqgate.ports import Clock

# What is due within a millisecond is due: clocks do not sleep shorter.
_DUE_WITHIN_S = 0.001


class Schedule:
    """Names and the moments at which they are due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_of: dict[str, float] = {}
        # (due, tie-breaker, name). Entries outlive a new moment or a dropped name, and are dropped when met.
        self._entries: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()
        self._woken = asyncio.Event()

    def plan(self, name: str, *, after_s: float) -> None:
        """Let a name be due after so many seconds, and not before."""
        due_s = self._due_of[name] = self._clock.monotonic_s() + after_s
        entry = (due_s, next(self._numbers), name)
        heapq.heappush(self._entries, entry)
        if self._entries[0] is entry:
            self._woken.set()

    def drop(self, name: str) -> None:
        """Let a name never be due."""
        self._due_of.pop(name, None)

    async def next_due(self) -> str:
        """The next name that is due, as soon as it is. It stays in the schedule, due again when it is planned again."""
        while True:
            self._woken.clear()
            delay_s = None
            if self._entries:
                due_s, _, name = self._entries[0]
                if self._due_of.get(name) != due_s:
                    heapq.heappop(self._entries)
                    continue
                delay_s = due_s - self._clock.monotonic_s()
                if delay_s < _DUE_WITHIN_S:
                    heapq.heappop(self._entries)
                    return name
            await self._rest(delay_s)

    async def _rest(self, delay_s: float | None) -> None:
        """Wait until something is due, or planned that was not thought of. None: nothing is scheduled."""
        if delay_s is None:
            await self._woken.wait()
            return
        waits = {asyncio.ensure_future(self._clock.sleep(delay_s)), asyncio.ensure_future(self._woken.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
