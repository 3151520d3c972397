"""Open the gate's ports, and explain in words why one cannot be opened.

Used by root for the data plane and the control plane, and by `bqgate doctor` to check them. Raises CannotListen, with
what to do about it.
"""

import asyncio
import errno
import os
import resource
import ssl
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress

from aiohttp import web

from bqgate.gate.http.connections import ConnectionLimits, Connections
from bqgate.gate.http.http_server import SERVER_OPTIONS
from bqgate.gate.http.server_log import ServerLog
from bqgate.gate.http.watched_connection import WatchedConnection
from bqgate.ports import Telemetry
from bqgate.settings.server_section import ServerSection

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


async def open_port(
    app: web.Application,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    stack: AsyncExitStack,
    *,
    telemetry: Telemetry,
    connections: Connections,
    reuse_port: bool,
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
    with _named(host, port):
        listener = await asyncio.get_running_loop().create_server(
            lambda: WatchedConnection(connections, http(), tls), host, port, reuse_port=reuse_port, backlog=_BACKLOG
        )
    stack.callback(connections.close)
    stack.callback(listener.close)
    bound_host, bound_port = listener.sockets[0].getsockname()[:2]
    return (
        f"http://{_address(bound_host, bound_port)}" if tls is None else f"https://{_address(bound_host, bound_port)}"
    )


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


async def try_port(host: str, port: int, *, reuse_port: bool) -> None:
    """Open a port and close it again.

    Raises:
        CannotListen: as open_port.
    """
    with _named(host, port):
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, host, port, reuse_port=reuse_port, start_serving=False
        )
    server.close()
    await server.wait_closed()


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
