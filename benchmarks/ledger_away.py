"""Measure whether queries feel the ledger: its PostgreSQL undisturbed, slowed by 100 ms a statement, and away.

    python benchmarks/ledger_away.py --rounds 5 --seconds 4 [--connections 1,8]

A TCP proxy stands between one gate and PostgreSQL. In each round the three come in turns, and the gate has a moment
after each to write what waits. At the end all that was answered must be booked.
"""

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

import psycopg

from benchmarks.gated.figures import NONE, table, with_spread
from benchmarks.gated.gates import running_gate
from benchmarks.gated.rounds import Contender, Course, Round
from benchmarks.gated.stand import open_stand
from tests.support.tcp_fault_proxy import TcpFaultProxy

_KIND = "redis+postgres"
_DELAY_S = 0.1
_WARM_UP_S = 2.0
_CALM_S = 2.0
_BOOKED_WITHIN_S = 120


class Disturber:
    """The proxy, in a thread of its own."""

    def __init__(self, proxy: TcpFaultProxy, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._proxy = proxy
        self._run = run

    def undisturbed(self) -> None:
        self._run(self._proxy.heal())

    def slowed(self) -> None:
        self._run(self._slow())

    def away(self) -> None:
        self._run(self._refuse())

    async def _slow(self) -> None:
        self._proxy.answers.delay(_DELAY_S)

    async def _refuse(self) -> None:
        self._proxy.refuse()


@contextmanager
def disturbed(ledger_url: str) -> Iterator[tuple[Disturber, str]]:
    """What disturbs, and the ledger's URL through it."""
    database, _, socket_folder = ledger_url.partition("?host=")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    proxy = TcpFaultProxy.before_socket(Path(socket_folder) / ".s.PGSQL.5432")
    run(proxy.__aenter__())
    try:
        yield Disturber(proxy, run), database.replace("@/", f"@127.0.0.1:{proxy.port}/")
    finally:
        run(proxy.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def measure(
    course: Course, gate: Contender, disturber: Disturber, options: argparse.Namespace, connections: int
) -> dict[str, list[Round]]:
    """All rounds at so many connections."""
    states = {"undisturbed": disturber.undisturbed, "slowed": disturber.slowed, "away": disturber.away}
    rounds: dict[str, list[Round]] = {state: [] for state in states}
    for _ in range(options.rounds):
        for state, disturb in states.items():
            disturber.undisturbed()
            time.sleep(_CALM_S)  # noqa: TID251 - what waited is written meanwhile
            disturb()
            done = course.run(gate, connections=connections, seconds=options.seconds, may_fail=True)
            rounds[state].append(done)
            print(f"  {state}: {done.rate:,.0f}/s, p50 {done.p50_ms:.2f} ms, {done.fault_count} refused", flush=True)
    disturber.undisturbed()
    return rounds


def report(rounds: dict[str, list[Round]], *, markdown: bool) -> str:
    """A row for each state of the ledger; ratios are of rounds that followed one another."""
    calm = rounds["undisturbed"]
    rows = []
    for state, done in rounds.items():
        ratios = [each.p50_ms / beside.p50_ms for each, beside in zip(done, calm, strict=True)]
        rows.append(
            [
                state,
                with_spread([each.p50_ms for each in done], 2),
                NONE if done is calm else with_spread(ratios, 2),
                with_spread([each.p99_ms for each in done], 1),
                with_spread([each.rate for each in done], 0),
                f"{sum(each.fault_count for each in done)}",
            ]
        )
    return table(["ledger", "p50 ms", "of undisturbed", "p99 ms", "queries/s", "refused"], rows, markdown=markdown)


def wait_until_booked(ledger_url: str, count: int) -> None:
    """Compare what was answered with what is booked, once all is written."""
    deadline_s, booked = time.perf_counter() + _BOOKED_WITHIN_S, -1
    while booked < count and time.perf_counter() < deadline_s:
        time.sleep(0.5)  # noqa: TID251 - the gate writes behind its answers
        with psycopg.connect(ledger_url) as connection:
            row = connection.execute("SELECT count(*) FROM entries WHERE kind = 'charge'").fetchone()
            booked = 0 if row is None else row[0]
    print(f"answered {count:,}, booked {booked:,}{'' if booked == count else ': NOT the same'}")


def run(options: argparse.Namespace) -> None:
    with open_stand() as stand:
        ledger_url = stand.stores.ledger_url(_KIND)
        disturber, disturbed_url = stand.stack.enter_context(disturbed(ledger_url))
        gate = stand.stack.enter_context(running_gate(_KIND, stand.stores, stand.stub_port, ledger_url=disturbed_url))
        contender, course = Contender(_KIND, gate.port, gate.process.pid), Course(stand.stub_port, stand.folder)
        for connections in options.connections:
            print(f"{connections} connections", flush=True)
            course.warm(contender, connections=connections, seconds=_WARM_UP_S)
            print(report(measure(course, contender, disturber, options, connections), markdown=options.markdown))
        print("goal: 0.90 to 1.10 of undisturbed, nothing refused", flush=True)
        wait_until_booked(ledger_url, course.answer_count)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=lambda text: [int(each) for each in text.split(",")], default=[1, 8])
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(parse(sys.argv[1:]))
