from collections.abc import Callable
from typing import Any

import pytest

from bqgate.sandbox.warehouse import (
    BytesBilledLimitExceeded,
    NotFound,
    NotSupported,
    Plan,
    QueryInvalid,
    Result,
    Warehouse,
)

Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]
TEN_MIB = 10 * 2**20


@pytest.fixture(autouse=True)
def table(run: Run) -> None:
    """A table of two rows."""
    run("CREATE TABLE t AS SELECT 1 AS a UNION ALL SELECT 2")


def test_children_are_charged_and_summed(run: Run) -> None:
    """Every statement is a child with its own bill; the parent is their sum and shows the last rows."""
    result = run("SELECT a FROM t; INSERT INTO t VALUES (3); SELECT SUM(a) AS s FROM t;")
    assert result.plan.statement_type == "SCRIPT"
    assert [child.plan.statement_type for child in result.children] == ["SELECT", "INSERT", "SELECT"]
    assert [child.bytes_billed for child in result.children] == [TEN_MIB, 0, TEN_MIB]
    assert result.bytes_billed == 2 * TEN_MIB
    assert result.bytes_processed == 16 + 24
    assert result.slot_ms == sum(child.slot_ms for child in result.children)
    assert result.rows.page(0, 9) == [{"f": [{"v": "6"}]}]
    assert result.children[0].query == "SELECT a FROM t"


def test_variables(values: Values) -> None:
    """DECLARE with and without DEFAULT, SET from an expression and from a query, in a block."""
    sql = """
    DECLARE x INT64 DEFAULT 5;
    DECLARE day DATE;
    DECLARE names ARRAY<STRING>;
    BEGIN
      SET x = x + (SELECT MAX(a) FROM t);
      SET day = DATE '2024-01-02';
      SET names = ['a', 'b'];
      SELECT x, DATE_ADD(day, INTERVAL 1 DAY), ARRAY_LENGTH(names), a FROM t WHERE a = x - 5;
    END;
    """
    assert values(sql) == [["7", "2024-01-03", "2", "2"]]


def test_set_that_reads_a_table_is_charged(run: Run) -> None:
    """An expression that reads tables is a child of its own; one that does not is none."""
    result = run("DECLARE x INT64 DEFAULT 1; SET x = (SELECT MAX(a) FROM t); SELECT x")
    assert [child.bytes_billed for child in result.children] == [TEN_MIB, 0]


def test_columns_hide_variables(values: Values) -> None:
    """A column has the name before a variable."""
    assert values("DECLARE a INT64 DEFAULT 99; SELECT a FROM t ORDER BY a") == [["1"], ["2"]]


def test_undeclared_variable(run: Run) -> None:
    """SET of what was not declared is refused."""
    with pytest.raises(QueryInvalid, match="Undeclared variable: y"):
        run("SET y = 1; SELECT 1")


def test_temporary_tables_live_as_long_as_the_script(run: Run, values: Values, warehouse: Warehouse) -> None:
    """CREATE TEMP TABLE is seen by the statements after it, and by nobody later."""
    assert values("CREATE TEMP TABLE x AS SELECT a * 10 AS b FROM t; SELECT SUM(b) FROM x") == [["30"]]
    with pytest.raises(NotFound):
        run("SELECT * FROM x")
    assert [d.dataset for d in warehouse.list_datasets("acme")] == ["d"]


def test_what_ran_before_an_error_stays_billed(run: Run, values: Values) -> None:
    """The error carries the children that had run, and their effects stay."""
    with pytest.raises(QueryInvalid, match="Unrecognized name: nope") as info:
        run("INSERT INTO t VALUES (9); SELECT a FROM t; SELECT nope FROM t; SELECT 1")
    assert [child.bytes_billed for child in info.value.children] == [0, TEN_MIB]
    assert values("SELECT COUNT(*) FROM t") == [["3"]]


def test_cap_is_for_the_running_total(run: Run) -> None:
    """A statement is refused when what ran and its own estimate are above maximumBytesBilled together."""
    sql = "SELECT a FROM t; SELECT a + 1 AS b FROM t"
    with pytest.raises(BytesBilledLimitExceeded) as info:
        run(sql, cap=TEN_MIB)
    assert info.value.needed == 2 * TEN_MIB
    assert len(info.value.children) == 1
    assert run(sql, cap=2 * TEN_MIB).bytes_billed == 2 * TEN_MIB


def test_dry_run_stops_at_the_first_definition(plan: Callable[[str], Plan]) -> None:
    """What comes after DDL is unknown: the sum so far, and LOWER_BOUND."""
    found = plan("SELECT a FROM t; CREATE TABLE u AS SELECT 1 AS a; SELECT * FROM u")
    assert (found.statement_type, found.accuracy, found.bytes_processed) == ("SCRIPT", "LOWER_BOUND", 16)
    assert plan("CREATE TABLE u AS SELECT a FROM t; SELECT 1").bytes_processed == 0


def test_dry_run_adds_up_statements(plan: Callable[[str], Plan]) -> None:
    """Without DDL and variables the sum is exact; with variables it is an upper bound."""
    assert plan("SELECT a FROM t; SELECT 1").accuracy == "PRECISE"
    assert plan("DECLARE x INT64 DEFAULT 1; SELECT a FROM t WHERE a = x").accuracy == "UPPER_BOUND"


@pytest.mark.parametrize(
    "sql",
    [
        "IF TRUE THEN SELECT 1; END IF",
        "WHILE TRUE DO SELECT 1; END WHILE",
        "BEGIN TRANSACTION; SELECT 1; COMMIT TRANSACTION",
        "EXECUTE IMMEDIATE 'SELECT 1'",
        "CALL d.p()",
        "BEGIN SELECT 1; EXCEPTION WHEN ERROR THEN SELECT 2; END",
    ],
)
def test_procedural_statements_are_refused(sql: str, run: Run) -> None:
    """Control flow is 501, not skipped."""
    with pytest.raises(NotSupported):
        run(sql)


def test_semicolon_at_the_end_is_no_script(run: Run) -> None:
    """One statement with a semicolon stays what it is."""
    assert run("SELECT 1;").plan.statement_type == "SELECT"
