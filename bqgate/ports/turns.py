"""Give other calls their turn while something large is read on the event loop.

Used wherever a text of megabytes is read bit by bit. The bits are short, so that several such readings side by side
keep nobody waiting for long.
"""

import asyncio
from typing import Any

from bqgate.wire.json_slices import JsonSlices


async def let_others_run() -> None:
    """Return once everybody else who can go on has had a turn."""
    await asyncio.sleep(0)  # noqa: TID251 - waits for no time


async def read_in_turns(reading: JsonSlices) -> Any:
    """The value of a JSON text.

    Raises:
        TooManyValues: it has too many.
        ValueError, RecursionError: as JsonSlices.
    """
    for _ in reading.slices():
        await let_others_run()
    return reading.value()
