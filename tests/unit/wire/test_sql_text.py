"""The tokens of GoogleSQL, by the rules of BigQuery's own parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.errors import MalformedRequest
from bqgate.wire.sql_names import Path, names_and_marks
from bqgate.wire.sql_text import Kind, Token, check_length, odd_character, tokens, value_of


def written(sql: str) -> list[str]:
    """The tokens as they stand."""
    return [token.text for token in tokens(sql)]


def parts(sql: str) -> list[tuple[str, ...]]:
    """The names of a text."""
    return [item.parts for item in names_and_marks(sql) if isinstance(item, Path)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a.b,1.5e-3 FROM`p.d.t`", ["SELECT", "a", ".", "b", ",", "1.5e-3", "FROM", "`p.d.t`"]),
        ("a--x\nb#y\rc/*z*/d/**/e", ["a", "b", "c", "d", "e"]),
        ("a -- ends at a lone return\r b", ["a", "b"]),
        ("a /* * ** /* */ b", ["a", "b"]),
        ("a\bb\fc\vd\u00a0e\u2003f\u202fg\u205fh\u3000i", list("abcdefghi")),
        ("r'\\' b' 'c'", ["r'\\' b'", "'c'"]),
        ("Rb\"a\"bR'''c'''B'd'", ['Rb"a"', "bR'''c'''", "B'd'"]),
        ("'''it's '' ok'''", ["'''it's '' ok'''"]),
        ('"""a\nb"""', ['"""a\nb"""']),
        ("'' \"\"", ["''", '""']),
        ("`a\\`b`", ["`a\\`b`"]),
        ("d.2020 . select", ["d", ".", "2020", ".", "select"]),
        ("x.r'\\'' y.rb", ["x", ".", "r'\\''", "y", ".", "rb"]),
        ("SELECT .5 , a[0].5x", ["SELECT", ".5", ",", "a", "[", "0", "]", ".", "5x"]),
        ("0xFF 1. .5 1e5", ["0xFF", "1.", ".5", "1e5"]),
        (
            "@@a @b ? => -> |> || <= >= != <> << >>",
            ["@@", "a", "@", "b", *("?", "=>", "->", "|>", "||", "<=", ">=", "!=", "<>", "<<", ">>")],
        ),
        ("", []),
        ("-- nothing", []),
    ],
)
def test_a_text_is_cut_as_bigquery_cuts_it(sql: str, expected: list[str]) -> None:
    """Comments end at any line end, Unicode's fixed blanks separate, a backslash keeps a quote even in a raw string."""
    assert written(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a",
        "SELECT '''a''",
        'SELECT """a',
        "SELECT `a",
        "SELECT /* a",
        "SELECT 'a\n'",
        "`a\r`",
        "a µ",
        "a \x00",
        "'\\",
    ],
)
def test_what_cannot_be_read_ends_the_text(sql: str) -> None:
    """No end, a line end where there may be none, or a character that begins nothing."""
    assert list(tokens(sql))[-1].kind == Kind.FAULT


