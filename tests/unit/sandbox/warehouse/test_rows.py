from collections.abc import Callable

import pytest

from bqgate.sandbox.warehouse import Field, QueryInvalid, Result, Warehouse

Run = Callable[..., Result]

ENCODED = [
    ("'é'", "STRING", "é"),
    ("9223372036854775807", "INTEGER", "9223372036854775807"),
    ("1.5", "FLOAT", "1.5"),
    ("CAST('inf' AS FLOAT64)", "FLOAT", "Infinity"),
    ("TRUE", "BOOLEAN", "true"),
    ("TIMESTAMP '2024-01-01 00:00:00.000001+00'", "TIMESTAMP", "1704067200.000001"),
    ("TIMESTAMP '1969-12-31 23:59:59.5+00'", "TIMESTAMP", "-0.500000"),
    ("DATE '0001-01-01'", "DATE", "0001-01-01"),
    ("TIME '01:02:03.5'", "TIME", "01:02:03.500000"),
    ("DATETIME '2024-01-01 00:00:00'", "DATETIME", "2024-01-01T00:00:00"),
    ("NUMERIC '-0.10'", "NUMERIC", "-0.1"),
    ("NUMERIC '99999999999999999999999999999.999999999'", "NUMERIC", "99999999999999999999999999999.999999999"),
    ("BIGNUMERIC '1.25'", "BIGNUMERIC", "1.25"),
    ("b'\\x00a'", "BYTES", "AGE="),
    ("FROM_BASE64('AP8=')", "BYTES", "AP8="),
    ("-9223372036854775808", "INTEGER", "-9223372036854775808"),
    ("JSON '{\"a\":1}'", "JSON", '{"a":1}'),
    ("CAST(NULL AS STRING)", "STRING", None),
]


@pytest.mark.parametrize(("expression", "kind", "cell"), ENCODED)
def test_each_type_is_encoded_as_the_rest_api_does(expression: str, kind: str, cell: str | None, run: Run) -> None:
    """Every value is a string, NULL is null, and the schema says the legacy type name."""
    result = run(f"SELECT {expression} AS x")
    assert result.schema == (Field("x", kind),)
    assert result.rows.page(0, 1) == [{"f": [{"v": cell}]}]


def test_timestamp_as_microseconds(run: Run) -> None:
    """With useInt64Timestamp a TIMESTAMP is whole microseconds, inside arrays and records too."""
    rows = run("SELECT [STRUCT(TIMESTAMP '2024-01-01 00:00:00.000001+00' AS t)] AS x").rows
    assert rows.page(0, 1, use_int64_timestamp=True) == [{"f": [{"v": [{"v": {"f": [{"v": "1704067200000001"}]}}]}]}]


def test_records_and_arrays(run: Run) -> None:
    """Records are `f` lists, arrays are lists of `v`; a NULL array is an empty one."""
    result = run("SELECT STRUCT(1 AS a, ['x'] AS b) AS r, CAST(NULL AS ARRAY<INT64>) AS n")
    inner = (Field("a", "INTEGER"), Field("b", "STRING", "REPEATED"))
    assert result.schema == (Field("r", "RECORD", fields=inner), Field("n", "INTEGER", "REPEATED"))
    assert result.rows.page(0, 1) == [{"f": [{"v": {"f": [{"v": "1"}, {"v": [{"v": "x"}]}]}}, {"v": []}]}]


def test_null_in_an_array_cannot_be_returned(run: Run) -> None:
    """BigQuery computes such arrays but refuses to write them."""
    with pytest.raises(QueryInvalid, match="Array cannot have a null element"):
        run("SELECT [1, NULL] AS x")


def test_paging(query: Run, examples: Warehouse) -> None:
    """Pages follow one another, and past the end there is nothing."""
    rows = query("SELECT carrier FROM airlines ORDER BY carrier").rows
    whole = rows.page(0, 100)
    assert len(rows) == len(whole) == 16
    assert rows.page(0, 10) + rows.page(10, 10) == whole
    assert rows.page(16, 10) == []


def test_nameless_columns(run: Run) -> None:
    """Columns without a name are f0_, f1_, …; names keep the case of the text."""
    names = [field.name for field in run("SELECT 1, 2 AS Two, COUNT(*), MAX(3) AS x").schema]
    assert names == ["f0_", "Two", "f1_", "x"]


def test_star_keeps_the_names_of_the_table(run: Run) -> None:
    """Columns of `*` are spelt as the table spells them."""
    run("CREATE TABLE t (MixedCase INT64, other STRING)")
    assert [field.name for field in run("SELECT * FROM t").schema] == ["MixedCase", "other"]


MANY = "UNNEST(GENERATE_ARRAY(1, 400000)) AS n"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 / (n - 399999)", "division by zero"),
        ("CAST(IF(n = 399999, 'x', '1') AS INT64)", "Bad int64 value: x"),
        ("IF(n = 399999, ERROR('late'), n)", "late"),
    ],
)
def test_a_failure_far_down_a_large_result_is_an_invalid_query(expression: str, message: str, run: Run) -> None:
    """A row that fails after the first ones were read refuses the whole query in BigQuery's words."""
    with pytest.raises(QueryInvalid, match=message):
        run(f"SELECT {expression} AS x FROM {MANY}")


def test_a_large_result_lies_in_a_file_and_reads_the_same(run: Run) -> None:
    """Past 8 MiB rows are kept on disk; pages from its end and across its batches are right."""
    rows = run(f"SELECT n, REPEAT('x', 40) AS s FROM {MANY}").rows
    assert len(rows) == 400_000
    assert [row["f"][0]["v"] for row in rows.page(122_870, 20)] == [str(n) for n in range(122_871, 122_891)]
    assert rows.page(399_999, 5) == [{"f": [{"v": "400000"}, {"v": "x" * 40}]}]
