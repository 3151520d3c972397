"""INTERVAL, RANGE, points and JSON: what each is worth in BigQuery, and how it comes out."""

from collections.abc import Callable
from typing import Any

import pytest

from bqgate.sandbox.warehouse import Field, NotSupported, QueryInvalid, Result, TableRef, Warehouse

Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]

INTERVALS = [
    ("INTERVAL 1 DAY", "0-0 1 0:0:0"),
    ("INTERVAL '1-2 3 4:5:6.789' YEAR TO SECOND", "1-2 3 4:5:6.789"),
    ("INTERVAL '-1-2' YEAR TO MONTH", "-1-2 0 0:0:0"),
    ("INTERVAL '10:20:30.000001' HOUR TO SECOND", "0-0 0 10:20:30.000001"),
    ("INTERVAL -5 DAY", "0-0 -5 0:0:0"),
    ("INTERVAL -90 MINUTE", "0-0 0 -1:30:0"),
    ("INTERVAL 25 MONTH", "2-1 0 0:0:0"),
    ("MAKE_INTERVAL(1, 2, 3, 4, 5, 6)", "1-2 3 4:5:6"),
    ("MAKE_INTERVAL(year => 1, day => 2)", "1-0 2 0:0:0"),
    ("CAST('1-2 3 4:5:6' AS INTERVAL)", "1-2 3 4:5:6"),
    ("DATE '2020-03-01' - DATE '2020-01-01'", "0-0 60 0:0:0"),
    ("TIMESTAMP '2020-01-03 05:00:00+00' - TIMESTAMP '2020-01-01 00:00:00+00'", "0-0 0 53:0:0"),
    ("INTERVAL 1 DAY * 3 + INTERVAL 1 HOUR", "0-0 3 1:0:0"),
    ("INTERVAL 3 DAY / 2", "0-0 1 12:0:0"),
    ("JUSTIFY_DAYS(INTERVAL 35 DAY)", "0-1 5 0:0:0"),
    ("JUSTIFY_DAYS(INTERVAL -65 DAY)", "-0-2 -5 0:0:0"),
    ("JUSTIFY_HOURS(INTERVAL 50 HOUR)", "0-0 2 2:0:0"),
    ("JUSTIFY_INTERVAL(INTERVAL '29 49:00:00' DAY TO SECOND)", "0-1 1 1:0:0"),
    ("EXTRACT(DAY FROM INTERVAL '1-2 3 4:5:6' YEAR TO SECOND)", "3"),
    ("EXTRACT(HOUR FROM TIMESTAMP '2020-01-02 05:00:00+00' - TIMESTAMP '2020-01-01 00:00:00+00')", "29"),
    ("CAST(INTERVAL '-1-2 3 -4:5:6.5' YEAR TO SECOND AS STRING)", "-1-2 3 -4:5:6.500"),
    ("INTERVAL 30 DAY = INTERVAL 1 MONTH", "true"),
    ("DATE '2020-01-31' + INTERVAL 1 MONTH", "2020-02-29T00:00:00"),
    ("DATETIME '2020-01-31 10:00:00' - INTERVAL '1 2' DAY TO HOUR", "2020-01-30T08:00:00"),
    ("(SELECT SUM(i) FROM UNNEST([INTERVAL 1 DAY, INTERVAL 2 HOUR]) AS i)", "0-0 1 2:0:0"),
]
RANGES = [
    ("RANGE(DATE '2020-01-01', DATE '2020-12-31')", "[2020-01-01, 2020-12-31)"),
    ("RANGE<DATE> '[2020-01-01, 2020-12-31)'", "[2020-01-01, 2020-12-31)"),
    ("RANGE<DATE> '[UNBOUNDED, 2020-12-31)'", "[UNBOUNDED, 2020-12-31)"),
    ("RANGE(DATETIME '2020-01-01 00:00:00', NULL)", "[2020-01-01T00:00:00, UNBOUNDED)"),
    (
        "RANGE<TIMESTAMP> '[2020-01-01 00:00:00+00, 2020-01-02 00:00:00+00)'",
        "[1577836800.000000, 1577923200.000000)",
    ),
    ("RANGE_START(RANGE<DATE> '[2020-01-01, 2020-12-31)')", "2020-01-01"),
    ("RANGE_END(RANGE<DATE> '[2020-01-01, UNBOUNDED)')", None),
    ("RANGE_CONTAINS(RANGE<DATE> '[2020-01-01, 2020-12-31)', DATE '2020-12-31')", "false"),
    ("RANGE_CONTAINS(RANGE(DATE '2020-01-01', NULL), RANGE<DATE> '[2020-01-02, 2020-01-03)')", "true"),
    ("RANGE_CONTAINS(RANGE<DATE> '[2020-01-02, 2020-01-03)', RANGE(DATE '2020-01-01', NULL))", "false"),
    ("RANGE_OVERLAPS(RANGE<DATE> '[2020-01-01, 2020-06-01)', RANGE<DATE> '[2020-06-01, 2021-01-01)')", "false"),
    (
        "RANGE_INTERSECT(RANGE(DATE '2020-01-01', NULL), RANGE<DATE> '[UNBOUNDED, 2020-01-03)')",
        "[2020-01-01, 2020-01-03)",
    ),
]
JSONS = [
    (
        "TO_JSON(STRUCT(1 AS a, [1, 2] AS b, DATE '2020-01-01' AS d, NULL AS n, TRUE AS t))",
        '{"a":1,"b":[1,2],"d":"2020-01-01","n":null,"t":true}',
    ),
    ("TO_JSON(9007199254740993)", "9007199254740993"),
    ("TO_JSON_STRING(9007199254740993)", '"9007199254740993"'),
    ("TO_JSON_STRING(9007199254740992)", "9007199254740992"),
    ("TO_JSON(NULL)", "null"),
    ("TO_JSON_STRING(CAST(NULL AS INT64))", "null"),
    ("TO_JSON(1.0)", "1.0"),
    ("TO_JSON(CAST('nan' AS FLOAT64))", '"NaN"'),
    ("TO_JSON(NUMERIC '1.50')", "1.5"),
    ("TO_JSON(TIMESTAMP '2020-01-01 00:00:00.25+00')", '"2020-01-01T00:00:00.250Z"'),
    ("TO_JSON(DATETIME '2020-01-01 00:00:00')", '"2020-01-01T00:00:00"'),
    ("TO_JSON(b'abc')", '"YWJj"'),
    ("TO_JSON(TIME '10:00:00')", '"10:00:00"'),
    ("TO_JSON(RANGE<DATE> '[2020-01-01, UNBOUNDED)')", '{"start":"2020-01-01","end":null}'),
    ("TO_JSON_STRING(STRUCT('x\"y' AS b))", '{"b":"x\\"y"}'),
    ("JSON_OBJECT('a', 1, 'd', DATE '2020-01-01')", '{"a":1,"d":"2020-01-01"}'),
    ("JSON_ARRAY(1, 'a', NULL)", '[1,"a",null]'),
    ("PARSE_JSON('{\"a\": 1}')", '{"a":1}'),
    ('JSON_VALUE(\'{"a b":{"c":[5]}}\', \'$."a b".c[0]\')', "5"),
    ("JSON_TYPE(JSON '1.5')", "number"),
    ("INT64(JSON '5')", "5"),
    ("FLOAT64(JSON '1.5')", "1.5"),
    ("BOOL(JSON 'true')", "true"),
    ("STRING(JSON '\"x\"')", "x"),
]
POINTS = [
    ("ST_GEOGPOINT(1, 2.5)", "POINT(1 2.5)"),
    ("ST_GEOGFROMTEXT('point( 1.50 2)')", "POINT(1.5 2)"),
    ("ST_ASTEXT(ST_GEOGPOINT(-1, 2))", "POINT(-1 2)"),
    ("ST_X(ST_GEOGPOINT(1.5, 2))", "1.5"),
    ("ST_Y(ST_GEOGPOINT(1.5, 2))", "2.0"),
    ("ROUND(ST_DISTANCE(ST_GEOGPOINT(1, 2), ST_GEOGPOINT(1, 3)))", "111195.0"),
    ("ST_DWITHIN(ST_GEOGPOINT(1, 2), ST_GEOGPOINT(1, 3), 111195)", "false"),
]