@given(st.text(alphabet="aS.'\"`\\-#/*\r\n\b\u00a0 09@;rbx()[]", max_size=60))
def test_tokens_and_what_is_between_them_are_the_text(sql: str) -> None:
    """Nothing is skipped, nothing is read twice, and a text without a fault is read to its end."""
    at = 0
    for token in tokens(sql):
        assert token.gap == at
        assert sql.startswith(token.text, token.start)
        assert not written(sql[token.gap : token.start]), "between tokens are blanks and comments"
        at = token.end
        if token.kind == Kind.FAULT:
            return
    assert not written(sql[at:])


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("'a'", "a"),
        ("'''a'b'''", "a'b"),
        ("'\\x67s:\\x2f\\057b'", "gs://b"),
        ("'\\u0067s\\U0000003a'", "gs:"),
        ("'\\a\\b\\f\\n\\r\\t\\v\\\\\\?\\'\\\"\\`'", "\a\b\f\n\r\t\v\\?'\"`"),
        ("r'\\x67'", "\\x67"),
        ("'''a\r\nb\rc'''", "a\nb\nc"),
        ("b'\\x67\\147'", "gg"),
        ("`\\x65xternal`", "external"),
        ("b'\\u0067'", None),
        ("'\\q'", None),
        ("'\\x6'", None),
        ("'\\400'", None),
        ("'\\U99999999'", None),
        ("''", ""),
    ],
)
def test_a_literal_says_what_bigquery_reads_in_it(literal: str, value: str | None) -> None:
    """Escapes by number and by letter, none in raw strings, line ends as one; None for what BigQuery refuses."""
    (token,) = tokens(literal)
    assert value_of(token) == value


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("a.b.c", [("a", "b", "c")]),
        ("a . /* x */ b", [("a", "b")]),
        ("`a.b`.c", [("a", "b", "c")]),
        ("`example.com:p.d.t`", [("example.com:p", "d", "t")]),
        ("[p:d.t]", [("p", "d", "t")]),
        ("my-project-1.d.t", [("my-project-1", "d", "t")]),
        ("my-12ab.d", [("my-12ab", "d")]),
        ("my-12.d.t", [("my-12", "d", "t")]),
        ("my-12. d.t", [("my-12", "d", "t")]),
        ("my-12./**/`d`.t", [("my-12", "d", "t")]),
        ("my-12.FROM x", [("my-12",), ("FROM",), ("x",)]),
        ("t.a-net.host", [("t", "a"), ("net", "host")]),
        ("p:my-d.t", [("p", "my-d", "t")]),
        ("my-a-3b.2020.t", [("my-a-3b", "2020", "t")]),
        ("a - b", [("a",), ("b",)]),
        ("a -b", [("a",), ("b",)]),
        ("d.select.2020x", [("d", "select", "2020x")]),
        ("a.*", [("a",)]),
        ("1-ml.f", [("ml", "f")]),
    ],
)
def test_names_are_joined_by_their_dots_and_dashes(sql: str, names: list[tuple[str, ...]]) -> None:
    """As one name, whatever stands around the dots; dashes only where nothing does."""
    assert parts(sql) == names


@pytest.mark.parametrize("sql", ["x.(net.host)(1)", "x . ( net.host )", "net.host (1)", "net.host/**/(1)"])
def test_a_chained_call_is_a_call(sql: str) -> None:
    """A function behind its first argument is called as well."""
    assert [item.is_called for item in names_and_marks(sql) if isinstance(item, Path)][-1]


@pytest.mark.parametrize(
    ("sql", "at"),
    [
        ("SELECT 1 -- über ☃\r\nFROM `d. t`", None),
        ("SELECT '\u00a0\r\b', \"\u2028\", `\u3000`", None),
        ("SELECT\u00a01", 6),
        ("SELECT 1 --\rx", 11),
        ("SELECT 1 /* \r */", 12),
        ("SELECT\b1", 6),
        ("SELECT 1 -- \u2028", 12),
        ("SELECT 1\x7f", None),
        ("SELECT 1\u3000", 8),
        ("SELECT 1 /* \x00 */", 12),
        ("\ufeffSELECT 1", None),
    ],
)
def test_what_some_take_for_a_blank_or_an_end_of_line_is_found(sql: str, at: int | None) -> None:
    """Outside of strings and quoted names. What no token begins with cannot be read anyway."""
    assert odd_character(sql) == at


@pytest.mark.parametrize(("chars", "is_legacy"), [(1024 * 1024, False), (256 * 1024, True)])
def test_a_query_may_be_as_long_as_bigquery_takes_it(chars: int, *, is_legacy: bool) -> None:
    """One more is refused in BigQuery's words."""
    check_length("x" * chars, is_legacy=is_legacy, field="query")
    with pytest.raises(MalformedRequest, match=rf"The maximum query length is {chars // 1024}\.00K characters"):
        check_length("x" * (chars + 1), is_legacy=is_legacy, field="query")


def test_a_token_knows_where_it_ends() -> None:
    """In the text, from its beginning."""
    assert Token("word", "abc", 3, 2).end == 6
