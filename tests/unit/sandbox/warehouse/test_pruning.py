from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.sandbox.warehouse import Field, Plan, QueryContext, TableRef, TimePartitioning, Warehouse

DAY, MONTH = 24, 31
NOW = datetime(2024, 5, 6, tzinfo=UTC)


HOURS = (
    "SELECT TIMESTAMP_ADD(TIMESTAMP '2024-01-01 00:00:00+00', INTERVAL h HOUR) AS at "
    "FROM UNNEST(GENERATE_ARRAY(0, 743)) AS h"
)


@pytest.fixture(scope="module")
def days() -> Iterator[Warehouse]:
    """January 2024, one row an hour: t by DATE, ts by day of a TIMESTAMP, m by month of a DATETIME, and a view of t."""
    made = Warehouse(seed_examples=False)
    made.create_dataset("acme", "d")
    fields = (Field("day", "DATE"), Field("at", "TIMESTAMP"), Field("v", "INTEGER"))
    made.create_table(TableRef("acme", "d", "t"), fields, time_partitioning=TimePartitioning("day"))
    made.create_table(TableRef("acme", "d", "ts"), fields, time_partitioning=TimePartitioning("at"))
    for sql in (
        f"INSERT INTO d.t SELECT DATE(at), at, 1 FROM ({HOURS})",
        f"INSERT INTO d.ts SELECT DATE(at), at, 1 FROM ({HOURS})",
        f"CREATE TABLE d.m PARTITION BY DATETIME_TRUNC(dt, MONTH) AS SELECT DATETIME(at) AS dt, 1 AS v FROM ({HOURS})",
        "INSERT INTO d.m VALUES (DATETIME '2024-02-01 00:00:00', 2), (NULL, 3)",
        "CREATE VIEW d.view_of_t AS SELECT * FROM d.t",
    ):
        made.execute(sql, QueryContext("acme", NOW))
    yield made
    made.close()


@pytest.fixture
def plan(days: Warehouse) -> Callable[..., Plan]:
    """Dry-run a text over January."""
    return lambda sql, **fields: days.plan(sql, QueryContext("acme", NOW, ("acme", "d"), **fields))


BY_DATE = [
    ("day = '2024-01-05'", 1),
    ("day = DATE '2024-01-05'", 1),
    ("'2024-01-05' = day", 1),
    ("day = CAST('2024-01-05' AS DATE)", 1),
    ("day < '2024-01-03'", 2),
    ("day <= '2024-01-03'", 3),
    ("day > '2024-01-30'", 1),
    ("day >= '2024-01-30'", 2),
    ("'2024-01-30' <= day", 2),
    ("day BETWEEN '2024-01-10' AND '2024-01-12'", 3),
    ("day IN ('2024-01-01', '2024-01-09')", 2),
    ("day >= '2024-01-10' AND day < '2024-01-12' AND v = 1", 2),
    ("day = '2024-01-01' OR day = '2024-01-02'", 2),
    ("(day = '2024-01-01' AND v = 1) OR day = '2024-01-02'", 2),
    ("day >= DATE_SUB(DATE '2024-01-31', INTERVAL 1 DAY)", 2),
    ("day >= DATE_SUB(CURRENT_DATE(), INTERVAL 97 DAY)", 2),
    ("day > '2030-01-01'", 0),
    ("day = '2024-01-01' OR v = 1", MONTH),
    ("day != '2024-01-01'", MONTH),
    ("NOT day = '2024-01-01'", MONTH),
    ("EXTRACT(DAY FROM day) = 1", MONTH),
    ("DATE_TRUNC(day, MONTH) = '2024-01-01'", MONTH),
    ("day = (SELECT MAX(day) FROM t)", MONTH),
    ("day = DATE(at)", MONTH),
    ("v = 1", MONTH),
]