@pytest.mark.parametrize(("expression", "cell"), [*INTERVALS, *RANGES, *JSONS, *POINTS])
def test_value_is_bigquerys(expression: str, cell: str | None, values: Values) -> None:
    """An expression over a special type comes out in the text that Google's REST API has for it."""
    assert values(f"SELECT {expression} AS x") == [[cell]]


def test_json_members_are_read_by_dots_and_brackets(values: Values) -> None:
    """A member of a JSON column is JSON, and functions take it from there."""
    sql = (
        "SELECT INT64(j.a), j.b, j['b'][1], JSON_QUERY(j, '$.b[0]'), JSON_VALUE(j.b[0]) "
        'FROM (SELECT PARSE_JSON(\'{"a":1,"b":["x","y"]}\') AS j)'
    )
    assert values(sql) == [["1", '["x","y"]', '"y"', '"x"', "x"]]


def test_arrays_out_of_json(values: Values) -> None:
    """JSON_VALUE_ARRAY takes scalars, JSON_QUERY_ARRAY takes anything, and neither takes what is no array."""
    cells = values("SELECT JSON_VALUE_ARRAY('[\"a\",1]'), JSON_QUERY_ARRAY('[{\"b\":1}]'), JSON_VALUE_ARRAY('[[1]]')")
    assert cells == [[[{"v": "a"}, {"v": "1"}], [{"v": '{"b":1}'}], []]]


