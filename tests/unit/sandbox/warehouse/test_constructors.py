from collections.abc import Callable
from typing import Any

import pytest

from bqgate.sandbox.warehouse import Field, QueryInvalid, Result

Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]


def plain(cell: Any) -> Any:
    """A cell without its `v` and `f`."""
    if isinstance(cell, dict) and "f" in cell:
        return tuple(plain(part["v"]) for part in cell["f"])
    return [plain(part["v"]) for part in cell] if isinstance(cell, list) else cell


RECORDS = [
    ("STRUCT<a INT64, b STRING>(1, 'x')", ["a", "b"], ("1", "x")),
    ("STRUCT<INT64, STRING>(1, 'x')", ["_field_1", "_field_2"], ("1", "x")),
    ("STRUCT(1, 'x')", ["_field_1", "_field_2"], ("1", "x")),
    ("(1, 'x')", ["_field_1", "_field_2"], ("1", "x")),
    ("STRUCT<Big INT64, y FLOAT64>(NULL, 2)", ["Big", "y"], (None, "2.0")),
    ("STRUCT<a INT64, b STRUCT<c DATE>>(1, STRUCT(DATE '2020-01-01'))", ["a", "b"], ("1", ("2020-01-01",))),
    ("CAST(STRUCT(1, 'x') AS STRUCT<a INT64, b STRING>)", ["a", "b"], ("1", "x")),
    ("[STRUCT(1 AS a, 'x' AS b), (2, 'y')]", ["a", "b"], [("1", "x"), ("2", "y")]),
    ("ARRAY<STRUCT<a INT64, b STRING>>[(1, 'x'), STRUCT(2, 'y')]", ["a", "b"], [("1", "x"), ("2", "y")]),
    ("ARRAY<STRUCT<a INT64>>[]", ["a"], []),
    ("ARRAY(SELECT AS STRUCT x AS One, x * 2 AS b FROM UNNEST([2, 1]) AS x ORDER BY b)", ["One", "b"], None),
    ("(SELECT AS STRUCT 1 AS a, 2 AS b)", ["a", "b"], ("1", "2")),
]


@pytest.mark.parametrize(("expression", "names", "value"), RECORDS)
def test_a_constructor_gives_a_record_with_names(expression: str, names: list[str], value: Any, run: Run) -> None:
    """Typed, named and nameless constructors make records whose fields have the names and values that were said."""
    result = run(f"SELECT {expression} AS s")
    assert [field.name for field in result.schema[0].fields] == names
    cell = plain(result.rows.page(0, 1)[0]["f"][0]["v"])
    assert cell == ([("1", "2"), ("2", "4")] if value is None else value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("STRUCT<a INT64, b STRUCT<c STRING>>(1, STRUCT('deep')).b.c", "deep"),
        ("[STRUCT<x INT64>(5)][OFFSET(0)].x", "5"),
        ("(SELECT AS STRUCT 1 AS a, 2 AS b).b", "2"),
    ],
)
def test_fields_of_a_constructor_can_be_read(expression: str, value: str, values: Values) -> None:
    """A field is read off a typed struct, off an element of an array and off a subquery."""
    assert values(f"SELECT {expression}") == [[value]]


@pytest.mark.parametrize(
    ("sql", "names", "rows"),
    [
        ("SELECT * FROM UNNEST([STRUCT(1 AS a, 'x' AS b), (2, 'y')])", ["a", "b"], [["1", "x"], ["2", "y"]]),
        ("SELECT u.b, a FROM UNNEST([STRUCT<a INT64, b STRING>(1, 'x')]) AS u", ["b", "a"], [["x", "1"]]),
        ("SELECT u.* FROM UNNEST(ARRAY<STRUCT<a INT64>>[STRUCT(1), STRUCT(2)]) AS u", ["a"], [["1"], ["2"]]),
        ("SELECT * FROM UNNEST(ARRAY<STRUCT<a INT64>>[STRUCT(7)]) WITH OFFSET AS o", ["a", "o"], [["7", "0"]]),
        ("SELECT * FROM UNNEST([1, 2])", ["f0_"], [["1"], ["2"]]),
        ("SELECT * FROM UNNEST(ARRAY<STRING>['x'])", ["f0_"], [["x"]]),
        ("SELECT AS STRUCT 1 AS a, 'x' AS b", ["a", "b"], [["1", "x"]]),
        ("SELECT AS VALUE STRUCT(1 AS a, 'x' AS b)", ["a", "b"], [["1", "x"]]),
        ("SELECT a FROM (SELECT AS STRUCT 1 AS a)", ["a"], [["1"]]),
    ],
)
def test_rows_of_structs_have_columns(
    sql: str, names: list[str], rows: list[list[str]], run: Run, values: Values
) -> None:
    """UNNEST of structs, SELECT AS STRUCT and SELECT AS VALUE give their fields as columns."""
    assert [field.name for field in run(sql).schema] == names
    assert values(sql) == rows


def test_the_newest_row_of_each_key_as_a_value(run: Run, values: Values) -> None:
    """SELECT AS VALUE ARRAY_AGG(t …)[OFFSET(0)] gives whole rows with their table's columns."""
    run("CREATE TABLE d.t AS SELECT 1 AS id, 'old' AS v, 1 AS at UNION ALL SELECT 1, 'new', 2")
    sql = "SELECT AS VALUE ARRAY_AGG(t ORDER BY at DESC LIMIT 1)[OFFSET(0)] FROM d.t AS t GROUP BY id"
    assert [field.name for field in run(sql).schema] == ["id", "v", "at"]
    assert values(sql) == [["1", "new", "2"]]


def test_structs_in_values_take_their_column_s_names(run: Run, values: Values) -> None:
    """INSERT … VALUES puts nameless structs into a STRUCT column and into an array of them by position."""
    run("CREATE TABLE d.t (s STRUCT<a INT64, b STRING>, many ARRAY<STRUCT<c FLOAT64>>)")
    run("INSERT INTO d.t VALUES ((1, 'x'), [STRUCT(2)]), (NULL, [])")
    assert values("SELECT s.a, s.b, many[SAFE_OFFSET(0)].c FROM d.t ORDER BY s.a DESC") == [
        ["1", "x", "2.0"],
        [None, None, None],
    ]


def test_a_constructor_with_too_few_values_is_refused(run: Run) -> None:
    """The refusal counts both the type's fields and the values."""
    with pytest.raises(QueryInvalid, match="STRUCT type has 2 fields but constructor call has 1 fields"):
        run("SELECT STRUCT<x INT64, y INT64>(1)")


def test_one_value_in_parentheses_is_no_struct(run: Run) -> None:
    """A tuple has two values at least, so `(1)` is a number and does not become a struct of one field."""
    with pytest.raises(QueryInvalid, match="INT64 does not coerce to STRUCT<a INT64>"):
        run("SELECT ARRAY<STRUCT<a INT64>>[(1)]")


def test_types_of_fields_are_said(run: Run) -> None:
    """A typed constructor's schema has the types that were written, not those of its literals."""
    fields = run("SELECT STRUCT<n NUMERIC, d DATE, f FLOAT64>(1, '2020-01-01', 2) AS s").schema[0].fields
    assert fields == (Field("n", "NUMERIC"), Field("d", "DATE"), Field("f", "FLOAT"))