@pytest.mark.parametrize(("condition", "partitions"), BY_DATE)
def test_constant_filters_prune_partitions(condition: str, partitions: int, plan: Callable[[str], Plan]) -> None:
    """Comparisons of the bare partition column with constants leave only the days that can match."""
    scanned = plan(f"SELECT COUNT(v), COUNT(day) FROM t WHERE {condition} AND v > 0").bytes_processed
    extra = 8 * DAY * partitions if "at" in condition.replace("DATE", "") and "DATE(at)" in condition else 0
    assert scanned == 2 * 8 * DAY * partitions + extra


@pytest.mark.parametrize(
    ("condition", "partitions"),
    [
        ("at >= '2024-01-30'", 2),
        ("at >= TIMESTAMP '2024-01-30 12:00:00+00'", 2),
        ("at > TIMESTAMP '2024-01-30 23:59:59.999999+00'", 1),
        ("at < '2024-01-02'", 1),
        ("at <= '2024-01-02'", 2),
        ("at = TIMESTAMP '2024-01-02 05:00:00+00'", 1),
        ("DATE(at) = '2024-01-02'", MONTH),
    ],
)
def test_timestamp_partitions_are_days(condition: str, partitions: int, plan: Callable[[str], Plan]) -> None:
    """A TIMESTAMP column is pruned by day, and a part of a day keeps the whole day."""
    assert plan(f"SELECT at FROM ts WHERE {condition}").bytes_processed == 8 * DAY * partitions


@pytest.mark.parametrize(
    ("condition", "rows"), [("dt < '2024-02-01'", 744), ("dt >= '2024-02-01'", 1), ("dt = '2024-01-15'", 744)]
)
def test_month_partitions_are_kept_whole(condition: str, rows: int, plan: Callable[[str], Plan]) -> None:
    """Monthly partitions are read whole, and rows without a date are in none that a filter keeps."""
    assert plan(f"SELECT dt FROM m WHERE {condition}").bytes_processed == 8 * rows


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT v FROM (SELECT * FROM t) WHERE day = '2024-01-05'",
        "WITH q AS (SELECT day, v FROM t) SELECT v FROM q WHERE day = '2024-01-05'",
        "SELECT v FROM view_of_t WHERE day = '2024-01-05'",
        "SELECT a.v FROM t a JOIN (SELECT 1 AS one) b ON a.v = b.one AND a.day = '2024-01-05'",
    ],
)
def test_filters_reach_into_subqueries_and_views(sql: str, plan: Callable[[str], Plan]) -> None:
    """A filter outside prunes inside, as BigQuery pushes it down."""
    assert plan(sql).bytes_processed == 2 * 8 * DAY


def test_two_mentions_read_the_partitions_of_both(plan: Callable[[str], Plan]) -> None:
    """A table read twice is charged once for the union of what both mentions read."""
    first = "SELECT v FROM t WHERE day <= '2024-01-02'"
    both = f"{first} UNION ALL SELECT v FROM t WHERE day BETWEEN '2024-01-02' AND '2024-01-03'"
    assert plan(both).bytes_processed == 2 * 8 * DAY * 3


def test_parameters_prune_and_missing_ones_do_not(plan: Callable[..., Plan]) -> None:
    """A parameter is a constant; one that a dry run was not given is unknown and prunes nothing."""
    given: list[dict[str, Any]] = [
        {"name": "d", "parameterType": {"type": "DATE"}, "parameterValue": {"value": "2024-01-05"}}
    ]
    sql = "SELECT v FROM t WHERE day = @d"
    assert plan(sql, parameters=given).bytes_processed == 2 * 8 * DAY
    missing = plan(sql)
    assert missing.bytes_processed == 2 * 8 * DAY * MONTH
    assert missing.undeclared_parameters == ({"name": "d", "parameterType": {"type": "DATE"}},)


def test_outer_join_does_not_prune_the_side_it_keeps(plan: Callable[[str], Plan]) -> None:
    """A condition in ON about the kept side of a LEFT JOIN removes no row of it."""
    sql = "SELECT a.v FROM t a LEFT JOIN (SELECT 1 AS one) b ON a.v = b.one AND a.day = '2024-01-05'"
    assert plan(sql).bytes_processed == 2 * 8 * DAY * MONTH