def test_a_range_is_split_into_an_array(values: Values) -> None:
    """GENERATE_RANGE_ARRAY gives the sub-ranges, the last one cut at the end."""
    sql = "SELECT GENERATE_RANGE_ARRAY(RANGE<DATE> '[2020-01-01, 2020-01-06)', INTERVAL 3 DAY)"
    assert values(sql) == [[[{"v": "[2020-01-01, 2020-01-04)"}, {"v": "[2020-01-04, 2020-01-06)"}]]]


def test_rows_become_json(run: Run, values: Values) -> None:
    """TO_JSON_STRING of a table's alias is an object of its columns, with their names as they are written."""
    run("CREATE TABLE d.t AS SELECT 1 AS Id, ['x'] AS tags, STRUCT(TIMESTAMP '2020-01-01 00:00:00+00' AS at) AS s")
    assert values("SELECT TO_JSON_STRING(t) FROM d.t AS t") == [
        ['{"Id":1,"tags":["x"],"s":{"at":"2020-01-01T00:00:00Z"}}']
    ]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("INTERVAL 'x' DAY", "Invalid INTERVAL value 'x'"),
        ("EXTRACT(QUARTER FROM INTERVAL 1 DAY)", "EXTRACT of QUARTER from INTERVAL"),
        ("TIMESTAMP '2020-01-01' + INTERVAL 1 MONTH", "non-zero MONTH or YEAR part"),
        ("RANGE(DATE '2020-01-02', DATE '2020-01-02')", "Range start element must be less than range end element"),
        ("RANGE(1, 2)", "No matching signature for function RANGE"),
        ("RANGE<DATE> '2020'", "Invalid RANGE literal"),
        ("RANGE<INT64> '[1, 2)'", "a RANGE is of DATE, DATETIME or TIMESTAMP"),
        ("ST_GEOGFROMTEXT('NOWHERE')", "Invalid WKT"),
        ("ST_GEOGPOINT(1, 91)", "Latitude must be between"),
        ("INT64(JSON '1.5')", "not an integer"),
        ("INT64(5)", "it takes JSON"),
    ],
)
def test_what_bigquery_refuses_is_refused(expression: str, message: str, values: Values) -> None:
    """A value that is none, or is of the wrong type, is an invalid query in words that say why."""
    with pytest.raises(QueryInvalid, match=message):
        values(f"SELECT {expression} AS x")


@pytest.mark.parametrize(
    "expression",
    [
        "ST_GEOGFROMTEXT('LINESTRING(0 0, 1 1)')",
        "ST_AREA(ST_GEOGPOINT(1, 1))",
        "TO_JSON_STRING(1, TRUE)",
        "JSON_SET(JSON '{}', '$.a', 1)",
        "(SELECT AVG(i) FROM UNNEST([INTERVAL 1 DAY]) AS i)",
        "(SELECT CAST(s AS INTERVAL) FROM UNNEST(['1-0 0 0:0:0']) AS s)",
    ],
)
def test_what_duckdb_can_not_do_is_said(expression: str, values: Values) -> None:
    """Shapes other than points, and functions that nobody wrote out, are 501 and no guess."""
    with pytest.raises(NotSupported):
        values(f"SELECT {expression} AS x")


