"""Print what a query waits for outside: commands to Redis and calls to BigQuery.

    python benchmarks/round_trips.py [--queries 50]

One caller asks one query after the other, with a pause in which the gate does what it does behind its answers. What
comes to Redis and to BigQuery's stub between a query and its answer is on the path, or is there by chance: the gate
looks now and then at what other gates say (GET). All clocks are one machine's. `asked before`: the same text as the
query before it, whose estimate the gate knows. ledger_away.py shows that nothing on the path waits for the ledger.
"""

import argparse
import http.client
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

from benchmarks.gated import load
from benchmarks.gated.figures import table
from benchmarks.gated.gates import running_gate
from benchmarks.gated.options import read_options
from benchmarks.gated.redis_raw import Heard, Monitor
from benchmarks.gated.rounds import fetch_calls
from benchmarks.gated.stand import open_stand
from benchmarks.gated.stub_bigquery import KINDS

_KIND = "redis+sqlite"
_PAUSE_S = 0.05
_WARM_UP_COUNT = 10

# When a query was sent and answered, in nanoseconds: of the clock since 1970, and of that since the machine's start.
_Span = tuple[int, int, int, int]


def ask(port: int, count: int, first: int, *, same_text: bool) -> list[_Span]:
    """Ask so many queries, one after the other, and say when each was under way."""
    arguments = ["--port", str(port), "--first", str(first), *(["--same-text"] if same_text else [])]
    source = load.Source(load.parse(arguments))
    source.begin(seconds=3600)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    spans = []
    for _ in range(count):
        taken = source.take(0)
        assert taken is not None
        head, _, body = taken[1].partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        began = time.time_ns(), time.perf_counter_ns()
        connection.request("POST", head.split(b" ")[1].decode(), body, headers)
        answer = connection.getresponse()
        text = answer.read()
        ended = time.time_ns(), time.perf_counter_ns()
        assert answer.status == 200, text
        spans.append((began[0], ended[0], began[1], ended[1]))
        time.sleep(_PAUSE_S)  # noqa: TID251 - what is not on the path comes now
    connection.close()
    return spans


def counted(spans: list[_Span], commands: list[Heard], calls: list[tuple[int, int]]) -> tuple[str, str, str]:
    """What came for a query: on its path, from Redis and from BigQuery, and from Redis behind it."""
    on_path, behind = Counter[str](), Counter[str]()
    for command in commands:
        at_ns = round(command.at_s * 1e9)
        place = on_path if any(began <= at_ns <= ended for began, ended, _, _ in spans) else behind
        place[command.name] += 1
    upstream = Counter(
        KINDS[kind] for kind, came in calls if any(began <= came <= ended for _, _, began, ended in spans)
    )
    count = len(spans)
    return _each(on_path, count), _each(upstream, count), _each(behind, count)


def _each(found: Counter[str], count: int) -> str:
    return ", ".join(f"{number / count:.2f} {name}" for name, number in sorted(found.items())) or "nothing"


def run(options: argparse.Namespace) -> None:
    with open_stand() as stand:
        gate = stand.stack.enter_context(running_gate(_KIND, stand.stores, stand.stub_port))
        rows = []
        for at, same_text in enumerate((False, True), 1):
            ask(gate.port, _WARM_UP_COUNT, at * 1_000_000, same_text=same_text)
            monitor = Monitor(stand.stores.redis_port)
            fetch_calls(stand.stub_port)
            spans = ask(gate.port, options.queries, at * 1_000_000 + _WARM_UP_COUNT, same_text=same_text)
            calls = fetch_calls(stand.stub_port)
            found = counted(spans, monitor.heard(), list(zip(calls[1::4], calls[2::4], strict=True)))
            monitor.close()
            rows.append(["asked before" if same_text else "asked for the first time", *found])
        head = ["a query", "Redis, on the path", "BigQuery, on the path", "Redis, behind it"]
        print(table(head, rows, markdown=options.markdown))
        print("goal, asked before: 1.00 evalsha and 1.00 query on the path, nothing else")


if __name__ == "__main__":
    run(read_options(__doc__, sys.argv[1:], queries=50))
