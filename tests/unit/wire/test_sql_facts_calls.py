import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.wire.sql_facts import read_facts

FEDERATED = [
    "SELECT * FROM EXTERNAL_QUERY('c', 'q')",
    "select * from external_query ('c', 'q')",
    "SELECT * FROM External_Query\n\t('c', 'q')",
    "SELECT * FROM EXTERNAL_QUERY/* hidden */('c', 'q')",
    "SELECT * FROM EXTERNAL_QUERY -- hidden\n('c', 'q')",
    "SELECT * FROM EXTERNAL_QUERY # hidden\r\n('c', 'q')",
    "SELECT * FROM `EXTERNAL_QUERY`('c', 'q')",
    "SELECT * FROM `external_query` /* a */ /* b */ ('c', 'q')",
    "SELECT * FROM `\\x65xternal_query`('c', 'q')",
    "SELECT * FROM `EXTERNAL\\137QUERY`('c', 'q')",
    "SELECT * FROM`EXTERNAL_QUERY`('c','q')",
    "SELECT*FROM(SELECT*FROM EXTERNAL_QUERY('c','q'))",
    "WITH x AS (SELECT 1) SELECT * FROM x JOIN EXTERNAL_QUERY(\"c\", '''q''') USING (a)",
    "SELECT '''it's''', \"\"\"a\"b\"\"\", r'\\'' FROM EXTERNAL_QUERY('c', 'q')",
    "SELECT 'a\\'b' FROM EXTERNAL_QUERY('c', 'q') WHERE x = 'y'",
    "SELECT '' FROM EXTERNAL_QUERY('c', 'q')",
    "SELECT '/*' FROM EXTERNAL_QUERY('c', 'q') -- */'",
    "SELECT '--' FROM EXTERNAL_QUERY('c', 'q')",
    "SELECT 1 -- '\nFROM EXTERNAL_QUERY('c', 'q') -- '",
    "SELECT 1 /* ' */ FROM EXTERNAL_QUERY('c', 'q') /* ' */",
    "SELECT `it's` FROM EXTERNAL_QUERY('c', 'q')",
    "SELECT 5--3\nFROM EXTERNAL_QUERY('c', 'q')",
    # Only some readers end a comment at a carriage return.
    "SELECT 1 -- \r ''' \nFROM EXTERNAL_QUERY('c', 'q') -- '''",
    "SELECT 1 -- \rFROM EXTERNAL_QUERY('c', 'q')",
    # No end: nobody knows what BigQuery takes for a string.
    "SELECT ' FROM EXTERNAL_QUERY('c', 'q')",
    "SELECT ''' FROM EXTERNAL_QUERY('c', 'q')",
    "SELECT /* FROM EXTERNAL_QUERY('c', 'q')",
    "SELECT ` FROM EXTERNAL_QUERY('c', 'q')",
    "SELECT ML.PREDICT(MODEL m, t) FROM EXTERNAL_QUERY('c', 'q')",
]
REMOTE = [
    "SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t)",
    "SELECT * FROM ml.generate_text (MODEL d.m, TABLE d.t)",
    "SELECT * FROM ML . /* x */ GENERATE_EMBEDDING\n(MODEL d.m, TABLE d.t)",
    "SELECT * FROM `ML`.`UNDERSTAND_TEXT`(MODEL d.m, TABLE d.t)",
    "SELECT * FROM `ML.TRANSLATE`(MODEL d.m, TABLE d.t)",
    "SELECT AI.GENERATE('x') FROM t",
    "SELECT x FROM t WHERE AI.IF(('is it? ', x))",
    "SELECT (ai.score(x)) FROM t",
    "SELECT SAFE.AI.GENERATE(x) FROM t",
    "SELECT `safe` . /* x */ `AI`.SCORE (x) FROM t",
    "SELECT x.(AI.SCORE)('good') FROM t",
    "SELECT t.a-AI.SCORE(x), t.b FROM t",
    "SELECT x.UPPER().( safe.ai.if ) ('good') FROM t",
    "SELECT 1 -- \r ml.predict(",
]
BOUNDED = [
    "SELECT 1",
    "SELECT 'EXTERNAL_QUERY(1)'",
    'SELECT "EXTERNAL_QUERY(1)"',
    "SELECT '''it's EXTERNAL_QUERY(1)'''",
    'SELECT """say "EXTERNAL_QUERY(1)" now"""',
    "SELECT r'\\' EXTERNAL_QUERY(1)', rb\"ML.PREDICT(x)\"",
    "SELECT 'a\\' EXTERNAL_QUERY(1) \\' b'",
    "SELECT 1 -- EXTERNAL_QUERY(1)",
    "SELECT 1 # EXTERNAL_QUERY(1)\nFROM t",
    "SELECT /* EXTERNAL_QUERY(1) ML.PREDICT(x) **/ 1",
    "SELECT external_query FROM t",
    "SELECT t.external_query, AI, ml.x FROM ml.t AS ml",
    "SELECT my_external_query(1)",
    "SELECT p.ml.f(1), `p.ai.f`(1), unsafe.ai.f(1), p.safe.ml.f(1)",
    "SELECT xml.predict(1), ml.x, html.f(2)",
    "SELECT x FROM t WHERE x LIKE 'it\\'s ai.f(1)'",
    "SELECT '\\\\', `my-project.d.t`.x FROM `my-project.d.t`",
    "SELECT COUNT(*) FROM [p:d.t] WHERE a = 'b'",
    "SELECT 'email' -- don't\nFROM t",
    "",
]


def calls(sql: str) -> str | None:
    """Why nothing bounds the text's cost."""
    return read_facts(sql).unbounded_because


@pytest.mark.parametrize("sql", FEDERATED)
def test_a_federated_query_is_seen_however_it_is_written(sql: str) -> None:
    """BigQuery caps none of it, so its bytes bound nothing."""
    assert calls(sql) == "federated"


@pytest.mark.parametrize("sql", REMOTE)
def test_a_call_that_may_reach_a_model_elsewhere_is_seen(sql: str) -> None:
    """Functions of ML and AI may be billed beside the bytes."""
    assert calls(sql) == "remote"


@pytest.mark.parametrize("sql", BOUNDED)
def test_words_in_strings_comments_and_names_cost_nothing_extra(sql: str) -> None:
    """A good query is not held at more than it can bill."""
    assert calls(sql) is None


@given(
    st.lists(
        st.sampled_from(["'", '"', "'''", '"""', "\\", "`", "--", "#", "/*", "*/", "\n", "\r", " ", "x", "ai.f("]),
        max_size=12,
    ),
    st.sampled_from(["EXTERNAL_QUERY(", "`external_query` ("]),
)
def test_what_stands_before_a_line_of_its_own_never_hides_it(pieces: list[str], call: str) -> None:
    """Where no string or comment spans lines, the call is seen; where one may, the text is read on the safe side."""
    before = "".join(pieces)
    if not any(opener in before for opener in ("'''", '"""', "/*", "\\")) and before.count("`") % 2 == 0:
        assert calls(f"SELECT {before}\n{call}'c', 'q')") == "federated"
