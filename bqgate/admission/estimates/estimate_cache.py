"""Cache estimates for a short time, and find those that a write may have outdated. No I/O, no clock.

Used by estimator.py, which passes the time (monotonic seconds). Bounded in number: the oldest go first. An index from
what was read to the estimates that read it makes a write as cheap as what it drops.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from bqgate.domain.data_scope import split_name
from bqgate.domain.job import Estimate
from bqgate.domain.touched import Reads, Touched


@dataclass(frozen=True, slots=True)
class _Kept:
    expires_s: float
    estimate: Estimate
    reads: Reads
    query: str


class EstimateCache:
    """Estimates by key."""

    def __init__(self, *, max_entries: int) -> None:
        self._max_entries = max_entries
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        # Keys by their query and what they read: ("table", "p.d.t"), ("open", "p")… In no order, hence
        # dicts that are used as sets.
        self._index: dict[tuple[str, str], dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str, now_s: float) -> Estimate | None:
        """The estimate that is kept by a key; None: there is none, or it is too old."""
        kept = self._kept.get(key)
        return None if kept is None or kept.expires_s <= now_s else kept.estimate

    def keep(self, key: str, estimate: Estimate, reads: Reads, *, expires_s: float, query: str = "") -> None:
        """Keep an estimate until a moment. `query` names what it is of, for `drop_query`."""
        self.forget(key)
        kept = self._kept[key] = _Kept(expires_s, estimate, reads, query)
        for mark in _marks_of(kept):
            self._index.setdefault(mark, {})[key] = None
        while len(self._kept) > self._max_entries:
            self.forget(next(iter(self._kept)))

    def forget(self, key: str) -> None:
        """Drop one; where there is none nothing changes."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        for mark in _marks_of(kept):
            keys = self._index[mark]
            del keys[key]
            if not keys:
                del self._index[mark]

    def drop_query(self, query: str) -> None:
        """Drop all of one query, whoever asked."""
        for key in tuple(self._index.get(("query", query), ())):
            self.forget(key)

    def drop(self, touched: Touched) -> int:
        """Drop all that a write may have changed; returns how many."""
        if touched.is_everything:
            count = len(self._kept)
            self._kept.clear()
            self._index.clear()
            return count
        found = set(self._found(touched))
        for key in found:
            self.forget(key)
        return len(found)

    def _found(self, touched: Touched) -> Iterator[str]:
        for kind, names in (
            ("project", touched.projects),
            ("dataset", touched.datasets),
            ("table", touched.tables),
            ("open", touched.all_projects),
        ):
            for name in names:
                yield from self._index.get((kind, name), ())
        for table in touched.tables:
            project, dataset, _ = split_name(table)
            for key in self._index.get(("family", f"{project}.{dataset}"), ()):
                if self._kept[key].reads.may_change_by(touched):
                    yield key


def _marks_of(kept: _Kept) -> set[tuple[str, str]]:
    """Where the index has an estimate."""
    reads = kept.reads
    marks = {("query", kept.query)} | {("table", name) for name in reads.tables}
    marks |= {("dataset", name) for name in reads.datasets}
    marks |= {("project", name) for name in reads.projects}
    marks |= {("family", dataset) for dataset, _ in reads.families}
    if reads.is_open:
        marks |= {("open", name) for name in reads.projects}
    return marks
