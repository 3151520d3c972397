from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bqgate.sandbox.warehouse import Field, TableRef, Warehouse

TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8))
NUMBER = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
ROW = st.fixed_dictionaries(
    {
        "s": TEXT,
        "i": NUMBER,
        "b": st.one_of(st.none(), st.booleans()),
        "d": st.one_of(st.none(), st.dates().map(str)),
        "n": st.one_of(st.none(), st.integers(-1000, 1000).map(str)),
        "r": st.one_of(st.none(), st.fixed_dictionaries({"x": NUMBER, "y": TEXT})),
        "a": st.lists(st.text("abcé", max_size=4), max_size=3),
        "q": st.lists(st.fixed_dictionaries({"x": NUMBER, "y": TEXT}), max_size=3),
    }
)
RECORD = (Field("x", "INTEGER"), Field("y", "STRING"))
SCHEMA = (
    Field("s", "STRING"),
    Field("i", "INTEGER"),
    Field("b", "BOOLEAN"),
    Field("d", "DATE"),
    Field("n", "NUMERIC"),
    Field("r", "RECORD", fields=RECORD),
    Field("a", "STRING", "REPEATED"),
    Field("q", "RECORD", "REPEATED", RECORD),
)


def naive(value: Any, width: int) -> int:
    """Logical bytes of a JSON value; `width` is that of a scalar that is no text."""
    if value is None:
        return 0
    if isinstance(value, list):
        return sum(naive(item, width) for item in value)
    if isinstance(value, dict):
        return naive(value["x"], 8) + naive(value["y"], 0)
    return 2 + len(value.encode()) if isinstance(value, str) and not width else width


WIDTHS = {"s": 0, "i": 8, "b": 1, "d": 8, "n": 16, "r": 0, "a": 0, "q": 0}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, max_size=12), multiplier=st.integers(1, 10**6))
def test_measured_size_is_the_sum_of_the_values(
    rows: list[dict[str, Any]], multiplier: int, warehouse: Warehouse
) -> None:
    """Whatever the rows: a table's bytes are BigQuery's logical sizes of its values, times the multiplier."""
    ref = TableRef("acme", "d", "t")
    warehouse.create_table(ref, SCHEMA, row_multiplier=multiplier)
    try:
        assert warehouse.insert_rows(ref, rows) == ()
        expected = sum(naive(row[name], width) for row in rows for name, width in WIDTHS.items())
        assert warehouse.get_table(ref).num_bytes == expected * multiplier
    finally:
        warehouse.delete_table(ref)


def test_sizes_follow_changes(warehouse: Warehouse, run: Callable[..., Any]) -> None:
    """A change of rows is seen by the next estimate, and by `data_version`."""
    run("CREATE TABLE t AS SELECT 1 AS a")
    before = run("SELECT a FROM t")
    run("INSERT INTO t VALUES (2)")
    after = run("SELECT a FROM t")
    assert (before.bytes_processed, after.bytes_processed) == (8, 16)
    assert before.plan.data_version != after.plan.data_version
