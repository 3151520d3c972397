"""The wires between the gates and what they share: delays, faults, and the moment at which a gate crashes.

A call is delivered at a server outside of every process, so that it is done even when the gate has crashed meanwhile.
Each wire draws from a Random of its own: what one wire does changes nothing on the others.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, TypeVar

from tests.simulation.event_loop import OUTSIDE, Process, SimulatedLoop

T = TypeVar("T")


class System(StrEnum):
    """What a gate calls."""

    STORE = "store"
    LEDGER = "ledger"
    BIGQUERY = "bigquery"  # the gate's own calls
    UPSTREAM = "upstream"  # the callers'


class How(StrEnum):
    """What is wrong with a wire."""

    AWAY = "away"  # refused at once, nothing is done
    SLOW = "slow"  # seconds each way
    DEAF = "deaf"  # the request is lost
    DUMB = "dumb"  # done, and the answer is lost


@dataclass(frozen=True, slots=True)
class Fault:
    """One gate's wire, or every gate's (gate None), is broken until a moment, for a share of the calls."""

    system: System
    how: How
    gate: int | None
    until_s: float
    share: float


@dataclass(slots=True)
class Fuse:
    """A crash at the n-th call from now on: before it is sent, once it is under way, or when its answer comes."""

    calls: int
    moment: str


class Wires:
    """All wires of one run."""

    def __init__(self, loop: SimulatedLoop, log: Callable[[str], None], after_each: Callable[[], None]) -> None:
        self.loop = loop
        self.log = log
        self.after_each = after_each
        self.faults: list[Fault] = []

    def fault_on(self, system: System, gate: int, random: Random) -> How | None:
        """What happens to one call."""
        if not self.faults:
            return None
        now_s = self.loop.time()
        self.faults = [fault for fault in self.faults if fault.until_s > now_s]
        for fault in self.faults:
            if fault.system is system and fault.gate in {None, gate} and random.random() < fault.share:
                return fault.how
        return None


class Port:
    """A gate's process as the wires see it: its fuse, and what crashes it."""

    def __init__(self, number: int, process: Process, crash: Callable[[], None]) -> None:
        self.number = number
        self.process = process
        self.crash = crash
        self.fuse: Fuse | None = None

    def burns(self, moment: str) -> bool:
        """Whether the gate crashes at this moment of this call."""
        fuse = self.fuse
        if fuse is None or fuse.moment != moment:
            return False
        fuse.calls -= 1
        if fuse.calls > 0:
            return False
        self.fuse = None
        return True


class Wire:
    """One gate's wire to one system. `unavailable` makes the error of a call without an answer."""

    def __init__(
        self,
        wires: Wires,
        system: System,
        port: Port,
        random: Random,
        *,
        timeout_s: float,
        unavailable: Callable[[str], Exception],
        passes: tuple[type[Exception], ...],
    ) -> None:
        self._wires = wires
        self._system = system
        self._port = port
        self._random = random.random
        self._random_source = random
        self._timeout_s = timeout_s
        self._unavailable = unavailable
        self._passes = passes
        self._name = f"g{port.number} {system.value}"

    async def call(self, what: str, work: Callable[[], T]) -> T:
        """Have a server do something, once, and return its answer or raise its error."""
        port, wires, loop = self._port, self._wires, self._wires.loop
        if port.process.is_dead:
            raise asyncio.CancelledError
        answered: asyncio.Future[T] = loop.create_future()
        if port.burns("before"):
            self._crash_soon(what)
            return await answered
        how = wires.fault_on(self._system, port.number, self._random_source)
        if how is How.AWAY:
            wires.log(f"{self._name} {what}: away")
            loop.call_later(0.001, self._settle, answered, self._unavailable("away"), context=OUTSIDE)
            return await answered
        there_s, back_s = self._delays(how)
        loses_answer = how is How.DUMB or there_s + back_s > self._timeout_s
        if how is not How.DEAF:
            loop.call_later(
                there_s, self._deliver, what, work, answered, None if loses_answer else back_s, context=OUTSIDE
            )
        if loses_answer or how is How.DEAF:
            wires.log(f"{self._name} {what}: will have no answer ({how})")
            loop.call_later(
                self._timeout_s, self._settle, answered, self._unavailable("no answer in time"), context=OUTSIDE
            )
        if port.burns("sent"):
            self._crash_soon(what)
        return await answered

    def _delays(self, how: How | None) -> tuple[float, float]:
        draw = self._random()
        there_s = 0.0002 + 0.002 * draw
        back_s = 0.0002 + 0.002 * self._random()
        if how is How.SLOW:
            return there_s + 3.0 * self._random(), back_s + 3.0 * self._random()
        if draw > 0.98:  # now and then a packet is sent again
            return there_s + 0.3 * self._random(), back_s
        return there_s, back_s

    def _deliver(self, what: str, work: Callable[[], Any], answered: asyncio.Future[Any], back_s: float | None) -> None:
        result: Any
        try:
            result = work()
        except self._passes as error:
            result = error
        self._wires.log(f"{self._name} {what}: {_told(result)}")
        self._wires.after_each()
        if back_s is not None:
            self._wires.loop.call_later(back_s, self._answer, what, answered, result, context=OUTSIDE)

    def _answer(self, what: str, answered: asyncio.Future[Any], result: Any) -> None:
        if self._port.burns("answered"):
            self._crash_soon(what)
            return
        self._settle(answered, result)

    def _settle(self, answered: asyncio.Future[Any], result: Any) -> None:
        if answered.done():
            return
        if isinstance(result, Exception):
            answered.set_exception(result)
        else:
            answered.set_result(result)

    def _crash_soon(self, what: str) -> None:
        self._wires.log(f"{self._name} {what}: the gate crashes here")
        self._wires.loop.call_soon(self._port.crash, context=OUTSIDE)


def _told(result: Any) -> str:
    """An answer in a few words that are the same in every run."""
    if isinstance(result, Exception):
        return type(result).__name__
    if isinstance(result, (bool, int, str, float)) or result is None:
        return str(result)
    outcome = getattr(result, "outcome", None)
    if outcome is not None:
        return str(outcome)
    return f"{type(result).__name__}[{len(result)}]" if isinstance(result, (tuple, dict)) else type(result).__name__
