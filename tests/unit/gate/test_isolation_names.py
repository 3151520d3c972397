import pytest

from bqgate.domain.data_scope import DataScope
from bqgate.domain.tier import Customer, Tier
from bqgate.gate.isolation.text_verdict import judge_text

TIER = Tier("standard", 10, 300, 50)
OWN = DataScope.of(Customer("acme", TIER, projects=("acme-prod",), data=("gs://acme/in",)), ())
GUEST = DataScope.of(Customer("guest", TIER, data=("acme-prod.shared",)), {"acme-prod"})
PROJECTS = ("acme-prod",)


def is_refused(sql: str, scope: DataScope = OWN) -> bool:
    """Whether the query may not even be asked about."""
    return judge_text(sql, scope, PROJECTS).forbidden is not None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM d.INFORMATION_SCHEMA.TABLES",
        "SELECT * FROM d.information_schema.columns",
        "SELECT * FROM `d`.INFORMATION_SCHEMA.TABLES",
        "SELECT * FROM`acme-prod.d.INFORMATION_SCHEMA.VIEWS`",
        "SELECT * FROM `acme-prod.d`.INFORMATION_SCHEMA.ROUTINES",
        "SELECT * FROM `acme-prod`.`d`.`INFORMATION_SCHEMA`.`PARTITIONS`",
        "SELECT * FROM acme-prod.d.INFORMATION_SCHEMA.TABLES JOIN d.INFORMATION_SCHEMA.COLUMNS USING (table_name)",
        "SELECT * FROM d.__TABLES__",
        "SELECT 'INFORMATION_SCHEMA' -- information_schema",
        "SELECT * FROM `acme-prod.d.__TABLES_SUMMARY__`",
        "SELECT r'\\d`' FROM `acme-prod.d.t` WHERE a = '\\n' AND b = \"`\" -- ` \\",
        "SELECT NET.HOST(u), SAFE.ML.X(1), ML.PREDICT(MODEL d.m, TABLE d.t) FROM d.t WHERE d.f(1) = 1",
        "SELECT connection_id, model FROM d.t AS model WHERE connection_id = 5",
    ],
)
def test_what_shows_only_the_callers_own_passes(sql: str) -> None:
    """Metadata behind an own dataset, plain names, built-in functions, and backslashes outside of names."""
    assert not is_refused(sql)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("SELECT * FROM INFORMATION_SCHEMA.SCHEMATA", id="unqualified"),
        pytest.param("SELECT * FROM `region-us`.INFORMATION_SCHEMA.JOBS", id="of a region"),
        pytest.param("SELECT * FROM `acme-prod`.`region-us`.INFORMATION_SCHEMA.JOBS", id="of own project's region"),
        pytest.param("SELECT * FROM `acme-prod.region-us.INFORMATION_SCHEMA.JOBS_BY_USER`", id="in one name"),
        pytest.param("SELECT * FROM region-eu.INFORMATION_SCHEMA.SESSIONS", id="unquoted region"),
        pytest.param("SELECT * FROM d.INFORMATION_SCHEMA.JOBS", id="no view of a dataset"),
        pytest.param("SELECT * FROM `globex.d.INFORMATION_SCHEMA.TABLES`", id="another's dataset"),
        pytest.param("SELECT * FROM globex.d.INFORMATION_SCHEMA.TABLES", id="another's dataset, unquoted"),
        pytest.param("SELECT * FROM globex . d.INFORMATION_SCHEMA.TABLES", id="blanks around the dot"),
        pytest.param("SELECT * FROM globex./**/d.INFORMATION_SCHEMA.TABLES", id="a comment behind the dot"),
        pytest.param("SELECT * FROM globex. -- x\nd.INFORMATION_SCHEMA.TABLES", id="a line comment behind the dot"),
        pytest.param("SELECT * FROM globex.\u00a0d.INFORMATION_SCHEMA.TABLES", id="a foreign blank behind the dot"),
        pytest.param("SELECT * FROM `INFORMATION\\u005fSCHEMA`.JOBS", id="escaped letters"),
        pytest.param("SELECT * FROM `\\x67lobex.d.t`", id="an escaped project"),
        pytest.param("SELECT * FROM d.INFORMATION_SCHEMA.TABLES WHERE a = '", id="a text without an end"),
        pytest.param("SELECT * FROM [globex:d.__TABLES__]", id="legacy"),
        pytest.param("SELECT * FROM __TABLES__", id="tables of a default dataset's project"),
        pytest.param("SELECT * FROM d.`__TABLES__x`.y", id="something below it"),
        pytest.param("SELECT globex.d.f(1)", id="another's routine"),
        pytest.param("SELECT `globex.d.f`(1)", id="another's routine, quoted"),
        pytest.param("SELECT * FROM ML.PREDICT(MODEL `globex.d.m`, TABLE d.t)", id="another's model"),
        pytest.param("CREATE FUNCTION d.f() REMOTE WITH CONNECTION us.c", id="a connection"),
        pytest.param("CREATE FUNCTION d.f() REMOTE WITH/**/CONNECTION us.c", id="a connection behind a comment"),
        pytest.param("SELECT AI.GENERATE('x', connection_id => 'us.c')", id="a connection as an argument"),
        pytest.param("SELECT OBJ.MAKE_REF('gs://globex/x', 'us.c')", id="a connection in an object reference"),
    ],
)
def test_what_may_show_others_is_refused(sql: str) -> None:
    """Metadata of more than an own dataset, hidden names, others' routines and models, and connections."""
    assert is_refused(sql)


