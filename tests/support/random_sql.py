"""Random GoogleSQL in its plain form, and the same in as many odd spellings as BigQuery takes for it.

A query is a list of words. Its plain form has one blank between them; a spelling has random blanks, line ends and
comments between them, keywords in random case, names in backquotes, and strings in other quotes and by escapes. What
has no meaning of its own in BigQuery (a lone return, a no-break space) is in no spelling: the gate refuses it.
"""

import random
from dataclasses import dataclass

OWN = ("d.t", "acme-prod.d.t", "acme-prod.d2.u", "t", "d.INFORMATION_SCHEMA.TABLES", "d.f", "d.select.2020x", "d.1e5")
OTHERS = (
    "victim.ds.t",
    "victim-prod.ds.t",
    "my-victim-1.ds.t",
    "victim.ds.INFORMATION_SCHEMA.COLUMNS",
    "INFORMATION_SCHEMA.SCHEMATA",
)
COLUMNS = ("a", "T.b.c", "x_1", "model", "call", "name", "connection_id")
FUNCTIONS = (
    "COUNT",
    "NET.HOST",
    "ML.PREDICT",
    "AI.GENERATE",
    "EXTERNAL_QUERY",
    "KEYS.KEYSET_CHAIN",
    "OBJ.FETCH_METADATA",
    "SAFE.NET.HOST",
    "SAFE.d.f",
    "SAFE.victim.ds.f",
    "d.f",
    "victim.ds.f",
)
NUMBERS = ("1", "0xFF", "1.5e3", ".5", "1.", "1e10")
STRINGS = (
    "x",
    "it is",
    "gs://acme/in/x",
    "gs://victim/x",
    "a;b",
    "-- no comment",
    "/* none */",
    "projects/victim/k",
    'it\'s "so"',
    "a\\b",
    "two\nlines",
    "`t`",
    "\u00fcber \u2603 \u00a0",
    "",
)
# By these JSON and options name what is not the customer's, or only the customer's own.
PARAMETERS = ('{"labels":{"a":"b"}}', '{"cachedContent":"projects/victim/x"}', '{"a":"\\u0070rojects"}')
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
    return dice.choice((_select, _select, _select, _piped, _graph, _definition, _dml, _script))(dice)


def plain(query: list[Word]) -> str:
    """The query as anybody would write it."""
    return " ".join(
        word if isinstance(word, str) else word.dotted if isinstance(word, Name) else _plain_text(word.value)
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


def _plain_text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


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
        return [Text(dice.choice(STRINGS)) if kind < 0.55 else dice.choice(NUMBERS)]
    if kind < 0.7:
        return ["ML.PREDICT", "(", "MODEL", _table(dice), ",", "TABLE", _table(dice), ")"]
    arguments: list[Word] = [Text(dice.choice(STRINGS))]
    if dice.random() < 0.3:
        arguments += [",", Name(dice.choice(("connection_id", "endpoint", "x"))), "=>", Text(dice.choice(STRINGS))]
    if dice.random() < 0.2:
        arguments += [",", Name("model_params"), "=>", "JSON", Text(dice.choice(PARAMETERS))]
    called: Word = Name(dice.choice(FUNCTIONS))
    if dice.random() < 0.2:  # behind its first argument
        return [*arguments[:1], ".", "(", called, ")", "(", *arguments[2:], ")"]
    return [called, "(", *arguments, ")"]


def _piped(dice: random.Random) -> list[Word]:
    """From a table on, by pipes."""
    query: list[Word] = ["FROM", _table(dice)]
    for _ in range(dice.randint(1, 3)):
        step: tuple[list[Word], ...] = (
            ["WHERE", *_expression(dice)],
            ["EXTEND", *_expression(dice), "AS", Name("y")],
            ["JOIN", _table(dice), "USING", "(", Name("a"), ")"],
            ["CALL", Name(dice.choice(("d.f", "victim.ds.f", "ML.PREDICT"))), "(", "TABLE", _table(dice), ")"],
        )
        query += ["|>", *dice.choice(step)]
    return query


def _graph(dice: random.Random) -> list[Word]:
    """A graph's query, alone or as a table."""
    pattern: list[Word] = ["MATCH", "(", Name("n"), ")", "RETURN", Name("n.x")]
    if dice.random() < 0.5:
        return ["GRAPH", _table(dice), *pattern]
    return ["SELECT", "*", "FROM", "GRAPH_TABLE", "(", _table(dice), *pattern, ")"]


def _definition(dice: random.Random) -> list[Word]:
    option: list[Word] = [Name(dice.choice(("library", "model_path", "kms_key_name", "description")))]
    option += ["=", Text(dice.choice(STRINGS))]
    options: list[Word] = ["OPTIONS", "(", *option, ")"] if dice.random() < 0.5 else []
    between: tuple[list[Word], ...] = (["OR", "REPLACE"], ["TEMP"], [])
    begin: list[Word] = ["CREATE", *dice.choice(between)]
    match dice.randint(0, 5):
        case 0:
            return [*begin, "MODEL", _table(dice), *options, "AS", *_select(dice)]
        case 1:
            return [*begin, "TABLE", _table(dice), dice.choice(("CLONE", "COPY", "LIKE")), _table(dice)]
        case 2:
            return [*begin, "FUNCTION", _table(dice), "(", ")", "REMOTE", "WITH", "CONNECTION", Name("us.c"), *options]
        case 3:
            language = Name(dice.choice(("js", "python")))
            return [*begin, "FUNCTION", _table(dice), "(", ")", "LANGUAGE", language, *options, "AS", Text("return 1")]
        case 4:
            default: list[Word] = ["DEFAULT", "CAST", "(", *_expression(dice), "AS", "STRING", ")"]
            columns: list[Word] = ["(", Name("a"), "STRING", *default, ")"]
            return [*begin, "TABLE", _table(dice), *columns, "LIKE", _table(dice), "AS", *_select(dice)]
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
            ["@", "{", Name("hint"), "=", "1", "}", "CALL", Name("d.p"), "(", ")"],
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
    must_be_escaped = {"\\", "\n", quote[0]}
    if prefix and must_be_escaped.isdisjoint(value):
        return f"{prefix}{quote}{value}{quote}"
    letters = (
        _escape(letter, dice) if letter in must_be_escaped or dice.random() < 0.2 else letter for letter in value
    )
    return f"{quote}{''.join(letters)}{quote}"


def _escape(letter: str, dice: random.Random) -> str:
    number = ord(letter)
    wide = (f"\\u{number:04X}", f"\\U{number:08x}")
    return dice.choice(wide if number > 0xFF else (*wide, f"\\x{number:02x}", f"\\X{number:02X}", f"\\{number:03o}"))


def _gap(dice: random.Random, *, may_be_empty: bool) -> str:
    pieces = [dice.choice(BLANKS + COMMENTS) for _ in range(dice.randint(0 if may_be_empty else 1, 2))]
    return "".join(pieces)
