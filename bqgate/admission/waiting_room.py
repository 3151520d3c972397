"""Let a throttled query wait its time before it is forwarded (step 8). Bounded: past the bound the gate sheds.

Called by the handler only for decisions of Throttle. A waiting query keeps its hold; whoever stops it from waiting
(no place, the caller left) voids it. What leaves: nothing when the wait is over, Shed when there is no place.
"""

from bqgate.domain.units import MS_PER_S
from bqgate.ports import Clock, Journal


class Shed(Exception):
    """The room is full; the caller is asked to come back later (429 rateLimitExceeded)."""


class WaitingRoom:
    """A bounded number of waiting queries."""

    def __init__(self, clock: Clock, journal: Journal, *, places: int) -> None:
        self._clock = clock
        self._journal = journal
        self._places = places
        self._waiting = 0

    async def wait(self, wait_ms: int) -> None:
        """Return after the wait.

        Raises:
            Shed: every place is taken.
        """
        if self._waiting >= self._places:
            self._journal.count("shed_total", where="waiting_room")
            raise Shed(f"{self._places} throttled queries are waiting already.")
        self._waiting += 1
        try:
            await self._clock.sleep(wait_ms / MS_PER_S)
        finally:
            self._waiting -= 1
