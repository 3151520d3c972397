"""Whatever a caller writes is read in a time that grows with its length, by every expression and every reader.

A new expression in any module needs a row in one of the tables below, or these tests fail.
"""

import ast
import asyncio
import contextlib
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import ip_network
from types import ModuleType
from typing import Any

import pytest

import bqgate
from bqgate.admin import etags
from bqgate.advice.query_shape import SQL_CHARS_MAX, read_shape
from bqgate.bigquery.timeouts import Timeouts, operation_of
from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import BqgateError
from bqgate.domain.sql_facts import SqlFacts
from bqgate.domain.tier import Customer, Tier
from bqgate.domain.touched import plain_name
from bqgate.gate import batch, reply
from bqgate.gate.isolation.text_verdict import judge_text
from bqgate.gate.multipart import Part, boundary_of, parse_headers, split_parts
from bqgate.gate.routes import resolve
from bqgate.identity import jwt_reading
from bqgate.identity.authenticator import _bearer
from bqgate.ledger.page_token import read_page_token
from bqgate.observe.redact import redact_field, redact_text
from bqgate.wire import forwarded
from bqgate.wire.accept_encoding import accepts_gzip
from bqgate.wire.enumerations import OF_QUERY, settle_enumerations
from bqgate.wire.field_mask import parse_mask
from bqgate.wire.fields import camel_keys
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.integers import integer_at, whole_number
from bqgate.wire.job_labels import check_other_labels, labels_at
from bqgate.wire.json_slices import JsonSlices, elements_of, end_of_value
from bqgate.wire.json_text import JsonNumber, read_json, write_json
from bqgate.wire.query_request import parse_query
from bqgate.wire.query_response import read_members
from bqgate.wire.query_string import split_query, with_plain_names, without_parameters
from bqgate.wire.sql_facts import read_facts
from bqgate.wire.writes import touched_by_unread
from tests.support.linear_time import SIZE, fault_in, is_slow

NOT_WALKED = ("bqgate.__main__", "bqgate.cli", "bqgate.sandbox", "bqgate.ledger.migrations")

