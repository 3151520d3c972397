from collections.abc import Callable

import pytest

from bqgate.sandbox.warehouse import WarehouseError

# Texts over which DuckDB or sqlglot stumble in different ways.
STUMBLING = [
    "SELECT FROM t",
    "SELECT SUM(s) FROM t",
    "SELECT UPPER(a) FROM t",
    "SELECT s.x FROM t",
    "SELECT * FROM t, UNNEST(st) AS i",
    "SELECT * FROM EXTERNAL_QUERY('c', 'select 1')",
    "SELECT CAST([1] AS INT64)",
    "SELECT CAST(STRUCT(1 AS a) AS STRUCT<b INT64>) FROM t",
    "SELECT CAST('2020-99-01' AS TIMESTAMP)",
    "SELECT PARSE_DATE('%Y', 'x')",
    "SELECT PARSE_JSON('{')",
    "SELECT SAFE.CONCAT(ERROR('x'), 'y')",
    "SELECT 9223372036854775807 * 2",
    "SELECT a, COUNT(*) FROM t GROUP BY nope",
    "SELECT a FROM t ORDER BY COUNT(*)",
    "SELECT a FROM t HAVING SUM(a) > 1",
    "SELECT (SELECT a FROM t)",
    "SELECT ARRAY(SELECT a, s FROM t)",
    "SELECT a FROM t UNION ALL SELECT a, s FROM t",
    "SELECT LAG(a) FROM t",
    "SELECT REGEXP_CONTAINS('a', '(')",
    "SELECT a FROM t LIMIT -1",
    "SELECT x FROM t AS x, t AS x",
    "INSERT INTO d.t (a) VALUES ('x')",
    "UPDATE d.t SET nope = 1 WHERE TRUE",
    "DELETE d.t WHERE nope",
    "SELECT GENERATE_ARRAY(1, 3, 0)",
    "SELECT TO_JSON(x) FROM UNNEST([STRUCT(1)]) AS x",
]
FOREIGN = ["Binder", "Parser Error", "Catalog Error", "Conversion Error", "VARCHAR", "BIGINT", "duckdb", "Expected"]


@pytest.mark.parametrize("sql", STUMBLING)
def test_no_text_of_the_engines_gets_out(sql: str, run: Callable[..., object]) -> None:
    """A query is answered, or refused with 400 or 501 in words that name neither DuckDB nor its types."""
    run("CREATE TABLE d.t (a INT64, s STRING, st ARRAY<STRUCT<x INT64>>)")
    run("INSERT INTO d.t VALUES (1, 'x', [STRUCT(1)]), (2, 'y', [])")
    refusal: WarehouseError | None = None
    try:
        run(sql)
    except WarehouseError as error:
        refusal = error
    if refusal is not None:
        assert refusal.http_status in {400, 501}
        assert not [word for word in FOREIGN if word in refusal.message], refusal.message
