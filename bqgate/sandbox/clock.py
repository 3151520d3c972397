"""Tell the sandbox what time it is, and let a test move it.

Job run times, cache life, long polls and injected delays all ask this clock; nothing else in the sandbox reads one.
A running clock follows the wall plus whatever was added by `advance`; a frozen one moves by `advance` only, so that a
test can hold a job in RUNNING for as long as it likes. Waits belong to the event loop that the sandbox runs in;
`now` may be read from any thread.

Moments are aware UTC datetimes, lengths are seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any


class Clock:
    """A clock that can be moved forward by hand."""

    def __init__(self, *, frozen_at: datetime | None = None) -> None:
        self._frozen_at = frozen_at
        self._offset = timedelta()
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        wall = self._frozen_at or datetime.now(UTC)  # noqa: TID251 - this is the sandbox's own clock
        return wall + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward and wake everyone who waits for it; to be called in the sandbox's event loop."""
        self._offset += timedelta(seconds=seconds)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep_until(self, moment: datetime) -> None:
        while (left := (moment - self.now()).total_seconds()) > 0:
            try:
                async with asyncio.timeout(None if self._frozen_at else left):
                    await self._moved.wait()
            except TimeoutError:
                continue

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self.now() + timedelta(seconds=seconds))

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event, `seconds` at most; True when it came."""
        if event.is_set() or seconds <= 0:
            return event.is_set()
        # The moment is fixed before the tasks start: the clock may be moved before they get their turn.
        moment = self.now() + timedelta(seconds=seconds)
        waits: list[Coroutine[Any, Any, Any]] = [event.wait(), self.sleep_until(moment)]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return event.is_set()