# Expressions that meet callers' text, what a server answers, or names out of either, each with the texts that would
# be worst for it: "{}" stands for what is repeated. Texts that are the same for all of them are in ATOMS.
EVIL: dict[str, tuple[tuple[str, str, str], ...]] = {
    "bqgate.admin.etags._TAG": (("", 'W/"', ""), ('"', "a", ""), ("", 'W/W"', "")),
    "bqgate.admin.jobs._JOB_NAME": (("a:", "a.", "!"), ("", "a:", "!"), ("a:a.", "a", "!"), ("", "a-a", "!")),
    "bqgate.admin.parameters._CUSTOMER": (("a", ".:", "!"),),
    "bqgate.admin.parameters._DATE": (("2026-", "0", ""),),
    "bqgate.admin.parameters._DATE_TIME": (("2026-01-01T00:00:00.", "0", ""),),
    "bqgate.admin.spend._LABEL": (("label:", "a", "\n"),),
    "bqgate.bigquery.timeouts._INSERTS": (("/bigquery/v2/projects/", "a", ""), ("/bigquery/v2", "/projects/a", "")),
    "bqgate.bigquery.timeouts._JOB_ID": (('"jobId"', " ", "x"), ("", '"jobId" ', ""), ("", '"jobId":', "")),
    "bqgate.bigquery.timeouts._QUERIES": (
        ("", "/projects/a/queries", "/"),
        ("/projects/", "a", ""),
        ("", "/projects", ""),
    ),
    "bqgate.bigquery.timeouts._RESULTS": (("", "/projects/a/queries/", ""), ("/projects/a/queries/", "a", "/")),
    "bqgate.bigquery.timeouts._TIMEOUT_MS": (
        ('"timeoutMs"', " ", "x"),
        ("", '"timeoutMs" ', ""),
        ('"timeoutMs":', "\t", '"'),
    ),
    "bqgate.bigquery.token_causes._WORD": (("", "a", "!"),),
    "bqgate.bigquery.token_source._TOKEN": (("", "a", "!"), ("a", "=", "a"), ("", "a.", "!")),
    "bqgate.domain.resource_ids._FULL_NAME": (
        ("projects/", "a.", ""),
        ("projects/a/locations/a/", "a", "\n"),
        ("", "projects/", ""),
    ),
    "bqgate.domain.data_scope._CONTROLS": (("", "a", ""),),
    "bqgate.domain.resource_ids._ID": (("", "a", "!"),),
    "bqgate.domain.resource_ids._JOB_ID": (("", "a-", "!"),),
    "bqgate.domain.resource_ids._KEY": (("keyRings/", "a", ""),),
    "bqgate.domain.resource_ids._LOCATION": (("", "a-", "!"),),
    "bqgate.domain.resource_ids._RESERVATION": (("reservations/", "a", ""),),
    "bqgate.domain.resource_ids._TABLE_ENDING": (("*$", "a", "!"), ("", "$", "a"), ("$", "a", "@!"), ("", "@a", "")),
    "bqgate.domain.resource_ids._UNSEPARATED": (("", "a-", "!"),),
    "bqgate.domain.statements._BUYS": (("CREATE_", "CAPACITY", ""),),
    "bqgate.domain.statements._READS_NOTHING": (("ALTER", "_A", "!"), ("ALTER_", "A", "!")),
    "bqgate.domain.touched._DECORATOR": (("", "@", ""), ("a", "$\n", "")),
    "bqgate.domain.touched._METADATA": (("", ".information_schema", "x"), ("", ".", "information_schem")),
    "bqgate.exports.columns._UNKEPT": (("", "\x00", ""), ("", "\ud800", "")),
    "bqgate.gate.batch._END_OF_HEAD": (("", "\r\n", "a"), ("", "\r", ""), ("", "\na", "")),
    "bqgate.gate.batch._HOST": (("http://", "a", ""), ("", "http://", "")),
    "bqgate.gate.batch._LENGTH": (("", "0", ""),),
    "bqgate.gate.body._LENGTH": (("", "0", "!"),),
    "bqgate.gate.isolation.arguments._JSON_ESCAPE": (("", "\\", ""), ("", "\\\\", "")),
    "bqgate.gate.isolation.ids._BETWEEN": (("", "a-", ""),),
    "bqgate.gate.isolation.names.METADATA": (("", "__tables", ""), ("__tables", "a", ""), ("", "information_", "")),
    "bqgate.gate.isolation.names._ADDRESS": (("", "https://", ""), ("", "http", ""), ("https://", "a", "")),
    "bqgate.gate.isolation.names._DATASET_ID": (("", "a", "!"),),
    "bqgate.gate.isolation.names._MAY_BE_NAME": (("", "a.", "!"),),
    "bqgate.gate.isolation.names._PROJECT_ID": (("", "a.", "!"), ("", "0", "!")),
    "bqgate.gate.isolation.options._FILE": (("", "gs:", ""), ("gs:", "a", ""), ("", "gs:,", "")),
    "bqgate.gate.isolation.options._RESOURCE": (("", "projects/", ""), ("", "projects/a", ""), ("projects/", "a", "")),
    "bqgate.gate.isolation.queries._STANDARD_PREFIX": (("#standardsql", " ", "x"), ("", "#standardsql", "")),
    "bqgate.gate.isolation.taken_ids._ENDING": (("", "-bqgate-", ""), ("", "-bqgate-0", "")),
    "bqgate.gate.multipart._BOUNDARY_CHARACTERS": (("", " ", "a"), ("", "a ", "")),
    "bqgate.gate.multipart._END_OF_HEADERS": (("", "\r", ""), ("", "\na", "")),
    "bqgate.gate.routes._PROJECT": (("", "a.", ":!"), ("", "a:", "")),
    "bqgate.gate.routes._WORKLOAD": (("", "a", "!"),),
    "bqgate.identity.authenticator._BEARER": (("bearer", " ", "!"), ("bearer a", "=", "a"), ("", "bearer ", "")),
    "bqgate.identity.keyring.KEY_ID": (("", "0", ""),),
    "bqgate.identity.static_tokens._TOKEN": (("bqg_0123456789abcdef_", "a", ""), ("", "bqg_", "")),
    "bqgate.ledger.page_token._PLACE": (("e1:1:", "a", ""), ("e1:", "1", ":")),
    "bqgate.ledger.registry_rows._UNKEPT": (("", "a", ""),),
    "bqgate.metering.metering._PROJECT": (("a", ".:-", "!"),),
    "bqgate.observe.causes._ERRNO": (("", "[Errno ", ""), ("[Errno ", "1", ""), ("", "[Errno 1", "")),
    "bqgate.observe.redact._SHAPES": (
        ("", "-----BEGIN PRIVATE KEY-----", ""),
        ("", "-----BEGIN ", ""),
        ("-----BEGIN ", "PRIVATE KEY", ""),
        ("-----BEGIN PRIVATE KEY-----", "-----END ", ""),
        ("-----BEGIN PRIVATE KEY-----", "-----END A PRIVATE KEY----", ""),
        ("", "Bearer", " "),
        ("Bearer", " ", "!"),
        ("", "Basic \n", ""),
        ("", "eyJaaaaaaaa-", ""),
        ("", "eyJaaaaaaaa.", ""),
        ("", "-eyJ", ""),
        ("", "ya29.", ""),
        ("", "bqg_0123456789abcdef_", ""),
        ("://", "a", ""),
        ("", "://a:", ""),
        ("://a:", "a", ""),
        ("://", ":", ""),
        ("", "token=", "'"),
        ("", "-key", ""),
    ),
    "bqgate.settlement.sweep.places._PROJECT": (("a", ".:-", "!"),),
    "bqgate.settlement.sweep.places._REGION": (("", "a-", "!"),),
    "bqgate.wire.accept_encoding._WEIGHT": (("q=0.", "0", ""),),
    "bqgate.wire.authority._AUTHORITY": (
        ("", "a.", "!"),
        ("", "a", "!"),
        ("[", ":", ""),
        ("", "a-", "!"),
        ("a:", "0", ""),
    ),
    "bqgate.wire.authority._ORIGIN": (("http://", "a", "/"), ("", "http://", "")),
    "bqgate.wire.authority._TARGET": (("", "a", ":"), ("a://", "a", "/"), ("", "a://", "")),
    "bqgate.wire.field_mask._TOKEN": (("", " ", "!"), ("a", " ", "!"), ("", "a", "!")),
    "bqgate.wire.fields._SNAKE": (("", "_", "a"), ("", "_a", "")),
    "bqgate.wire.forwarded._FORWARDED": (
        ("", "a=b;", "\x00"),
        ('a="', "\\a", ""),
        ('a="', "a", ""),
        ("", 'a="b";', "\x00"),
        ("a", " ", "\x00"),
        ("", " ;", "\x00"),
        ("", "a", ""),
        ("", "a=", ""),
        ("", "a=b:1", ""),
    ),
    "bqgate.wire.forwarded._HOST": (("", "a", "!"), ("[", ":", ""), ("a:", "1", "")),
    "bqgate.wire.forwarded._PORT": (("", "1:1", ""), ("1", ":", "")),
    "bqgate.wire.forwarded._PREFIX": (("", "/a", "!"), ("/", "a", "!"), ("", "/..a", ""), ("", "/.", "")),
    "bqgate.wire.writes._BEFORE_A_DOT": (("a", " ", "!"), ("", "a ", "!"), ("", "a:", "!"), ("", "a`", "")),
    "bqgate.wire.writes._OF_A_DOMAIN": (("", "a.", "!"), ("", "a-", "!"), ("", "a.a:", "!")),
    "bqgate.wire.integers._CAPITAL": (("", "aA", ""), ("", "A", "")),
    "bqgate.wire.integers._NUMBER": (("", "1", "!"), ("1.", "1", "e"), ("1e", "1", "!"), ("", "1.", "")),
    "bqgate.wire.jobs_view._NAME": (("a", ".:-", "!"),),
    "bqgate.wire.json_slices._BLANKS": (("", "\t", "!"),),
    "bqgate.wire.json_slices._CLOSING": (("", "]", "!"),),
    "bqgate.wire.json_slices._IN_STRING": (("", "\\", ""), ("", '\\"', ""), ("", "a\\\\", "")),
    "bqgate.wire.json_slices._OPENING": (("", "[", "!"),),
    "bqgate.wire.json_slices._OUTSIDE": (("", "[1,", "!"),),
    "bqgate.wire.json_slices._RUN": (
        ("", "[", ""),
        ("", '["a",', ""),
        ("", '[[["a",', ""),
        ("", '{"a":', ""),
        ('[[["', '\\"', ""),
        ('[[["', "a", ""),
        ("", '"a', ""),
        ("[[[", "1,", ""),
        ("", "[[[]],", ""),
    ),
    "bqgate.wire.json_slices._SHORT_STRING": (('"', "\\", ""), ('"', "a", ""), ('"', '\\"a', ""), ("", '"', "")),
    "bqgate.wire.query_request._REQUEST_ID": (("", " ", "\n"),),
    "bqgate.wire.sql_facts._ESCAPED_NAME": (("", "`", ""), ("`", "a", ""), ("", "`a\n", "")),
    "bqgate.wire.sql_facts._AI": (("", "AI", ""), ("", "AI_", "")),
    "bqgate.wire.sql_facts._ML": (("", "ML", ""), ("", "ML_", "")),
    "bqgate.wire.sql_facts._RESERVATION": (("", "a/", "!"),),
    "bqgate.wire.sql_text._AFTER_DOT": (("", " --\n", "!"), ("", "/**/", "!"), ("/*", "*", ""), ("`", "\\`", "")),
    "bqgate.wire.sql_text._ESCAPED": (("", "\\", ""), ("", "\\x", ""), ("", "\\U0", ""), ("", "\r", "")),
    "bqgate.wire.sql_text._GAP_PART": (("", "--", ""), ("/*", "*", ""), ("", "/*", ""), ("", " --\n", "!")),
    "bqgate.wire.sql_text._LINE_END": (("", "\r", ""), ("", "\r\n", "")),
    "bqgate.wire.sql_text._MAY_BE_ODD": (("", "\r\n", ""),),
    "bqgate.wire.sql_text._ODD_IN_BLANKS": (("", "\r\n", ""),),
    "bqgate.wire.sql_text._ODD_IN_COMMENT": (("", "\r\n", ""),),
    "bqgate.wire.sql_text._TOKEN": (
        ("'", "\\'", ""),
        ("r'", "\\'", ""),
        ("'''", "''\\", ""),
        ("'''", "'' ", ""),
        ('"""', '""\\', ""),
        ("`", "\\`", ""),
        ("/*", "* /*", ""),
        ("", "/**/", "\x00"),
        ("", " --\n", "\x00"),
        ("", "rb", "\x00"),
        ("1e", "1", "!"),
        ("", "1e", "!"),
        (".", "1", "!"),
    ),
    "bqgate.wire.query_response._SPACE": (("", " ,", "!"),),
}
# Expressions that meet nothing but what is written by whoever runs the gate.
OWN_TEXT = {
    "bqgate.policies.messages._QUOTE": "a fixed text of this program",
    "bqgate.policies.values._MOMENT": "settings, and an admin's policies of 64 KB at most",
}
# Functions that make an expression, or give one to `re`, as they run; and why that is linear.
IN_FUNCTIONS = {
    "bqgate.admin.parameters.integer": "[0-9]{1,9}",
    "bqgate.admin.parameters.moment": "seven characters at the end of a URL's parameter",
    "bqgate.budgets.redis_client._without_objects": "an error of redis-py",
    "bqgate.budgets.redis_client.fault_of_url": "an error of redis-py",
    "bqgate.exports.parquet_files.without_login": "an argument of the command line",
    "bqgate.gate.isolation.own_jobs.is_taken": "BigQuery's words, once",
    "bqgate.gate.multipart._delimiter": "split_parts in READERS",
    "bqgate.policies.editor.put": "NAME_PATTERN, of bounded length",
    "bqgate.wire.error_reply.is_about_the_query": "BigQuery's words, once",
    "bqgate.wire.json_slices.__init__": "names of fields, and blanks that are given up nowhere",
}
# Settings, and an admin's policies, of 64 KB at most.
OWN_MODULES = ("bqgate.settings.", "bqgate.policies.values.")

