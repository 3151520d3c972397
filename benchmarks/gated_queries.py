"""Measure what the gate makes of queries beside the floor: rate, own time and processor time, in interleaved rounds.

    python benchmarks/gated_queries.py --rounds 5 --seconds 5 --connections 32,1 --texts other
    python benchmarks/gated_queries.py --only floor,redis+postgres --rounds 1 --profile

The floor (gated/floor.py) is a bare aiohttp server that makes the same three calls outside. Each round measures every
contender in turn, so that a slow moment of the machine meets all; ratios are to the floor of the same round. `--texts
same` repeats one text, whose estimate the gate knows: it makes no dry run then, and the floor still does. The gate that
is measured is the `bqgate` that Python finds first, so PYTHONPATH decides. With --profile py-spy samples each gate
(figures are lower then), and its functions are printed. Every answer is checked; a wrong one ends the run.
"""

import argparse
import sys
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

import bqgate
from benchmarks.gated.figures import NONE, percentile, table, with_spread
from benchmarks.gated.gates import KINDS, running_gate
from benchmarks.gated.processes import serving
from benchmarks.gated.profiles import Profile, top_functions
from benchmarks.gated.rounds import Contender, Course, Round
from benchmarks.gated.stand import Stand, open_stand

FLOOR = "floor"
_WARM_UP_S = 2.0
_GOALS = {32: "ratio ≥ 0.60, moonshot 0.80", 1: "own time p50 ≤ 0.7 ms, p99 ≤ 3 ms; moonshot 0.4 and 2"}


def measure(
    course: Course, contenders: list[Contender], options: argparse.Namespace, connections: int, profile: Profile | None
) -> dict[str, list[Round]]:
    """All rounds at so many connections; each begins with another contender."""
    for contender in contenders:
        course.warm(contender, connections=connections, seconds=_WARM_UP_S)
    rounds: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
    for number in range(options.rounds):
        transit_ns = course.transit_ns()
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            done = course.run(
                contender,
                connections=connections,
                seconds=options.seconds,
                transit_ns=transit_ns,
                profile=None if contender.name == FLOOR else profile,
            )
            rounds[contender.name].append(done)
            print(f"  round {number + 1}: {contender.name} {done.rate:,.0f}/s, p50 {done.p50_ms:.2f} ms", flush=True)
    return rounds


def report(rounds: dict[str, list[Round]], *, connections: int, markdown: bool) -> str:
    """A row for each contender."""
    head = ["", "queries/s", "of the floor", "p50 ms", "p99 ms", "CPU ms a query", "of it the loop's"]
    head += ["own p50 ms", "own p99 ms", "strict p50 ms", "strict p99 ms"] if connections == 1 else []
    rows = []
    for name, done in rounds.items():
        floors = rounds.get(FLOOR, [])
        ratios = [each.rate / floor.rate for each, floor in zip(done, floors, strict=bool(floors))]
        row = [name, with_spread([each.rate for each in done], 0)]
        row += [with_spread(ratios, 2) if name != FLOOR else NONE]
        row += [with_spread([each.p50_ms for each in done], 2), with_spread([each.p99_ms for each in done], 1)]
        row += [f"{median(each.cpu_ms for each in done):.2f}", f"{median(each.loop_cpu_ms for each in done):.2f}"]
        if connections == 1:
            for spans in ([each.own_ms for each in done], [each.strict_ms for each in done]):
                row += [with_spread([percentile(each, share) for each in spans], 2) for share in (50, 99)]
        rows.append(row)
    return table(head, rows, markdown=markdown)


def calls_of(rounds: dict[str, list[Round]]) -> str:
    """What each contender asked of BigQuery for a query, in its last round."""
    last = {name: done[-1].calls for name, done in rounds.items()}
    return "; ".join(
        f"{name}: {', '.join(f'{kind} {number:.2f}' for kind, number in calls.items())}" for name, calls in last.items()
    )


def start(stand: Stand, names: list[str]) -> list[Contender]:
    """The contenders of these names, running."""
    contenders = []
    for name in names:
        if name == FLOOR:
            ports = (str(stand.stub_port), str(stand.stores.redis_port))
            process, port = stand.stack.enter_context(serving("floor.py", *ports, measured=True))
        else:
            gate = stand.stack.enter_context(running_gate(name, stand.stores, stand.stub_port))
            process, port = gate.process, gate.port
        contenders.append(Contender(name, port, process.pid))
    return contenders


def run(options: argparse.Namespace) -> None:
    print(f"measured: {Path(bqgate.__file__).parent}, Python {sys.version.split()[0]}")
    with open_stand() as stand:
        contenders = start(stand, options.only)
        profile = Profile(Path.cwd()) if options.profile else None
        for texts in options.texts:
            course = Course(stand.stub_port, stand.folder, *(["--same-text"] if texts == "same" else []))
            for connections in options.connections:
                print(f"\n{connections} connections, {texts} text{'s' if texts == 'other' else ''}", flush=True)
                rounds = measure(course, contenders, options, connections, profile)
                print(report(rounds, connections=connections, markdown=options.markdown))
                print(f"calls at BigQuery a query: {calls_of(rounds)}")
                if connections in _GOALS:
                    print(f"goal: {_GOALS[connections]}", flush=True)
                for name, file in ({} if profile is None else profile.files).items():
                    print(f"\n{name}, {connections} connections: {file}\n{top_functions(file)}", flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    def listed(text: str) -> list[str]:
        return text.split(",")

    def counts(text: str) -> list[int]:
        return [int(each) for each in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", type=listed, default=[FLOOR, *KINDS], help=f"of {FLOOR}, {', '.join(KINDS)}")
    parser.add_argument("--connections", type=counts, default=[32, 1])
    parser.add_argument(
        "--texts", type=listed, default=["other", "same"], help="other: each its own; same: one again and again"
    )
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(parse(sys.argv[1:]))
