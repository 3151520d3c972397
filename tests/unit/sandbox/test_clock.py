from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bqgate.sandbox.clock import Clock

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_frozen_clock_moves_by_hand_only() -> None:
    """A frozen clock shows the same moment until it is advanced."""
    clock = Clock(frozen_at=NOON)
    assert clock.now() == clock.now() == NOON
    clock.advance(90)
    assert clock.now() == NOON + timedelta(seconds=90)


async def test_sleep_ends_when_the_clock_has_moved_far_enough() -> None:
    """Advancing less than the sleep leaves the sleeper asleep; the rest wakes it."""
    clock = Clock(frozen_at=NOON)
    sleeper = asyncio.ensure_future(clock.sleep(10))
    await asyncio.sleep(0)  # noqa: TID251 - lets the sleeper start, takes no time
    clock.advance(6)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(sleeper), 0.01)
    clock.advance(4)
    await asyncio.wait_for(sleeper, 1)


async def test_running_clock_sleeps_by_the_wall() -> None:
    """Without a frozen moment a short sleep ends by itself."""
    clock = Clock()
    before = clock.now()
    await asyncio.wait_for(clock.sleep(0.01), 1)
    assert clock.now() - before >= timedelta(seconds=0.01)


async def test_wait_for_says_whether_the_event_came() -> None:
    """True for an event that came in time, False when the clock passed by."""
    clock = Clock(frozen_at=NOON)
    event = asyncio.Event()
    waiting = asyncio.ensure_future(clock.wait_for(event, 5))
    await asyncio.sleep(0)  # noqa: TID251 - lets the waiter start, takes no time
    clock.advance(5)
    assert await asyncio.wait_for(waiting, 1) is False
    waiting = asyncio.ensure_future(clock.wait_for(event, 5))
    event.set()
    assert await asyncio.wait_for(waiting, 1) is True
    assert await clock.wait_for(event, 0) is True
