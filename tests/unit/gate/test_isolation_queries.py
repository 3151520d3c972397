from dataclasses import replace
from typing import Any

import pytest

from bqgate.admission.estimates.estimator import DRY_RUN_REFUSED
from bqgate.bigquery.credentials import AnonymousCredentials
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import AccessDenied, UpstreamRefused
from bqgate.domain.job import Estimate
from bqgate.domain.principal import Credential
from bqgate.domain.tier import Customer, Tier
from bqgate.gate.isolation.queries import Bounds, QueryJudge, bounds_of, check_estimate
from bqgate.gate.isolation.text_verdict import judge_text
from bqgate.gate.long_texts import LongTexts
from bqgate.wire.error_reply import error_body
from bqgate.wire.job_resource import estimate_from
from bqgate.wire.query_request import parse_insert
from tests.support.recording_upstream import recording_upstream, replying

TIER = Tier("standard", 10, 300, 50)
SCOPE = DataScope.of(Customer("acme", TIER, projects=("acme-prod",)), ())
BOUNDS = Bounds("acme", SCOPE, ("acme-prod",), is_alone=True, allows_unknown=False)
OWN, GLOBEX = "acme-prod.d.t", "globex.d.t"
READ = Estimate(10, "SELECT", 1, referenced_tables=(OWN,))


def is_refused(estimate: Estimate, sql: str = "SELECT 1", bounds: Bounds = BOUNDS) -> bool:
    """Whether the estimate is refused."""
    try:
        check_estimate(estimate, judge_text(sql, bounds.scope, bounds.projects), bounds)
    except AccessDenied:
        return True
    return False


@pytest.mark.parametrize(
    ("changes", "sql"),
    [
        pytest.param({"referenced_tables": (OWN, GLOBEX)}, "SELECT 1", id="a table"),
        pytest.param({"referenced_tables": ("acme-prod._1a2b.anon3c",)}, "SELECT 1", id="an anonymous table"),
        pytest.param({"referenced_tables": ("None.None.None",)}, "SELECT 1", id="a name that is none"),
        pytest.param({"referenced_views": (GLOBEX,)}, "SELECT 1", id="a view"),
        pytest.param({"referenced_routines": ("globex.d.f",)}, "SELECT 1", id="a routine"),
        pytest.param({"targets": (GLOBEX,), "statement_type": "DROP_TABLE"}, "DROP TABLE x", id="a target"),
        pytest.param({"targets": ("globex.d",), "statement_type": "CREATE_SCHEMA"}, "CREATE SCHEMA d", id="a dataset"),
        pytest.param(
            {"referenced_tables": ("acme-prod.region-us.INFORMATION_SCHEMA.JOBS",)}, "SELECT 1", id="a region's jobs"
        ),
        pytest.param({"table_count": 50}, "SELECT 1", id="a list that may be cut"),
        pytest.param({"unknown_because": "script", "statement_type": "SCRIPT"}, "SELECT 1", id="a script"),
        pytest.param({"unknown_because": "row_level_security"}, "SELECT 1", id="row-level security"),
        pytest.param({"unknown_because": "federated"}, "SELECT 1", id="federated"),
        pytest.param({"unknown_because": "no_statistics"}, "SELECT 1", id="no statistics"),
        pytest.param({"statement_type": ""}, "SELECT 1", id="no statement type"),
        pytest.param({"statement_type": "EXPORT_DATA"}, "EXPORT DATA", id="an export"),
        pytest.param({"statement_type": "LOAD_DATA"}, "LOAD DATA", id="a load"),
        pytest.param({"statement_type": "GRANT_ON_TABLE"}, "GRANT", id="a grant"),
        pytest.param({"statement_type": "CREATE_EXTERNAL_TABLE"}, "CREATE", id="an external table"),
        pytest.param({"statement_type": "SOMETHING_NEW"}, "SELECT 1", id="a type of tomorrow"),
        pytest.param({"statement_type": "INSERT"}, f"INSERT INTO {GLOBEX} SELECT 1", id="DML on an unlisted target"),
        pytest.param({"statement_type": "INSERT"}, "(SELECT 1)", id="DML whose target nobody says"),
        pytest.param({"statement_type": "CREATE_TABLE"}, f"CREATE TABLE d.t CLONE {GLOBEX}", id="a clone"),
        pytest.param(
            {"statement_type": "CREATE_TABLE_AS_SELECT"}, f"CREATE TABLE d.t LIKE {GLOBEX} AS SELECT 1", id="a likeness"
        ),
        pytest.param(
            {"statement_type": "CREATE_VIEW", "table_count": 0, "referenced_tables": ()},
            f"CREATE VIEW d.v AS SELECT * FROM {GLOBEX}",
            id="a view whose tables are not listed",
        ),
        pytest.param({"statement_type": "CREATE_SCHEMA"}, "CREATE SCHEMA globex.x", id="an unlisted dataset"),
    ],
)
def test_what_leaves_the_scope_or_may_leave_it_is_refused(changes: dict[str, Any], sql: str) -> None:
    """Everything a dry run names, everything it may leave out, and every statement that is not known to be safe."""
    assert is_refused(replace(READ, **changes), sql)


