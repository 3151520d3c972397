"""Tests of row access policies in the sandbox: their DDL is read and kept, and costs nothing."""

from datetime import UTC, datetime

import pytest

from bqgate.sandbox.warehouse import (
    Duplicate,
    Field,
    NotFound,
    QueryContext,
    QueryInvalid,
    Result,
    TableRef,
    Warehouse,
)

REF = TableRef("acme", "d", "t")


@pytest.fixture
def warehouse() -> Warehouse:
    """A table."""
    made = Warehouse(seed_examples=False)
    made.create_dataset("acme", "d")
    made.create_table(REF, (Field("customer", "STRING"),))
    return made


def run(warehouse: Warehouse, sql: str) -> Result:
    return warehouse.execute(sql, QueryContext("acme", datetime(2026, 11, 24, tzinfo=UTC)))


def test_a_policy_is_kept_with_its_table(warehouse: Warehouse) -> None:
    """Made, replaced, dropped."""
    made = run(
        warehouse,
        "CREATE ROW ACCESS POLICY p ON `acme.d.t` GRANT TO ('user:a@b.c') FILTER USING (TRUE)".replace("'", '"'),
    )
    assert made.plan.statement_type == "CREATE_ROW_ACCESS_POLICY"
    assert made.plan.bytes_billed_if_run == 0
    run(
        warehouse, 'CREATE OR REPLACE ROW ACCESS POLICY p ON d.t GRANT TO ("group:g@b.c") FILTER USING (customer = "x")'
    )
    assert warehouse.get_table(REF).row_policies == {"p": 'GRANT TO ("group:g@b.c") FILTER USING (customer = "x")'}
    run(warehouse, "DROP ROW ACCESS POLICY p ON d.t")
    run(warehouse, "DROP ROW ACCESS POLICY IF EXISTS p ON d.t")
    assert warehouse.get_table(REF).row_policies == {}


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ('CREATE ROW ACCESS POLICY p ON d.t GRANT TO ("a@b.c") FILTER USING (TRUE)', QueryInvalid),
        ('CREATE ROW ACCESS POLICY p ON d.none GRANT TO ("user:a@b.c") FILTER USING (TRUE)', NotFound),
        ("DROP ROW ACCESS POLICY none ON d.t", NotFound),
    ],
)
def test_what_bigquery_refuses_is_refused(warehouse: Warehouse, sql: str, error: type[Exception]) -> None:
    """Grantees that are none, tables and policies that are not there."""
    with pytest.raises(error):
        run(warehouse, sql)


def test_a_policy_is_not_made_twice(warehouse: Warehouse) -> None:
    """Without OR REPLACE."""
    sql = 'CREATE ROW ACCESS POLICY p ON d.t GRANT TO ("user:a@b.c") FILTER USING (TRUE)'
    run(warehouse, sql)
    with pytest.raises(Duplicate):
        run(warehouse, sql)
