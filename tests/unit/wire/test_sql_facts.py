"""What may occur when a text runs: a word in a string or a comment is none, a text that cannot be read may do all."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.sql_facts import ANYTHING
from bqgate.wire.sql_facts import read_facts


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE MODEL d.m AS SELECT 1",
        "create or replace\n/* twice */ model if not exists d.m OPTIONS() AS SELECT 1",
        "BEGIN SELECT 1; CREATE -- here\n MODEL d.m AS SELECT 1; END",
        "CREATE TEMP MODEL m AS SELECT 1",
        "EXECUTE IMMEDIATE 'CREATE ' || 'MODEL'",
        "execute/**/immediate @text",
        "BEGIN CALL d.train(); END",
        "call `p.d.train`()",
        "SELECT 'it; CREATE MODEL m",
        "SELECT 1 /* CREATE MODEL",
        "-- ends here for some\rCREATE MODEL d.m AS SELECT 1",
        "CREATE\bMODEL d.m AS SELECT 1",
        "CREATE\u00a0MODEL d.m AS SELECT 1",
        "CREATE\u3000/**/\vOR\fREPLACE MODEL d.m AS SELECT 1",
        "IF a THEN CALL d.train(); ELSE CALL d.train(); END IF",
        "LOOP CALL d.train(); END LOOP; REPEAT CALL d.train(); UNTIL TRUE END REPEAT",
        "x: BEGIN CALL d.train(); END",
        "SELECT 1; /* now */ CALL d.train()",
        "@{hint=1} CALL d.train()",
        "@5 CALL d.train()",
        "@5 @{hint=1}CALL`d`.train()",
        "SELECT ! \u00b5 MODEL",
    ],
)
def test_a_model_may_be_made(sql: str) -> None:
    """By its words, by text and procedures that do not stand there, or by what cannot be read."""
    assert read_facts(sql).may_create_model


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT model FROM d.models",
        "CREATE TABLE d.model AS SELECT 'CREATE MODEL' AS model",
        "/* CREATE MODEL */ SELECT 1 -- CALL\n# EXECUTE IMMEDIATE\n",
        "SELECT '''CREATE MODEL ' CALL x()''', r'\\', \"CALL\", b'CALL', `CALL`.a FROM `CREATE MODEL`",
        "DROP MODEL d.m; SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t)",
        "SELECT recall, called FROM d.t; SELECT IMMEDIATE FROM d.t",
        "SELECT call, t.call FROM d.t AS call",
        "SELECT 'naïve ☃' -- über\r\nFROM d.model",
    ],
)
def test_no_model_can_be_made(sql: str) -> None:
    """The words in strings, comments and names, and statements about models that train none."""
    words = read_facts(sql.replace("r'\\', ", ""))
    assert (words.may_create_model, words.is_dynamic) == (False, False)


@pytest.mark.parametrize(
    ("sql", "reservations"),
    [
        ("SELECT 1", ()),
        ("SELECT '@@reservation', \"SET @@reservation = 'none'\" -- @@reservation", ()),
        ("SELECT @@project_id, @@reservations", ()),
        ("SET @@reservation = 'none'; SELECT 1", ("none",)),
        ('set @@Reservation="projects/p/locations/US/reservations/r"', ("projects/p/locations/US/reservations/r",)),
        ("SET @@ /* here */ `reservation` = 'none'", ("none",)),
        ("SET @@reservation = 'no' || 'ne'", (None,)),
        ("SET @@reservation = x", (None,)),
        ("SET (@@reservation, x) = ('none', 1)", (None,)),
        ("SET @@`res\\x65rvation` = 'none'", ("none",)),
        ("SET @@reservation = 'n\\x6fne'", ("none",)),
        ("SET @@reservation = 'no' 'ne'", (None,)),
        ("SET @@reservation = '''none'''", ("none",)),
        ("SET @@reservation = b'none'", (None,)),
        ("SELECT @@reservation", (None,)),
        ("SET @@reservation = 'a'; SET @@reservation = 'b'", ("a", "b")),
    ],
)
def test_what_the_text_sets_the_reservation_to(sql: str, reservations: tuple[str | None, ...]) -> None:
    """Strings are read as BigQuery reads them; any other use may be of any reservation."""
    assert read_facts(sql).reservations == reservations


@given(st.text(alphabet="CREAT MODEL'\"`/*-#\n\r@;\\rb", max_size=40))
def test_any_text_is_read(sql: str) -> None:
    """Nothing is raised, and no model is made by a text without the word, unless it cannot be read."""
    words = read_facts(sql)
    is_unread = replace(words, unbounded_because=None, sets_labels=True, reservations=(None,)) == ANYTHING
    assert not words.may_create_model or "MODEL" in sql or words.is_dynamic or is_unread


def test_what_cannot_be_read_may_do_all() -> None:
    """Also what none of the words shows."""
    assert read_facts("SELECT @@x, 'MODEL") == ANYTHING


@pytest.mark.parametrize("sql", ["SELECT a,\xa0b FROM t WHERE x = 'a;b'", "SELECT 1;\u2003", "SELECT 'MODEL"])
def test_what_sets_no_variable_chooses_no_reservation(sql: str) -> None:
    """Blanks that come from a web page are no reason to refuse a query where prices depend on reservations."""
    assert read_facts(sql) == replace(ANYTHING, sets_labels=False, reservations=())
