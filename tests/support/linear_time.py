"""Measure whether work on a text takes time by its length, and not by the square of it."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Quadratic work on four times as many characters takes from a second to minutes, linear work some milliseconds.
SIZE = 10_000
# Of this thread's processor time, which others on the machine do not lengthen by much.
BOUND_S = 0.2
# Below this a ratio says nothing.
_CLEAR_S = 0.02
# Four times the text: 4 where it is linear, 16 where it is quadratic.
_GROWTH_MAX = 10.0
_TRIES = 3


def fault_in(work: Callable[[str | bytes], object], text_of: Callable[[int], str | bytes]) -> str | None:
    """What is wrong with the time that `work` takes on texts of SIZE, twice and four times as many characters."""
    taken_s: list[float] = []
    for factor in (1, 2, 4):
        taken_s.append(_best(work, text_of(SIZE * factor)))
        if taken_s[-1] > BOUND_S * factor:
            return f"{taken_s[-1]:.2f} s for {SIZE * factor} characters"
    if taken_s[-1] > _CLEAR_S and taken_s[-1] > _GROWTH_MAX * max(taken_s[0], _CLEAR_S / 4):
        return f"{taken_s[0] * 1000:.1f} ms became {taken_s[-1] * 1000:.1f} ms with four times the text"
    return None


def is_slow(work: Callable[[str | bytes], object], text: str | bytes) -> bool:
    """Whether one text of about SIZE characters takes longer than linear work can."""
    return _best(work, text) > BOUND_S / 4


def _best(work: Callable[[str | bytes], object], text: str | bytes) -> float:
    best = float("inf")
    with _uncollected():
        for _ in range(_TRIES):
            begun = time.thread_time()
            work(text)
            best = min(best, time.thread_time() - begun)
            if best < _CLEAR_S / 4 or best > 5 * BOUND_S:
                break
    return best


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector, which goes through what all other tests have left: seconds, late in a suite."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
