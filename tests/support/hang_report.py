"""Say of a test that hangs what its tasks wait for, as a section of its report.

pytest-timeout shows threads, and of an event loop's thread only that it waits. Loaded as a plugin by conftest.
"""

import asyncio
import gc
import threading
from collections.abc import Generator, Iterator
from typing import Any

import pytest

# So long before a test's time is up its tasks are looked at. Not before: whoever looks through all objects from another
# thread may break a tuple that is just being made, and with it the test.
LOOK_BEFORE_S = 10


class _Running:
    """The test that runs now, for the one thread that watches all: one for each would cost more than most tests do."""

    def __init__(self) -> None:
        self.item: pytest.Item | None = None

    def watch(self) -> None:
        """Look every second, for ever, and once at the tasks of a test whose time is nearly up."""
        pause = threading.Event()
        seen, for_s = None, 0
        while not pause.wait(1):
            for_s = for_s + 1 if self.item is seen else 0
            seen = self.item
            if seen is not None and for_s == round(_time_of_s(seen) - LOOK_BEFORE_S):
                _report(seen)


_running = _Running()


def pytest_sessionstart() -> None:
    """Watch from here on."""
    threading.Thread(target=_running.watch, daemon=True).start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Have a test watched while it runs."""
    _running.item = item
    try:
        return (yield)
    finally:
        _running.item = None


def _time_of_s(item: pytest.Item) -> float:
    """How long a test may take: by its mark, or by `timeout` in pyproject.toml."""
    marked = item.get_closest_marker("timeout")
    return float(marked.args[0] if marked is not None and marked.args else item.config.getini("timeout"))


def task_lines() -> Iterator[str]:
    """A line for each task of each loop that runs in this process, and one for each coroutine that it is in."""
    # By its type: asking any other object whether it is a loop may run code of its own.
    found = [each for each in gc.get_objects() if issubclass(type(each), asyncio.AbstractEventLoop)]
    loops = [loop for loop in found if loop.is_running()]
    for task in (task for loop in loops for task in asyncio.all_tasks(loop)):
        yield f"{task.get_name()}, cancelled {task.cancelling()} times:"
        yield from _coroutine_lines(task.get_coro())


def _report(item: pytest.Item) -> None:
    item.add_report_section("call", "tasks", "\n".join(task_lines()))


def _coroutine_lines(awaited: Any) -> Iterator[str]:
    while frame := getattr(awaited, "cr_frame", None):
        yield f"    {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        awaited = awaited.cr_await
    yield f"    {awaited!r}"
