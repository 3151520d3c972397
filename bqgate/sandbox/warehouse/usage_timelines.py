"""Answer INFORMATION_SCHEMA's timelines of what costs and is no job: storage by day, streaming by minute.

Asked by information_schema.py. Storage is logical and active; no history of sizes is kept, so each day since a table
was made shows its present size, today as much as has passed of it. Days are those of Los Angeles, as Google bills.
Streaming is what tabledata.insertAll took in since the sandbox began, a bounded number of minutes. Both show their
numbers at once, where Google takes up to three days.

Columns: https://cloud.google.com/bigquery/docs/information-schema-table-storage-usage and
https://cloud.google.com/bigquery/docs/information-schema-streaming.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bqgate.sandbox.warehouse.catalog import Catalog
from bqgate.sandbox.warehouse.tables import Field, TableInfo, TableRef

_BILLED_ZONE = ZoneInfo("America/Los_Angeles")
_HISTORY_DAYS = 90
_MINUTES_MAX = 100_000
_MIB = 2**20


def _usages(names: str) -> tuple[Field, ...]:
    return tuple(Field(f"billable_{name}_usage", "INTEGER") for name in names.split())


STORAGE_FIELDS = (
    Field("usage_date", "DATE"),
    *(Field(name, "STRING") for name in ("project_id", "table_catalog", "table_schema", "table_name")),
    *_usages("total_logical active_logical long_term_logical total_physical active_physical long_term_physical"),
)
STREAMING_FIELDS = (
    Field("start_timestamp", "TIMESTAMP"),
    *(Field(name, "STRING") for name in ("project_id", "dataset_id", "table_id", "error_code")),
    *(Field(name, "INTEGER") for name in ("total_requests", "total_rows", "total_input_bytes")),
)
TIMELINE_FIELDS = {
    name + suffix: fields
    for name, fields in (("TABLE_STORAGE_USAGE_TIMELINE", STORAGE_FIELDS), ("STREAMING_TIMELINE", STREAMING_FIELDS))
    for suffix in ("", "_BY_PROJECT")
}


class UsageTimelines:
    """The timelines of one catalog."""

    def __init__(
        self, catalog: Catalog, get_table: Callable[[TableRef], TableInfo], now: Callable[[], datetime]
    ) -> None:
        """Take the catalog, and who measures a table, which the catalog does not."""
        self._catalog = catalog
        self._get_table = get_table
        self._now = now
        self._lock = threading.Lock()  # rows stream in while worker threads read
        self._streamed: OrderedDict[tuple[datetime, TableRef], tuple[int, int, int]] = OrderedDict()

    def note_streamed(self, ref: TableRef, *, rows: int, input_bytes: int) -> None:
        """Count what one call of tabledata.insertAll has put into a table."""
        minute = self._now().replace(second=0, microsecond=0)
        with self._lock:
            requests, rows_before, bytes_before = self._streamed.get((minute, ref), (0, 0, 0))
            self._streamed[minute, ref] = (requests + 1, rows_before + rows, bytes_before + input_bytes)
            while len(self._streamed) > _MINUTES_MAX:
                self._streamed.popitem(last=False)

    def rows(self, view: str, project: str, region: str) -> list[Mapping[str, Any]]:
        """The rows of a view over the datasets of a project in one region ("us"; "": in all)."""
        datasets = {
            each.dataset
            for each in self._catalog.datasets(project)
            if not each.read_only and region in {"", each.location.lower()}
        }
        if view.startswith("STREAMING"):
            return list(self._streaming_rows(project, datasets))
        tables = [table for name in sorted(datasets) for table in self._catalog.tables(project, name)]
        measured = [self._get_table(table.ref) for table in tables if table.type == "TABLE" and not table.read_only]
        return [row for table in measured for row in self._storage_rows(table)]

    def _streaming_rows(self, project: str, datasets: set[str]) -> Iterator[Mapping[str, Any]]:
        with self._lock:
            streamed = [(minute, ref, *counted) for (minute, ref), counted in self._streamed.items()]
        for minute, ref, requests, rows, input_bytes in streamed:
            if ref.project == project and ref.dataset in datasets:
                yield {
                    "start_timestamp": minute,
                    "project_id": project,
                    "dataset_id": ref.dataset,
                    "table_id": ref.table,
                    "total_requests": requests,
                    "total_rows": rows,
                    "total_input_bytes": input_bytes,
                }

    def _storage_rows(self, table: TableInfo) -> Iterator[Mapping[str, Any]]:
        if not table.num_bytes or table.created_at is None:
            return
        now = self._now()
        today = now.astimezone(_BILLED_ZONE).date()
        since = max(table.created_at, _midnight(today - timedelta(days=_HISTORY_DAYS)))
        day = since.astimezone(_BILLED_ZONE).date()
        while day <= today:
            lasted = min(now, _midnight(day + timedelta(days=1))) - max(since, _midnight(day))
            usage = table.num_bytes * max(int(lasted.total_seconds()), 0) // _MIB
            yield {
                "usage_date": day,
                "project_id": table.ref.project,
                "table_catalog": table.ref.project,
                "table_schema": table.ref.dataset,
                "table_name": table.ref.table,
                "billable_total_logical_usage": usage,
                "billable_active_logical_usage": usage,
                "billable_long_term_logical_usage": 0,
                "billable_total_physical_usage": 0,
                "billable_active_physical_usage": 0,
                "billable_long_term_physical_usage": 0,
            }
            day += timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=_BILLED_ZONE).astimezone(UTC)
