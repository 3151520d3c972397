"""Be one of a gate's workers: take connections from the supervisor, and tell that this process lives.

Made by the supervisor in the forked process, handed to app. When the supervisor is gone, the worker stops in order, as
if it had been told to.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bqgate.ports import Clock
from bqgate.workers.seats import BEAT_S, Seat

LISTENING = b"L"
# Connections taken in one turn of the event loop.
_TAKEN_AT_ONCE = 16

Factory = Callable[[], asyncio.BaseProtocol]


@dataclass(frozen=True, slots=True)
class ServedPort:
    """Where a port is reached, and what ends serving it."""

    host: str
    port: int
    close: Callable[[], None]


class Worker:
    """This process, as one of several."""

    def __init__(
        self,
        number: int,
        seats: Sequence[Seat],
        supervisor: Seat,
        channel: socket.socket,
        addresses: Sequence[tuple[str, int]],
    ) -> None:
        """Sit down.

        Args:
            number: which of the workers this is, from 0.
            seats: all workers'.
            supervisor: its seat.
            channel: to the supervisor.
            addresses: host and port of each port that the supervisor listens at.
        """
        self.number = number
        self.seats = seats
        self.own = seats[number]
        self.others = (*seats[:number], *seats[number + 1 :], supervisor)
        self._channel = channel
        self._channel.setblocking(False)
        self._addresses = addresses
        self._factories: dict[int, Factory] = {}
        self._count_open: list[Callable[[], int]] = []
        self._taken = 0
        self._has_begun = asyncio.Event()
        self._beginning: set[asyncio.Task[None]] = set()

    @property
    def are_all_up(self) -> bool:
        """Whether every worker answers callers."""
        return all(seat.is_up for seat in self.seats)

    def serve(self, port: int, factory: Factory, count_open: Callable[[], int]) -> ServedPort:
        """Take the connections of a port, by its number, from `begin` on.

        Args:
            port: which of the ports that the supervisor listens at.
            factory: makes the protocol of each connection.
            count_open: how many of them are open.
        """
        self._factories[port] = factory
        self._count_open.append(count_open)

        def close() -> None:
            del self._factories[port]
            if not self._factories:
                asyncio.get_running_loop().remove_reader(self._channel)
                self._channel.close()  # the supervisor gives connections to others

        return ServedPort(*self._addresses[port], close)

    def begin(self) -> None:
        """Have the supervisor send connections: all ports are served, and signals are heard."""
        asyncio.get_running_loop().add_reader(self._channel, self._take)
        self.own.beat()
        self._has_begun.set()
        self._channel.send(LISTENING)

    async def run(self, clock: Clock, publish: Callable[[], None]) -> None:
        """Beat for ever, once it has begun. `publish` writes the gauges down."""
        await self._has_begun.wait()
        while True:
            publish()
            self._say_load()
            self.own.beat()
            await clock.sleep(BEAT_S)

    def _say_load(self) -> None:
        self.own.say(taken=self._taken, is_open=sum(count() for count in self._count_open))

    def _take(self) -> None:
        """Begin with the connections that the supervisor has sent."""
        for _ in range(_TAKEN_AT_ONCE):
            try:
                port, handles, _, _ = socket.recv_fds(self._channel, 1, 1)
            except BlockingIOError:
                break
            except OSError:
                port, handles = b"", []
            if not port:
                self._stop()
                return
            self._taken += 1
            for handle in handles:
                self._begin(port[0], socket.socket(fileno=handle))
        self._say_load()

    def _begin(self, port: int, connection: socket.socket) -> None:
        factory = self._factories.get(port)
        if factory is None:
            connection.close()
            return
        beginning = asyncio.get_running_loop().create_task(_connect(factory, connection))
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)

    def _stop(self) -> None:
        """Nobody is there any more who would replace this worker, or tell it anything."""
        asyncio.get_running_loop().remove_reader(self._channel)
        os.kill(os.getpid(), signal.SIGTERM)


async def _connect(factory: Factory, connection: socket.socket) -> None:
    connection.setblocking(False)
    with suppress(OSError):  # it has left meanwhile
        await asyncio.get_running_loop().connect_accepted_socket(factory, connection)
