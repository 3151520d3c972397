from collections.abc import Callable
from typing import Any

import pytest

from bqgate.sandbox.warehouse import AccessDenied, NotSupported, QueryInvalid, Result

Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]


@pytest.fixture(autouse=True)
def table(run: Run) -> None:
    """A table of three rows."""
    run("CREATE TABLE t (id INT64, name STRING, at DATE, price NUMERIC)")
    run("INSERT INTO t VALUES (1, 'a', '2024-01-01', NUMERIC '1.5'), (2, 'b', NULL, NULL), (3, NULL, NULL, NULL)")


def test_insert_says_how_many(run: Run, values: Values) -> None:
    """INSERT with a column list puts NULL in the others."""
    result = run("INSERT INTO t (name, id) VALUES ('x', 9), ('y', 10)")
    assert result.dml is not None
    assert (result.dml.inserted, result.num_dml_affected_rows) == (2, 2)
    assert values("SELECT name, price FROM t WHERE id = 9") == [["x", None]]


def test_insert_from_query_coerces_integers(run: Run, values: Values) -> None:
    """INT64 goes into NUMERIC; the value arrives exactly."""
    run("INSERT INTO t (id, price) SELECT 7, 7")
    assert values("SELECT price FROM t WHERE id = 7") == [["7"]]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("INSERT INTO t (id) VALUES ('x')", "Value has type STRING which cannot be inserted into column id"),
        ("INSERT INTO t (id) SELECT name FROM t", "Value has type STRING"),
        ("INSERT INTO t (id) VALUES (1, 2)", "Inserted row has wrong column count; Has 2, expected 1"),
        ("INSERT INTO t (nope) VALUES (1)", "Column nope is not present in table acme:d.t"),
        ("UPDATE t SET id = 1", r"UPDATE must have a WHERE clause at \[1:1\]"),
        ("DELETE FROM t", r"DELETE must have a WHERE clause at \[1:1\]"),
        ("UPDATE t SET at = 5 WHERE TRUE", "Value has type INT64 which cannot be inserted into column at"),
        ("UPDATE t SET id = 1 WHERE nope = 2", "Unrecognized name: nope"),
    ],
)
def test_wrong_dml_is_refused_in_bigquerys_words(sql: str, message: str, run: Run, values: Values) -> None:
    """What BigQuery would not change stays as it is."""
    with pytest.raises(QueryInvalid, match=message):
        run(sql)
    assert values("SELECT COUNT(*) FROM t") == [["3"]]


def test_update_changes_what_matches(run: Run, values: Values) -> None:
    """SET sees the old row, and text literals become dates."""
    result = run("UPDATE t SET id = id + 10, name = CONCAT('n', CAST(id AS STRING)), at = '2024-02-02' WHERE id >= 2")
    assert result.num_dml_affected_rows == 2
    assert values("SELECT id, name, at FROM t ORDER BY id") == [
        ["1", "a", "2024-01-01"],
        ["12", "n2", "2024-02-02"],
        ["13", "n3", "2024-02-02"],
    ]


def test_update_from_another_table(run: Run, values: Values) -> None:
    """UPDATE … FROM joins; two source rows for one target row are an error and change nothing."""
    run("UPDATE t SET name = s.n FROM (SELECT 1 AS k, 'z' AS n) s WHERE s.k = t.id")
    assert values("SELECT name FROM t WHERE id = 1") == [["z"]]
    with pytest.raises(QueryInvalid, match="at most one source row"):
        run("UPDATE t SET name = s.n FROM (SELECT 1 AS k, 'p' AS n UNION ALL SELECT 1, 'q') s WHERE s.k = t.id")
    assert values("SELECT name FROM t WHERE id = 1") == [["z"]]


def test_delete_with_a_subquery(run: Run, values: Values) -> None:
    """DELETE may ask the table itself."""
    result = run("DELETE FROM t WHERE id = (SELECT MAX(id) FROM t)")
    assert result.num_dml_affected_rows == 1
    assert values("SELECT id FROM t ORDER BY id") == [["1"], ["2"]]


def test_subqueries_do_not_see_row_ids(run: Run, values: Values) -> None:
    """The row id that DML finds its rows by is no column of `*`."""
    run("DELETE FROM t WHERE EXISTS (SELECT * FROM (SELECT * FROM t) u WHERE u.id = t.id AND u.id = 3)")
    assert values("SELECT COUNT(*) FROM t") == [["2"]]


def test_truncate_empties_the_table(run: Run, values: Values) -> None:
    """TRUNCATE TABLE costs nothing and says how many rows are gone."""
    result = run("TRUNCATE TABLE t")
    assert (result.num_dml_affected_rows, result.bytes_billed) == (3, 0)
    assert values("SELECT COUNT(*) FROM t") == [["0"]]


def test_merge_does_all_three(run: Run, values: Values) -> None:
    """MERGE updates, inserts and deletes in one statement and counts each."""
    result = run(
        "MERGE INTO t AS target USING (SELECT 1 AS id, 'A' AS name UNION ALL SELECT 9, 'I') AS s ON target.id = s.id "
        "WHEN MATCHED THEN UPDATE SET name = s.name "
        "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name) "
        "WHEN NOT MATCHED BY SOURCE AND target.id = 3 THEN DELETE"
    )
    assert result.dml is not None
    assert (result.dml.inserted, result.dml.updated, result.dml.deleted) == (1, 1, 1)
    assert values("SELECT id, name FROM t ORDER BY id") == [["1", "A"], ["2", "b"], ["9", "I"]]


def test_merge_with_two_matches_is_refused(run: Run, values: Values) -> None:
    """Two source rows for one target row change nothing."""
    with pytest.raises(QueryInvalid, match="at most one source row"):
        run("MERGE t USING (SELECT 1 AS k UNION ALL SELECT 1) s ON t.id = s.k WHEN MATCHED THEN UPDATE SET name = 'q'")
    assert values("SELECT name FROM t WHERE id = 1") == [["a"]]


def test_merge_on_false_replaces(run: Run, values: Values) -> None:
    """The idiom of dbt's insert_overwrite: ON FALSE, delete by source, insert."""
    run(
        "MERGE t USING (SELECT 5 AS id) s ON FALSE "
        "WHEN NOT MATCHED BY SOURCE AND id < 3 THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (id)"
    )
    assert values("SELECT id FROM t ORDER BY id") == [["3"], ["5"]]


def test_required_columns_refuse_null(run: Run) -> None:
    """A NOT NULL column takes no NULL."""
    run("CREATE TABLE r (id INT64 NOT NULL)")
    with pytest.raises(QueryInvalid, match="Required field id cannot be null"):
        run("INSERT INTO r VALUES (NULL)")


def test_defaults_are_refused(run: Run) -> None:
    """DEFAULT in VALUES is beyond the sandbox."""
    with pytest.raises(NotSupported):
        run("INSERT INTO t (id) VALUES (DEFAULT)")


def test_examples_cannot_be_changed(query: Run) -> None:
    """DML on the shared dataset is accessDenied."""
    with pytest.raises(AccessDenied):
        query("DELETE FROM airlines WHERE TRUE")
