"""Do a transaction again that lost a race with another one.

PostgreSQL ends one of two that wait for each other in a circle (40P01), and one that cannot go on beside another
(40001). Nothing of it was done, so it is done again as a whole. Used by database_writer, and by the journal's follower,
which tries everything again anyway. Pauses are drawn, so that two who met do not meet again.
"""

from collections.abc import Awaitable, Callable
from random import uniform
from typing import TypeVar

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ports import Clock

ResultT = TypeVar("ResultT")

_LOST = frozenset({"40P01", "40001"})
_TRIES = 4
_PAUSE_S = 0.02


def has_lost_race(error: BaseException | None) -> bool:
    """Whether a transaction failed only because of another one: as a database says it, or LedgerUnavailable of that."""
    while error is not None:
        if getattr(getattr(error, "orig", None), "sqlstate", None) in _LOST:
            return True
        error = error.__cause__
    return False


def drawn_pause_s(tries: int) -> float:
    """How long to wait after so many tries."""
    return uniform(0.5, 1.5) * _PAUSE_S * float(2**tries)  # noqa: S311 - no secret


async def again_after_lost_races(transact: Callable[[], Awaitable[ResultT]], clock: Clock) -> ResultT:
    """Do a transaction, and again where it lost a race, a few times at most.

    Raises:
        LedgerUnavailable: it failed otherwise, or lost every race.
    """
    for tries in range(_TRIES - 1):
        try:
            return await transact()
        except LedgerUnavailable as error:
            if not has_lost_race(error):
                raise
        await clock.sleep(drawn_pause_s(tries))
    return await transact()
