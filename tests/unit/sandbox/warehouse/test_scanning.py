from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from bqgate.sandbox.warehouse import Field, Plan, Result, TableRef, Warehouse
from bqgate.sandbox.warehouse.examples import read_frame

MIB = 2**20
MULTIPLIER = 100_000
Explain = Callable[..., Plan]


def naive(frame: pd.DataFrame, *columns: str) -> int:
    """Logical bytes of columns, counted value by value: 8 for a number, 2 + length for a text, nothing for a gap."""
    total = 0
    for column in columns:
        for value in frame[column].dropna():
            total += 2 + len(value.encode()) if isinstance(value, str) else 8
    return total


def dated(first: str, last: str) -> pd.DataFrame:
    frame = FLIGHTS
    days = pd.to_datetime(frame[["year", "month", "day"]]).dt.date.astype(str)
    return frame[(days >= first) & (days <= last)]


FLIGHTS, WEATHER = read_frame("flights"), read_frame("weather")


def one_day() -> int:
    frame = dated("2013-02-01", "2013-02-01")
    return naive(frame, "carrier") + 8 * len(frame)


CASES: list[tuple[str, Callable[[], int]]] = [
    ("SELECT COUNT(*) FROM flights", lambda: 0),
    ("SELECT 1 FROM flights", lambda: 0),
    ("SELECT carrier FROM flights", lambda: naive(FLIGHTS, "carrier")),
    ("SELECT carrier, AVG(dep_delay) FROM flights GROUP BY 1", lambda: naive(FLIGHTS, "carrier", "dep_delay")),
    ("SELECT carrier FROM flights LIMIT 1", lambda: naive(FLIGHTS, "carrier")),
    (
        "SELECT a.carrier FROM flights a, flights b WHERE a.flight = b.flight",
        lambda: naive(FLIGHTS, "carrier", "flight"),
    ),
    ("SELECT carrier FROM (SELECT * FROM flights)", lambda: naive(FLIGHTS, "carrier")),
    (
        "WITH f AS (SELECT * FROM flights), unused AS (SELECT * FROM weather) SELECT carrier FROM f",
        lambda: naive(FLIGHTS, "carrier"),
    ),
    (
        "SELECT carrier FROM flights UNION ALL SELECT tailnum FROM flights",
        lambda: naive(FLIGHTS, "carrier", "tailnum"),
    ),
    ("SELECT COUNT(*) FROM flights WHERE origin = 'JFK'", lambda: naive(FLIGHTS, "origin")),
    (
        "SELECT COUNT(*) FROM flights f WHERE EXISTS (SELECT 1 FROM weather w WHERE w.origin = f.origin)",
        lambda: naive(FLIGHTS, "origin") + naive(WEATHER, "origin"),
    ),
    ("SELECT carrier FROM flights WHERE flight_date = '2013-02-01'", one_day),
    ("SELECT SUM(w.temp) FROM weather w", lambda: naive(WEATHER, "temp")),
]


@pytest.mark.parametrize(("sql", "expected"), CASES)
def test_bytes_are_those_of_the_referenced_columns(sql: str, expected: Callable[[], int], explain: Explain) -> None:
    """A dry run says the logical size of the columns that the query needs, each table once, and no other."""
    assert explain(sql).bytes_processed == expected() * MULTIPLIER


def test_all_columns_of_a_small_table(explain: Explain) -> None:
    """SELECT * costs the whole table; a table without a multiplier costs what it is."""
    frame = read_frame("planes")
    assert explain("SELECT * FROM planes").bytes_processed == naive(frame, *frame.columns)


def test_full_scan_of_flights_costs_terabytes(explain: Explain) -> None:
    """The multiplier makes a query over the example data as dear as a real one."""
    assert explain("SELECT * FROM flights").bytes_processed > 4 * 2**40


@pytest.mark.parametrize(
    ("sql", "billed"),
    [
        ("SELECT 1", 0),
        ("SELECT COUNT(*) FROM airlines", 10 * MIB),
        ("SELECT a.name FROM airlines a JOIN airlines b USING (carrier)", 10 * MIB),
        ("SELECT a.name, p.model FROM airlines a, planes p", 20 * MIB),
        ("SELECT schema_name FROM INFORMATION_SCHEMA.SCHEMATA", 10 * MIB),
    ],
)
def test_minimum_is_ten_mib_per_table(sql: str, billed: int, query: Callable[[str], Result]) -> None:
    """Every referenced table is billed at least 10 MiB; a query without tables is free."""
    assert query(sql).bytes_billed == billed


