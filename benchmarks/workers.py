"""Measure two workers against one on two processors, in interleaved rounds.

    python benchmarks/workers.py --rounds 5 --seconds 5 [--connections 32]

One worker has the first processor for itself, and everything else the second: the load, BigQuery's stub, Redis and
PostgreSQL. Two workers have a processor each, and share them with all that. So the second worker can win no more than
what is left of its processor: where a query takes `g` of a worker and `o` of all else, two processors do 2/(g + o)
against 1/g. That limit is printed beside what was measured, from the processor times of the rounds with one worker.
"""

import argparse
import os
import sys
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

from benchmarks.gated.figures import table, with_spread
from benchmarks.gated.gates import Gate, running_gate
from benchmarks.gated.options import read_options
from benchmarks.gated.processes import tree_cpu_s
from benchmarks.gated.rounds import Contender, Course, Round
from benchmarks.gated.stand import open_stand

_KIND = "redis+postgres"
_WARM_UP_S = 3.0
_CORES = {1: "0", 2: "0,1"}


def run(options: argparse.Namespace) -> None:
    with open_stand() as stand:
        course = Course(stand.stub_port, stand.folder)
        gates: dict[int, Gate] = {
            count: stand.stack.enter_context(
                running_gate(_KIND, stand.stores, stand.stub_port, workers=count, cores=cores)
            )
            for count, cores in _CORES.items()
        }
        rounds: dict[int, list[Round]] = {count: [] for count in gates}
        others_ms: list[float] = []
        for gate in gates.values():
            course.warm(_contender(gate), connections=options.connections, seconds=_WARM_UP_S)
        for number in range(options.rounds):
            for count, gate in gates.items():
                before_s = _others_s(gates)
                done = course.run(_contender(gate), connections=options.connections, seconds=options.seconds)
                rounds[count].append(done)
                if count == 1:
                    others_ms.append((_others_s(gates) - before_s) * 1000 / (done.rate * options.seconds))
                print(f"  round {number + 1}: {count} workers {done.rate:,.0f}/s", flush=True)
    print(report(rounds, markdown=options.markdown))
    ratios = [two.rate / one.rate for one, two in zip(rounds[1], rounds[2], strict=True)]
    own_ms, other_ms = median(each.cpu_ms for each in rounds[1]), median(others_ms)
    limit = 2 * own_ms / (own_ms + other_ms)
    print(f"two workers are {with_spread(ratios, 2)} times as fast as one; goal: 1.7")
    print(
        f"a query takes {own_ms:.2f} ms of one worker and {other_ms:.2f} ms of all else: {limit:.2f} is the limit here"
    )


def report(rounds: dict[int, list[Round]], *, markdown: bool) -> str:
    rows = [
        [
            str(count),
            with_spread([each.rate for each in done], 0),
            with_spread([each.p50_ms for each in done], 1),
            with_spread([each.p99_ms for each in done], 1),
        ]
        for count, done in rounds.items()
    ]
    return table(["workers", "queries/s", "p50 ms", "p99 ms"], rows, markdown=markdown)


def _others_s(gates: dict[int, Gate]) -> float:
    """Processor seconds of all that this process started, gates left out."""
    return tree_cpu_s(os.getpid()) - sum(tree_cpu_s(gate.process.pid) for gate in gates.values())


def _contender(gate: Gate) -> Contender:
    """The gate by its first process; of several workers the processor times are not looked at."""
    return Contender(gate.kind, gate.port, gate.process.pid)


if __name__ == "__main__":
    run(read_options(__doc__, sys.argv[1:], rounds=5, seconds=5.0, connections=32))
