"""Ask BigQuery again where that is safe, seldom enough not to add to its trouble.

Used by jobs.py for the gate's own calls, which change nothing (dry runs, jobs.get, jobs.list), and by upstream.py for
a jobs.insert that names its job and of which nothing was sent. Everything else is the caller's to repeat: it alone
knows whether a second time is a second query. All retries towards one BigQuery share one budget: one for ten calls, and
one more; without it every layer's retries multiply just when BigQuery can bear it least. Pauses are drawn from zero to
a bound that doubles (full jitter), so that callers that failed together do not return together.
What leaves: the answer, or the error of the last attempt.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bqgate.domain.errors import UpstreamNotTried, UpstreamTimeout, UpstreamUnavailable
from bqgate.ports import Clock, Telemetry

T = TypeVar("T")

CALLS_PER_RETRY = 10
# What quiet times may save up: a burst of failures is answered with so many retries and no more.
SAVED_MAX = 20
ATTEMPTS_MAX = 3
_FIRST_PAUSE_S = 0.2
_DICE = random.SystemRandom()


class RetryBudget:
    """A bucket of calls made: ten buy a retry. Pure."""

    def __init__(self) -> None:
        self._calls = CALLS_PER_RETRY

    def earn(self) -> None:
        """A call was made that is no retry."""
        self._calls = min(self._calls + 1, SAVED_MAX * CALLS_PER_RETRY)

    def spend(self) -> bool:
        """Whether one retry may be made now; it is then taken from the bucket."""
        if self._calls < CALLS_PER_RETRY:
            return False
        self._calls -= CALLS_PER_RETRY
        return True


class Retries:
    """The retries towards one BigQuery. `draw` gives numbers from 0 to 1."""

    def __init__(self, clock: Clock, telemetry: Telemetry, *, draw: Callable[[], float] = _DICE.random) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._draw = draw
        self._budget = RetryBudget()

    async def ask(
        self, operation: str, attempt: Callable[[float], Awaitable[T]], *, within_s: float, is_unsent_only: bool = False
    ) -> T:
        """Ask until there is an answer, it is not worth while, or the budget is spent.

        Args:
            operation: its name in metrics.
            attempt: asks once, in at most so many seconds.
            within_s: how long all attempts and pauses may take; nobody begins anew in the second half.
            is_unsent_only: only a failure before anything was sent is followed by another attempt.

        Raises:
            UpstreamUnavailable: the last attempt's.
        """
        self._budget.earn()
        begun_s = self._clock.monotonic_s()
        left_s = within_s
        for number in range(1, ATTEMPTS_MAX):
            try:
                return await attempt(left_s)
            except (UpstreamNotTried, UpstreamTimeout):
                raise
            except UpstreamUnavailable as failure:
                pause_s = self._draw() * _FIRST_PAUSE_S * 2 ** (number - 1)
                is_late = self._left_s(begun_s, within_s) - pause_s < within_s / 2
                if is_late or (is_unsent_only and failure.may_have_worked) or not self._budget.spend():
                    raise
                await self._clock.sleep(pause_s)
                left_s = self._left_s(begun_s, within_s)
                if left_s < within_s / 2:  # it was longer: this process stood still
                    raise
            self._telemetry.count("retries_total", operation=operation)
        return await attempt(left_s)

    def _left_s(self, begun_s: float, within_s: float) -> float:
        return within_s - (self._clock.monotonic_s() - begun_s)
