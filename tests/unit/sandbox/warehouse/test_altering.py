from collections.abc import Callable
from typing import Any

import pytest

from bqgate.sandbox.warehouse import Field, NotFound, NotSupported, QueryInvalid, Result, TableRef, Warehouse

Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]
REF = TableRef("acme", "d", "t")


@pytest.fixture
def table(run: Run) -> None:
    run("CREATE TABLE d.t (id INT64) OPTIONS(description = 'old')")
    run("INSERT INTO d.t (id) VALUES (1)")


@pytest.mark.usefixtures("table")
def test_options_are_set(run: Run, warehouse: Warehouse) -> None:
    """What is named changes, what is not stays; dbt's empty OPTIONS() changes nothing and is free."""
    result = run("alter table `acme`.`d`.`t` set OPTIONS()")
    assert ("ALTER_TABLE", "ALTER", 0) == (result.plan.statement_type, result.plan.ddl_operation, result.bytes_billed)
    assert warehouse.get_table(REF).description == "old"
    run("ALTER TABLE d.t SET OPTIONS(description = 'new', expiration_timestamp = TIMESTAMP '2030-01-01 00:00:00 UTC')")
    info = warehouse.get_table(REF)
    assert info.expires_at is not None
    assert ("new", 2030, 1) == (info.description, info.expires_at.year, info.num_rows)


@pytest.mark.usefixtures("table")
def test_columns_are_added_with_nulls(run: Run, values: Values, warehouse: Warehouse) -> None:
    """Old rows have NULL in them; IF NOT EXISTS passes over what is there."""
    run("ALTER TABLE d.t ADD COLUMN name STRING, ADD COLUMN IF NOT EXISTS id INT64, ADD COLUMN tags ARRAY<STRING>")
    run("INSERT INTO d.t (id, name, tags) VALUES (2, 'b', ['x'])")
    assert [["1", None], ["2", "b"]] == values("SELECT id, name FROM d.t ORDER BY id")
    assert (Field("name", "STRING"), Field("tags", "STRING", "REPEATED")) == warehouse.get_table(REF).schema[1:]
    with pytest.raises(QueryInvalid, match="already exists"):
        run("ALTER TABLE d.t ADD COLUMN NAME STRING")


@pytest.mark.usefixtures("table")
def test_what_is_not_supported_is_refused(run: Run) -> None:
    """Nothing is passed over silently."""
    for sql in ("ALTER TABLE d.t DROP COLUMN id", "ALTER TABLE d.t RENAME TO u", "ALTER SCHEMA d SET OPTIONS()"):
        with pytest.raises(NotSupported):
            run(sql)
    with pytest.raises(QueryInvalid):
        run("ALTER VIEW d.t SET OPTIONS(description = 'x')")


def test_a_missing_table_is_not_found_unless_if_exists(run: Run) -> None:
    """IF EXISTS turns the error into nothing done."""
    with pytest.raises(NotFound):
        run("ALTER TABLE d.gone SET OPTIONS()")
    assert "SKIP" == run("ALTER TABLE IF EXISTS d.gone SET OPTIONS()").plan.ddl_operation
