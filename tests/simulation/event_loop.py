"""An asyncio event loop without sockets or threads, on which one seed replays one run exactly.

Time is virtual: it stands still while anything can go on, and jumps to the next timer. Which of the tasks that can go
on goes first is drawn from the seed; callbacks that are no tasks keep their order, as asyncio promises. Tasks hash by
their number, so that no set of tasks is walked in the order of addresses.

Tasks belong to the process that started them (`PROCESS`, inherited by context). A process can be stopped for a while,
or end: its tasks vanish, and whatever their `finally` blocks still say is said to nobody (see network.py).
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVarTuple

Ts = TypeVarTuple("Ts")

MACHINE_PRECISION_S = 1e-9


@dataclass(eq=False)
class Process:
    """What can crash: the tasks that belong to it."""

    name: str
    is_dead: bool = False
    stopped_until_s: float = 0.0
    tasks: list["SimulatedTask"] = field(default_factory=list)
    kept_back: list[asyncio.Handle] = field(default_factory=list)

    def end(self) -> None:
        """Crash: nothing is closed. Tasks that its `finally` blocks start later end at their first step."""
        self.is_dead = True
        self.stopped_until_s = 0.0
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)
# What happens outside of every process: on the wire, and at the servers.
OUTSIDE = Context()


class StandsStill(Exception):
    """Nothing can go on and no timer runs: somebody waits for what never comes."""


class SimulatedTask(asyncio.Task[Any]):
    """A task with a number."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop of one run. `failures` are what asyncio's exception handler was told by living processes."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._now_s = 0.0
        self._clock_resolution = MACHINE_PRECISION_S
        self._random = random.random
        self._runnable: list[asyncio.Handle] = []
        self._ready = self._runnable  # asyncio appends to it, and takes nothing from it but in _run_once
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0
        self._task_count = 0
        self._is_anybody_stopped = False
        self.failures: list[str] = []
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # typeshed has no word for `context`
        self.set_exception_handler(self._note_failure)

    def time(self) -> float:
        return self._now_s

    # Without asyncio's checks of threads and of debugging: these three are most of what a run does.

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._runnable.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._timer_count += 1
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, self._timer_count, timer))
        return timer

    async def pass_time(self, delay_s: float) -> None:
        """Return that much later."""
        over: asyncio.Future[None] = self.create_future()
        timer = self.call_later(max(delay_s, 0.0), _settle, over)
        try:
            await over
        finally:
            timer.cancel()

    def stop_process(self, process: Process, for_s: float) -> None:
        """Let none of a process's tasks go on for a while, as when its machine is stopped."""
        process.stopped_until_s = self._now_s + for_s
        self._is_anybody_stopped = True
        self.call_later(for_s, self.let_go_on, process, context=OUTSIDE)

    def let_go_on(self, process: Process) -> None:
        """Let the tasks of a process go on that was stopped, or has ended meanwhile."""
        if process.stopped_until_s <= self._now_s:
            self._runnable += process.kept_back
            process.kept_back.clear()

    def _make_task(
        self, _loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> SimulatedTask:
        self._task_count += 1
        task = SimulatedTask(self._task_count, coro, loop=self, context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            if process.is_dead:
                task.cancel()
            else:
                process.tasks.append(task)
                if len(process.tasks) > 64:
                    process.tasks = [each for each in process.tasks if not each.done()]
        return task

    def _note_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"{context['message']}: {context.get('exception')!r}")

    def _run_once(self) -> None:
        """Run what can go on, one at a time, in an order that is drawn; with nothing to run, let time pass."""
        runnable = self._runnable
        if not runnable and not self._stopping:  # type: ignore[attr-defined]  # set by stop()
            self._let_time_pass()
        for _ in range(len(runnable)):
            handle = self._draw()
            if handle._cancelled:
                continue
            if self._is_anybody_stopped and self._is_kept_back(handle):
                continue
            handle._run()

    def _let_time_pass(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise StandsStill("everybody waits for somebody else")
        self._now_s = max(self._now_s, timers[0][0])
        end_s = self._now_s + MACHINE_PRECISION_S
        while timers and timers[0][0] < end_s:
            _, _, timer = heapq.heappop(timers)
            if not timer._cancelled:
                self._runnable.append(timer)

    def _draw(self) -> asyncio.Handle:
        runnable = self._runnable
        if len(runnable) == 1:
            return runnable.pop()
        place = int(self._random() * len(runnable))
        if not _is_step(runnable[place]):  # the first of those that are no tasks, then
            place = next(number for number, handle in enumerate(runnable) if not _is_step(handle))
        return runnable.pop(place)

    def _is_kept_back(self, handle: asyncio.Handle) -> bool:
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]  # not in typeshed
        if process is None or process.stopped_until_s <= self._now_s:
            return False
        process.kept_back.append(handle)
        return True

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Timers that are cancelled are dropped when their time comes."""

    def _process_events(self, event_list: list[Any]) -> None:
        raise AssertionError(event_list)

    def _write_to_self(self) -> None:
        raise AssertionError("no threads here")


def _is_step(handle: asyncio.Handle) -> bool:
    callback = handle._callback  # type: ignore[attr-defined]  # not in typeshed
    return isinstance(getattr(callback, "__self__", None), SimulatedTask)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
