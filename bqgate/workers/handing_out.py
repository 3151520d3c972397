"""Accept connections, and give each to the worker that has fewest.

Called by the supervisor. Left to the kernel, connections are dealt out by chance: of eight long-lived ones to two
workers one gets seven now and then, and one that hangs or starts anew gets its share all the same (docs/decisions.md).
Here every worker has as many as the others, and where none can take any, callers wait in the kernel's queue.
"""

import socket
from collections.abc import Iterable
from typing import Protocol

# Connections that are accepted before the supervisor looks at something else.
ACCEPTED_AT_ONCE = 32


class Taker(Protocol):
    """A worker that can be given connections."""

    @property
    def is_up(self) -> bool:
        """Whether it answers."""

    @property
    def load(self) -> int:
        """How many connections it has."""

    @property
    def last_given_s(self) -> float:
        """When it was given its last one."""

    def give(self, connection: socket.socket, port: int) -> bool:
        """Send it a connection. False: it takes none now."""


def accept(listener: socket.socket, port: int, takers: Iterable[Taker]) -> None:
    """Accept what waits at a port, and hand it out. The listener does not block.

    Raises:
        OSError: the system has no room for a connection now.
    """
    for _ in range(ACCEPTED_AT_ONCE):
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        with connection:  # the worker has a handle of its own
            hand_out(connection, port, takers)


def hand_out(connection: socket.socket, port: int, takers: Iterable[Taker]) -> None:
    """Give a connection to the worker that has fewest, in turns; to one that is silent only if all are."""
    order = sorted(takers, key=lambda taker: (not taker.is_up, taker.load, taker.last_given_s))
    any(taker.give(connection, port) for taker in order)
