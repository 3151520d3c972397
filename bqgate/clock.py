"""Read the machine's clocks. The only place of the gate that does; everything else is handed a Clock.

Named by app and cli alone. Implements ports.Clock: moments are aware UTC, monotonic seconds are for measuring.
"""

import asyncio
import time
from datetime import UTC, datetime
from functools import partial


class SystemClock:
    """The real time."""

    # The functions themselves: a query asks them three dozen times.
    now = staticmethod(partial(datetime.now, UTC))  # noqa: TID251 - this is the Clock that the ban points to
    monotonic_s = staticmethod(time.monotonic)  # noqa: TID251 - the same

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)  # noqa: TID251 - the same
