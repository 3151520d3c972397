"""Keep one worker's process, as the supervisor sees it: its channel, how it lives, how often it lived shortly.

Used by supervisor.py; handing_out.py gives it connections.
"""

import os
import socket
from collections.abc import Callable
from typing import NoReturn

from bqgate.ports import Clock
from bqgate.workers.seats import Seat
from bqgate.workers.worker import LISTENING

# Who lives shorter is replaced after a pause, which doubles each time.
SHORT_LIFE_S = 10.0
PAUSE_S_MAX = 30.0


class WorkerProcess:
    """One worker, or the place of one."""

    def __init__(self, number: int, seat: Seat, clock: Clock) -> None:
        self.number = number
        self.seat = seat
        self.pid = 0  # 0: it does not run
        self.channel: socket.socket | None = None  # None: it takes no connections
        self.has_come_up = False  # its ports were served once
        self.last_given_s = 0.0
        self.begins_at_s: float | None = None  # when another is started in its place
        self._clock = clock
        self._began_at_s = 0.0
        self._given = 0
        self._short_lives = 0
        self._heard_beat_s = 0.0
        self._silent_ticks = 0

    @property
    def is_up(self) -> bool:
        """Whether it answers callers."""
        return self.seat.is_up

    @property
    def load(self) -> int:
        """How many connections it has, those on their way included."""
        return self.seat.open + self._given - self.seat.taken

    def start(self, become: Callable[[socket.socket], NoReturn]) -> None:
        """Fork. `become` is called in the worker with its end of the channel."""
        here, there = socket.socketpair()
        self.seat.clear()
        self.begins_at_s, self._began_at_s = None, self._clock.monotonic_s()
        self.has_come_up, self._given, self._silent_ticks = False, 0, 0
        self.pid = os.fork()
        if self.pid == 0:
            here.close()
            become(there)
        there.close()
        here.setblocking(False)
        self.channel = here

    def give(self, connection: socket.socket, port: int) -> bool:
        """Send it a connection. False: it takes none now."""
        if self.channel is None or not self.has_come_up:
            return False
        try:
            socket.send_fds(self.channel, [bytes([port])], [connection.fileno()])
        except OSError:  # there is no room, or nobody
            return False
        self._given += 1
        self.last_given_s = self._clock.monotonic_s()
        return True

    def hear(self) -> bool:
        """Read what it says. False: it takes no connections any more."""
        if self.channel is None:
            return False
        try:
            said = self.channel.recv(len(LISTENING))
        except BlockingIOError:
            return True
        except OSError:
            said = b""
        self.has_come_up = self.has_come_up or said == LISTENING
        return bool(said)

    def fetch_end(self) -> int | None:
        """How its process ended, once: its status, or the number of the signal below zero; None: it has not."""
        if not self.pid:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        self.pid = 0
        self.seat.clear()
        return os.waitstatus_to_exitcode(status)

    def pause_s(self) -> float:
        """How long to wait before another is started in the place of this one, which has ended."""
        if self.has_come_up and self._clock.monotonic_s() - self._began_at_s >= SHORT_LIFE_S:
            self._short_lives = 0
            return 0.0
        self._short_lives += 1
        return min(2.0 ** (self._short_lives - 1), PAUSE_S_MAX)

    def silent_ticks(self) -> int:
        """At how many looks in a row it had not beaten since the one before."""
        beat_at_s = self.seat.beat_at_s
        self._silent_ticks = self._silent_ticks + 1 if beat_at_s and beat_at_s == self._heard_beat_s else 0
        self._heard_beat_s = beat_at_s
        return self._silent_ticks

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.pid:
            os.kill(self.pid, number)
