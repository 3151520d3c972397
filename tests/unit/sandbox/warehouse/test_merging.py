from datetime import UTC, datetime

import pytest

from bqgate.sandbox.warehouse import Field, QueryContext, QueryInvalid, TableRef, Warehouse

CONTEXT = QueryContext(project="p", now=datetime(2026, 11, 24, tzinfo=UTC))


@pytest.fixture
def warehouse() -> Warehouse:
    opened = Warehouse(seed_examples=False)
    opened.create_dataset("p", "d")
    opened.create_table(TableRef("p", "d", "t"), (Field("id", "INTEGER"), Field("name", "STRING")))
    opened.execute("INSERT INTO d.t (id, name) VALUES (1, 'a'), (2, 'b')", CONTEXT)
    return opened


def rows(warehouse: Warehouse) -> list[tuple[str, ...]]:
    result = warehouse.execute("SELECT id, name FROM d.t ORDER BY id", CONTEXT)
    return [tuple(cell["v"] for cell in row["f"]) for row in result.rows.page(0, 100)]


def test_names_alone_mean_the_only_side_that_is_there(warehouse: Warehouse) -> None:
    """WHEN NOT MATCHED sees the source's columns, BY SOURCE the target's, though both have columns of these names."""
    warehouse.execute(
        "MERGE d.t AS t USING (SELECT 2 AS id, 'z' AS name UNION ALL SELECT 3, 'c') AS s ON t.id = s.id "
        "WHEN NOT MATCHED AND id > 2 THEN INSERT (id, name) VALUES (id, name) "
        "WHEN NOT MATCHED BY SOURCE AND id < 2 THEN UPDATE SET name = CONCAT(name, '!')",
        CONTEXT,
    )
    assert [("1", "a!"), ("2", "b"), ("3", "c")] == rows(warehouse)


def test_a_name_of_both_sides_is_ambiguous_where_both_are_there(warehouse: Warehouse) -> None:
    """WHEN MATCHED sees both rows."""
    with pytest.raises(QueryInvalid):
        warehouse.execute(
            "MERGE d.t AS t USING (SELECT 2 AS id, 'z' AS name) AS s ON t.id = s.id "
            "WHEN MATCHED THEN UPDATE SET name = CONCAT(name, '!')",
            CONTEXT,
        )
