"""Have each process of a gate write down, in shared memory, that it lives and how much it has to do.

Made before the supervisor forks. Everybody reads everybody's seat; each process writes its own, and the supervisor
clears that of a worker before it starts another in its place. The metrics of the process lie in the same part.
"""

from collections.abc import Sequence

from bqgate.observe.series import SeriesMemory, SeriesTable
from bqgate.ports import Clock

BEAT_S = 1.0
# Without a beat for so long a worker is not there for others: it hangs, or its machine has no time for it.
SILENT_S = 3.5
_STATE = ("worker",)  # not the name of a metric
_BEAT_AT_S, _TAKEN, _OPEN = range(3)


class Seat:
    """What one process tells the others."""

    def __init__(self, table: SeriesTable, clock: Clock) -> None:
        self.table = table
        self._clock = clock
        self._state = table.cells(_STATE, 3)

    @property
    def beat_at_s(self) -> float:
        """When it last beat, by the machine's monotonic clock; 0: not yet."""
        return self._state[_BEAT_AT_S]

    @property
    def is_up(self) -> bool:
        """Whether it answers callers: it listens, and its event loop runs."""
        return self._clock.monotonic_s() - self.beat_at_s < SILENT_S

    @property
    def taken(self) -> int:
        """How many connections it has taken since it began."""
        return int(self._state[_TAKEN])

    @property
    def open(self) -> int:
        """How many are open, as it last said."""
        return int(self._state[_OPEN])

    def beat(self) -> None:
        """It is alive."""
        self._state[_BEAT_AT_S] = self._clock.monotonic_s()

    def say(self, *, taken: int, is_open: int) -> None:
        """How many connections it has taken, and how many are open."""
        self._state[_TAKEN], self._state[_OPEN] = taken, is_open

    def clear(self) -> None:
        """Nobody sits here."""
        self._state[_BEAT_AT_S] = 0
        self.say(taken=0, is_open=0)


def make_seats(count: int, clock: Clock) -> tuple[Sequence[Seat], Seat]:
    """The seats of `count` workers, and the supervisor's."""
    memory = SeriesMemory(count + 1)
    seats = [Seat(SeriesTable(memory.part(number)), clock) for number in range(count + 1)]
    return seats[:-1], seats[-1]
