"""Count what the event loop does for one query: function calls, tasks, callbacks, JSON texts.

    with counted_gate(folder, redis_url) as counted:
        work = counted.count()

The gate is whole and runs in a thread of its own, on asyncio's own loop, which is written in Python and so counted as
well; BigQuery is a stub in another process, and the caller another thread, so nothing of theirs is counted. Counts of
one program are nearly the same on every machine and under any load, where seconds are not: what differs is what timers
do meanwhile. Threads beside the loop's are not counted.
"""

import asyncio
import cProfile
import io
import socket
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

import yaml

from benchmarks.gated import floor, load
from benchmarks.gated.processes import serving
from bqgate.app import open_gate
from bqgate.settings import Settings, load_settings

_WARM_UP_COUNT = 40
_COUNT = 80
_ROUNDS = 2


@dataclass(frozen=True)
class Work:
    """What one query takes. `by_function` has the calls of each, by name and file."""

    calls: float
    tasks: float
    callbacks: float
    json_texts: float
    by_function: Mapping[str, float]

    @classmethod
    def of(cls, by_function: Mapping[str, float]) -> "Work":
        def named(*parts: str) -> float:
            return sum(count for name, count in by_function.items() if any(part in name for part in parts))

        return cls(
            calls=sum(by_function.values()),
            tasks=named("create_task asyncio/base_events.py"),
            callbacks=named("_run asyncio/events.py"),
            json_texts=named("encode json/encoder.py", "orjson.dumps"),
            by_function=by_function,
        )


class CountedServer:
    """A server whose loop runs in another thread, and how to ask it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.loop = loop
        self._port = port
        self._first = 0

    def count(self) -> Work:
        """What a query takes when each has a text of its own: the least of some rounds."""
        self._ask(_WARM_UP_COUNT)
        return min((self._round() for _ in range(_ROUNDS)), key=lambda work: work.calls)

    def count_beneath(self) -> Mapping[str, float]:
        """How many calls happen in each function and in all that it calls, for a query; to find what costs most."""
        self._ask(_WARM_UP_COUNT)
        beneath = Beneath()
        self._in_loop(lambda: sys.setprofile(beneath.note))
        try:
            self._ask(_COUNT)
        finally:
            self._in_loop(lambda: sys.setprofile(None))
        return {name: count / _COUNT for name, count in beneath.calls.items()}

    def _round(self) -> Work:
        profiler = cProfile.Profile()
        self._in_loop(profiler.enable)
        try:
            self._ask(_COUNT)
        finally:
            self._in_loop(profiler.disable)
        by_function = Counter[str]()
        for entry in profiler.getstats():
            by_function[_name(entry.code)] += entry.callcount
        return Work.of({name: count / _COUNT for name, count in by_function.items()})

    def _ask(self, count: int) -> None:
        source = load.Source(load.parse(["--port", str(self._port), "--first", str(self._first)]))
        source.begin(seconds=3600)
        self._first += count
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
            for _ in range(count):
                taken = source.take(0)
                assert taken is not None
                connection.sendall(taken[1])
                answer = b""
                while not load.is_whole(answer):
                    answer += connection.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                assert b'"%012d"' % taken[0] in answer, answer

    def _in_loop(self, work: Callable[[], object]) -> None:
        done = threading.Event()

        def call() -> None:
            work()
            done.set()

        self.loop.call_soon_threadsafe(call)
        assert done.wait(30)


class Beneath:
    """Adds up, as Python's profile function, the calls in each function and beneath it."""

    def __init__(self) -> None:
        self.calls = Counter[str]()
        self._open: list[tuple[CodeType, int]] = []
        self._count = 0

    def note(self, frame: FrameType, event: str, _argument: object) -> None:
        if event in {"call", "c_call"}:
            self._count += 1
        if event == "call":
            self._open.append((frame.f_code, self._count - 1))
        elif event == "return" and self._open:  # frames that were open before are not known
            code, before = self._open.pop()
            if all(code is not other for other, _ in self._open):  # one that calls itself counts once
                self.calls[_name(code)] += self._count - before


def _name(code: CodeType | str) -> str:
    """A function by its name and the end of its file's path; one that is not written in Python by its name."""
    if isinstance(code, str):
        return code
    return f"{code.co_name} {'/'.join(Path(code.co_filename).parts[-2:])}"


@contextmanager
def counted_gate(folder: Path, budgets_url: str = "memory://") -> Iterator[CountedServer]:
    """A gate over SQLite that waits long for its stores: the machine may be busy, and what counts is what it does."""
    with serving("stub_bigquery.py") as (_, bigquery_port):
        document = {
            "server": {"port": 0},
            "upstream": {"url": f"http://127.0.0.1:{bigquery_port}"},
            "budgets": {"url": budgets_url, "timeout_ms": 60_000},
            "ledger": {"url": f"sqlite:///{folder}/ledger.db", "timeout_ms": 60_000, "sync": "journal"},
            "pricing": {"model": "on_demand", "usd_per_tib": None},
            "tiers": {"standard": {"daily_usd": "100000", "monthly_usd": "1000000", "emergency_usd": "200000"}},
            "customers": {"bench": {"tier": "standard", "projects": ["bench-prod"], "mode": "enforce"}},
        }
        file = folder / "bqgate.yaml"
        file.write_text(yaml.safe_dump(document))
        with _in_thread(lambda: _gate(load_settings(file, {}))) as server:
            yield server


@contextmanager
def counted_floor(redis_port: int) -> Iterator[CountedServer]:
    """The least that a gate in Python does (benchmarks/gated/floor.py)."""
    with (
        serving("stub_bigquery.py") as (_, bigquery_port),
        _in_thread(lambda: floor.running(bigquery_port, redis_port)) as server,
    ):
        yield server


@asynccontextmanager
async def _gate(settings: Settings) -> AsyncIterator[int]:
    async with open_gate(settings, log_stream=io.StringIO()) as gate:
        yield int(gate.url.rpartition(":")[2])


@contextmanager
def _in_thread(open_server: Callable[[], AbstractAsyncContextManager[int]]) -> Iterator[CountedServer]:
    """What it opens, in a thread with a loop of asyncio's own."""
    started: Future[CountedServer] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        stops.append(stop)
        async with open_server() as port:
            started.set_result(CountedServer(asyncio.get_running_loop(), port))
            await stop.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(live())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    stops: list[asyncio.Event] = []
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    server = started.result(60)
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(stops[0].set)
        thread.join(60)
        assert not thread.is_alive(), "the counted server did not stop"
