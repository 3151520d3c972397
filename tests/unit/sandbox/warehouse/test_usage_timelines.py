from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bqgate.sandbox.warehouse import QueryContext, TableRef, Warehouse

# Half an hour before midnight in Los Angeles.
AT = datetime(2026, 7, 2, 6, 30, tzinfo=UTC)


class Scene:
    """A warehouse with a dataset in the US and one in the EU, and a clock."""

    def __init__(self) -> None:
        self.at = AT
        self.warehouse = Warehouse(now=lambda: self.at)
        self.warehouse.create_dataset("acme", "us_data", location="US")
        self.warehouse.create_dataset("acme", "eu_data", location="EU")

    def ask(self, sql: str) -> list[list[Any]]:
        """The values of a query's rows."""
        result = self.warehouse.execute(sql, QueryContext("acme", self.at))
        page = result.rows.page(0, 1_000, use_int64_timestamp=True)
        return [[cell["v"] for cell in row["f"]] for row in page]


@pytest.fixture
def scene() -> Iterator[Scene]:
    opened = Scene()
    yield opened
    opened.warehouse.close()


STORAGE = (
    "SELECT usage_date, table_schema, table_name, billable_active_logical_usage, billable_total_logical_usage, "
    "billable_long_term_logical_usage + billable_total_physical_usage "
    "FROM `acme`.`region-{}`.INFORMATION_SCHEMA.TABLE_STORAGE_USAGE_TIMELINE_BY_PROJECT ORDER BY 1"
)


def test_storage_is_shown_by_the_day(scene: Scene) -> None:
    """MiB-seconds of each day in Los Angeles since the table was made; only of the region that is asked."""
    scene.ask("CREATE TABLE us_data.t AS SELECT REPEAT('x', 1048574) AS s")  # with two bytes of length, 1 MiB
    scene.ask("CREATE TABLE eu_data.other AS SELECT 1 AS n")
    scene.at += timedelta(hours=24)
    rows = scene.ask(STORAGE.format("us"))
    assert [[row[0], int(row[3])] for row in rows] == [["2026-07-01", 1_800], ["2026-07-02", 84_600]]
    assert {(row[1], row[2]) for row in rows} == {("us_data", "t")}
    assert all(row[3] == row[4] and row[5] == "0" for row in rows)
    assert {row[2] for row in scene.ask(STORAGE.format("eu"))} == {"other"}
    assert scene.ask(STORAGE.format("asia-south1")) == []


def test_shared_examples_are_nobodys(scene: Scene) -> None:
    """The example data costs no project anything."""
    assert scene.ask(STORAGE.format("us")) == []


def test_streaming_is_shown_by_the_minute(scene: Scene) -> None:
    """Requests, rows and bytes of each minute and table, of one region."""
    table = TableRef("acme", "us_data", "t")
    for _ in range(2):
        scene.warehouse.note_streamed(table, rows=3, input_bytes=100)
    scene.at += timedelta(minutes=1)
    scene.warehouse.note_streamed(table, rows=1, input_bytes=7)
    scene.warehouse.note_streamed(TableRef("acme", "eu_data", "t"), rows=1, input_bytes=9)
    rows = scene.ask(
        "SELECT table_id, total_requests, total_rows, total_input_bytes, error_code FROM "
        "`region-us`.INFORMATION_SCHEMA.STREAMING_TIMELINE_BY_PROJECT ORDER BY start_timestamp"
    )
    assert rows == [["t", "2", "6", "200", None], ["t", "1", "1", "7", None]]
