from collections.abc import Callable
from typing import Any

import pytest

from bqgate.sandbox.warehouse import (
    Duplicate,
    Field,
    NotFound,
    NotSupported,
    Plan,
    QueryInvalid,
    ResourceInUse,
    Result,
    TableRef,
    TimePartitioning,
    Warehouse,
)

Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]
REF = TableRef("acme", "d", "t")


def test_dbt_builds_a_table(run: Run, warehouse: Warehouse) -> None:
    """The statement that dbt sends for a table: comment, OPTIONS, a query in parentheses."""
    sql = (
        '/* {"app": "dbt", "node_id": "model.x"} */\n\n  create or replace table `acme`.`d`.`t`\n'
        '  partition by day cluster by s\n  OPTIONS(description="""d""", labels=[(\'a\',\'b\')])\n'
        "  as (\n  select date '2024-01-01' as day, 'x' as s\n  );"
    )
    assert run(sql).plan.statement_type == "CREATE_TABLE_AS_SELECT"
    again = run(sql)
    assert again.plan.ddl_operation == "REPLACE"
    info = warehouse.get_table(REF)
    assert info.time_partitioning == TimePartitioning("day")
    assert (info.clustering, info.description, info.num_rows) == (("s",), "d", 1)


def test_create_table_with_columns(run: Run, warehouse: Warehouse) -> None:
    """Every GoogleSQL type becomes the REST type."""
    run(
        "CREATE TABLE t (a INT64 NOT NULL, b ARRAY<STRUCT<c STRING, f FLOAT64>>, n NUMERIC, j JSON, ts TIMESTAMP, "
        "dt DATETIME, t TIME, bo BOOL, by BYTES, big BIGNUMERIC)"
    )
    fields = warehouse.get_table(REF).schema
    assert fields[0] == Field("a", "INTEGER", "REQUIRED")
    assert fields[1] == Field("b", "RECORD", "REPEATED", (Field("c", "STRING"), Field("f", "FLOAT")))
    assert [field.type for field in fields[2:]] == [
        *("NUMERIC", "JSON", "TIMESTAMP", "DATETIME", "TIME", "BOOLEAN", "BYTES", "BIGNUMERIC"),
    ]


def test_create_table_twice(run: Run) -> None:
    """A second CREATE is a duplicate, unless IF NOT EXISTS says to skip it."""
    run("CREATE TABLE t (a INT64)")
    with pytest.raises(Duplicate, match=r"^Already Exists: Table acme:d\.t$"):
        run("CREATE TABLE t (a INT64)")
    assert run("CREATE TABLE IF NOT EXISTS t (b STRING)").plan.ddl_operation == "SKIP"


def test_schemas_come_and_go(run: Run, warehouse: Warehouse) -> None:
    """CREATE SCHEMA IF NOT EXISTS is silent, DROP SCHEMA wants CASCADE when there are tables."""
    run("CREATE SCHEMA IF NOT EXISTS `acme`.`x` OPTIONS(location='US')")
    run("CREATE SCHEMA IF NOT EXISTS x")
    with pytest.raises(Duplicate, match="Already Exists: Dataset acme:x"):
        run("CREATE SCHEMA x")
    run("CREATE TABLE x.t (a INT64)")
    with pytest.raises(ResourceInUse):
        run("DROP SCHEMA x")
    run("DROP SCHEMA x CASCADE")
    run("DROP SCHEMA IF EXISTS x")
    with pytest.raises(NotFound):
        warehouse.get_dataset("acme", "x")


def test_view_is_looked_up_where_it_was_made(run: Run, warehouse: Warehouse, values: Values) -> None:
    """A view keeps the default dataset of its creator and can be read from elsewhere."""
    run("CREATE TABLE t AS SELECT 1 AS a, 'x' AS s")
    run("CREATE OR REPLACE VIEW v OPTIONS() AS SELECT s, a + 1 AS b FROM t WHERE a > 0")
    assert warehouse.get_table(TableRef("acme", "d", "v")).schema == (Field("s", "STRING"), Field("b", "INTEGER"))
    assert values("SELECT v.b FROM `acme.d.v` AS v", default_dataset=None) == [["2"]]
    run("CREATE VIEW w AS SELECT b * 2 AS c FROM v")
    assert values("SELECT c FROM w") == [["4"]]


def test_view_over_nothing_is_refused(run: Run) -> None:
    """A view whose query is invalid is not created."""
    with pytest.raises(NotFound):
        run("CREATE VIEW v AS SELECT * FROM nope")


def test_drop_says_what_is_missing(run: Run) -> None:
    """DROP of what is not there is notFound, unless IF EXISTS; DROP VIEW of a table is refused."""
    run("CREATE TABLE t (a INT64)")
    with pytest.raises(NotFound, match=r"^Not found: Table acme:d\.nope was not found in location US$"):
        run("DROP TABLE nope")
    run("DROP TABLE IF EXISTS nope")
    with pytest.raises(QueryInvalid):
        run("DROP VIEW t")
    run("DROP TABLE t")
    with pytest.raises(NotFound):
        run("SELECT 1 FROM t")


def test_expired_table_is_gone(run: Run) -> None:
    """A table is there until its expiration_timestamp."""
    later = "TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 12 HOUR)"
    run(f"CREATE TABLE t OPTIONS(expiration_timestamp={later}) AS SELECT 1 AS a")
    run("SELECT a FROM t")
    run("CREATE TABLE u OPTIONS(expiration_timestamp=TIMESTAMP '2024-01-01 00:00:00+00') AS SELECT 1 AS a")
    with pytest.raises(NotFound):
        run("SELECT a FROM u")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE MODEL d.m OPTIONS(model_type='linear_reg') AS SELECT 1 AS a",
        "CREATE TEMP FUNCTION f(x INT64) AS (x + 1); SELECT f(1)",
        "CREATE MATERIALIZED VIEW d.m AS SELECT 1 AS a",
        "CREATE TABLE d.t (a INT64) PARTITION BY _PARTITIONDATE",
        "CREATE TABLE d.t (a INT64) PARTITION BY RANGE_BUCKET(a, GENERATE_ARRAY(0, 10, 1))",
        "CREATE TABLE d.u LIKE d.t",
        "CREATE TABLE d.u CLONE d.t",
        "CREATE TEMP TABLE x AS SELECT 1 AS a",
        "EXPORT DATA OPTIONS(uri='gs://x') AS SELECT 1",
        "ALTER SCHEMA d SET OPTIONS()",
        "GRANT `roles/bigquery.dataViewer` ON SCHEMA d TO 'user:a@b.c'",
    ],
)
def test_other_ddl_is_refused(sql: str, run: Run) -> None:
    """DDL that the sandbox has not is 501, and nothing is created."""
    with pytest.raises(NotSupported):
        run(sql)


def test_dry_run_creates_nothing(plan: Callable[[str], Plan], warehouse: Warehouse) -> None:
    """A dry run of DDL knows type, target and schema, and leaves no trace."""
    found = plan("CREATE TABLE t AS SELECT 1 AS a")
    assert (found.statement_type, found.target) == ("CREATE_TABLE_AS_SELECT", REF)
    assert found.schema == (Field("a", "INTEGER"),)
    with pytest.raises(NotFound):
        warehouse.get_table(REF)
