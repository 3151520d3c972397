"""Keep finished results, so that the same question by the same caller costs nothing for a day.

Query jobs look before they run and put after they ran. A result is served again for 24 hours to the same caller in the
same project, as long as no table behind it has changed; the warehouse's `data_version` says so. The newest 1,000
results are kept. Thread-safe: jobs look from worker threads.

Source of the rules: https://cloud.google.com/bigquery/docs/cached-results
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bqgate.sandbox.warehouse import Plan, Result

LIFE = timedelta(hours=24)
RESULTS_KEPT = 1_000


@dataclass(frozen=True)
class Cached:
    """A result, with the versions of the tables that it was computed from."""

    result: Result
    data_version: str
    until: datetime


def key_of(project: str, cache_key: str, location: str, query: Mapping[str, Any]) -> str:
    """Build the key from all that decides the answer."""
    names = ("query", "useLegacySql", "defaultDataset", "parameterMode", "queryParameters", "connectionProperties")
    chosen = {name: query[name] for name in names if query.get(name)}
    return json.dumps([project, cache_key, location, chosen], sort_keys=True)


class ResultCache:
    """Results by key."""

    def __init__(self) -> None:
        self._results: OrderedDict[str, Cached] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: str, plan: Plan, now: datetime) -> Result | None:
        with self._lock:
            cached = self._results.get(key)
            if cached is None:
                return None
            if now >= cached.until or cached.data_version != plan.data_version:
                del self._results[key]
                return None
            return cached.result

    def put(self, key: str, result: Result, now: datetime) -> None:
        with self._lock:
            self._results[key] = Cached(result, result.plan.data_version, now + LIFE)
            self._results.move_to_end(key)
            if len(self._results) > RESULTS_KEPT:
                self._results.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._results.clear()