@pytest.mark.parametrize(
    ("changes", "sql"),
    [
        ({}, f"SELECT * FROM {OWN}"),
        ({"unknown_because": "lower_bound"}, "SELECT 1"),
        ({"unknown_because": "zero_bytes", "bytes_processed": 0}, "SELECT 1"),
        ({"statement_type": "INSERT", "targets": (OWN,)}, "INSERT INTO d.t SELECT 1"),
        (
            {"statement_type": "CREATE_TABLE_AS_SELECT", "targets": (OWN,)},
            "CREATE TABLE d.t AS SELECT x.y.z FROM d.u x",
        ),
        ({"statement_type": "CREATE_VIEW", "targets": (OWN,)}, "CREATE VIEW d.v AS SELECT users.address.city FROM d.t"),
        ({"statement_type": "CREATE_TABLE", "targets": (OWN,)}, "CREATE TABLE d.t (a INT64)"),
        ({"statement_type": "CREATE_SCHEMA", "targets": ("acme-prod.x",)}, "CREATE SCHEMA x"),
        ({"statement_type": "TRUNCATE_TABLE", "targets": (OWN,)}, "TRUNCATE TABLE d.t"),
    ],
)
def test_what_stays_within_the_scope_passes(changes: dict[str, Any], sql: str) -> None:
    """Reading, changing and defining one's own."""
    assert not is_refused(replace(READ, **changes), sql)


def test_what_is_unknown_may_be_let_through() -> None:
    """With unknown_tables: allow scripts pass, but what is named must still be in scope, and grants do not pass."""
    bounds = replace(BOUNDS, allows_unknown=True)
    script = replace(READ, unknown_because="script", statement_type="SCRIPT")
    assert not is_refused(script, "SELECT 1; SELECT 2", bounds)
    assert is_refused(replace(script, referenced_tables=(GLOBEX,)), "SELECT 1; SELECT 2", bounds)
    assert is_refused(replace(READ, statement_type="GRANT_ON_TABLE"), "GRANT", bounds)


def test_beside_bigquerys_iam_only_lists_count() -> None:
    """Where callers go up as themselves the dry run's names are judged and nothing else is."""
    bounds = replace(BOUNDS, is_alone=False)
    assert is_refused(replace(READ, referenced_tables=(GLOBEX,)), bounds=bounds)
    assert is_refused(replace(READ, unknown_because="script"), bounds=bounds)
    assert not is_refused(replace(READ, statement_type="EXPORT_DATA"), bounds=bounds)
    assert not is_refused(replace(READ, referenced_tables=("acme-prod._session.t",)), bounds=bounds)


def refusal(message: str) -> UpstreamRefused:
    return UpstreamRefused(400, error_body(400, "invalidQuery", message))


async def judge(sql: str, estimate: Estimate | UpstreamRefused, *, use_legacy_sql: bool | None = False) -> Estimate:
    """Judge a jobs.insert of a query whose dry run brings this; a second dry run is refused by BigQuery."""
    document = {"configuration": {"query": {"query": sql, "useLegacySql": use_legacy_sql}}}
    request = parse_insert("acme-prod", document)
    assert request is not None
    bounds = bounds_of(request, "acme", SCOPE, is_alone=True, allows_unknown=False)

    async def ask() -> Estimate:
        if isinstance(estimate, UpstreamRefused):
            raise estimate
        return estimate

    async with recording_upstream() as recorder:
        recorder.reply = replying(400, error_body(400, "invalidQuery", "Syntax error"))
        upstream = HttpUpstream(recorder.url, AnonymousCredentials())
        try:
            return await QueryJudge(GoogleBigQuery(upstream), LongTexts()).judge_request(
                request, bounds, Credential(), ask
            )
        finally:
            await upstream.close()


