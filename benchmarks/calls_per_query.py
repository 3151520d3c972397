"""Count what the event loop does for a query: function calls, tasks, callbacks and JSON texts, beside the floor.

    python benchmarks/calls_per_query.py [--functions 40] [--beneath 80] [--only memory,redis]

No seconds: counts are the same on a busy machine, so that they show in a minute whether a change makes the path shorter
(tests/support/counted_queries.py says what is counted). tests/path/test_calls_per_query.py holds their limits.
`--functions` lists those that are called most, `--beneath` those with most calls in them and in all that they call.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

from benchmarks.gated.figures import table
from tests.support.counted_queries import CountedServer, counted_floor, counted_gate
from tests.support.redis_server import running_redis

_KINDS = ("floor", "redis", "memory")


def run(options: argparse.Namespace) -> None:
    rows = []
    listed = []
    for kind in options.only:
        with ExitStack() as stack:
            server = _open(kind, stack)
            work = server.count()
            beneath = server.count_beneath() if options.beneath else {}
        rows.append([kind, *(f"{value:,.1f}" for value in (work.calls, work.tasks, work.callbacks, work.json_texts))])
        often = sorted(work.by_function.items(), key=lambda item: -item[1])[: options.functions]
        listed += [f"\n{kind}, calls", *(f"{count:8.1f}  {name}" for name, count in often)] if often else []
        most = sorted(beneath.items(), key=lambda item: -item[1])[: options.beneath]
        listed += (
            [f"\n{kind}, calls in and beneath", *(f"{count:8.1f}  {name}" for name, count in most)] if most else []
        )
    print(table(["a query takes", "calls", "tasks", "callbacks", "JSON texts"], rows, markdown=options.markdown))
    print("\n".join(listed))


def _open(kind: str, stack: ExitStack) -> CountedServer:
    if kind == "memory":
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return stack.enter_context(counted_gate(folder))
    port = stack.enter_context(running_redis())
    if kind == "floor":
        return stack.enter_context(counted_floor(port))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return stack.enter_context(counted_gate(folder, f"redis://127.0.0.1:{port}"))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(_KINDS), help=f"of {','.join(_KINDS)}"
    )
    parser.add_argument("--functions", type=int, default=0, help="how many functions to list")
    parser.add_argument("--beneath", type=int, default=0, help="how many to list with all that they call")
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(parse(sys.argv[1:]))
