import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bqgate.advice.query_shape import SQL_CHARS_MAX, Condition, QueryShape, read_shape, with_conditions

WORDS = (
    *("SELECT", "*", "FROM", "d.t", "WHERE", "(", ")", ",", "day", "=", "'x'", "AND", "OR", "JOIN", "ON", "UNNEST"),
    *("AS", "WITH", "c", "LIMIT", "1", "IN", "BETWEEN", "IS", "NULL", "UNION ALL", "CAST", "EXISTS", "`", "|>", "<"),
)


def shape_of(sql: str) -> QueryShape:
    shape = read_shape(sql)
    assert shape is not None, sql
    return shape


def only_use(sql: str) -> tuple[str, set[str], set[str]]:
    (use,) = shape_of(sql).uses
    return use.name, set(use.pruning), set(use.wrapped)


@pytest.mark.parametrize(
    ("where", "pruning", "wrapped"),
    [
        ("day = '2026-01-01'", {"day"}, set()),
        ("'2026-01-01' < Day", {"day"}, set()),
        ("day >= DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY)", {"day"}, set()),
        ("t.day BETWEEN @since AND '2026-01-02' AND country = 'de'", {"day", "country"}, set()),
        ("day IN ('2026-01-01', '2026-01-02')", {"day"}, set()),
        ("(day = '2026-01-01' OR day = '2026-01-02')", {"day"}, set()),
        ("day IS NULL", {"day"}, set()),
        ("DATE(ts) = '2026-01-01'", set(), {"ts"}),
        ("day = other", set(), {"day", "other"}),
        ("day = (SELECT MAX(x) FROM UNNEST([1]) AS x)", set(), {"day"}),
        ("day = '2026-01-01' OR country = 'de'", set(), {"day", "country"}),
        ("NOT day = '2026-01-01'", set(), {"day"}),
        ("day IN (SELECT x FROM UNNEST([1]) AS x)", set(), {"day"}),
        ("TRUE", set(), set()),
    ],
)
def test_only_a_bare_column_against_constants_prunes(where: str, pruning: set[str], wrapped: set[str]) -> None:
    """Functions of a column, other columns, subqueries and alternatives on other columns leave no partition out."""
    name, found, others = only_use(f"SELECT a FROM `p.d.t` AS t WHERE {where}")
    assert (name, found, others & {"ts", "day", "other", "country"}) == ("p.d.t", pruning, wrapped)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT a FROM t", ["t"]),
        ("SELECT a FROM my-project.d.t", ["my-project.d.t"]),
        ("SELECT a FROM d.t JOIN `p`.e.u USING (x)", ["d.t", "p.e.u"]),
        ("WITH c AS (SELECT a FROM d.t) SELECT a FROM c", ["d.t"]),
        ("SELECT a FROM d.t UNION ALL SELECT a FROM d.u", ["d.t", "d.u"]),
        ("SELECT a FROM (SELECT a FROM d.t)", ["d.t"]),
        ("CREATE TABLE d.made AS SELECT a FROM d.t", ["d.t"]),
        ("INSERT INTO d.made (a) SELECT a FROM d.t", ["d.t"]),
        ("SELECT a FROM d.t, t.list, UNNEST(t.other)", ["d.t"]),
        ("SELECT (SELECT SUM(x) FROM t.list AS x) FROM d.t", ["d.t"]),
        ("SELECT a FROM sales.sales", ["sales.sales"]),
        ("SELECT a FROM d.INFORMATION_SCHEMA.TABLES", []),
        ("SELECT 1", []),
    ],
)
def test_tables_are_those_that_are_read_from_storage(sql: str, names: list[str]) -> None:
    """Common table expressions, arrays of rows, lists of tables and what a statement makes are none."""
    assert sorted(use.name for use in shape_of(sql).uses) == names


def test_a_filter_belongs_to_the_table_it_names() -> None:
    """Of two tables of one join each has its own filters, and one without a name may be either's."""
    shape = shape_of(
        "SELECT 1 FROM d.t AS a JOIN d.u AS b ON a.id = b.id AND b.kind = 1 WHERE a.day = '2026-01-01' AND plain = 1"
    )
    assert {use.alias: set(use.pruning) for use in shape.uses} == {"a": {"day", "plain"}, "b": {"kind", "plain"}}


def test_a_filter_around_a_subquery_reaches_into_it() -> None:
    """It may be pushed down, so the table inside is not called unfiltered."""
    assert only_use("SELECT x FROM (SELECT * FROM d.t) AS s WHERE s.day = '2026-01-01'")[1] == {"day"}


