"""What may occur when a text runs: a word in a string or a comment is none, a text that cannot be read may do all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.clock import SystemClock
from bqgate.wire.sql_words import ANYTHING, NOTHING, read_sql_words


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
    ],
)
def test_a_model_may_be_made(sql: str) -> None:
    """By its words, by text and procedures that do not stand there, or by what cannot be read."""
    assert read_sql_words(sql).may_create_model


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT model FROM d.models",
        "CREATE TABLE d.model AS SELECT 'CREATE MODEL' AS model",
        "/* CREATE MODEL */ SELECT 1 -- CALL\n# EXECUTE IMMEDIATE\n",
        "SELECT '''CREATE MODEL ' CALL x()''', r'\\', \"CALL\", b'CALL', `CALL`.a FROM `CREATE MODEL`",
        "DROP MODEL d.m; SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t)",
        "SELECT recall, called FROM d.t; SELECT IMMEDIATE FROM d.t",
        "SELECT 'naïve ☃' -- über\r\nFROM d.model",
    ],
)
def test_no_model_can_be_made(sql: str) -> None:
    """The words in strings, comments and names, and statements about models that train none."""
    words = read_sql_words(sql.replace("r'\\', ", ""))
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
        ("SET @@reservation = 'n\\x6fne'", (None,)),
        ("SELECT @@reservation", (None,)),
        ("SET @@reservation = 'a'; SET @@reservation = 'b'", ("a", "b")),
    ],
)
def test_what_the_text_sets_the_reservation_to(sql: str, reservations: tuple[str | None, ...]) -> None:
    """Plain strings are read; any other use may be of any reservation."""
    assert read_sql_words(sql).reservations == reservations


@given(st.text(alphabet="CREATE MODEL'\"`/*-#\n\r@;\\rb", max_size=40))
def test_any_text_is_read(sql: str) -> None:
    """Nothing is raised, and a text without any of the words needs no reading."""
    words = read_sql_words(sql)
    assert words == NOTHING or words.may_create_model or words.reservations or "MODEL" in sql or "@@" in sql


@pytest.mark.parametrize("part", ["CREATE OR ", "/*", "'\\", "'''", "@@", "--\n", "CALL "])
def test_no_text_takes_long(part: str) -> None:
    """A megabyte of whatever begins something is read in time that grows with its length alone."""
    text = "MODEL " + part * (1_000_000 // len(part))
    began_s = SystemClock().monotonic_s()
    read_sql_words(text)
    assert SystemClock().monotonic_s() - began_s < 10


def test_what_cannot_be_read_may_do_all() -> None:
    """Also what none of the words shows."""
    assert read_sql_words("SELECT 'MODEL") == ANYTHING
