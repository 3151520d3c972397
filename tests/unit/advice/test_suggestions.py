from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bqgate.advice.query_shape import QueryShape, read_shape
from bqgate.advice.suggestions import Facts, RewrittenQuery, advice_for, conditions_for, unpruned
from bqgate.domain.table import TableFacts
from bqgate.domain.units import GIB

NOW = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
EVENTS = TableFacts(
    "p",
    "d",
    "events",
    size_bytes=900 * GIB,
    partition_column="day",
    clustering=("country", "city"),
    column_types={"day": "DATE", "country": "STRING"},
)
ALL = "SELECT a FROM `p.d.events`"


def shape_of(sql: str) -> QueryShape:
    shape = read_shape(sql)
    assert shape is not None, sql
    return shape


def facts_of(shape: QueryShape, facts: TableFacts = EVENTS) -> Facts:
    return {use.path: facts for use in shape.uses}


def told(sql: str, facts: TableFacts = EVENTS) -> str:
    return advice_for(shape_of(sql), facts_of(shape_of(sql), facts))


def test_a_missing_partition_filter_is_told_with_what_it_saves() -> None:
    """The numbers are the dry runs', the filter is the last seven days, and the sentence names the column."""
    shape = shape_of(ALL)
    conditions = conditions_for(shape, facts_of(shape), NOW)
    assert [(each.column, each.value) for each in conditions] == [("day", "2026-11-17")]
    advice = advice_for(shape, facts_of(shape), RewrittenQuery(conditions, 900 * GIB, 12 * GIB + 1))
    assert advice.startswith(
        "No filter prunes the partitions of p.d.events (partitioned by day): with day >= '2026-11-17' it would process "
        "12.1 GiB instead of 900.0 GiB."
    )


def test_without_a_dry_run_no_number_is_said() -> None:
    """What nobody measured is not claimed."""
    advice = told(ALL)
    assert advice.startswith("No filter prunes the partitions of p.d.events (partitioned by day).")
    assert "GiB" not in advice


@pytest.mark.parametrize("bytes_after", [900 * GIB, 901 * GIB])
def test_a_filter_that_saves_nothing_is_not_advised(bytes_after: int) -> None:
    """BigQuery's own estimate has the last word."""
    shape = shape_of(ALL)
    rewritten = RewrittenQuery(conditions_for(shape, facts_of(shape), NOW), 900 * GIB, bytes_after)
    assert "partition" not in advice_for(shape, facts_of(shape), rewritten)


def test_a_filter_that_does_not_prune_is_explained() -> None:
    """A function of the partition column leaves no partition out."""
    assert "compare the column itself with constants" in told(ALL + " WHERE DATE_TRUNC(day, MONTH) = '2026-01-01'")
    assert "compare the column" not in told(ALL)


@pytest.mark.parametrize(
    ("where", "facts"),
    [
        ("day = '2026-01-01'", EVENTS),
        ("_PARTITIONTIME > '2026-01-01'", replace(EVENTS, partition_column="_partitiontime")),
        ("_PARTITIONDATE > '2026-01-01'", replace(EVENTS, partition_column="_partitiontime")),
        ("TRUE", replace(EVENTS, partition_column=None)),
    ],
)
def test_what_is_pruned_or_not_partitioned_needs_no_filter(where: str, facts: TableFacts) -> None:
    """Both of BigQuery's names of the load time count."""
    shape = shape_of(f"{ALL} WHERE {where}")
    assert unpruned(shape, facts_of(shape, facts)) == ()
    assert "partition" not in told(f"{ALL} WHERE {where}", facts)


def test_partitions_by_number_are_told_and_not_tried() -> None:
    """Nobody knows which numbers are wanted."""
    facts = replace(EVENTS, partition_column="id", column_types={"id": "INTEGER"})
    assert conditions_for(shape_of(ALL), facts_of(shape_of(ALL), facts), NOW) == ()
    assert "(partitioned by id)." in told(ALL, facts)


def test_partitions_by_load_time_are_shown_as_bigquery_writes_them() -> None:
    """_PARTITIONTIME is tried like any column of time."""
    facts = replace(EVENTS, partition_column="_partitiontime", column_types={})
    shape = shape_of(ALL)
    conditions = conditions_for(shape, facts_of(shape, facts), NOW)
    advice = advice_for(shape, facts_of(shape, facts), RewrittenQuery(conditions, 2, 1))
    assert "(partitioned by _PARTITIONTIME): with _PARTITIONTIME >= '2026-11-17'" in advice


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT a FROM `p.d.events_*`", "Filter p.d.events_* on _TABLE_SUFFIX"),
        ("SELECT * FROM p.d.other WHERE a = 1", "SELECT * reads every column of p.d.other"),
        ("SELECT a FROM p.d.t, p.d.u WHERE t.a = 1 AND u.b = 1", "p.d.t and p.d.u are joined without a condition"),
        ("SELECT a FROM p.d.t", "p.d.t is read without a filter"),
        ("SELECT a FROM p.d.t WHERE a = 1 LIMIT 10", "Asking for fewer rows does not make it cheaper"),
    ],
)
def test_the_text_alone_tells_something(sql: str, sentence: str) -> None:
    """Without a question to BigQuery."""
    assert advice_for(shape_of(sql), {}).startswith(sentence)


@pytest.mark.parametrize(
    ("where", "is_told"), [("day = '2026-01-01'", True), ("city = 'x'", True), ("country = 'de'", False)]
)
def test_a_clustered_table_wants_a_filter_on_its_first_column(where: str, is_told: bool) -> None:
    """A filter on a later column alone skips no block."""
    facts = replace(EVENTS, partition_column=None)
    assert ("p.d.events is clustered by country" in told(f"{ALL} WHERE {where}", facts)) is is_told


def test_a_good_query_gets_no_advice() -> None:
    """There is nothing to say about what is filtered, joined and selected as it should be."""
    assert told(ALL + " WHERE day = '2026-01-01' AND country = 'de'") == ""
    assert advice_for(shape_of("SELECT 1"), {}) == ""


def test_at_most_two_sentences_most_expensive_first() -> None:
    """A refusal is no lecture; repeats are said once."""
    advice = told("SELECT * FROM p.d.events AS a, p.d.events AS b LIMIT 5")
    assert advice.count("No filter prunes") == 1
    assert advice.index("No filter") < advice.index("SELECT *")
    assert "fewer rows" not in advice


@pytest.mark.parametrize("table", ["`p.d.rate_limits`", f"p.d.{'x' * 700}"])
def test_names_that_would_make_clients_repeat_or_the_answer_long_are_left_out(table: str) -> None:
    """Java clients repeat a query whose refusal says "exceed", "rate" and then "limit"."""
    advice = advice_for(shape_of(f"SELECT * FROM {table} LIMIT 5"), {})
    assert "limit" not in advice.lower()
    assert len(advice) < 700
