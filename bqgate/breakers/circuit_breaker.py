"""Say when a system is left alone: pybreaker's states, driven by the gate's clock and by tasks.

Used by guarded.py and bigquery.upstream, one CircuitBreaker per system (BigQuery: per host) and process. Closed: calls
pass; after `failures_to_open` failures without a success in between, of more than one customer (tally.py), it opens.
Open: calls are refused without being tried, for `cooldown_s`. Then half-open: one call is the probe, the others are
still refused; it closes the breaker or opens it again. A probe that takes longer than a cool-down lets another one go,
so that a long poll keeps nobody out. While several customers are active, two of them must fail to open it again, and
who has had a probe for nothing lets the others go first. How a call ended counts only where the breaker has not changed
since the call began. Never blocks, raises nothing.

pybreaker (https://github.com/danielfm/pybreaker) keeps the state; it knows threads, not tasks, and no customers: it
lets everybody through while half-open, counts calls that began before the state changed, and reads the machine's clock.
So who may go and what counts is decided here, by ports.Clock.
"""

import asyncio
import math
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pybreaker

from bqgate.breakers.tally import FailureTally
from bqgate.domain.errors import BqgateError
from bqgate.ports import Clock, Telemetry

# A gate whose own probe has just shown that others are wrong does not believe them again for so long.
DISBELIEF_S = 300

_TOLD = "another gate found that it does not answer"


STATE_NUMBERS = {pybreaker.STATE_CLOSED: 0, pybreaker.STATE_HALF_OPEN: 1, pybreaker.STATE_OPEN: 2}


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """After how many failures in a row a system is left alone, and for how many seconds."""

    failures_to_open: int
    cooldown_s: float


