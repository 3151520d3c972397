"""Measure what rows that are streamed in cost: the cost metric `streaming`, an example that comes with the gate.

By INFORMATION_SCHEMA.STREAMING_TIMELINE, which shows tabledata.insertAll by minute and table, as it happens
(https://cloud.google.com/bigquery/docs/information-schema-streaming); one cost for each dataset and hour. Each row is
billed as 1 KiB at least, and the view has sums: a minute is taken as its bytes or as 1 KiB for each row, whichever is
more, which is no more than is billed. Rows that were refused cost nothing. The Storage Write API is another view's.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from bqgate.domain.units import MIB, ceil_div
from bqgate.metering.usd import UsdNanos
from bqgate.ports.cost_metrics import BoundedQueries, MeteredCost, Question

_PRICED_BYTES = 200 * MIB
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SQL = """
SELECT TIMESTAMP_TRUNC(start_timestamp, HOUR) AS hour, dataset_id,
  SUM(GREATEST(total_input_bytes, total_rows * 1024)) AS billed_bytes
FROM {information_schema}.STREAMING_TIMELINE_BY_PROJECT
WHERE start_timestamp >= @since AND start_timestamp < @until AND error_code IS NULL
GROUP BY hour, dataset_id
"""


class StreamingOptions(BaseModel):
    """The price of 200 MiB; the list price of the US (https://cloud.google.com/bigquery/pricing#data_ingestion)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_200_mib: UsdNanos = 10_000_000


class StreamingMetric:
    """Rows streamed into a project's datasets, by the hour."""

    Options = StreamingOptions
    look_back = timedelta(days=2)

    def __init__(self, options: StreamingOptions) -> None:
        self._nanos = options.usd_per_200_mib

    async def measure(self, question: Question, queries: BoundedQueries) -> Sequence[MeteredCost]:
        """One cost for each dataset and hour."""
        sql = _SQL.format(information_schema=question.place.information_schema)
        return tuple(self._costs(await queries.run(sql, since=question.since, until=question.until)))

    def _costs(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[MeteredCost]:
        for row in rows:
            hour = _EPOCH + timedelta(microseconds=int(row["hour"]))
            size_bytes = int(row["billed_bytes"] or 0)
            yield MeteredCost(
                since=hour,
                until=hour + timedelta(hours=1),
                quantity=size_bytes,
                unit="bytes",
                cost_nanos=ceil_div(size_bytes * self._nanos, _PRICED_BYTES),
                dataset=row["dataset_id"],
            )
