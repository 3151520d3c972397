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
# Four times the text: 4 where it is linear, 16 where it is quadratic. What one round shows to be linear needs no other.
_GROWTH_MAX = 10.0
_GROWTH_CLEAR = 6.0
_TRIES = 3


def fault_in(work: Callable[[str | bytes], object], text_of: Callable[[int], str | bytes]) -> str | None:
    """What is wrong with the time that `work` takes on texts of SIZE, twice and four times as many characters.

    They are tried in turns, so that a moment in which the machine is slow meets all of them and not all tries of one.
    """
    best_s = dict.fromkeys((1, 2, 4), float("inf"))
    texts = {factor: text_of(SIZE * factor) for factor in best_s}
    for _ in range(_TRIES):
        for factor, text in texts.items():
            if best_s[factor] >= _CLEAR_S / 4:
                best_s[factor] = min(best_s[factor], _taken(work, text))
            if best_s[factor] > 5 * BOUND_S:
                return f"{best_s[factor]:.2f} s for {SIZE * factor} characters"
        if all(taken_s <= BOUND_S * factor for factor, taken_s in best_s.items()) and (
            best_s[4] <= max(_CLEAR_S, _GROWTH_CLEAR * best_s[1])
        ):
            return None
    for factor, taken_s in best_s.items():
        if taken_s > BOUND_S * factor:
            return f"{taken_s:.2f} s for {SIZE * factor} characters"
    if best_s[4] > _CLEAR_S and best_s[4] > _GROWTH_MAX * max(best_s[1], _CLEAR_S / 4):
        return f"{best_s[1] * 1000:.1f} ms became {best_s[4] * 1000:.1f} ms with four times the text"
    return None


def is_slow(work: Callable[[str | bytes], object], text: str | bytes) -> bool:
    """Whether one text of about SIZE characters takes longer than linear work can, each time that it is tried."""
    return all(_taken(work, text) > BOUND_S / 4 for _ in range(_TRIES))


def _taken(work: Callable[[str | bytes], object], text: str | bytes) -> float:
    with _uncollected():
        begun = time.thread_time()
        work(text)
        return time.thread_time() - begun


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