def test_columns_of_the_special_types(run: Run, values: Values, warehouse: Warehouse) -> None:
    """They are stored, described, counted by BigQuery's sizes and read again."""
    run("CREATE TABLE d.t (i INTERVAL, r RANGE<DATETIME>, g GEOGRAPHY, j JSON)")
    run(
        "INSERT INTO d.t VALUES (INTERVAL 1 DAY, RANGE(DATETIME '2020-01-01 00:00:00', NULL), ST_GEOGPOINT(1, 2), "
        "JSON '{\"a\":1}'), (NULL, NULL, NULL, NULL)"
    )
    info = warehouse.get_table(TableRef("acme", "d", "t"))
    assert info.schema == (
        Field("i", "INTERVAL"),
        Field("r", "RANGE", element="DATETIME"),
        Field("g", "GEOGRAPHY"),
        Field("j", "JSON"),
    )
    assert info.num_bytes == 16 + 16 + 40 + len('{"a":1}')
    assert run("SELECT * FROM d.t").schema == info.schema
    assert values("SELECT * FROM d.t WHERE i IS NOT NULL") == [
        ["0-0 1 0:0:0", "[2020-01-01T00:00:00, UNBOUNDED)", "POINT(1 2)", '{"a":1}']
    ]


def test_rows_of_the_special_types_are_inserted(warehouse: Warehouse, values: Values) -> None:
    """tabledata.insertAll takes an interval's and a point's text, and a range as an object or a text."""
    ref = TableRef("acme", "d", "t")
    fields = (Field("i", "INTERVAL"), Field("r", "RANGE", element="DATE"), Field("g", "GEOGRAPHY"))
    warehouse.create_table(ref, fields)
    rows: list[dict[str, Any]] = [
        {"i": "0-1 2 3:4:5.5", "r": {"start": "2020-01-01", "end": None}, "g": "POINT(1 2)"},
        {"i": "-0-1 0 0:0:0", "r": "[2020-01-01, 2020-01-02)", "g": None},
    ]
    assert warehouse.insert_rows(ref, rows) == ()
    assert values("SELECT * FROM d.t ORDER BY i DESC") == [
        ["0-1 2 3:4:5.500", "[2020-01-01, UNBOUNDED)", "POINT(1 2)"],
        ["-0-1 0 0:0:0", "[2020-01-01, 2020-01-02)", None],
    ]
    wrong = warehouse.insert_rows(ref, [{"i": "soon"}, {"r": "[2020-01-02, 2020-01-01)"}])
    assert [error.location for error in wrong] == ["i", "r"]


def test_parameters_of_the_special_types(values: Values) -> None:
    """Query parameters of type INTERVAL, RANGE, GEOGRAPHY and JSON are bound."""
    parameters = [
        {"name": "i", "parameterType": {"type": "INTERVAL"}, "parameterValue": {"value": "0-1 2 3:4:5"}},
        {
            "name": "r",
            "parameterType": {"type": "RANGE", "rangeElementType": {"type": "DATE"}},
            "parameterValue": {"rangeValue": {"start": {"value": "2020-01-01"}, "end": {}}},
        },
        {"name": "g", "parameterType": {"type": "GEOGRAPHY"}, "parameterValue": {"value": "POINT(1 2)"}},
        {"name": "j", "parameterType": {"type": "json"}, "parameterValue": {"value": '{"a": 1}'}},
    ]
    assert values("SELECT @i, @r, @g, @j", parameters=parameters) == [
        ["0-1 2 3:4:5", "[2020-01-01, UNBOUNDED)", "POINT(1 2)", '{"a":1}']
    ]


def test_variables_of_the_special_types(run: Run, values: Values) -> None:
    """A script's variables hold intervals and ranges of TIMESTAMP, and a column that shows one has its name."""
    sql = (
        "DECLARE i INTERVAL DEFAULT INTERVAL 1 DAY; "
        "DECLARE r RANGE<TIMESTAMP> DEFAULT RANGE<TIMESTAMP> '[2020-01-01 00:00:00+00, UNBOUNDED)'; SELECT i, r"
    )
    assert [field.name for field in run(sql).schema] == ["i", "r"]
    assert values(sql) == [["0-0 1 0:0:0", "[1577836800.000000, UNBOUNDED)"]]
