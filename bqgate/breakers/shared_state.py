"""Tell other gates that a system is left alone, and hear it from them, over a shared state that all of them read.

Run by app beside the requests, for BigQuery, where budgets are in Redis: a gate with few callers then learns at once
what a busy one found out. Every `LOOK_S` seconds it writes what changed here and reads what others wrote. Words end by
themselves with the cool-down, so that a gate that dies leaves nothing behind. While the shared state is away each gate
goes by what it sees itself; failures are counted. Nothing leaves it.
"""

from typing import Protocol

from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.ports import Clock, Telemetry

LOOK_S = 0.5
# How long the word "closed" stays: several looks, so that nobody misses it.
CLOSED_FOR_S = 5.0


class SharedBreakerState(Protocol):
    """A place that all gates read, with one word for each name. A word goes by itself."""

    async def write(self, name: str, *, is_open: bool, for_s: float) -> None:
        """Put up a word for so many seconds, in place of the one that is there.

        Raises:
            BudgetStoreUnavailable: it was not written, or nobody knows.
        """

    async def read(self, name: str) -> tuple[bool, float] | None:
        """The word (is it open) and for how many seconds it still stands; None where there is none.

        Raises:
            BudgetStoreUnavailable: no answer.
        """

    async def close(self) -> None:
        """Give back connections."""


class SharedBreaker:
    """One breaker, told to and heard from all gates under `name` (of BigQuery: its host)."""

    def __init__(
        self, breaker: CircuitBreaker, shared_state: SharedBreakerState, name: str, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._breaker = breaker
        self._shared_state = shared_state
        self._name = name
        self._clock = clock
        self._telemetry = telemetry
        self._said_changes = breaker.changes

    async def run(self) -> None:
        """For ever: tell and hear."""
        while True:
            try:
                await self.look()
            except BudgetStoreUnavailable:
                self._telemetry.count("failures_total", system="budgets", step="breaker_exchange")
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Write what changed here since the last look, else read what others wrote.

        Raises:
            BudgetStoreUnavailable: the shared state did not answer; what was to be written is written at the next look.
        """
        changes = self._breaker.changes
        if changes != self._said_changes:
            await self._tell()
            self._said_changes = changes
            return
        state = await self._shared_state.read(self._name)
        if state is None or changes != self._breaker.changes:  # what happened here meanwhile is told first
            return
        is_open, for_s = state
        if is_open:
            self._breaker.on_remote_open(for_s)
        else:
            self._breaker.on_remote_closed()
        self._said_changes = self._breaker.changes  # what was heard is no news of this gate's

    async def _tell(self) -> None:
        for_s = self._breaker.open_for_s
        if for_s > 0 and not self._breaker.is_remote:
            await self._shared_state.write(self._name, is_open=True, for_s=for_s)
        elif self._breaker.state_number == 0:
            await self._shared_state.write(self._name, is_open=False, for_s=CLOSED_FOR_S)
