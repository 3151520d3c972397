"""Open the gate's ports, and explain in words why one cannot be opened.

Used by root for the data plane and the control plane, by `bqgate serve` for several workers, and by `bqgate doctor` to
check them. Raises CannotListen, with what to do about it.
"""

import asyncio
import errno
import os
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Protocol

from aiohttp import web

from bqgate.gate.http.connections import ConnectionLimits, Connections
from bqgate.gate.http.http_server import SERVER_OPTIONS
from bqgate.gate.http.server_log import ServerLog
from bqgate.gate.http.watched_connection import WatchedConnection
from bqgate.ports import Telemetry
from bqgate.settings.server_section import ServerSection
from bqgate.workers.worker import Factory, ServedPort, Worker

_BACKLOG = 1_024
_KINDS = 4  # of connections that wait: for a head, for a body, for an answer to be taken, and idle

_REMEDIES = {
    errno.EADDRINUSE: "End the program that listens there, or choose another port (0 takes a free one).",
    errno.EADDRNOTAVAIL: "It is no address of this machine: write 127.0.0.1, or 0.0.0.0 for every one.",
    errno.EACCES: "Ports below 1024 need a right of their own: choose a higher one.",
}
_UNKNOWN_NAME = "Write an address of this machine: 127.0.0.1, or 0.0.0.0 for every one."


class CannotListen(OSError):
    """A port cannot be opened; the message says which and why, `remedy` what to do. `errno` is the system's, if any."""

    def __init__(self, message: str, *, remedy: str, number: int | None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.errno = number


class Port(Protocol):
    """A port that connections come from: listened at here, or by the supervisor of several workers."""

    async def serve(self, factory: Factory, count_open: Callable[[], int]) -> ServedPort:
        """Begin.

        Raises:
            CannotListen: the port is taken, or the host is none to listen on.
        """


class OwnPort:
    """A port that this process listens at."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def serve(self, factory: Factory, _count_open: Callable[[], int]) -> ServedPort:
        """Open it.

        Raises:
            CannotListen: the port is taken, or the host is none to listen on.
        """
        with _named(self._host, self._port):
            listener = await asyncio.get_running_loop().create_server(factory, self._host, self._port, backlog=_BACKLOG)
        bound_host, bound_port = listener.sockets[0].getsockname()[:2]
        return ServedPort(bound_host, bound_port, listener.close)


class HandedPort:
    """A port whose connections the supervisor hands to this worker: the first that it listens at is number 0."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number

    async def serve(self, factory: Factory, count_open: Callable[[], int]) -> ServedPort:
        """Take its connections."""
        return self._worker.serve(self._number, factory, count_open)


async def open_port(
    app: web.Application,
    port: Port,
    tls: ssl.SSLContext | None,
    stack: AsyncExitStack,
    *,
    telemetry: Telemetry,
    connections: Connections,
    shutdown_s: float,
) -> str:
    """Serve an application until the stack ends; where it is reached. `connections` watches who connects.

    Raises:
        CannotListen: the port is taken, or the host is none to listen on.
    """
    connections.install(app)
    runner = web.AppRunner(app, shutdown_timeout=shutdown_s, logger=ServerLog(telemetry), **SERVER_OPTIONS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    http = runner.server
    assert http is not None, "the runner is set up"
    served = await port.serve(lambda: WatchedConnection(connections, http(), tls), lambda: connections.open_count)
    stack.callback(connections.close)
    stack.callback(served.close)
    return url_of(served.host, served.port, has_tls=tls is not None)


def url_of(host: str, port: int, *, has_tls: bool) -> str:
    """How callers reach a port."""
    return f"{'https' if has_tls else 'http'}://{_address(host, port)}"


def allow_open_files() -> None:
    """Let this process open as many files as the system lets it: the 1,024 of many systems are soon in use."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connection_limits(section: ServerSection) -> ConnectionLimits:
    """What the settings say for each port, within half of what this process may open: the other half is for queries."""
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ports = 1 if section.control_port is None else 2
    most = sys.maxsize if files_max == resource.RLIM_INFINITY else files_max // (2 * _KINDS * ports)
    return ConnectionLimits(
        head_timeout_s=section.head_timeout_s,
        heads_max=min(section.open_heads_max, most),
        heads_per_source=section.open_heads_per_address,
        bodies_max=min(section.open_bodies_max, most),
        idle_max=min(section.idle_connections_max, most),
    )


async def bind_port(host: str, port: int) -> list[socket.socket]:
    """The sockets of a port, one for each address of the host. They do not listen yet.

    Raises:
        CannotListen: as open_port.
    """
    with _named(host, port):
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    sockets = [each.dup() for each in server.sockets]
    server.close()
    await server.wait_closed()
    return sockets


async def try_port(host: str, port: int) -> None:
    """Open a port and close it again.

    Raises:
        CannotListen: as open_port.
    """
    for each in await bind_port(host, port):
        each.close()


@contextmanager
def _named(host: str, port: int) -> Iterator[None]:
    """Say of which port an error is. A name that is no name is refused by Python's own encoder of names."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        where = f"cannot listen at {_address(host, port)}"
        if number is None or number <= 0:  # getaddrinfo's numbers are of another kind
            raise CannotListen(f"{where}: there is no such name", remedy=_UNKNOWN_NAME, number=None) from error
        remedy = _REMEDIES.get(number, "Mend that, or choose another port.")
        raise CannotListen(f"{where}: {os.strerror(number)}", remedy=remedy, number=number) from error


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
