from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.sandbox.warehouse import Result, Warehouse

Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]
AT = datetime(2024, 1, 1, tzinfo=UTC)


def test_tables_views_and_columns(run: Run, values: Values) -> None:
    """A dataset lists its tables, views and columns."""
    run("CREATE TABLE t (day DATE NOT NULL, tags ARRAY<STRING>) PARTITION BY day")
    run("CREATE VIEW v AS SELECT tags FROM t")
    listed = "SELECT table_name, table_type FROM d.INFORMATION_SCHEMA.TABLES ORDER BY table_name"
    assert values(listed) == [["t", "BASE TABLE"], ["v", "VIEW"]]
    columns = (
        "SELECT column_name, data_type, is_nullable, is_partitioning_column FROM `acme`.`d`.INFORMATION_SCHEMA.COLUMNS "
        "WHERE table_name = 't' ORDER BY ordinal_position"
    )
    assert values(columns) == [["day", "DATE", "NO", "YES"], ["tags", "ARRAY<STRING>", "YES", "NO"]]
    assert values("SELECT view_definition FROM `acme.d.INFORMATION_SCHEMA.VIEWS`")[0][0].startswith("SELECT")


def test_schemata(values: Values) -> None:
    """A project lists its datasets, with and without a region."""
    assert values("SELECT schema_name FROM INFORMATION_SCHEMA.SCHEMATA") == [["d"]]
    assert values("SELECT schema_name FROM `region-us`.INFORMATION_SCHEMA.SCHEMATA") == [["d"]]


@pytest.mark.parametrize("view", ["JOBS", "JOBS_BY_PROJECT", "JOBS_BY_USER"])
def test_jobs(view: str, warehouse: Warehouse, values: Values) -> None:
    """JOBS shows the provider's rows of this project, JOBS_BY_USER the caller's own."""
    jobs: list[dict[str, Any]] = [
        {"project_id": "acme", "job_id": "1", "user_email": "a@x", "creation_time": AT, "total_bytes_billed": 5},
        {"project_id": "acme", "job_id": "2", "user_email": "b@x", "error_result": {"reason": "stopped"}},
        {"project_id": "other", "job_id": "3", "user_email": "a@x", "labels": [{"key": "k", "value": "v"}]},
    ]
    warehouse.register_jobs_view(lambda: jobs)
    sql = f"SELECT job_id, error_result.reason FROM `region-us`.INFORMATION_SCHEMA.{view} ORDER BY job_id"
    expected = [["1", None], ["2", "stopped"]]
    assert values(sql, user_email="a@x") == (expected[:1] if view == "JOBS_BY_USER" else expected)


def test_each_look_is_billed(run: Run) -> None:
    """INFORMATION_SCHEMA costs 10 MiB for each view that is looked at."""
    joined = "SELECT t.table_name FROM d.INFORMATION_SCHEMA.TABLES t, d.INFORMATION_SCHEMA.COLUMNS c"
    assert run(joined).bytes_billed == 20 * 2**20
