"""Read the machine's clocks. The only place of the gate that does; everything else is handed a Clock.

Named by app and cli alone. Implements ports.Clock: moments are aware UTC, monotonic seconds are for measuring.
"""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the Clock that the ban points to

    def monotonic_s(self) -> float:
        return time.monotonic()  # noqa: TID251 - the same

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)  # noqa: TID251 - the same
