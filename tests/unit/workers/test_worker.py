import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from bqgate.clock import SystemClock
from bqgate.workers.seats import make_seats
from bqgate.workers.worker import LISTENING, Worker
from tests.support.manual_clock import ManualClock


class Echo(asyncio.Protocol):
    """Says who called, and how often it was made."""

    open_count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Echo.open_count += 1
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(f"{transport.get_extra_info('peername')[0]}\n".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        Echo.open_count -= 1


@contextmanager
def supervised() -> Iterator[tuple[Worker, socket.socket]]:
    """A worker of two, and the supervisor's end of its channel."""
    clock = ManualClock()
    clock.advance(100)
    seats, supervisor = make_seats(2, clock)
    here, there = socket.socketpair()
    here.settimeout(5)
    with here, there:
        yield Worker(1, seats, supervisor, there, [("127.0.0.1", 8080), ("127.0.0.1", 8081)]), here


async def call(supervisor: socket.socket, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that comes by way of the supervisor."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        with listener.accept()[0] as connection:
            socket.send_fds(supervisor, [bytes([port])], [connection.fileno()])
    return reader, writer


async def test_a_worker_takes_what_it_is_handed_and_says_how_many_it_has() -> None:
    """The protocol sees who called; what is for a port that is not served is closed; closing the last one is told."""
    with supervised() as (worker, supervisor):
        served = worker.serve(0, Echo, lambda: Echo.open_count)
        assert (served.host, served.port) == ("127.0.0.1", 8080)
        worker.begin()
        assert supervisor.recv(1) == LISTENING
        reader, writer = await call(supervisor, 0)
        assert await reader.readline() == b"127.0.0.1\n"
        stray, other = await call(supervisor, 1)
        assert await stray.read() == b""
        assert (worker.own.taken, worker.own.open) == (2, 1)
        for each in (writer, other):
            each.close()
        served.close()
        assert supervisor.recv(1) == b""


async def test_a_worker_beats_from_when_it_listens() -> None:
    """Until then it is not up, however long its start takes; its gauges come with every beat."""
    with supervised() as (worker, _):
        published: list[bool] = []
        served = worker.serve(0, Echo, lambda: 0)
        beating = asyncio.create_task(worker.run(SystemClock(), lambda: published.append(worker.own.is_up)))
        await SystemClock().sleep(0)
        was_up = worker.own.is_up
        worker.begin()
        await SystemClock().sleep(0)
        assert (was_up, published) == (False, [True])
        assert not worker.are_all_up  # the other one has not begun
        served.close()
        beating.cancel()


async def test_a_worker_without_a_supervisor_stops_as_if_it_was_told_to() -> None:
    """By SIGTERM, once."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    with supervised() as (worker, supervisor):
        served = worker.serve(0, Echo, lambda: 0)
        worker.begin()
        supervisor.close()
        await asyncio.wait_for(stopped.wait(), 5)
        served.close()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
