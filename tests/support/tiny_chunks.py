"""Send a body of which every chunk has one byte, and see that others run while it is read."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

# Some hundred milliseconds of reading.
TINY_CHUNKS = b"1\r\n \r\n" * 200_000 + b"0\r\n\r\n"
_PART_MAX = 0.12


async def ran_in_turns(work: Awaitable[T]) -> T:
    """What some work comes to. No single step of it may take a large part of its time."""
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        before_s = time.process_time()
        while True:
            await asyncio.sleep(0)  # noqa: TID251 - a turn of everybody's
            now_s = time.process_time()
            longest_s, before_s = max(longest_s, now_s - before_s), now_s

    watching = asyncio.create_task(watch())
    begun_s = time.process_time()
    try:
        result = await work
    finally:
        watching.cancel()
    took_s = time.process_time() - begun_s
    assert longest_s < _PART_MAX * took_s, f"{longest_s:.3f} s of {took_s:.3f} s at one go"
    return result
