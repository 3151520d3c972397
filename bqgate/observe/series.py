"""Keep the numbers behind metrics where all workers of a gate can read them, and where they outlive a worker.

Made by whoever forks the workers (one SeriesMemory a gate), or by metrics.py for a process that is alone; written by
instruments.py. The memory is anonymous and shared: no file, no name, gone with the last process that has it. Each
process writes in a part of its own and reads those of the others, so nobody is asked for anything at a scrape. The
worker that replaces a dead one goes on in the dead one's part: no sum goes back, which Prometheus would take for a
restart from zero.

A part is a row of words of 8 bytes: how many are in use, then the series, one behind the other: how many bytes of name,
how many cells, the name, the cells. A series never moves and is never taken away; metrics.py bounds how many there are.
What has no room any more is counted where no other process sees it.
"""

import json
import mmap
from collections.abc import Iterator
from threading import Lock
from typing import Protocol, TypeAlias

# Untouched pages cost nothing. Room for some 300,000 series; a customer has about ten.
PART_BYTES = 32 * 1024 * 1024
_WORD_BYTES = 8
_USED = 0
_FIRST = 1

# A metric's name without prefix, then the values of its labels.
SeriesName = tuple[str, ...]
# float64s in the memory.
Cells: TypeAlias = "memoryview[float]"


class SeriesMemory:
    """Room for the series of several processes. Processes that are forked later share it."""

    def __init__(self, parts: int = 1, *, part_bytes: int = PART_BYTES) -> None:
        self._part_bytes = part_bytes
        self._memory = memoryview(mmap.mmap(-1, parts * part_bytes))

    def part(self, number: int) -> memoryview:
        """The bytes of one process."""
        return self._memory[number * self._part_bytes : (number + 1) * self._part_bytes]


class SeriesTable:
    """The series in one part. One process adds to it; any may read."""

    def __init__(self, part: memoryview) -> None:
        """Find what is there."""
        self._bytes = part
        self._words = part.cast("q")
        self._cells: Cells = part.cast("d")
        self._series: dict[SeriesName, Cells] = {}
        self._read_to = _FIRST
        self._lock = Lock()

    def cells(self, name: SeriesName, count: int) -> Cells:
        """The `count` cells of a series, as float64; zeros where it is new."""
        with self._lock:
            self._catch_up()
            if name not in self._series:
                self._series[name] = self._add(name, count)
            return self._series[name]

    def items(self) -> Iterator[tuple[SeriesName, Cells]]:
        """All series, in the order in which they began."""
        with self._lock:
            self._catch_up()
            return iter(tuple(self._series.items()))

    def _add(self, name: SeriesName, count: int) -> Cells:
        text = json.dumps(name).encode()
        start = max(self._words[_USED], _FIRST)
        begin = start + 2 + _words_of(len(text))
        if begin + count > len(self._words):
            return memoryview(bytearray(count * _WORD_BYTES)).cast("d")
        offset = (start + 2) * _WORD_BYTES
        self._bytes[offset : offset + len(text)] = text
        # A process that was killed in the middle of this may have left something.
        self._bytes[begin * _WORD_BYTES : (begin + count) * _WORD_BYTES] = bytes(count * _WORD_BYTES)
        self._words[start], self._words[start + 1] = len(text), count
        self._words[_USED] = self._read_to = begin + count  # last: nobody reads half a series
        return self._cells[begin : begin + count]

    def _catch_up(self) -> None:
        """Learn of series that another process has added, or the one before this."""
        used = self._words[_USED]
        while self._read_to < used:
            length, count = self._words[self._read_to], self._words[self._read_to + 1]
            offset = (self._read_to + 2) * _WORD_BYTES
            name = tuple(json.loads(bytes(self._bytes[offset : offset + length])))
            begin = self._read_to + 2 + _words_of(length)
            self._series[name] = self._cells[begin : begin + count]
            self._read_to = begin + count


class Sibling(Protocol):
    """Another process of this gate."""

    @property
    def table(self) -> SeriesTable:
        """What it counts."""

    @property
    def is_up(self) -> bool:
        """Whether it answers callers; the gauges of one that does not mean nothing."""


def _words_of(length_bytes: int) -> int:
    return -(-length_bytes // _WORD_BYTES)