def test_billing_rounds_up_to_whole_mib(query: Callable[[str], Result]) -> None:
    """What is billed is the next whole MiB."""
    result = query("SELECT carrier FROM flights")
    assert result.bytes_processed % MIB != 0
    assert result.bytes_billed == (result.bytes_processed // MIB + 1) * MIB


def test_declared_size_is_exact(warehouse: Warehouse, run: Callable[..., Result]) -> None:
    """A full scan of a table with a declared size processes exactly that, with rows or without."""
    ref = TableRef("acme", "d", "big")
    fields = (Field("a", "INTEGER"), Field("s", "STRING"), Field("n", "NUMERIC"))
    warehouse.create_table(ref, fields, declared_bytes=10 * 2**30 + 7)
    assert run("SELECT * FROM big").bytes_processed == 10 * 2**30 + 7
    run("INSERT INTO big (a, s) VALUES (1, 'x'), (2, 'yyy'), (3, NULL)")
    assert run("SELECT * FROM big").bytes_processed == 10 * 2**30 + 7
    parts = [run(f"SELECT {name} FROM big").bytes_processed for name in ("a", "s", "n")]
    assert sum(parts) == 10 * 2**30 + 7


def test_clustering_is_an_upper_bound(query: Callable[..., Result], explain: Explain) -> None:
    """A filter on the clustering column bills only its blocks, which the dry run does not know yet."""
    sql = "SELECT distance FROM flights WHERE carrier = 'UA'"
    plan = explain(sql)
    frame = FLIGHTS
    united = frame[frame.carrier == "UA"]
    assert plan.accuracy == "UPPER_BOUND"
    assert plan.bytes_processed == naive(frame, "carrier", "distance") * MULTIPLIER
    assert query(sql).bytes_processed == naive(united, "carrier", "distance") * MULTIPLIER


def test_unclustered_filter_is_precise(explain: Explain) -> None:
    """A filter on another column saves nothing and leaves the estimate precise."""
    assert explain("SELECT distance FROM flights WHERE origin = 'JFK'").accuracy == "PRECISE"


def test_view_costs_what_is_under_it(warehouse: Warehouse, run: Callable[..., Result]) -> None:
    """A view's columns that nobody reads cost nothing."""
    run("CREATE TABLE t AS SELECT 1 AS a, 'xyz' AS s")
    run("CREATE VIEW v AS SELECT a, s FROM t")
    result = run("SELECT s FROM v")
    assert result.bytes_processed == 5
    assert result.plan.referenced_tables == (TableRef("acme", "d", "t"),)


def test_slot_time_grows_with_the_work(query: Callable[[str], Result]) -> None:
    """Slot and wall time are fixed functions of the bytes: 2,000 slot-ms a GiB."""
    small = query("SELECT COUNT(*) FROM airlines")
    large = query("SELECT carrier FROM flights")
    assert small.slot_ms == 20
    assert large.slot_ms == 20 + -(-large.bytes_processed * 2_000 // 2**30)
    assert large.wall_ms > small.wall_ms


def test_update_counts_the_query_and_the_target(run: Callable[..., Result]) -> None:
    """UPDATE and DELETE process what the query reads plus all columns of the target; INSERT only what it reads."""
    run("CREATE TABLE t AS SELECT 1 AS a, 2 AS b, 3 AS c")
    assert run("UPDATE t SET a = 5 WHERE b = 2").bytes_processed == 8 + 24
    assert run("DELETE FROM t WHERE b = 9").bytes_processed == 8 + 24
    assert run("INSERT INTO t SELECT a, b, c FROM t WHERE c = 3").bytes_processed == 24
    assert run("INSERT INTO t (a) VALUES (1)").bytes_processed == 0
    assert run("INSERT INTO t (a) VALUES (1)").bytes_billed == 0


def test_merge_that_only_inserts_does_not_count_the_target_twice(run: Callable[..., Result]) -> None:
    """MERGE costs its join, and the target besides only when it changes rows in place."""
    run("CREATE TABLE t AS SELECT 1 AS a, 2 AS b")
    run("CREATE TABLE s AS SELECT 1 AS a, 2 AS b")
    inserting = "MERGE t USING s ON t.a = s.a WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b)"
    updating = "MERGE t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET b = s.b"
    assert run(inserting).bytes_processed == 8 + 16
    assert run(updating).bytes_processed == 8 + 16 + 16


def test_dml_touches_only_the_partitions_that_are_left(run: Callable[..., Result]) -> None:
    """The t of a partitioned target is the bytes of the partitions that the WHERE clause leaves."""
    run("CREATE TABLE p (day DATE, v INT64) PARTITION BY day")
    run("INSERT INTO p VALUES ('2024-01-01', 1), ('2024-01-02', 2), ('2024-01-02', 3)")
    assert run("DELETE FROM p WHERE day = '2024-01-01'").bytes_processed == 8 + 16


def test_create_table_as_costs_its_query(run: Callable[..., Result]) -> None:
    """CTAS is charged like its SELECT; other DDL is free."""
    run("CREATE TABLE t AS SELECT 1 AS a, 'xx' AS s")
    result = run("CREATE TABLE u AS SELECT s FROM t")
    assert (result.bytes_processed, result.bytes_billed) == (4, 10 * MIB)
    assert run("DROP TABLE u").bytes_billed == 0


def test_cap_is_compared_with_the_estimate(query: Callable[..., Result], explain: Explain) -> None:
    """A query dearer than maximumBytesBilled is refused in BigQuery's words; at the needed bytes it runs."""
    sql = "SELECT distance FROM flights WHERE carrier = 'UA'"
    needed = explain(sql).bytes_billed_if_run
    with pytest.raises(
        Exception, match=f"^Query exceeded limit for bytes billed: 10485760. {needed} or higher"
    ) as info:
        query(sql, cap=10_485_760)
    refusal: Any = info.value
    assert refusal.reason == "bytesBilledLimitExceeded"
    assert query(sql, cap=needed).bytes_billed < needed
