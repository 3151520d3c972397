"""Start a gate's workers, start another in the place of one that ends, and stop them all together.

Run by `bqgate serve` in the process that the user started. The first worker is started alone: what would keep all of
them from serving is said once. Until all have come up, the end of one is the end of the gate, with its status. Then the
ports are opened, and a worker that ends by itself, or that hangs, is replaced: at once, or after a pause that doubles
where it lived shortly. Only where that happens and no other one is up does the gate end, so that its supervisor learns.

SIGTERM and SIGINT are passed to all workers, and so is SIGHUP. A worker that replaces another gets a SIGHUP of its own:
it was forked with the settings of the start, and takes over what has changed since, as the others did.
"""

import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from bqgate.ports import Clock, Telemetry
from bqgate.workers.handing_out import accept
from bqgate.workers.process import WorkerProcess
from bqgate.workers.seats import Seat
from bqgate.workers.worker import Worker

TICK_S = 1.0
# What a worker does holds its event loop for moments; one that has not beaten for so many ticks hangs, and is ended.
# In ticks, so that nobody is at fault where the supervisor stood still too.
HUNG_TICKS = 60
_BACKLOG = 1_024
_BUG = 1  # Python's own status after a traceback

Work = Callable[[Worker], int]


class Supervisor:
    """The workers of one gate. `run` once, in a process without threads."""

    def __init__(
        self,
        seats: Sequence[Seat],
        own: Seat,
        ports: Sequence[Sequence[socket.socket]],
        work: Work,
        *,
        clock: Clock,
        telemetry: Telemetry,
        on_open: Callable[[], None],
    ) -> None:
        """Supervise a worker for each seat.

        Args:
            seats: where the workers say how they are.
            own: this process's.
            ports: for each port the sockets that are bound for it.
            work: what a worker does; returns its exit status.
            clock: paces replacements.
            telemetry: is told who ended, and why.
            on_open: is called when all have come up and the ports are open.
        """
        self._own = own
        self._listeners = [(listener, port) for port, listeners in enumerate(ports) for listener in listeners]
        self._addresses = [_address_of(listeners[0]) for listeners in ports]
        self._work = work
        self._clock = clock
        self._telemetry = telemetry
        self._on_open = on_open
        self._workers = [WorkerProcess(number, seat, clock) for number, seat in enumerate(seats)]
        self._selector = selectors.DefaultSelector()
        self._hears, self._says = socket.socketpair()
        self._is_open = False
        self._is_stopping = False
        self._accepts = False
        self._rests_until_s = 0.0
        self._next_tick_s = 0.0
        self._status = 0

    def run(self) -> int:
        """Serve until told to stop; 0 then, else how the worker ended that ended the gate (below 0: by a signal)."""
        for worker in self._workers:
            self._telemetry.count("worker_restarts_total", 0, worker=str(worker.number))
        self._listen_to_signals()
        self._start(self._workers[0])
        while any(worker.pid or worker.begins_at_s is not None for worker in self._workers):
            for key, _ in self._selector.select(self._rest_s()):
                key.data()
            self._replace()
            self._look_for_hung()
            self._accept_or_rest()
        return self._status

    def _listen_to_signals(self) -> None:
        """Have signals come as bytes, one by one, so that nothing is done in the middle of something else."""
        for end in (self._hears, self._says):
            end.setblocking(False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, _do_nothing)
        signal.set_wakeup_fd(self._says.fileno())
        self._selector.register(self._hears, selectors.EVENT_READ, self._hear_signals)

    def _hear_signals(self) -> None:
        for number in self._hears.recv(64):
            if number == signal.SIGCHLD:
                self._bury()
            elif number == signal.SIGHUP:
                self._signal_all(signal.SIGHUP)
            else:
                self._stop()

    def _start(self, worker: WorkerProcess) -> None:
        # Held back until the child no longer hears them as if it were this process.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD))
        worker.start(partial(self._become, worker.number))
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        assert worker.channel is not None, "it has started"
        self._selector.register(worker.channel, selectors.EVENT_READ, partial(self._hear, worker))

    def _become(self, number: int, channel: socket.socket) -> NoReturn:
        """Go on as a worker, with nothing of the supervisor's left open."""
        status = _BUG
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can take settings over
            for each in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            self._selector.close()
            for end in (self._hears, self._says, *(listener for listener, _ in self._listeners)):
                end.close()
            for worker in self._workers:
                if worker.channel is not None:
                    worker.channel.close()
            # Not SIGINT: a terminal's Ctrl-C goes to every process, and the supervisor tells the others.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD))
            seats = [worker.seat for worker in self._workers]
            status = self._work(Worker(number, seats, self._own, channel, self._addresses))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            raise
        finally:
            os._exit(status)  # whatever happens, nothing goes on here as the supervisor

    def _hear(self, worker: WorkerProcess) -> None:
        """A worker says that it has come up, or that it takes no connections any more."""
        if not worker.hear():
            self._close_channel(worker)
            return
        if self._is_stopping:
            return
        if self._is_open:
            worker.send_signal(signal.SIGHUP)
            self._telemetry.log("worker_replaced", worker=worker.number, pid=worker.pid)
            return
        for other in self._workers:
            if not other.pid:
                self._start(other)
        if all(each.has_come_up for each in self._workers):
            self._open()

    def _open(self) -> None:
        for listener, _ in self._listeners:
            listener.setblocking(False)
            listener.listen(_BACKLOG)
        self._is_open = True
        self._on_open()

    def _bury(self) -> None:
        """See to each worker that has ended."""
        for worker in self._workers:
            status = worker.fetch_end()
            if status is None:
                continue
            self._close_channel(worker)
            if not self._is_stopping:
                self._mourn(worker, status)

    def _mourn(self, worker: WorkerProcess, status: int) -> None:
        """Replace a worker that ended by itself, or end the gate."""
        pause_s = worker.pause_s()
        if not self._is_open or (pause_s and not any(other.pid and other.has_come_up for other in self._workers)):
            self._status = status
            self._stop()
            return
        how = f"signal {-status}" if status < 0 else f"status {status}"
        self._telemetry.count("worker_restarts_total", worker=str(worker.number))
        self._telemetry.log("worker_ended", worker=worker.number, replaced_in_s=pause_s, error=how)
        worker.begins_at_s = self._clock.monotonic_s() + pause_s

    def _replace(self) -> None:
        for worker in self._workers:
            if worker.begins_at_s is not None and worker.begins_at_s <= self._clock.monotonic_s():
                self._start(worker)

    def _look_for_hung(self) -> None:
        if self._clock.monotonic_s() < self._next_tick_s:
            return
        self._next_tick_s = self._clock.monotonic_s() + TICK_S
        for worker in self._workers:
            if worker.silent_ticks() == HUNG_TICKS:
                self._telemetry.log("worker_hangs", worker=worker.number, pid=worker.pid, error="it is ended")
                worker.send_signal(signal.SIGKILL)

    def _accept_or_rest(self) -> None:
        """Listen at the ports while somebody takes connections; in between, callers wait in the kernel's queue."""
        takes = any(worker.channel is not None and worker.has_come_up for worker in self._workers)
        accepts = self._is_open and takes and self._clock.monotonic_s() >= self._rests_until_s
        if accepts and not self._accepts:
            for listener, port in self._listeners:
                self._selector.register(listener, selectors.EVENT_READ, partial(self._accept, listener, port))
        elif self._accepts and not accepts:
            for listener, _ in self._listeners:
                self._selector.unregister(listener)
        self._accepts = accepts
        if self._is_stopping and not takes:
            for listener, _ in self._listeners:
                listener.close()

    def _accept(self, listener: socket.socket, port: int) -> None:
        try:
            accept(listener, port, self._workers)
        except OSError as error:  # too many open files, or no memory
            self._telemetry.log("connection_not_accepted", error=error.strerror)
            self._rests_until_s = self._clock.monotonic_s() + TICK_S

    def _stop(self) -> None:
        """Tell all to stop; told a second time, they do not wait for load balancers."""
        self._is_stopping = True
        for worker in self._workers:
            worker.begins_at_s = None
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        for worker in self._workers:
            worker.send_signal(number)

    def _close_channel(self, worker: WorkerProcess) -> None:
        if worker.channel is not None:
            self._selector.unregister(worker.channel)
            worker.channel.close()
            worker.channel = None

    def _rest_s(self) -> float:
        """How long to wait for something to happen."""
        now_s = self._clock.monotonic_s()
        begins_s = [worker.begins_at_s - now_s for worker in self._workers if worker.begins_at_s is not None]
        return max(0.0, min(TICK_S, *begins_s)) if begins_s else TICK_S


def _address_of(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return str(host), int(port)


def _do_nothing(_number: int, _frame: object) -> None:
    """Let the byte that tells of a signal be written."""
