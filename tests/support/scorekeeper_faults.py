"""Say how an upstream that keeps its books misbehaves: at which call, how often, and in which way."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """What happens to one call. The answer is lost in all but the first four, though the work was done."""

    UNAVAILABLE = "503 before the work"
    CUT_BEFORE = "connection cut before the work"
    SLOW = "the work begins late"
    STALL = "the work begins when the test says so"
    LOST = "503 after the work"
    CUT_AFTER = "connection cut after the work"
    CUT_BEFORE_REFERENCE = "answer cut before its jobReference"
    CUT_BEHIND_REFERENCE = "answer cut behind its jobReference"
    LATE = "no answer, for a long time"


BEFORE_THE_WORK = (FaultKind.UNAVAILABLE, FaultKind.CUT_BEFORE, FaultKind.SLOW, FaultKind.STALL)


@dataclass(eq=False)
class Fault:
    """One fault and the calls that it strikes; empty texts strike any.

    Args:
        kind: what happens.
        method: like jobs.insert.
        project_id: of which project.
        job_id: of which job.
        is_dry_run: dry runs, others, or (None) both.
        count: how often; None: always.
        probability: how often of those.
        seconds: how late, where it is about that.
    """

    kind: FaultKind
    method: str = ""
    project_id: str = ""
    job_id: str = ""
    is_dry_run: bool | None = False
    count: int | None = 1
    probability: float = 1.0
    seconds: float = 0.05
    reached: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    released: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def strikes(self, called: "Called", random_ratio: Callable[[], float]) -> bool:
        """Whether it is this call's turn."""
        is_meant = (
            self.method in {"", called.method}
            and self.project_id in {"", called.project_id}
            and self.job_id in {"", called.job_id}
            and self.is_dry_run in {None, called.is_dry_run}
        )
        return is_meant and self.count != 0 and (self.probability >= 1 or random_ratio() < self.probability)


@dataclass(frozen=True)
class Called:
    """What is known of a call before it is worked on."""

    method: str
    project_id: str
    job_id: str
    is_dry_run: bool


class FaultSwitches:
    """The faults that are on. Which calls a probability strikes follows from the seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Switch one on."""
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Switch one off."""
        fault.released.set()
        if fault in self._faults:
            self._faults.remove(fault)

    def clear(self) -> None:
        """Switch all off, and let what is stalled go on."""
        for fault in self._faults:
            fault.released.set()
        self._faults.clear()

    def take(self, called: Called) -> Fault | None:
        """The first that strikes this call."""
        for fault in self._faults:
            if fault.strikes(called, self._random.random):
                if fault.count is not None:
                    fault.count -= 1
                fault.reached.set()
                return fault
        return None
