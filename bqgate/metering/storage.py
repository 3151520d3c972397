"""Measure what stored data costs: the cost metric `storage`, an example of a plug-in that comes with the gate.

By INFORMATION_SCHEMA.TABLE_STORAGE_USAGE_TIMELINE, which shows MiB-seconds by table and day of Los Angeles, three days
late (https://cloud.google.com/bigquery/docs/information-schema-table-storage-usage); one cost for each dataset and day.
A month's price is shared out among the seconds of that month. Google's first 10 GiB a month are free for a billing
account, of which no project knows: they are not taken off. Amounts are nano-dollars.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from bqgate.domain.units import ceil_div
from bqgate.metering.usd import UsdNanos
from bqgate.ports.cost_metrics import BoundedQueries, MeteredCost, Question

BILLED_ZONE = ZoneInfo("America/Los_Angeles")
_MIB_PER_GIB = 1_024
_KINDS = ("active_logical", "long_term_logical", "active_physical", "long_term_physical")
_SQL = """
SELECT usage_date, table_schema, {sums}
FROM {information_schema}.TABLE_STORAGE_USAGE_TIMELINE_BY_PROJECT
WHERE usage_date >= CAST(@first AS DATE) AND usage_date < CAST(@end AS DATE)
GROUP BY usage_date, table_schema
"""


class StorageOptions(BaseModel):
    """Prices of a GiB for a month; the list prices of the US (https://cloud.google.com/bigquery/pricing#storage).

    A dataset is billed by its logical or its physical bytes; the view shows nothing of the other kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    active_logical_usd_per_gib_month: UsdNanos = 20_000_000
    long_term_logical_usd_per_gib_month: UsdNanos = 10_000_000
    active_physical_usd_per_gib_month: UsdNanos = 40_000_000
    long_term_physical_usd_per_gib_month: UsdNanos = 20_000_000


class StorageMetric:
    """Storage of a project's datasets, by the day."""

    Options = StorageOptions
    look_back = timedelta(days=8)

    def __init__(self, options: StorageOptions) -> None:
        self._prices = {kind: getattr(options, f"{kind}_usd_per_gib_month") for kind in _KINDS}

    async def measure(self, question: Question, queries: BoundedQueries) -> Sequence[MeteredCost]:
        """One cost for each dataset and whole day."""
        first, end = _first_day(question.since), question.until.astimezone(BILLED_ZONE).date()
        if first >= end:
            return ()
        sums = ", ".join(f"SUM(billable_{kind}_usage) AS {kind}" for kind in _KINDS)
        sql = _SQL.format(sums=sums, information_schema=question.place.information_schema)
        rows = await queries.run(sql, first=first.isoformat(), end=end.isoformat())
        return tuple(self._costs(rows))

    def _costs(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[MeteredCost]:
        for row in rows:
            day = date.fromisoformat(row["usage_date"])
            usages = {kind: int(row[kind] or 0) for kind in _KINDS}
            priced = sum(usages[kind] * self._prices[kind] for kind in _KINDS)
            yield MeteredCost(
                since=_midnight(day),
                until=_midnight(day + timedelta(days=1)),
                quantity=sum(usages.values()),
                unit="MiB-seconds",
                cost_nanos=ceil_div(priced, _MIB_PER_GIB * _seconds_of_month(day)),
                dataset=row["table_schema"],
            )


def _first_day(moment: datetime) -> date:
    """The first day that begins at a moment or later."""
    day = moment.astimezone(BILLED_ZONE).date()
    return day if _midnight(day) >= moment else day + timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=BILLED_ZONE).astimezone(UTC)


def _seconds_of_month(day: date) -> int:
    first = day.replace(day=1)
    return (_midnight((first + timedelta(days=31)).replace(day=1)) - _midnight(first)) // timedelta(seconds=1)