# Repeated alone and in pairs, before and behind each other, for every expression.
ATOMS = (
    *(" ", "\t", "\r\n", "\n", "a", "A", "0", "1", "_", "-", ".", ",", ":", ";", "/", "=", "&", "%41", "@", "$", "#"),
    *(
        "'",
        '"',
        "`",
        "\\",
        "\\'",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "*",
        "--",
        "/*",
        "@@",
        "ä",
        "\x00",
        "a.b",
        '"a":',
        "''",
    ),
)


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(bqgate.__path__, "bqgate."):
        if not found.name.startswith(NOT_WALKED):
            yield importlib.import_module(found.name)


def _patterns_in(value: object, depth: int = 0) -> Iterator["re.Pattern[Any]"]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict | list | tuple | set | frozenset) and depth < 3:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _patterns_in(each, depth + 1)


def _named_patterns() -> dict[str, tuple["re.Pattern[Any]", ...]]:
    """Every expression that a module assigns a name to, or keeps in a table."""
    named = {}
    for module in _modules():
        found = {name: tuple(_patterns_in(value)) for name, value in vars(module).items()}
        if not any(found.values()):
            continue  # most modules have none, and reading them all takes as long as many a test
        assigned = {
            node.id
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for name, patterns in found.items():
            if patterns and name in assigned:
                named[f"{module.__name__}.{name}"] = patterns
    return named


PATTERNS = _named_patterns()
MET = sorted(PATTERNS.keys() - OWN_TEXT.keys())


@cache
def _ways_of_use() -> dict[str, set[str]]:
    """By the name of an expression, the methods of it that are called anywhere."""
    ways: dict[str, set[str]] = {}
    for module in _modules():
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                ways.setdefault(node.value.id, set()).add(node.attr)
    return ways


def _work(pattern: "re.Pattern[Any]", ways: set[str]) -> Callable[[str | bytes], object]:
    """What is done with an expression: it is looked for everywhere, unless its text must begin with it."""
    is_bytes = isinstance(pattern.pattern, bytes)

    def use(text: str | bytes) -> None:
        given = text.encode("utf-8", "surrogatepass") if is_bytes and isinstance(text, str) else text
        if ways <= {"fullmatch", "match"}:
            pattern.fullmatch(given)
            pattern.match(given)
        else:
            pattern.sub(b"" if is_bytes else "", given)

    return use


def _repeated(evil: tuple[str, str, str]) -> Callable[[int], str]:
    before, pump, behind = evil
    return lambda size: before + pump * (size // len(pump)) + behind


def test_every_expression_has_a_row() -> None:
    """An expression that nobody thought about evil texts for is found here, and so is a row without an expression."""
    assert PATTERNS.keys() - OWN_TEXT.keys() == EVIL.keys()
    assert OWN_TEXT.keys() <= PATTERNS.keys()


def test_every_use_inside_a_function_has_a_row() -> None:
    """So is one that is made where it is used."""
    found = set()
    for module in _modules():
        for function in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            uses = [
                node
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re"
            ]
            if any(
                use.attr in {"compile", "match", "search", "fullmatch", "sub", "split", "findall", "finditer"}
                for use in uses
            ):
                found.add(f"{module.__name__}.{function.name}")
    assert {name for name in found if not name.startswith(OWN_MODULES)} == IN_FUNCTIONS.keys()


@pytest.mark.parametrize("name", MET)
def test_an_expression_takes_time_by_the_length_of_its_text(name: str) -> None:
    """Texts that were made for it, and every common mark repeated, alone and between others."""
    for pattern in PATTERNS[name]:
        work = _work(pattern, _ways_of_use().get(name.rpartition(".")[2], {"sub"}))
        slow = [atom for atom in ATOMS if is_slow(work, atom * (SIZE // len(atom)) + "\x00")]
        slow += [f"{one}…{two}" for one in ATOMS for two in ('"', "a", " ") if is_slow(work, two + one * 2_000 + two)]
        assert not slow, pattern.pattern
        for evil in EVIL[name]:
            assert fault_in(work, _repeated(evil)) is None, (pattern.pattern, evil)


@pytest.mark.parametrize(
    ("expression", "evil"), [(r"\s+x", ("", " ", "!")), (r"\beyJ[a-zA-Z-]{8,}\.", ("", "eyJaaaaaaaa-", ""))]
)
def test_an_expression_that_is_not_linear_is_noticed(expression: str, evil: tuple[str, str, str]) -> None:
    """What this document is good for."""
    assert fault_in(_work(re.compile(expression), {"search"}), _repeated(evil)) is not None


def _read(work: Callable[[str], object]) -> Callable[[str | bytes], object]:
    """The same, whether it takes a text or refuses it."""

    def tried(text: str | bytes) -> object:
        assert isinstance(text, str)
        with contextlib.suppress(BqgateError, ValueError, RecursionError):
            return work(text)
        return None

    return tried


def _sliced(text: str) -> object:
    reading = JsonSlices(text)
    for _ in reading.slices():
        pass
    return reading.value()


def _selected(text: str) -> object:
    """A mask of thousands of ways through a document of as many places."""
    mask = parse_mask(_ways(9))
    row: Any = {"v": "1"}
    for _ in range(9):
        row = {"f": [row]}
    return mask.applied_to({"f": [row] * (len(text) // 100)})


def _ways(depth: int) -> str:
    return "v" if depth == 0 else f"f({_ways(depth - 1)}),*({_ways(depth - 1)})"


# Of what begins something in SQL and does not end, and of what may be a name, a keyword or a value, again and again.
EVIL_SQL = (
    *(("SELECT ", mark, "") for mark in ("'", "\\'", "''", '\\"', "`", "`a\\", "/*", "*/", "--", "--\n", "#\r\n")),
    *(("SELECT '", mark, "") for mark in ("\\'", "a", "\\")),
    *(("SELECT r'", mark, "") for mark in ("\\'", "\\")),
    *(("SELECT '''", mark, "") for mark in ("''", "\\'", "''\\")),
    *(("SELECT `", mark, "") for mark in ("\\`", "\\")),
    *(("SELECT ", mark, "") for mark in ("a.", "a-", "a:", "a . ", "1.", "1a", "a-1.", ".1", "@@", "@@reservation ")),
    *(("", word, "") for word in ("information_schema ", "a.information_schema.", "CREATE OR ", "MODEL ", "CALL ")),
    *(("", word, "") for word in ("ml.", "safe.", "ai.f(", "external_query ", "OPTIONS(", "OPTIONS(uri='a',", "; ")),
    *(
        ("", word, "")
        for word in (
            "SET @@reservation = 'a' ",
            "'gs://a' ",
            "'\\x67' ",
            "endpoint => 'a'",
            "x.(",
            "[a:b] ",
            "a-1. b ",
            "SAFE.a.",
            "GRAPH_TABLE(",
            "@{a=1} CALL ",
        )
    ),
)
SCOPE = DataScope.of(Customer("c", Tier("t", 1, 1, 1), projects=("p",), data=("gs://a",)), ())
TIMEOUTS = Timeouts(longest_s=1, slack_s=1, upload_s=1, control_s=1)

# Readers, each with what is worst for it.
READERS: dict[str, tuple[Callable[[str], object], tuple[tuple[str, str, str], ...]]] = {
    "accept-encoding": (
        lambda t: accepts_gzip((("Accept-Encoding", t),)),
        (("", ",", ""), ("a", ";", ""), ("", "a;q=1,", "")),
    ),
    "advice": (
        lambda t: read_shape(t[:SQL_CHARS_MAX]),
        (
            ("SELECT ", "STRUCT(", ""),
            ("SELECT ", "(", ""),
            ("SELECT ", "STRUCT<a ", ""),
            ("SELECT ", "[", ""),
            ("SELECT ", "a,", ""),
        ),
    ),
    "batch, boundaries": (
        lambda t: asyncio.run(split_parts(t.encode(), "b", parts_max=1_000)),
        (
            ("", "\n", ""),
            ("", "\n--b", ""),
            ("", "\n--b\n", ""),
            ("\n--b", " ", ""),
            ("", "\n--b \t", ""),
            ("", "--b", ""),
        ),
    ),
    "batch, call": (
        lambda t: batch.parse_call(Part((("Content-Type", "application/http"),), t.encode())),
        (
            ("", "\n", ""),
            ("POST / HTTP/1.1\n", "\na", ""),
            ("POST /", "?", ""),
            ("POST http://", "/", ""),
            ("", "a ", ""),
        ),
    ),
    "bearer": (_bearer, (("Bearer", " ", ""), ("Bearer a", "=", "a"))),
    "body": (
        _sliced,
        (
            ('{"a":"', "\\\\", '"}'),
            ('{"a":"', "\\u0041", '"}'),
            ('{"a":[', "1,", "1]}"),
            ('{"a":[', "1.5,", "1]}"),
            ('{"a":', "[", ""),
            ('{"a":[', "[[[[[]]]]],", "1]}"),
            ('{"queryParameters":[', "[[[[[]]]]],", "1]}"),
            ('{"queryParameters":[', '{"value":"1"},', "1]}"),
            ('{"queryParameters":["', '\\"', '"]}'),
            ('{"queryParameters":["', "a", '"]}'),
            ('{"queryParameters":[', '"', ""),
            ("{", '"queryParameters":[],', '"a":1}'),
            ("{", '"queryParameters":', ""),
        ),
    ),
    "camel": (lambda t: camel_keys({t: 1}, path=""), (("", "_a", ""),)),
    "content-type": (
        lambda t: boundary_of(t, "mixed"),
        (("multipart/mixed", ";", ""), ('multipart/mixed;a="', ";", ""), ("multipart/mixed;", "a*0=b;", "")),
    ),
    "digits": (lambda t: read_json(f"[{t}]"), (("", "1", ""), ("1.", "1", ""), ("1e", "9", ""))),
    "elements": (lambda t: list(elements_of(t)), (("[", "{},", "{}]"), ("[", " ", ""), ("[", "[[[[]]]],", "[]]"))),
    "end of value": (
        lambda t: end_of_value(t, 0),
        (("[", '{"f":[{"v":null}]},', "1]"), ("[", "[", ""), ("[", '"', "")),
    ),
    "enumeration": (lambda t: settle_enumerations({"parameterMode": t}, OF_QUERY), (("", "_", ""), ("", "1", ""))),
    "etags": (lambda t: list(etags._TAG.findall(t)), (("", '"a",', ""), ("", '"', ""))),
    "fields": (
        lambda t: parse_mask(t).applied_to({"a": [{"a": 1}] * 100}),
        (("", "a(", ""), ("", "a,", "a"), ("", "a/", "a"), ("", " ", "")),
    ),
    "fields, applied": (_selected, (("", "a", ""),)),
    "forwarded": (
        lambda t: forwarded.read_forwarded(
            (("Forwarded", t), ("X-Forwarded-For", t), ("X-Forwarded-Prefix", t), ("X-Forwarded-Host", t)),
            (),
            peer="127.0.0.1",
            proxies=(ip_network("127.0.0.0/8"),),
        ),
        (("", "127.0.0.1,", ""), ("", ",", ""), ("", "1:", ""), ("", "/a", ""), ("", "[::1]:1,", "")),
    ),
    "headers of a part": (
        lambda t: parse_headers(t.encode()),
        (("a: b\n", " c\n", ""), ("", "a:b\n", ""), ("", "\n", ""), ("a: ", "b", "")),
    ),
    "integer": (lambda t: integer_at({"a": JsonNumber(t)}, "a"), (("", "1", ""), ("0.", "0", "1"), ("1", "0", "e-1"))),
    "job of an answer": (
        read_members,
        (('{"a":"', "\\", ""), ("{", '"a":1,', ""), ('{"rows":[', '{"f":[]},', ""), ("{", ",", "")),
    ),
    "jwt": (jwt_reading.read_jwt, (("", ".", ""), ("e", "a", ".."))),
    "labels": (lambda t: labels_at({"labels": {"a": t, t[:9]: "b"}}), (("", "a", ""), ("", "ä", ""))),
    "labels, of a query": (
        lambda t: check_other_labels(
            {"connectionProperties": [{"key": "query_label", "value": t}]}, t, SqlFacts(sets_labels=True), path=""
        ),
        (("", ",", ""), ("", "@@ ", ""), ("", " ", "bqgate_")),
    ),
    "log": (
        lambda t: redact_text(t) and redact_field("a", [t, {"b": t}]),
        (("", "eyJaaaaaaaa-", ""), ("", "://a:", ""), ("", "-----BEGIN ", "")),
    ),
    "log, names": (lambda t: redact_field(t, "a"), (("", "-", ""),)),
    "number": (lambda t: write_json([JsonNumber(t)] * 3), (("", "1", ""), ("1.", "0", ""))),
    "numbers": (lambda t: write_json([JsonNumber("1.5")] * (len(t) // 4)), (("", "1.5,", ""),)),
    "page token": (read_page_token, (("", "ZTE6", ""), ("", "-", ""), ("", "=", ""))),
    "path": (
        lambda t: resolve("GET", t),
        (("", "/a", ""), ("", "/", ""), ("/", "%41", ""), ("/projects/", "%F0%93%80%80", "")),
    ),
    "query string": (
        lambda t: (split_query(t), with_plain_names(t), without_parameters(t, {"a"})),
        (("", "&", ""), ("", "a&", ""), ("a=", "%41", ""), ("", "alt=", ""), ("a=", "+", "")),
    ),
    "refusal": (
        lambda t: reply._told_once(t, t),
        (("", "exceed", "rate"), ("", "exceedrate", ""), ("", "exceed\n", ""), ("exceed", "rate", "")),
    ),
    "SQL, what it may do": (lambda t: read_facts(f"{t}; MODEL"), EVIL_SQL),
    "SQL, what it touches": (lambda t: judge_text(t, SCOPE, ("p",), may_be_legacy=True), EVIL_SQL),
    "SQL, what it may write": (
        lambda t: touched_by_unread(parse_query("p", {"query": f"DELETE {t}"})),
        EVIL_SQL,
    ),
    "table's name": (plain_name, (("", "@", ""), ("", ".", ""))),
    "time limit": (
        lambda t: (
            operation_of(HttpRequest("POST", t)),
            TIMEOUTS.read_timeout_s(HttpRequest("POST", "/bigquery/v2/projects/p/queries", body=t.encode())),
        ),
        (("", "/projects/", ""), ("", '"timeoutMs" ', ""), ("", "/projects/a/queries", "")),
    ),
    "whole number": (whole_number, (("", "0", ""), ("0.", "0", "e1"), ("1e", "0", ""))),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_time_by_the_length_of_its_text(name: str) -> None:
    """What is worst for each reader is read, or refused, in a time that grows as it does."""
    work, texts = READERS[name]
    for evil in texts:
        assert fault_in(_read(work), _repeated(evil)) is None, evil


def test_a_document_of_many_names_is_read_in_one_pass() -> None:
    """An object of ten thousand names is refused before they are looked at."""
    text = json.dumps({f"k{number}": number for number in range(10_000)})
    with pytest.raises(BqgateError):
        camel_keys(read_json(text), path="")
