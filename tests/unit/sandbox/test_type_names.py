import uuid
from decimal import Decimal
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

# The name that a caller writes, a value in JSON, the name that Google's answers say, and the value that is read.
NAMES: list[tuple[str, Any, str, Any]] = [
    ("INT64", 1, "INTEGER", 1),
    ("int64", "9007199254740993", "INTEGER", 9007199254740993),
    ("INTEGER", 1, "INTEGER", 1),
    ("FLOAT64", 1.5, "FLOAT", 1.5),
    ("float", 1, "FLOAT", 1.0),
    ("BOOL", True, "BOOLEAN", True),
    ("Boolean", "false", "BOOLEAN", False),
    ("DECIMAL", "1.50", "NUMERIC", Decimal("1.5")),
    ("NUMERIC", 1.25, "NUMERIC", Decimal("1.25")),
    ("BIGDECIMAL", "1.5", "BIGNUMERIC", Decimal("1.5")),
    ("BIGNUMERIC", "12345678901234567890.0123456789", "BIGNUMERIC", Decimal("12345678901234567890.0123456789")),
    ("STRING", "é", "STRING", "é"),
    ("BYTES", "YWJj", "BYTES", b"abc"),
    ("JSON", {"a": [1, 2.5]}, "JSON", {"a": [1, 2.5]}),
    ("GEOGRAPHY", "point(1.50 2)", "GEOGRAPHY", "POINT(1.5 2)"),
]


@pytest.fixture
def table_id(client: bigquery.Client) -> str:
    """A table that is not there yet."""
    client.create_dataset("types", exists_ok=True)
    return f"acme.types.t{uuid.uuid4().hex}"


def load(client: bigquery.Client, table_id: str, rows: list[Any], *schema: SchemaField) -> bigquery.Table:
    client.load_table_from_json(rows, table_id, job_config=bigquery.LoadJobConfig(schema=list(schema))).result()
    return client.get_table(table_id)


@pytest.mark.parametrize(("name", "written", "answered", "read"), NAMES)
def test_json_loads_take_every_name_of_a_type(
    name: str, written: Any, answered: str, read: Any, client: bigquery.Client, table_id: str
) -> None:
    """A load names types in either dialect and any case; the table's schema says the REST API's legacy names."""
    table = load(client, table_id, [{"x": written}, {"x": None}], SchemaField("x", name))
    assert [field.field_type for field in table.schema] == [answered]
    assert [row.x for row in client.list_rows(table)] == [read, None]


def test_json_loads_take_structs(client: bigquery.Client, table_id: str) -> None:
    """STRUCT and RECORD nest, with INT64 and FLOAT64 below them, and repeat."""
    inner = [SchemaField("a", "INT64"), SchemaField("deep", "RECORD", fields=[SchemaField("f", "FLOAT64")])]
    table = load(
        client,
        table_id,
        [{"s": [{"a": 1, "deep": {"f": 2}}, {"a": 3}]}, {}],
        SchemaField("s", "STRUCT", mode="REPEATED", fields=inner),
    )
    assert table.schema[0].field_type == "RECORD"
    assert [field.field_type for field in table.schema[0].fields] == ["INTEGER", "RECORD"]
    assert [row.s for row in client.list_rows(table)] == [
        [{"a": 1, "deep": {"f": 2.0}}, {"a": 3, "deep": None}],
        [],
    ]


def test_tables_are_made_and_grown_with_standard_names(client: bigquery.Client, table_id: str) -> None:
    """tables.insert and tables.patch take INT64, BOOL and RANGE; they answer legacy names and a range's element."""
    span = SchemaField("r", "RANGE", range_element_type="DATE")
    table = client.create_table(bigquery.Table(table_id, [SchemaField("a", "INT64"), span]))
    assert [field.to_api_repr()["type"] for field in table.schema] == ["INTEGER", "RANGE"]
    assert table.schema[1].to_api_repr()["rangeElementType"] == {"type": "DATE"}
    table.schema = [*table.schema, SchemaField("b", "bool")]
    grown = client.update_table(table, ["schema"])
    assert [field.field_type for field in grown.schema][2:] == ["BOOLEAN"]


@pytest.mark.parametrize("how", ["load", "create"])
def test_an_unknown_type_is_refused_as_google_does(how: str, client: bigquery.Client, table_id: str) -> None:
    """A name that is no type is a 400 that says so, in loads and in tables."""
    field = SchemaField("x", "WHAT")
    with pytest.raises(BadRequest, match="Invalid value for type: WHAT is not a valid value"):
        load(client, table_id, [{}], field) if how == "load" else client.create_table(bigquery.Table(table_id, [field]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"x": 1, "y": 2}, "No such field: y"),
        ({"x": "abc"}, "Cannot convert value to integer"),
        ({"x": 1.5}, "Cannot convert value to integer"),
        ({"x": None}, "Missing required field: x"),
        ({"x": 2**63}, "Cannot convert value to integer"),
    ],
)
def test_rows_that_do_not_fit_are_refused(row: Any, message: str, client: bigquery.Client, table_id: str) -> None:
    """A load says which row does not fit and why, and loads nothing."""
    with pytest.raises(BadRequest, match=rf"row starting at position 9: {message}"):
        load(client, table_id, [{"x": 1}, row], SchemaField("x", "INT64", mode="REQUIRED"))


def test_unknown_fields_can_be_ignored(client: bigquery.Client, table_id: str) -> None:
    """With ignoreUnknownValues a field that no column has is passed over."""
    config = bigquery.LoadJobConfig(schema=[SchemaField("x", "INT64")], ignore_unknown_values=True)
    client.load_table_from_json([{"x": 1, "y": 2}], table_id, job_config=config).result()
    assert [tuple(row) for row in client.list_rows(table_id)] == [(1,)]


def test_a_load_with_another_schema_is_not_appended(client: bigquery.Client, table_id: str) -> None:
    """Appending with a field of another type or a new field is a 400 that names the field."""
    load(client, table_id, [{"x": 1}], SchemaField("x", "INT64"))
    with pytest.raises(BadRequest, match="Field x has changed type from INTEGER to STRING"):
        load(client, table_id, [{"x": "1"}], SchemaField("x", "STRING"))
    with pytest.raises(BadRequest, match=r"Cannot add fields \(field: y\)"):
        load(client, table_id, [{"y": "1"}], SchemaField("y", "STRING"))


def test_files_without_a_schema_are_looked_at(client: bigquery.Client, table_id: str) -> None:
    """JSON without a schema gets types by its values; texts that look like an UUID stay texts."""
    row = {"a": 1, "b": "x", "c": 1.5, "d": "2020-01-01", "f": True, "g": {"h": 1}, "i": [1, 2], "u": str(uuid.uuid4())}
    client.load_table_from_json([row], table_id).result()
    kinds = {field.name: field.field_type for field in client.get_table(table_id).schema}
    assert kinds == {
        "a": "INTEGER",
        "b": "STRING",
        "c": "FLOAT",
        "d": "DATE",
        "f": "BOOLEAN",
        "g": "RECORD",
        "i": "INTEGER",
        "u": "STRING",
    }