class CircuitBreaker:
    """One system's breaker. `system` is its name in metrics and the log: upstream, budgets, ledger."""

    def __init__(self, system: str, rules: BreakerRules, clock: Clock, telemetry: Telemetry) -> None:
        self.system = system
        self._rules = rules
        self._clock = clock
        self._telemetry = telemetry
        self._machine = pybreaker.CircuitBreaker(name=system)
        self._state = self._machine.current_state  # kept here: the machine takes a lock to tell it
        self._tally = FailureTally(rules.failures_to_open)
        self._changes = 0
        self._open_until_s = 0.0
        self._probe: Permit | None = None
        self._probe_until_s = 0.0
        self._kept_out: str | None = None
        self._kept_out_until_s = 0.0
        self._failed_probe_of = ""
        self._is_remote = False
        self._why = ""
        self._disbelieves_until_s = -math.inf

    @property
    def state_number(self) -> int:
        """0 closed, 1 half-open, 2 open."""
        return STATE_NUMBERS[self._state]

    @property
    def open_for_s(self) -> float:
        """How long it will still be open, 0 where it is not: calls are refused at least as long."""
        return max(self._open_until_s - self._clock.monotonic_s(), 0.0) if self._state is pybreaker.STATE_OPEN else 0.0

    @property
    def is_remote(self) -> bool:
        """Whether it is open, or half-open, because another gate said so."""
        return self._is_remote

    @property
    def why(self) -> str:
        """What the call that opened it failed of; empty where another gate said so, and before it ever opened."""
        return self._why

    @property
    def changes(self) -> int:
        """How often it has changed its state."""
        return self._changes

    def take(self, customer: str = "") -> "Permit | None":
        """Ask to call the system. None: it is left alone.

        A Permit must be ended: `succeed`, `fail` or `leave`, or its `with` block.

        Args:
            customer: who pays for the call; empty: nobody does, or the system knows no customers.
        """
        now_s = self._clock.monotonic_s()
        self._tally.note_call(customer, now_s)
        if self._state is pybreaker.STATE_OPEN:
            if now_s < self._open_until_s:
                return None
            self._machine.half_open()
            self._state = self._machine.current_state
            self._changes += 1
        permit = Permit(self, self._changes, customer)
        if self._state is pybreaker.STATE_HALF_OPEN:
            if self._probe is not None and now_s < self._probe_until_s:
                return None
            if self._is_kept_out(customer, now_s):
                return None
            self._probe = permit
            self._probe_until_s = now_s + self._rules.cooldown_s
            self._kept_out, self._kept_out_until_s = customer, now_s + 2 * self._rules.cooldown_s
        return permit

    def ask(self, unavailable: type[BqgateError]) -> "Permit":
        """Take a Permit, or raise the system's own error.

        Raises:
            unavailable: it is left alone.
        """
        permit = self.take()
        if permit is None:
            raise unavailable(f"{self.system} is left alone for a moment: {self._why or 'it did not answer lately'}")
        return permit

    def on_remote_open(self, for_s: float) -> None:
        """Another gate leaves the system alone for so many seconds more: so does this one.

        Unless its own probe showed a moment ago that the system answers it, and that the fault is the other's.
        """
        now_s = self._clock.monotonic_s()
        if self._state is not pybreaker.STATE_CLOSED or now_s < self._disbelieves_until_s or for_s <= 0:
            return
        self._is_remote = True
        self._begin_to_leave_alone(min(for_s, self._rules.cooldown_s), why="")

    def on_remote_closed(self) -> None:
        """Another gate was answered: what was opened because of another gate is closed.

        A breaker that opened by what it saw itself waits for a probe of its own.
        """
        if self._is_remote:
            self._close()

    def end(self, permit: "Permit", *, is_success: bool | None, why: str = "", is_everybodys: bool = False) -> None:
        """Count how a call ended, and of what it failed; None: it says nothing about the system. Called once a turn."""
        is_probe = permit is self._probe
        if is_probe:
            self._probe = None
        if permit.changes != self._changes:
            return
        if is_success is None:
            if is_probe:
                self._kept_out = None  # its caller left, which is no probe
        elif is_success:
            if self._tally.has_failures:
                self._tally.clear()
            if self._state is pybreaker.STATE_HALF_OPEN:
                if self._is_remote:
                    self._disbelieves_until_s = self._clock.monotonic_s() + DISBELIEF_S
                self._close()
        elif self._is_away(permit.customer, is_everybodys=is_everybodys):
            self._is_remote = False
            self._begin_to_leave_alone(self._rules.cooldown_s, why=why)

    def _is_away(self, customer: str, *, is_everybodys: bool) -> bool:
        """Whether this failure opens the breaker, or opens it again."""
        now_s = self._clock.monotonic_s()
        if self._state is pybreaker.STATE_CLOSED:
            self._tally.fail(customer, is_everybodys=is_everybodys)
            return self._tally.is_enough(now_s)
        if is_everybodys or not self._tally.has_several(now_s):
            return True
        is_second = bool(customer) and self._failed_probe_of not in {"", customer}
        self._failed_probe_of = customer
        return is_second

    def _is_kept_out(self, customer: str, now_s: float) -> bool:
        """Whether others may try first: this customer's own probe failed a moment ago, or has not ended."""
        return customer == self._kept_out and now_s < self._kept_out_until_s and self._tally.has_several(now_s)

    def _begin_to_leave_alone(self, for_s: float, *, why: str) -> None:
        self._machine.open()
        self._begin_anew()
        self._open_until_s = self._clock.monotonic_s() + for_s
        self._why = why
        self._telemetry.count("system_breaker_trips_total", system=self.system)
        self._telemetry.log("system_breaker_open", system=self.system, for_s=for_s, error=why or _TOLD)

    def _close(self) -> None:
        self._machine.close()
        self._begin_anew()
        self._is_remote = False
        self._telemetry.log("system_breaker_closed", system=self.system)

    def _begin_anew(self) -> None:
        """Forget what belongs to the state before."""
        self._state = self._machine.current_state
        self._changes += 1
        self._probe = None
        self._kept_out = None
        self._failed_probe_of = ""
        self._tally.clear()


class Permit:
    """Permission to call a system once. Ends once; as a context manager by how its block ends (see `failing_on`)."""

    __slots__ = ("_breaker", "_faults", "_is_ended", "changes", "customer")

    def __init__(self, breaker: CircuitBreaker, changes: int, customer: str) -> None:
        self._breaker = breaker
        self._faults: tuple[type[BaseException], ...] = ()
        self._is_ended = False
        self.changes = changes
        self.customer = customer

    def failing_on(self, *faults: type[BaseException]) -> Self:
        """As a context manager: a block that ends by itself is a success, by one of `faults` a failure.

        By any other error it says nothing: the caller has left, or asked for something impossible.
        """
        self._faults = faults
        return self

    def succeed(self) -> None:
        """The system answered."""
        self._end(is_success=True)

    def fail(self, why: str = "it does not answer", *, is_everybodys: bool = False) -> None:
        """It did not; `why` is for the log. `is_everybodys`: of something that no caller can bring about."""
        self._end(is_success=False, why=why, is_everybodys=is_everybodys)

    def leave(self) -> None:
        """Nobody knows: it was not asked, or nobody waited for the answer."""
        self._end(is_success=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.succeed()
        elif issubclass(kind, self._faults) and not issubclass(kind, asyncio.CancelledError):
            self.fail(str(error))
        else:
            self.leave()

    def _end(self, *, is_success: bool | None, why: str = "", is_everybodys: bool = False) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._breaker.end(self, is_success=is_success, why=why, is_everybodys=is_everybodys)
