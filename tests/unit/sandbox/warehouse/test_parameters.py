from collections.abc import Callable
from typing import Any

import pytest

from bqgate.sandbox.warehouse import Plan, QueryInvalid

Values = Callable[..., list[list[Any]]]


def scalar(kind: str, value: str | None, name: str = "p") -> dict[str, Any]:
    return {"name": name, "parameterType": {"type": kind}, "parameterValue": {"value": value}}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("INT64", "-9223372036854775808", "-9223372036854775808"),
        ("INTEGER", "5", "5"),
        ("FLOAT64", "1.25", "1.25"),
        ("FLOAT64", "NaN", "NaN"),
        ("BOOL", "true", "true"),
        ("STRING", 'it\'s ; -- "x" \\ é', 'it\'s ; -- "x" \\ é'),
        ("BYTES", "AAEC", "AAEC"),
        ("DATE", "2024-02-29", "2024-02-29"),
        ("DATETIME", "2024-02-29T01:02:03.5", "2024-02-29T01:02:03.500000"),
        ("TIME", "01:02:03", "01:02:03"),
        ("TIMESTAMP", "2024-02-29 01:02:03+00:00", "1709168523.000000"),
        ("TIMESTAMP", "2024-02-29T03:02:03+02:00", "1709168523.000000"),
        ("NUMERIC", "123456789.123456789", "123456789.123456789"),
        ("STRING", None, None),
        ("DATE", None, None),
    ],
)
def test_scalar_parameter_of_each_type(kind: str, value: str | None, expected: str | None, values: Values) -> None:
    """A parameter comes back as the value that was sent, in the encoding of rows."""
    assert values("SELECT @p AS x", parameters=[scalar(kind, value)]) == [[expected]]


def test_arrays_and_structs(values: Values) -> None:
    """Arrays, structs and arrays of structs nest."""
    struct_type = {
        "type": "STRUCT",
        "structTypes": [
            {"name": "n", "type": {"type": "INT64"}},
            {"name": "tags", "type": {"type": "ARRAY", "arrayType": {"type": "STRING"}}},
        ],
    }
    item = {"structValues": {"n": {"value": "1"}, "tags": {"arrayValues": [{"value": "a"}, {"value": "b"}]}}}
    parameter = {
        "name": "p",
        "parameterType": {"type": "ARRAY", "arrayType": struct_type},
        "parameterValue": {"arrayValues": [item]},
    }
    sql = "SELECT e.n, e.tags, ARRAY_LENGTH(@p) FROM UNNEST(@p) AS e"
    assert values(sql, parameters=[parameter]) == [["1", [{"v": "a"}, {"v": "b"}], "1"]]


def test_positional_parameters(values: Values) -> None:
    """Question marks take the values in order."""
    given = [{k: v for k, v in scalar("INT64", str(n)).items() if k != "name"} for n in (7, 5)]
    assert values("SELECT ? - ? AS x", parameters=given) == [["2"]]


def test_name_is_the_same_in_any_case(values: Values) -> None:
    """Parameter names do not care about case."""
    assert values("SELECT @P AS x", parameters=[scalar("INT64", "1")]) == [["1"]]


def test_missing_parameter_fails_when_it_runs(values: Values, plan: Callable[..., Plan]) -> None:
    """A dry run reports it with a guessed type; the query itself is invalid."""
    with pytest.raises(QueryInvalid, match=r"^Query parameter 'p' not found"):
        values("SELECT @p AS x")
    assert plan("SELECT 1 = @p AS x").undeclared_parameters == ({"name": "p", "parameterType": {"type": "INT64"}},)


def test_value_that_is_none_of_its_type(values: Values) -> None:
    """A value that does not parse is an invalid query."""
    for kind in ("INT64", "DATE", "BOOL"):
        with pytest.raises(QueryInvalid):
            values("SELECT @p AS x", parameters=[scalar(kind, "rubbish")])


def test_parameter_without_a_type(values: Values) -> None:
    """The field parameterType is required."""
    with pytest.raises(QueryInvalid, match="parameterType"):
        values("SELECT @p AS x", parameters=[{"name": "p", "parameterValue": {"value": "1"}}])


def test_parameter_is_data_not_text(values: Values) -> None:
    """A value is never read as SQL."""
    evil = "' OR 1=1; DROP TABLE t --"
    assert values("SELECT @p = 'x' AS same, LENGTH(@p) AS n", parameters=[scalar("STRING", evil)]) == [
        ["false", str(len(evil))]
    ]
