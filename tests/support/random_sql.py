"""Random GoogleSQL in its plain form, and the same in as many odd spellings as BigQuery takes for it.

A query is a list of words. Its plain form has one blank between them; a spelling has random blanks, line ends and
comments between them, keywords in random case, names in backquotes, and strings in other quotes and by escapes. What
has no meaning of its own in BigQuery (a lone return, a no-break space) is in no spelling: the gate refuses it.
"""

import random
from dataclasses import dataclass

OWN = ("d.t", "acme-prod.d.t", "acme-prod.d2.u", "t", "d.INFORMATION_SCHEMA.TABLES", "d.f")
OTHERS = ("victim.ds.t", "victim-prod.ds.t", "victim.ds.INFORMATION_SCHEMA.COLUMNS", "INFORMATION_SCHEMA.SCHEMATA")
COLUMNS = ("a", "T.b.c", "x_1", "model", "call", "name", "connection_id")
FUNCTIONS = (
    "COUNT",
    "NET.HOST",
    "ML.PREDICT",
    "AI.GENERATE",
    "EXTERNAL_QUERY",
    "KEYS.KEYSET_CHAIN",
    "d.f",
    "victim.ds.f",
)
STRINGS = (
    "x",
    "it is",
    "gs://acme/in/x",
    "gs://victim/x",
    "a;b",
    "-- no comment",
    "/* none */",
    "projects/victim/k",
    "",
)
COMMENTS = (
    "/* victim.ds.t ' ` */",
    "-- CREATE MODEL ; ` ' \"\n",
    "# CALL p()\r\n",
    "/**/",
    "/* ** INFORMATION_SCHEMA.x */",
)
BLANKS = (" ", "\n", "\t", "\r\n", "  ")


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted name. `may_be_quoted` False: part of it is a keyword where it stands."""

    dotted: str
    may_be_quoted: bool = True


@dataclass(frozen=True, slots=True)
class Text:
    """A string, by what it says."""

    value: str


Word = str | Name | Text


def random_query(dice: random.Random) -> list[Word]:
    """The words of a query: keywords and marks as str, all else by its kind."""
    return dice.choice((_select, _select, _select, _definition, _dml, _script))(dice)


def plain(query: list[Word]) -> str:
    """The query as anybody would write it."""
    return " ".join(
        word if isinstance(word, str) else word.dotted if isinstance(word, Name) else f"'{word.value}'"
        for word in query
    )


def spelled(query: list[Word], dice: random.Random) -> str:
    """The same query in a random spelling."""
    pieces = [_gap(dice, may_be_empty=True)]
    for word, following in zip(query, [*query[1:], ""], strict=True):
        if isinstance(word, Name):
            pieces.append(_name(word, dice))
        elif isinstance(word, Text):
            pieces.append(_text(word.value, dice))
        else:
            pieces.append("".join(dice.choice((letter.upper(), letter.lower())) for letter in word))
        ends_in_mark = isinstance(word, Text) or pieces[-1][-1:] in "(),;=`'\""
        begins_with_mark = isinstance(following, str) and following[:1] in "(),;="
        pieces.append(_gap(dice, may_be_empty=(ends_in_mark and not isinstance(following, Text)) or begins_with_mark))
    return "".join(pieces)


def _select(dice: random.Random) -> list[Word]:
    columns: list[Word] = []
    for _ in range(dice.randint(1, 3)):
        columns += [*_expression(dice), ","]
    query: list[Word] = ["SELECT", *columns[:-1], "FROM", _table(dice)]
    if dice.random() < 0.3:
        query += ["JOIN", _table(dice), "USING", "(", Name("a"), ")"]
    if dice.random() < 0.4:
        query += ["WHERE", *_expression(dice), "=", Text(dice.choice(STRINGS))]
    return query


def _expression(dice: random.Random) -> list[Word]:
    kind = dice.random()
    if kind < 0.4:
        return [Name(dice.choice(COLUMNS))]
    if kind < 0.6:
        return [Text(dice.choice(STRINGS))]
    if kind < 0.7:
        return ["ML.PREDICT", "(", "MODEL", _table(dice), ",", "TABLE", _table(dice), ")"]
    arguments: list[Word] = [Text(dice.choice(STRINGS))]
    if dice.random() < 0.3:
        arguments += [",", Name(dice.choice(("connection_id", "endpoint", "x"))), "=>", Text(dice.choice(STRINGS))]
    return [Name(dice.choice(FUNCTIONS)), "(", *arguments, ")"]


def _definition(dice: random.Random) -> list[Word]:
    option: list[Word] = [Name(dice.choice(("library", "model_path", "kms_key_name", "description")))]
    option += ["=", Text(dice.choice(STRINGS))]
    options: list[Word] = ["OPTIONS", "(", *option, ")"] if dice.random() < 0.5 else []
    between: tuple[list[Word], ...] = (["OR", "REPLACE"], ["TEMP"], [])
    begin: list[Word] = ["CREATE", *dice.choice(between)]
    match dice.randint(0, 3):
        case 0:
            return [*begin, "MODEL", _table(dice), *options, "AS", *_select(dice)]
        case 1:
            return [*begin, "TABLE", _table(dice), dice.choice(("CLONE", "COPY", "LIKE")), _table(dice)]
        case 2:
            return [*begin, "FUNCTION", _table(dice), "(", ")", "REMOTE", "WITH", "CONNECTION", Name("us.c"), *options]
        case _:
            return [*begin, "SCHEMA", Name(dice.choice(("x", "victim.x", "acme-prod.x")))]


def _dml(dice: random.Random) -> list[Word]:
    match dice.randint(0, 2):
        case 0:
            return ["INSERT", "INTO", _table(dice), *_select(dice)]
        case 1:
            return ["DELETE", "FROM", _table(dice), "WHERE", "TRUE"]
        case _:
            return ["TRUNCATE", "TABLE", _table(dice)]


def _script(dice: random.Random) -> list[Word]:
    first = dice.choice(
        (
            ["SET", "@@", Name("reservation", may_be_quoted=False), "=", Text(dice.choice(("none", "a/b")))],
            ["CALL", Name("d.p"), "(", ")"],
            ["EXECUTE", "IMMEDIATE", Text("SELECT 1")],
            _select(dice),
        )
    )
    return [*first, ";", *(_select(dice) if dice.random() < 0.5 else [])]


def _table(dice: random.Random) -> Name:
    return Name(dice.choice(OWN + OTHERS))


def _name(name: Name, dice: random.Random) -> str:
    parts = name.dotted.split(".")
    if not name.may_be_quoted:
        return name.dotted
    is_quoted = [dice.random() < 0.3 for _ in parts]
    return "".join(
        f"{dot}{f'`{part}`' if quoted else part}"
        for dot, part, quoted in zip(["", *(_dot(dice, name) for _ in parts[1:])], parts, is_quoted, strict=True)
    )


def _dot(dice: random.Random, name: Name) -> str:
    """A dot, sometimes with something around it; names of metadata must be written without."""
    if "INFORMATION_SCHEMA" in name.dotted or dice.random() < 0.8:
        return "."
    return f"{_gap(dice, may_be_empty=True)}.{_gap(dice, may_be_empty=True)}"


def _text(value: str, dice: random.Random) -> str:
    quote = dice.choice(("'", '"', "'''", '"""'))
    prefix = dice.choice(("", "", "r", "R"))
    if prefix:
        return f"{prefix}{quote}{value}{quote}"
    spelled_value = "".join(
        dice.choice((f"\\x{ord(letter):02x}", f"\\u{ord(letter):04X}", f"\\{ord(letter):03o}"))
        if dice.random() < 0.2
        else letter
        for letter in value
    )
    return f"{quote}{spelled_value}{quote}"


def _gap(dice: random.Random, *, may_be_empty: bool) -> str:
    pieces = [dice.choice(BLANKS + COMMENTS) for _ in range(dice.randint(0 if may_be_empty else 1, 2))]
    return "".join(pieces)
