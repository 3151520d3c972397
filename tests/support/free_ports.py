"""Find a port for a server that is told its port before it listens, or that comes back at the port it had.

A port that the system gives and that is closed again may be the next one that it gives to any connection, of any
process. So these are from below what systems give by themselves (RFC 6335 begins that at 49152, Linux at 32768), and
each process has a hundred of its own: the UDP port of their first number, which stays open, tells all others.
"""

import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

# A cluster's nodes talk to one another at their port and 10,000, which is below 32768 too.
_FIRST, _LAST = 12_000, 21_999
_OWN_COUNT = 100


@cache
def _own_ports() -> tuple[socket.socket, Iterator[int]]:
    """The ports of this process, round and round, and what keeps them its own."""
    firsts = range(_FIRST, _LAST + 1, _OWN_COUNT)
    for first in random.sample(firsts, len(firsts)):
        mark = socket.socket(type=socket.SOCK_DGRAM)
        try:
            mark.bind(("127.0.0.1", first))
        except OSError:
            mark.close()
        else:
            return mark, itertools.cycle(range(first, first + _OWN_COUNT))
    raise AssertionError(f"other processes have all ports from {_FIRST} to {_LAST}")


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens, and which no other process gets from here."""
    _, ports = _own_ports()
    for port in itertools.islice(ports, _OWN_COUNT):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("all ports of this process are taken")
