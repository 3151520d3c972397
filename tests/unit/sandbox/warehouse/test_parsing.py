import subprocess
import sys
from collections.abc import Callable

import pytest

from bqgate.sandbox.warehouse import NotFound, NotSupported, QueryInvalid, Result

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def table(run: Run) -> None:
    """Two tables with a column of the same name."""
    run("CREATE TABLE t AS SELECT 1 AS a, 'x' AS s, [STRUCT(1 AS x, 'p' AS y)] AS items, STRUCT(5 AS inner_) AS rec")
    run("CREATE TABLE u AS SELECT 1 AS a, 2.5 AS b")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT foo FROM t", "Unrecognized name: foo at [1:8]"),
        ("SELECT a,\n  foo\nFROM t", "Unrecognized name: foo at [2:3]"),
        ("SELECT t.foo FROM t", "Name foo not found inside t at [1:10]"),
        ("SELECT z.a FROM t", "Unrecognized name: z at [1:8]"),
        ("SELECT a FROM t, u", "Column name a is ambiguous at [1:8]"),
        ("SELECT a FROM t WHERE nope = 1", "Unrecognized name: nope at [1:23]"),
        ("SELEC 1", 'Syntax error: Unexpected identifier "SELEC" at [1:1]'),
        ("SELECT a FROM t WHERE a = 1 AND DATE_DIFF(a) = 1", "Syntax error: "),
        ("SELECT FORMAT_DATE('%Y',) AS x", "No matching signature"),
        ("UPDATE t SET a WHERE TRUE", "Syntax error: Expected an assignment"),
        ("CREATE TABLE z CLUSTER BY nope AS SELECT 1 AS a", "Unrecognized name: nope at [1:27]"),
        ("SELECT a FROM t WHERE", "Syntax error: "),
        ("SELECT 'abc", "Syntax error: "),
        ("SELECT (1", "Syntax error: "),
        ("", "Syntax error: Unexpected end of statement"),
        ("SELECT a, COUNT(*) FROM t", "SELECT list expression references column a which is neither grouped"),
        ("SELECT SUM(COUNT(*)) FROM t", "Aggregations of aggregations are not allowed"),
        ("SELECT a FROM t WHERE COUNT(*) > 1", "Aggregate function not allowed in WHERE clause"),
        ("SELECT 1 AS a, 2 AS A", "Duplicate column names in the result are not supported"),
        ("SELECT SUM(s) FROM t", "No matching signature"),
        ("SELECT a FROM t WHERE s = 1", "No matching signature for operator = for argument types: STRING, INT64"),
    ],
)
def test_invalid_queries_are_worded_as_in_bigquery(sql: str, message: str, run: Run) -> None:
    """An invalid text is invalidQuery with BigQuery's words and [line:column]."""
    with pytest.raises(QueryInvalid) as info:
        run(sql)
    assert info.value.message.startswith(message)
    assert (info.value.reason, info.value.http_status, info.value.location) == ("invalidQuery", 400, "query")


def test_missing_tables(run: Run) -> None:
    """A missing table, a missing dataset, and a name without a dataset are told apart."""
    with pytest.raises(NotFound, match=r"^Not found: Table acme:d\.nope was not found in location US$"):
        run("SELECT 1 FROM nope")
    with pytest.raises(NotFound, match=r"^Not found: Dataset acme:nope was not found in location US$"):
        run("SELECT 1 FROM nope.t")
    with pytest.raises(QueryInvalid, match=r'^Table "t" must be qualified with a dataset \(e\.g\. dataset\.table\)\.$'):
        run("SELECT 1 FROM t", default_dataset=None)


@pytest.mark.parametrize(
    "name", ["t", "d.t", "acme.d.t", "`acme`.`d`.`t`", "`acme.d.t`", "`acme.d`.t", "`d.t`", "d.`t`"]
)
def test_table_names_in_all_their_spellings(name: str, run: Run) -> None:
    """Back-quotes around the whole or a part mean the same table."""
    assert len(run(f"SELECT a FROM {name}").rows) == 1


