import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from bqgate.workers.handing_out import accept, hand_out


@dataclass
class ListTaker:
    """A worker that keeps what it is given."""

    load: int = 0
    is_up: bool = True
    last_given_s: float = 0.0
    has_room: bool = True
    given: list[int] = field(default_factory=list)

    def give(self, connection: socket.socket, port: int) -> bool:
        if not self.has_room:
            return False
        self.given.append(port)
        self.load += 1
        return True


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket() as one:
        yield one


def test_who_has_fewest_gets_the_next_connection(connection: socket.socket) -> None:
    """Also where others have had their turn longer ago."""
    few, many = ListTaker(load=1, last_given_s=9.0), ListTaker(load=2)
    hand_out(connection, 0, [many, few])
    assert (few.given, many.given) == ([0], [])


def test_those_with_as_many_take_turns(connection: socket.socket) -> None:
    """Who was given one longest ago is next."""
    recent, long_ago = ListTaker(last_given_s=2.0), ListTaker(last_given_s=1.0)
    hand_out(connection, 0, [recent, long_ago])
    assert (recent.given, long_ago.given) == ([], [0])


def test_who_is_silent_or_has_no_room_gets_none_while_another_takes_it(connection: socket.socket) -> None:
    """However few connections it has; where all are silent, one of them gets it."""
    silent, full, busy = ListTaker(is_up=False), ListTaker(has_room=False), ListTaker(load=100)
    hand_out(connection, 1, [silent, full, busy])
    assert (silent.given, full.given, busy.given) == ([], [], [1])
    hand_out(connection, 1, [silent, full])
    assert silent.given == [1]


def test_what_waits_at_a_port_is_dealt_out() -> None:
    """Eight connections are four for each of two, and the supervisor keeps none."""
    takers = [ListTaker(), ListTaker()]
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        callers = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(8)]
        listener.setblocking(False)
        accept(listener, 0, takers)
        assert [len(taker.given) for taker in takers] == [4, 4]
        for caller in callers:
            caller.settimeout(5)
            assert caller.recv(1) == b""
