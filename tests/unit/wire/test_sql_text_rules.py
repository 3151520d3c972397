"""The tokens are those of GoogleSQL's lexer, whose rules stand here one by one: at each place the longest match counts.

The rules are those of https://github.com/google/googlesql (googlesql.tm, lexer), in words of our own.
"""

import random
import re

import pytest

from bqgate.wire.sql_text import Kind, tokens

_ESCAPE = r"\\(?:\r\n|[\s\S])"
_BODIES = (
    (rf"'(?:[^'\\\n\r]|{_ESCAPE})*", "'"),
    (rf'"(?:[^"\\\n\r]|{_ESCAPE})*', '"'),
    (rf"'''(?:(?:''?)?(?:[^'\\]|{_ESCAPE}))*", "'''"),
    (rf'"""(?:(?:""?)?(?:[^"\\]|{_ESCAPE}))*', '"""'),
)
_PREFIXES = ("", "[rR]", "[bB]", "[rR][bB]", "[bB][rR]")
_MARKS = (
    *("*", ",", ";", "(", ")", "=", "+=", "-=", "!=", "<", "<=", ">", ">=", "|", "^", "&", "!", "%", "[", "]", "@"),
    *("@@", "||", "+", "-", "/", "~", ".", "}", "{", "?", "<<", "=>", "->", "|>", ":", "$"),
)
_NAME = rf"`(?:[^\\`\r\n]|{_ESCAPE})*"
# Where two match as much, the earlier is right.
_RULES = [
    (kind, re.compile(pattern))
    for kind, pattern in (
        *(("quoted", prefix + body + end) for prefix in _PREFIXES for body, end in _BODIES),
        *(("fault", prefix + body) for prefix in _PREFIXES for body, _ in _BODIES),
        ("quoted", f"{_NAME}`"),
        ("fault", _NAME),
        ("other", "[A-Za-z_][A-Za-z_0-9]*"),
        ("other", "[0-9]+"),
        ("other", "0[xX][0-9a-fA-F]+"),
        ("gap", r"(?:--|#)[^\r\n]*(?:\r\n|\r|\n)?"),
        ("gap", r"/\*(?:[^*]|\*+[^*/])*\*+/"),
        ("fault", r"/\*(?:[^*]|\*+[^*/])*\**"),
        ("gap", "[ \n\r\t\x08\f\v\u00a0\u2000-\u200a\u202f\u205f\u3000]+"),
        *(("other", re.escape(mark)) for mark in _MARKS),
    )
]
_PIECES = (
    *("'", '"', "`", "'''", '"""', "\\", "\n", "\r", "\r\n", "r", "b", "R", "rb", "Br", "a", "_", "0", "1", ".", "-"),
    *("/", "*", "#", " ", "\u00a0", "\u2003", "e", "x", "@", "|", ">", "=", "--", "/*", "*/", "é"),
)


def by_rules(sql: str) -> tuple[list[tuple[int, int]], set[int], int | None]:
    """Where strings and quoted names are, which characters belong to tokens, and where it cannot be read."""
    quoted: list[tuple[int, int]] = []
    covered: set[int] = set()
    at = 0
    while at < len(sql):
        matches = [(match.end(), kind) for kind, rule in _RULES if (match := rule.match(sql, at)) is not None]
        end = max((end for end, _ in matches), default=at)
        kind = next((kind for found, kind in matches if found == end), "fault")
        if kind == "fault":
            return quoted, covered, at
        if kind != "gap":
            covered.update(range(at, end))
        if kind == "quoted":
            quoted.append((at, end))
        at = end
    return quoted, covered, None


@pytest.mark.parametrize(("seed", "count"), [(0, 20_000), pytest.param(1, 300_000, marks=pytest.mark.long)])
def test_random_texts_are_cut_by_the_rules(seed: int, count: int) -> None:
    """Strings, quoted names, blanks and comments end where they end for BigQuery, and faults are where it has them."""
    dice = random.Random(seed)
    for _ in range(count):
        sql = "".join(dice.choice(_PIECES) for _ in range(dice.randint(1, 14)))
        quoted, covered, fault = by_rules(sql)
        ours = list(tokens(sql))
        assert (fault is not None) == (bool(ours) and ours[-1].kind == Kind.FAULT), sql
        end = len(sql) if fault is None else fault
        read = [token for token in ours if token.start < end and token.kind != Kind.FAULT]
        assert {at for token in read for at in range(token.start, token.end) if at < end} == covered, sql
        # A number and a string's prefix may share their letters (1e1r'x'), which BigQuery refuses.
        ends = [token.end for token in read if token.kind in {Kind.TEXT, Kind.QUOTED}]
        assert ends == [each[1] for each in quoted], sql
