"""Speak to Redis in bytes: hear which commands a store sends, and send so many of them as one processor takes.

Commands are heard by MONITOR, so that what is measured is what the store really sends, whatever its code looks like.
"""

import re
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import hiredis

_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)")
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
_RECEIVED_BYTES = 2**18


@dataclass(frozen=True)
class Heard:
    """A command that a client sent: when it came (seconds since 1970), and its words."""

    at_s: float
    words: tuple[bytes, ...]

    @property
    def name(self) -> str:
        return self.words[0].decode().lower()


class Monitor:
    """Hears what all clients send from now on; what scripts do inside is left out."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=1)
        self._connection.sendall(b"MONITOR\r\n")
        assert self._connection.recv(1024).startswith(b"+OK")

    def heard(self) -> list[Heard]:
        """What came since the last call; ends when nothing comes for a moment."""
        text = b""
        self._connection.settimeout(0.3)
        try:
            while chunk := self._connection.recv(_RECEIVED_BYTES):
                text += chunk
        except TimeoutError:
            pass
        lines = [line for line in text.split(b"\r\n") if line.startswith(b"+") and b" lua] " not in line]
        return [Heard(float(line[1 : line.find(b" ")]), _words(line)) for line in lines]

    def close(self) -> None:
        self._connection.close()


def _words(line: bytes) -> tuple[bytes, ...]:
    return tuple(_ESCAPE.sub(_unescaped, word) for word in _ARGUMENT.findall(line.partition(b"] ")[2]))


def _unescaped(match: re.Match[bytes]) -> bytes:
    found = match[1]
    return bytes([int(found[1:], 16)]) if len(found) == 3 else _NAMED.get(found, found)


def packed(words: Iterable[bytes]) -> bytes:
    """A command as it goes over the wire."""
    listed = list(words)
    return b"*%d\r\n" % len(listed) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in listed)


class Pump:
    """Sends commands over one connection, so many at a time."""

    def __init__(self, port: int, in_flight: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._in_flight = in_flight
        self._reader = hiredis.Reader()

    def send(self, commands: Sequence[bytes]) -> float:
        """Send all and hear all answers; the seconds that it took."""
        began_s = time.perf_counter()
        for start in range(0, len(commands), self._in_flight):
            batch = commands[start : start + self._in_flight]
            self._connection.sendall(b"".join(batch))
            missing = len(batch)
            while missing:
                self._reader.feed(self._connection.recv(_RECEIVED_BYTES))
                while (answer := self._reader.gets()) is not False:
                    assert not isinstance(answer, hiredis.ReplyError), answer
                    missing -= 1
        return time.perf_counter() - began_s

    def close(self) -> None:
        self._connection.close()
