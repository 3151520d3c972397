"""Tell the rest of a process that an admin changed a policy or a key: the ChangeFeed of a gate without Redis.

Made by app, beside the budget store in memory; used by policies and admission through ports.ChangeFeed. A gate
without Redis has no other that could write. redis_change_feed is the one between gates.
"""

import asyncio

from bqgate.domain.touched import Writes
from bqgate.ports import Clock


class LocalChangeFeed:
    """ChangeFeed of a gate that is one process. One task waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told = asyncio.Event()

    async def announce(self) -> None:
        """Wake whoever waits, or whoever waits next."""
        self._told.set()

    async def wait(self, timeout_s: float) -> bool:
        """Return True when somebody announced a change since the last wait, False after `timeout_s`."""
        return await told_within(self._told, self._clock, timeout_s)

    async def announce_writes(self, writes: Writes) -> None:
        """Nobody else is there to be told."""

    async def hear_writes(self) -> Writes:
        """Wait for ever: nobody else writes."""
        never: asyncio.Future[Writes] = asyncio.get_running_loop().create_future()
        return await never

    async def close(self) -> None:
        """Nothing to give back."""


async def told_within(told: asyncio.Event, clock: Clock, timeout_s: float) -> bool:
    """Wait for an event at most `timeout_s` seconds; take it back, and say whether it was there."""
    tasks = {asyncio.ensure_future(told.wait()), asyncio.ensure_future(clock.sleep(timeout_s))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    was_told = told.is_set()
    told.clear()
    return was_told
