"""Parse GoogleSQL into statements whose nodes know where they stand in the text.

The first step of every query. Calls sqlglot; what leaves is a list of statements (more than one is a script), or
QueryInvalid "Syntax error: …" with BigQuery's [line:column], or NotSupported for procedural statements that the
sandbox does not run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import sqlglot
import sqlglot.dialects.bigquery  # here, once: sqlglot loads what is first asked for by name, and threads that ask for
import sqlglot.dialects.duckdb  # one at the same time meet it half made
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid

DIALECT = "bigquery"
logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what is refused here with an error
_BLOCK_WORDS = frozenset(
    {
        *("IF", "WHILE", "LOOP", "FOR", "REPEAT", "CALL", "EXECUTE", "COMMIT", "ROLLBACK", "RAISE", "RETURN"),
        *("LEAVE", "ITERATE", "BREAK", "CONTINUE", "EXCEPTION", "ASSERT"),
    }
)
# sqlglot knows them as commands, of which it keeps the text.
ROW_POLICY_STATEMENT = re.compile(r"(?:CREATE\s+(?:OR\s+REPLACE\s+)?|DROP\s+)ROW\s+ACCESS\s+POLICY\b", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """One statement: its tree and its text."""

    tree: exp.Expr
    text: str


def parse(sql: str) -> list[Statement]:
    """Return the statements of a text; BEGIN … END around them is taken off."""
    dialect = sqlglot.Dialect.get_or_raise(DIALECT)
    text = sql
    try:
        found = dialect.tokenize(text)
        while (begin := _block_begin(found)) is not None:
            text = text[: begin.start] + " " * (begin.end - begin.start + 1) + text[begin.end + 1 :]
            found = dialect.tokenize(text)
    except TokenError as error:
        raise QueryInvalid(f"Syntax error: {_plain(str(error))}") from error
    statements = [_parse_one(dialect, part, text) for part in _split(found) if not _is_block_end(part)]
    if not statements:
        raise QueryInvalid("Syntax error: Unexpected end of statement")
    return statements


def is_dynamic(sql: str) -> bool:
    """Tell whether a text is SQL that only comes about when it runs; a dry run knows nothing of it."""
    return re.match(r"\s*EXECUTE\s+IMMEDIATE\b", sql, re.IGNORECASE) is not None


def position(node: exp.Expr) -> str:
    """Return " at [line:column]" of the first token under a node, or nothing where the parser kept no position."""
    marks = [part.meta for part in node.walk() if "line" in part.meta and "start" in part.meta]
    if not marks:
        return ""
    first = min(marks, key=lambda mark: int(mark["start"]))
    return f" at [{first['line']}:{first['col'] - (first['end'] - first['start'])}]"


def _block_begin(found: Sequence[Token]) -> Token | None:
    """Return a BEGIN that opens a block, which the tokenizer takes for a command with the rest as its argument."""
    for token, following in zip_longest(found, found[1:]):
        if token.text.upper() != "BEGIN" or token.token_type not in {TokenType.COMMAND, TokenType.BEGIN}:
            continue
        rest = "" if following is None else following.text.strip().upper()
        if rest.startswith("TRANSACTION") or not rest:
            raise NotSupported("transactions of several statements.")
        return token
    return None


def _split(found: Sequence[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in found:
        if token.token_type == TokenType.SEMICOLON:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _is_block_end(part: Sequence[Token]) -> bool:
    return len(part) == 1 and part[0].text.upper() == "END"


_STATEMENT_WORDS = frozenset(
    {
        *("SELECT", "WITH", "(", "FROM", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "DROP", "ALTER"),
        *("DECLARE", "SET", "EXPORT", "LOAD", "GRANT", "REVOKE"),
    }
)


def _parse_one(dialect: sqlglot.Dialect, part: list[Token], text: str) -> Statement:
    word = part[0].text.upper()
    written = text[part[0].start : part[-1].end + 1]
    if ROW_POLICY_STATEMENT.match(written):
        return Statement(exp.Command(this=written), written)
    if word in _BLOCK_WORDS or word.endswith("TRANSACTION"):
        raise NotSupported(f"{word} in scripts.")
    if word not in _STATEMENT_WORDS:
        column = part[0].col - (part[0].end - part[0].start)
        raise QueryInvalid(f'Syntax error: Unexpected identifier "{part[0].text}" at [{part[0].line}:{column}]')
    try:
        trees = dialect.parser().parse(part, text)
    except ParseError as error:
        raise QueryInvalid(_syntax_error(error, part)) from error
    except (IndexError, AttributeError, TypeError, ValueError) as error:
        # sqlglot's builders of single functions trip like this over arguments that are not there.
        raise QueryInvalid(f"Syntax error: a call in the statement at [{part[0].line}:1] lacks arguments") from error
    tree = trees[0] if trees else None
    if tree is None or isinstance(tree, exp.Command):
        raise NotSupported(f"{word} statements.")
    return Statement(tree, written)


def _syntax_error(error: ParseError, part: Sequence[Token]) -> str:
    first = error.errors[0] if error.errors else {}
    shown = str(first.get("highlight") or "").strip()
    line = first.get("line")
    if line is None:
        return f"Syntax error: {_plain(str(error))}"
    column = max(int(first.get("col") or 1) - max(len(shown) - 1, 0), 1)
    if str(first.get("description")).startswith("Required keyword") and shown == part[-1].text:
        return f"Syntax error: Unexpected end of statement at [{line}:{column + len(shown)}]"
    return f'Syntax error: Unexpected "{shown}" at [{line}:{column}]'


def _plain(message: str) -> str:
    return message.split("\n", maxsplit=1)[0].replace("\x1b[4m", "").replace("\x1b[0m", "")