@pytest.mark.parametrize(
    ("sql", "starred"),
    [
        ("SELECT * FROM d.t", ("d.t",)),
        ("SELECT * EXCEPT (a) FROM d.t", ("d.t",)),
        ("SELECT u.* FROM d.t JOIN d.u AS u USING (x)", ("d.u",)),
        ("WITH c AS (SELECT * FROM d.t) SELECT * FROM c", ("d.t",)),
        ("SELECT * FROM (SELECT * FROM d.t)", ("d.t",)),
        ("SELECT * FROM d.t UNION ALL SELECT * FROM d.u", ("d.t", "d.u")),
        ("WITH c AS (SELECT * FROM d.t) SELECT a FROM c", ()),
        ("SELECT a FROM (SELECT * FROM d.t)", ()),
        ("SELECT COUNT(*) FROM d.t", ()),
        ("SELECT a FROM d.t WHERE EXISTS (SELECT * FROM d.u)", ()),
        ("SELECT * FROM UNNEST([1, 2])", ()),
    ],
)
def test_a_star_counts_where_every_column_is_wanted(sql: str, starred: tuple[str, ...]) -> None:
    """BigQuery reads the columns that the result needs: a star inside costs nothing under named columns."""
    assert shape_of(sql).starred == starred


@pytest.mark.parametrize(
    ("sql", "crossed"),
    [
        ("SELECT 1 FROM d.t, d.u", [("d.t", "d.u")]),
        ("SELECT 1 FROM d.t CROSS JOIN d.u WHERE t.a = 1", [("d.t", "d.u")]),
        ("SELECT 1 FROM d.t JOIN d.u ON TRUE", [("d.t", "d.u")]),
        ("SELECT 1 FROM d.t, d.u WHERE t.a = u.a", []),
        ("SELECT 1 FROM d.t, d.u WHERE a = b", []),
        ("SELECT 1 FROM d.t JOIN d.u ON t.a = u.a", []),
        ("SELECT 1 FROM d.t JOIN d.u USING (a)", []),
        ("SELECT 1 FROM d.t, UNNEST(t.list)", []),
        ("SELECT 1 FROM d.t CROSS JOIN (SELECT 1)", []),
    ],
)
def test_a_join_without_a_condition_is_seen(sql: str, crossed: list[tuple[str, str]]) -> None:
    """A comma counts; arrays and subqueries do not, nor does a condition that may be meant."""
    assert list(shape_of(sql).crossed) == crossed


def test_a_limit_is_seen_where_it_ends_the_query() -> None:
    """One inside a subquery is another matter."""
    assert shape_of("SELECT a FROM d.t LIMIT 10").has_limit
    assert not shape_of("SELECT a FROM (SELECT a FROM d.t LIMIT 10)").has_limit


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "DELETE FROM d.t WHERE TRUE",
        "SELECT * FROM [p:d.t]",
        "SELECT " + "(" * 3_000,
        "SELECT " + "f(" * 1_000 + "1" + ")" * 1_000,
        "SELECT 'unclosed",
        "SELECT " + "a," * SQL_CHARS_MAX,
        "\ud800",
        "BEGIN SELECT 1; END",
    ],
    ids=range(11),
)
def test_what_cannot_be_read_has_no_shape(sql: str) -> None:
    """Nonsense, scripts, statements that are no query, bottomless nesting and endless texts: None, and no exception."""
    assert read_shape(sql) is None
    assert with_conditions(sql, ()) is None


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join))
def test_reading_never_raises(sql: str) -> None:
    """Whatever a caller sends, its refusal goes out."""
    read_shape(sql)


def test_nothing_of_the_text_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The parser would write what it does not know into the log."""
    with caplog.at_level(logging.DEBUG):
        for sql in ("CALL secret.procedure(1)", "SELECT secret FROM d.t FOR secret", "VACUUM secret"):
            read_shape(sql)
    assert caplog.text == ""


def test_conditions_are_added_where_they_belong() -> None:
    """Each mention that is named gets its filter, beside what is there; the rest stays."""
    sql = "SELECT a FROM `p.d.t` AS x JOIN d.u ON x.id = u.id WHERE a = 1 OR b = 2"
    shape = shape_of(sql)
    first, second = shape.uses
    rewritten = with_conditions(
        sql, (Condition(first, "day", "2026-01-01"), Condition(second, "_partitiontime", "2026"))
    )
    assert rewritten is not None
    added = "WHERE ((a = 1 OR b = 2) AND `x`.`day` >= '2026-01-01') AND `u`.`_partitiontime` >= '2026'"
    assert rewritten == f"SELECT a FROM `p.d.t` AS x JOIN d.u ON x.id = u.id {added}"
    again = shape_of(rewritten)
    assert [set(use.pruning) & {"day", "_partitiontime"} for use in again.uses] == [{"day"}, {"_partitiontime"}]


def test_a_statement_around_the_query_is_kept() -> None:
    """CREATE TABLE AS is estimated as it is."""
    sql = "CREATE TABLE d.made AS SELECT a FROM d.t"
    rewritten = with_conditions(sql, (Condition(shape_of(sql).uses[0], "day", "2026-01-01"),))
    assert rewritten == "CREATE TABLE d.made AS SELECT a FROM d.t WHERE `t`.`day` >= '2026-01-01'"
