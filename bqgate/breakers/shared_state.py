"""Share circuit-breaker state between gates, so that one that sees few calls learns at once what a busy one found out.

Run by app in the background, for BigQuery, where budgets are in Redis. Every `LOOK_S` seconds a gate writes what
changed in its own breaker, or else reads what others wrote. States expire with the cool-down, so that a gate that dies
leaves nothing behind. While the shared state is unavailable each gate relies on what it sees itself; failures are
counted.
"""

from typing import Protocol

from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.ports import Clock, Telemetry

LOOK_S = 0.5
# How long the state "closed" stays: several looks, so that no gate misses it.
CLOSED_FOR_S = 5.0


class SharedBreakerState(Protocol):
    """Where gates keep the state of a breaker for one another, by name. A state expires."""

    async def write(self, name: str, *, is_open: bool, for_s: float) -> None:
        """Store a state for `for_s` seconds, replacing the present one.

        Raises:
            BudgetStoreUnavailable: it was not written, or nobody knows.
        """

    async def read(self, name: str) -> tuple[bool, float] | None:
        """Whether the breaker is open, and for how many seconds that holds; None: no state is stored.

        Raises:
            BudgetStoreUnavailable: no answer.
        """

    async def close(self) -> None:
        """Close connections."""


class SharedBreaker:
    """One breaker whose state is shared under `name` (BigQuery's: its host)."""

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
        """Synchronise every `LOOK_S` seconds, until cancelled."""
        while True:
            try:
                await self.look()
            except BudgetStoreUnavailable:
                self._telemetry.count("failures_total", system="budgets", step="breaker_exchange")
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Write what changed here since the last look, else read what others wrote.

        Raises:
            BudgetStoreUnavailable: the shared state did not answer; the next look writes what this one could not.
        """
        changes = self._breaker.changes
        if changes != self._said_changes:
            await self._tell()
            self._said_changes = changes
            return
        state = await self._shared_state.read(self._name)
        if state is None or changes != self._breaker.changes:  # changed here meanwhile: written first
            return
        is_open, for_s = state
        if is_open:
            self._breaker.on_remote_open(for_s)
        else:
            self._breaker.on_remote_closed()
        self._said_changes = self._breaker.changes  # a change from elsewhere is not written again

    async def _tell(self) -> None:
        for_s = self._breaker.open_for_s
        if for_s > 0 and not self._breaker.is_remote:
            await self._shared_state.write(self._name, is_open=True, for_s=for_s)
        elif self._breaker.state_number == 0:
            await self._shared_state.write(self._name, is_open=False, for_s=CLOSED_FOR_S)
