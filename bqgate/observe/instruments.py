"""Count and time over series.py: an increment is an addition in memory that other processes read.

Used by metrics.py in place of the client library's counters and histograms, whose numbers no other process sees, and
whose increments take longer. Safe between threads.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

from bqgate.observe.series import Cells, SeriesTable

# The first cells of every series: when it began, in seconds since 1970, and its value, or the sum of its values.
CREATED, VALUE = 0, 1
# Of a histogram: how many fell into each bucket, and behind them how many into none.
BUCKETS = 2

_LOCK = Lock()  # held for an addition at a time

Series = TypeVar("Series")


class CounterSeries:
    """One time series of a counter."""

    __slots__ = ("_cells",)

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        with _LOCK:
            self._cells[VALUE] += amount


class HistogramSeries:
    """One time series of a histogram."""

    __slots__ = ("_bounds", "_cells")

    def __init__(self, cells: Cells, bounds: Sequence[float]) -> None:
        self._cells = cells
        self._bounds = bounds

    def observe(self, value: float) -> None:
        """Record one value."""
        bucket = BUCKETS + bisect_left(self._bounds, value)
        with _LOCK:
            self._cells[VALUE] += value
            self._cells[bucket] += 1


class Family(Generic[Series]):
    """The series of one metric, by their labels; one without labels begins at once."""

    def __init__(
        self,
        name: str,
        labels: Sequence[str],
        table: SeriesTable,
        *,
        cells: int,
        series: Callable[[Cells], Series],
    ) -> None:
        """Write in a table. `cells` is how many a series has, `series` makes one over them."""
        self._name = name
        self._labels = tuple(labels)
        self._label_set = frozenset(labels)
        self._table = table
        self._cells = cells
        self._make = series
        self._made: dict[tuple[str, ...], Series] = {}
        if not labels:
            self.labels()

    def labels(self, **labels: str) -> Series:
        """The series with these labels.

        Raises:
            ValueError: the metric has other labels.
        """
        if labels.keys() != self._label_set:
            raise ValueError(f"{self._name}: its labels are {self._labels}, not {tuple(labels)}")
        values = tuple([labels[name] for name in self._labels])
        series = self._made.get(values)
        if series is None:
            cells = self._table.cells((self._name, *values), self._cells)
            cells[CREATED] = cells[CREATED] or time.time()  # noqa: TID251 - of this machine, as Prometheus wants it
            series = self._made[values] = self._make(cells)
        return series


def counters(name: str, labels: Sequence[str], table: SeriesTable) -> Family[CounterSeries]:
    """The series of a counter."""
    return Family(name, labels, table, cells=VALUE + 1, series=CounterSeries)


def histograms(
    name: str, labels: Sequence[str], table: SeriesTable, *, bounds: Sequence[float]
) -> Family[HistogramSeries]:
    """The series of a histogram, with the upper bounds of its buckets."""
    series = partial(HistogramSeries, bounds=bounds)
    return Family(name, labels, table, cells=BUCKETS + len(bounds) + 1, series=series)
