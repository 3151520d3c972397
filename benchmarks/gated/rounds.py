"""Measure one contender for a round: rate, percentiles, processor time, and what of each query's time is its own.

A contender's own time is all of a query's but its dry run and its forward. It is reckoned in two ways:

    own      total - steps            as the contender sees it
    strict   total - calls - transit  as the outside world sees it

    total    from the load's write to the answer's last byte
    steps    how long dry run and forward took, as the answer's Server-Timing says
    calls    what BigQuery's stub needed for them, from their last byte to its write
    transit  for each of them, what a byte takes to the stub and back with a bare client, less what the stub needs

So the way of the query to the contender and back counts in both, and so does Redis. In `strict` its HTTP client counts
too, which no gate can be without: what is to be compared there is the floor's.
"""

import json
import math
import subprocess
import sys
import urllib.request
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gated.figures import percentile
from benchmarks.gated.processes import FOLDER, cpu_s, pinned
from benchmarks.gated.profiles import Profile
from benchmarks.gated.stub_bigquery import DRY_RUN, KINDS, QUERY

_LOAD = [sys.executable, str(FOLDER / "load.py")]
_TRANSIT_SECONDS = 1.0


@dataclass(frozen=True)
class Contender:
    """What can be asked: a name, a port, and the process whose time counts."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True)
class Round:
    """What one round measured. Calls are those at the stub for each query, by kind."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    loop_cpu_ms: float
    calls: dict[str, float]
    own_ms: list[float] = field(repr=False)
    strict_ms: list[float] = field(repr=False)
    fault_count: int = 0


class Numbers:
    """Numbers of queries that nobody had before."""

    def __init__(self) -> None:
        self._next = 0

    def block(self) -> int:
        self._next += 10_000_000
        return self._next


class Course:
    """Rounds over one stub. `load` has more arguments of load.py, like --same-text.

    `answer_count` counts the right answers of all rounds and warm-ups.
    """

    def __init__(self, stub_port: int, folder: Path, *load: str) -> None:
        self._stub_port = stub_port
        self._log = folder / "load.log"
        self._numbers = Numbers()
        self._load_arguments = load
        self.answer_count = 0

    def warm(self, contender: Contender, *, connections: int, seconds: float) -> None:
        self.answer_count += self._load(contender.port, connections, seconds)["answers"]
        self._calls()

    def run(
        self,
        contender: Contender,
        *,
        connections: int,
        seconds: float,
        transit_ns: float = 0,
        profile: Profile | None = None,
        may_fail: bool = False,
    ) -> Round:
        """One round; `transit_ns` is of this moment (see transit_ns). A wrong answer ends all, unless it may fail."""
        self._calls()
        process_s, loop_s = cpu_s(contender.pid)
        if profile is not None:
            profile.begin(contender.pid, contender.name, seconds)
        said = self._load(contender.port, connections, seconds)
        process_spent_s, loop_spent_s = (
            after - before for after, before in zip(cpu_s(contender.pid), (process_s, loop_s), strict=True)
        )
        if profile is not None:
            profile.end()
        assert may_fail or not said["faults"], (
            f"{contender.name}: {said['faults']} wrong answers: {said['first_faults']}"
        )
        count = said["answers"]
        self.answer_count += count
        calls = self._calls()
        return Round(
            rate=count / said["seconds"],
            p50_ms=said["p50_ms"] or math.inf,
            p99_ms=said["p99_ms"] or math.inf,
            cpu_ms=process_spent_s * 1000 / max(count, 1),
            loop_cpu_ms=loop_spent_s * 1000 / max(count, 1),
            calls={KINDS[kind]: number / max(count, 1) for kind, number in Counter(calls[1::4]).items()},
            own_ms=own_ms(self._sent()),
            strict_ms=strict_ms(self._sent(), calls, transit_ns),
            fault_count=said["faults"],
        )

    def transit_ns(self, connections: int = 1) -> float:
        """What a call takes a bare client on the measured processor, less what the stub needs: the median."""
        self._calls()
        self._load(self._stub_port, connections, _TRANSIT_SECONDS, measured=True)
        served = {number: back - came for number, _, came, back in _by(self._calls(), 4)}
        return percentile([back - sent - served.get(number, 0) for number, sent, back, _ in _by(self._sent(), 4)], 50)

    def _load(self, port: int, connections: int, seconds: float, *, measured: bool = False) -> dict[str, Any]:
        command = [*_LOAD, "--port", str(port), "--connections", str(connections), "--seconds", str(seconds)]
        command += ["--first", str(self._numbers.block()), "--log", str(self._log), *self._load_arguments]
        done = subprocess.run(pinned(command) if measured else command, stdout=subprocess.PIPE, check=True, text=True)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def _sent(self) -> "array[int]":
        return _numbers(self._log.read_bytes())

    def _calls(self) -> "array[int]":
        return fetch_calls(self._stub_port)


def fetch_calls(stub_port: int) -> "array[int]":
    """What the stub did since it was last asked (stub_bigquery.py): number, kind, came, answered of each call."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stub_port}/stub/log", timeout=30) as answer:
        return _numbers(answer.read())


def own_ms(sent: "array[int]") -> list[float]:
    """The own time of each query as the contender sees it, in milliseconds."""
    return [(back - went - steps) / 1e6 for _, went, back, steps in _by(sent, 4)]


def strict_ms(sent: "array[int]", calls: "array[int]", transit_ns: float) -> list[float]:
    """The own time of each query as the outside world sees it; a dry run that others share is nobody's."""
    outside_ns = Counter[int]()
    for number, kind, came, back in _by(calls, 4):
        if kind in {DRY_RUN, QUERY}:
            outside_ns[number] += back - came + round(transit_ns)
    return [(back - went - outside_ns[number]) / 1e6 for number, went, back, _ in _by(sent, 4)]


def _numbers(data: bytes) -> "array[int]":
    numbers = array("Q")
    numbers.frombytes(data)
    return numbers


def _by(numbers: "array[int]", width: int) -> Iterator[tuple[int, ...]]:
    return zip(*(numbers[at::width] for at in range(width)), strict=True)
