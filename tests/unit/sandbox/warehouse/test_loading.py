import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bqgate.sandbox.warehouse import (
    Duplicate,
    Field,
    Invalid,
    LoadOptions,
    NotFound,
    NotSupported,
    QueryContext,
    TableRef,
    TimePartitioning,
    Warehouse,
)

REF = TableRef("acme", "d", "t")
Values = Callable[..., list[list[Any]]]
SCHEMA = (Field("id", "INTEGER"), Field("name", "STRING"), Field("day", "DATE"))


def test_csv_with_a_schema(warehouse: Warehouse, values: Values) -> None:
    """A CSV file's columns are read in the order of the schema; empty is NULL, quotes protect."""
    outcome = warehouse.load(
        REF,
        b'id|name|day\n1|"a|b"|2024-01-01\n2||\n',
        LoadOptions(schema=SCHEMA, skip_leading_rows=1, field_delimiter="|"),
    )
    assert (outcome.rows, outcome.input_bytes, outcome.output_bytes) == (2, 35, 8 + 8 + 5 + 8)
    assert values("SELECT id, name, day FROM t ORDER BY id") == [["1", "a|b", "2024-01-01"], ["2", None, None]]


def test_csv_autodetect(warehouse: Warehouse) -> None:
    """With autodetect the header names the columns and the values tell the types."""
    content = b"id,name,day,price\n1,a,2024-01-01,1.5\n2,b,2024-01-02,2.5\n"
    warehouse.load(REF, content, LoadOptions(autodetect=True))
    assert warehouse.get_table(REF).schema == (*SCHEMA, Field("price", "FLOAT"))


def test_csv_without_schema_or_autodetect_is_refused(warehouse: Warehouse) -> None:
    """Nothing is guessed unless asked for."""
    with pytest.raises(Invalid, match="No schema specified"):
        warehouse.load(REF, b"1,2\n", LoadOptions())


def test_newline_delimited_json(warehouse: Warehouse, values: Values) -> None:
    """NDJSON carries records and arrays."""
    schema = (Field("id", "INTEGER"), Field("tags", "STRING", "REPEATED"), Field("r", "RECORD", fields=SCHEMA[:2]))
    content = b'{"id": 1, "tags": ["a", "b"], "r": {"id": 5, "name": "x"}}\n{"id": 2}\n'
    warehouse.load(REF, content, LoadOptions(source_format="NEWLINE_DELIMITED_JSON", schema=schema))
    assert values("SELECT id, ARRAY_LENGTH(tags), r.name FROM t ORDER BY id") == [["1", "2", "x"], ["2", None, None]]


def test_parquet(warehouse: Warehouse, values: Values) -> None:
    """Parquet brings its own schema."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2], "name": ["a", None], "day": [date(2024, 1, 1), None]}), sink)
    assert warehouse.load(REF, sink.getvalue(), LoadOptions(source_format="PARQUET")).rows == 2
    assert warehouse.get_table(REF).schema == SCHEMA
    assert values("SELECT name FROM t WHERE id = 1") == [["a"]]


def test_dispositions(warehouse: Warehouse, values: Values) -> None:
    """Append adds, truncate replaces, empty refuses a table with rows, never refuses a missing one."""
    options = LoadOptions(schema=SCHEMA[:1])
    warehouse.load(REF, b"1\n", options)
    warehouse.load(REF, b"2\n", options)
    assert values("SELECT COUNT(*) FROM t") == [["2"]]
    warehouse.load(REF, b"3\n", replace(options, write_disposition="WRITE_TRUNCATE"))
    assert values("SELECT id FROM t") == [["3"]]
    with pytest.raises(Duplicate):
        warehouse.load(REF, b"4\n", replace(options, write_disposition="WRITE_EMPTY"))
    other = TableRef("acme", "d", "u")
    with pytest.raises(NotFound):
        warehouse.load(other, b"4\n", replace(options, create_disposition="CREATE_NEVER"))


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"x\n", LoadOptions(schema=SCHEMA[:1])),
        (b"1,2,3,4\n", LoadOptions(schema=SCHEMA[:1])),
        (b"{broken\n", LoadOptions(source_format="NEWLINE_DELIMITED_JSON", schema=SCHEMA[:1])),
        (b"not parquet", LoadOptions(source_format="PARQUET")),
    ],
)
def test_bad_files_change_nothing(content: bytes, options: LoadOptions, warehouse: Warehouse) -> None:
    """A file that does not fit is refused whole and leaves no table."""
    with pytest.raises(Invalid, match="Error while reading data"):
        warehouse.load(REF, content, options)
    with pytest.raises(NotFound):
        warehouse.get_table(REF)


def test_unknown_formats_are_refused(warehouse: Warehouse) -> None:
    """AVRO and bad-record limits are 501."""
    for options in (LoadOptions(source_format="AVRO"), LoadOptions(max_bad_records=3, autodetect=True)):
        with pytest.raises(NotSupported):
            warehouse.load(REF, b"", options)


def test_directory(warehouse: Warehouse, tmp_path: Path, run: Callable[..., Any]) -> None:
    """A sub-folder becomes a dataset that every project reads; tables.yaml declares layout and size."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "orders.csv").write_text("id,day,shop\n1,2024-01-01,a\n2,2024-01-02,b\n")
    pq.write_table(pa.table({"shop": ["a", "b"]}), folder / "shops.parquet")
    (folder / "tables.yaml").write_text("orders: {row_multiplier: 1000, partition_by: day, cluster_by: [shop]}\n")
    warehouse.load_directory(tmp_path)
    info = warehouse.get_table(TableRef("any-project", "shop", "orders"))
    assert info.time_partitioning == TimePartitioning("day")
    assert (info.clustering, info.num_bytes, info.num_rows) == (("shop",), 1000 * 2 * (8 + 8 + 3), 2)
    ctx = QueryContext("other", info.created_at)  # type: ignore[arg-type]  # loaded tables have a time
    plan = warehouse.plan("SELECT id FROM shop.orders WHERE day = '2024-01-01'", ctx)
    assert plan.bytes_processed == 1000 * 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("orders: {row_multiplicator: 3}", "expected a mapping"),
        ("orders: {row_multiplier: 0}", "whole number from 1"),
        ("nope: {row_multiplier: 2}", "there is no file for nope"),
        ("orders: {cluster_by: [nope]}", "clustering cannot be found"),
    ],
)
def test_faults_in_tables_yaml_are_named(text: str, message: str, warehouse: Warehouse, tmp_path: Path) -> None:
    """A wrong declaration is an error, not ignored."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.csv").write_text("id\n1\n")
    (tmp_path / "shop" / "tables.yaml").write_text(text)
    with pytest.raises(Invalid, match=message):
        warehouse.load_directory(tmp_path)