async def test_bigquerys_message_is_shown_where_it_tells_of_the_callers_own_alone() -> None:
    """A typo in an own query is explained; one in a query on another's table is not, for it would name columns."""
    told = refusal("Unrecognized name: nam; Did you mean name? at [1:8]")
    with pytest.raises(UpstreamRefused):
        await judge("SELECT nam FROM d.t", told)
    with pytest.raises(AccessDenied, match=r"Table globex:d\.t: User does not have permission"):
        await judge("SELECT nam FROM globex.d.t", told)


@pytest.mark.parametrize(
    ("sql", "flag", "is_shown"),
    [
        ("// '''\nSELECT nam FROM [globex:d.t] // '''", False, True),
        ("// '''\nSELECT nam FROM [globex:d.t] // '''", True, False),
        ("#standardSQL\n// '''\nSELECT nam FROM [globex:d.t] // '''", None, True),
        ("#standardSQLx\n// '''\nSELECT nam FROM [globex:d.t] // '''", None, False),
        (" #standardSQL\n// '''\nSELECT nam FROM [globex:d.t] // '''", None, False),
        ("#standardSQL SELECT 1\n// '''\nSELECT nam FROM [globex:d.t] // '''", None, False),
        ("#legacySQL\n// '''\nSELECT nam FROM [globex:d.t] // '''", False, False),
        ("-- x\n#LEGACYsql\n// '''\nSELECT nam FROM [globex:d.t] // '''", False, False),
    ],
)
async def test_a_text_counts_as_legacy_unless_it_plainly_is_not(sql: str, flag: bool | None, *, is_shown: bool) -> None:
    """By the flag, or by a whole first line; what is no string in legacy SQL names another's table there."""
    with pytest.raises(UpstreamRefused if is_shown else AccessDenied):
        await judge(sql, refusal("Unrecognized name: nam; Did you mean name?"), use_legacy_sql=flag)


async def test_what_cannot_be_read_is_said_before_what_it_may_do() -> None:
    """A text without an end might set a reservation, but that is not what is wrong with it."""
    with pytest.raises(AccessDenied, match="cannot read to its end"):
        await judge("SELECT ml, 'a", READ)
    with pytest.raises(AccessDenied, match="A reservation"):
        await judge("SET @@reservation = 'projects/globex/locations/us/reservations/r'", READ)


async def test_no_job_comes_of_a_query_that_could_not_be_judged() -> None:
    """Where jobs.insert would make a job that fails, the caller gets BigQuery's refusal itself."""
    swallowed = Estimate(0, "", 0, unknown_because=DRY_RUN_REFUSED)
    with pytest.raises(UpstreamRefused):
        await judge("SELEC 1", swallowed)
    with pytest.raises(AccessDenied):
        await judge("SELEC 1 FROM globex.d.t", swallowed)


async def test_the_default_datasets_project_counts_for_names_without_one() -> None:
    """A name of two parts must be in scope in whichever project BigQuery looks."""
    default = {"projectId": "globex", "datasetId": "d"}
    request = parse_insert("acme-prod", {"configuration": {"query": {"query": "SELECT 1", "defaultDataset": default}}})
    assert request is not None
    assert ("acme-prod", "globex") == bounds_of(request, "acme", SCOPE, is_alone=True, allows_unknown=False).projects


def test_a_dry_run_names_all_that_a_statement_is_about() -> None:
    """Tables, views, routines and targets of every kind, by their dotted names; a plain result's table is no target."""
    table = {"projectId": "p", "datasetId": "d", "tableId": "t"}
    query = {
        "statementType": "CREATE_TABLE_AS_SELECT",
        "referencedTables": [table],
        "referencedLogicalViews": [table | {"tableId": "v"}],
        "referencedRoutines": [{"projectId": "p", "datasetId": "d", "routineId": "f"}],
        "ddlTargetTable": table | {"tableId": "made"},
        "ddlTargetDataset": {"projectId": "p", "datasetId": "x"},
        "dclTargetView": table | {"tableId": "granted"},
    }
    job = {"statistics": {"query": query}, "configuration": {"query": {"destinationTable": table}}}
    estimate = estimate_from(job)
    assert (("p.d.t",), ("p.d.v",), ("p.d.f",)) == (
        estimate.referenced_tables,
        estimate.referenced_views,
        estimate.referenced_routines,
    )
    assert {"p.d.made", "p.x", "p.d.granted", "p.d.t"} == set(estimate.targets)
    anonymous = {"destinationTable": {"projectId": "p", "datasetId": "_1a", "tableId": "anon2b"}}
    assert estimate_from({"configuration": {"query": anonymous}}).targets == ()