def test_projects_with_dashes(warehouse: object, run: Run) -> None:
    """A project's dashes need no quotes, and example-like shared names resolve in any project."""
    with pytest.raises(NotFound, match="Dataset other-project-1:d "):
        run("SELECT 1 FROM other-project-1.d.t")


def test_cte_hides_a_table(run: Run) -> None:
    """A CTE's name comes before a table's, but not inside the CTE itself."""
    assert run("WITH t AS (SELECT 7 AS b) SELECT b FROM t").rows.page(0, 1) == [{"f": [{"v": "7"}]}]
    assert run("WITH t AS (SELECT a FROM t) SELECT a FROM t").rows.page(0, 1) == [{"f": [{"v": "1"}]}]


@pytest.mark.parametrize(
    ("sql", "cells"),
    [
        ("SELECT e.y FROM t, UNNEST(t.items) AS e", ["p"]),
        ("SELECT e.y FROM t, t.items AS e", ["p"]),
        ("SELECT rec.inner_ FROM t", ["5"]),
        ("SELECT t.rec.inner_ FROM t", ["5"]),
        ("SELECT o FROM t, UNNEST(items) AS e WITH OFFSET AS o", ["0"]),
        ("SELECT (SELECT MAX(b) FROM u WHERE u.a = t.a) AS m FROM t", ["2.5"]),
        ("SELECT T.A FROM t AS T WHERE t.S = 'x'", ["1"]),
        ("SELECT * EXCEPT (s, items, rec) FROM t", ["1"]),
        ("SELECT b FROM t JOIN u USING (a)", ["2.5"]),
        ("SELECT a FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY a ORDER BY s) = 1", ["1"]),
        ("SELECT a AS k, COUNT(*) AS n FROM t GROUP BY k HAVING n > 0 ORDER BY k", ["1", "1"]),
        ("SELECT a FROM t INTERSECT DISTINCT SELECT a FROM u", ["1"]),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT MAX(n) FROM r", ["3"]),
        ("FROM t |> WHERE a = 1 |> SELECT s", ["x"]),
    ],
)
def test_constructs_of_googlesql(sql: str, cells: list[str], run: Run) -> None:
    """Arrays, structs, correlated queries, QUALIFY, set operations and their like run."""
    assert [cell["v"] for cell in run(sql).rows.page(0, 1)[0]["f"]] == cells


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t TABLESAMPLE SYSTEM (10 PERCENT)",
        "SELECT * FROM t FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()",
        "SELECT * FROM (SELECT AS VALUE s FROM t)",
        "SELECT * FROM d.__TABLES__",
        "ASSERT TRUE",
        "SELECT * FROM (SELECT a, s FROM t) PIVOT (SUM(a) FOR s IN ('x'))",
        "SELECT * FROM `d.t_*`",
        "SELECT * FROM d.INFORMATION_SCHEMA.PARTITIONS",
    ],
)
def test_clauses_that_the_sandbox_has_not_are_refused(sql: str, run: Run) -> None:
    """A clause is never dropped silently."""
    with pytest.raises(NotSupported):
        run(sql)


def test_legacy_sql_is_refused(run: Run) -> None:
    """Legacy SQL is 501, with the way out."""
    with pytest.raises(NotSupported, match="useLegacySql"):
        run("SELECT 1", use_legacy_sql=True)


def test_dialects_are_there_before_the_first_query() -> None:
    """Threads whose queries made sqlglot load one at the same time met it half made, and refused a quoted name."""
    script = (
        "import sys, bqgate.sandbox.warehouse.parsing; print(*(name for name in sys.modules if 'dialects.' in name))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"sqlglot.dialects.bigquery", "sqlglot.dialects.duckdb"} <= set(done.stdout.split())