def test_a_guest_sees_metadata_of_its_datasets_only() -> None:
    """In a shared project only named datasets have metadata to show."""
    assert not is_refused("SELECT * FROM shared.INFORMATION_SCHEMA.TABLES", GUEST)
    assert is_refused("SELECT * FROM other.INFORMATION_SCHEMA.TABLES", GUEST)
    assert is_refused("SELECT other.f(1)", GUEST)
    assert is_refused("SELECT SAFE.other.f(1)", GUEST)
    assert not is_refused("SELECT SAFE.shared.f(1), a-NET.HOST(u), t.a-shared.f(1) FROM shared.t", GUEST)


@pytest.mark.parametrize(
    ("sql", "is_fine"),
    [
        ("CREATE TABLE d.t CLONE d.u", True),
        ("CREATE TABLE d.t CLONE `acme-prod.d.u`", True),
        ("CREATE TABLE d.t CLONE globex.d.u", False),
        ("CREATE TABLE d.t LIKE `globex`.d.u", False),
        ("CREATE TABLE d.t CLONE my-globex-1. d.u", False),
        ("CREATE TABLE d.t CLONE my-globex-1.`d`.u", False),
        ("CREATE TABLE d.t COPY `globex.d`.u", False),
        ("SELECT t.address.city FROM d.t", True),
        ("SELECT nam FROM [globex:d.t]", False),
        ("SELECT nam FROM TABLE_QUERY(globex:d, 'true')", False),
        ("SELECT nam FROM d.t WHERE 'a", False),
    ],
)
def test_every_name_of_a_definition_must_be_within_reach(sql: str, is_fine: bool) -> None:
    """What the dry run may not list is looked for in the text; a text that cannot be read is refused."""
    verdict = judge_text(sql, OWN, PROJECTS)
    assert (verdict.names is None and verdict.forbidden is None) == is_fine


def test_a_refused_name_is_said_in_bigquerys_words() -> None:
    """The message begins as BigQuery's does, with the table as it writes it."""
    denied = judge_text("SELECT a FROM `globex.d.t`", OWN, PROJECTS).names
    assert denied is not None
    assert str(denied).startswith("Access Denied: Table globex:d.t: User does not have permission")
    assert denied.target == "table globex:d.t"


def test_names_of_datasets_begin_with_their_project() -> None:
    """CREATE SCHEMA globex.x makes a dataset in globex, whatever dataset.table would mean elsewhere."""
    for sql in ("CREATE SCHEMA x", "CREATE SCHEMA IF NOT EXISTS `acme-prod`.x"):
        assert judge_text(sql, OWN, PROJECTS).dataset_names is None
    for sql in ("CREATE SCHEMA globex.x", "DROP SCHEMA IF EXISTS `globex.x` CASCADE"):
        assert judge_text(sql, OWN, PROJECTS).dataset_names is not None
    for sql in ("DROP SCHEMA shared", "ALTER SCHEMA IF EXISTS `acme-prod`.shared SET OPTIONS(description='x')"):
        assert judge_text(sql, GUEST, PROJECTS).dataset_names is None
    for sql in ("DROP SCHEMA other", "ALTER SCHEMA IF EXISTS other SET OPTIONS()", "UNDROP SCHEMA `acme-prod`.other"):
        assert judge_text(sql, GUEST, PROJECTS).dataset_names is not None


def test_a_type_in_a_columns_default_ends_no_definition() -> None:
    """CAST has an AS of its own; the query of CREATE TABLE … AS begins behind the parentheses."""
    columns = "(a STRING DEFAULT CAST(1 AS STRING))"
    assert judge_text(f"CREATE TABLE d.t {columns} LIKE globex.d.u AS SELECT 1", OWN, PROJECTS).names_before_as
    assert not judge_text(f"CREATE TABLE d.t {columns} AS SELECT globex.d.u", OWN, PROJECTS).names_before_as


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("INSERT INTO globex.d.t SELECT 1", "globex.d.t"),
        ("INSERT INTO d.t (a) SELECT 1", "acme-prod.d.t"),
        ("INSERT `globex.d.t` VALUES (1)", "globex.d.t"),
        ("/* x */ insert into d.t select 1", "acme-prod.d.t"),
        ("DELETE FROM d.t WHERE true", "acme-prod.d.t"),
        ("MERGE d.t USING d.u ON false", "acme-prod.d.t"),
        ("UPDATE t SET a = 1 WHERE true", ""),
        ("TRUNCATE TABLE globex.d.t", "globex.d.t"),
        ("CREATE TEMP FUNCTION f() AS (1); INSERT INTO globex.d.t SELECT f()", None),
        ("(INSERT INTO globex.d.t SELECT 1)", None),
    ],
)
def test_the_text_says_what_dml_writes(sql: str, written: str | None) -> None:
    """The name behind the verb; unknown where the statement does not begin with it."""
    assert judge_text(sql, OWN, PROJECTS).written == written
