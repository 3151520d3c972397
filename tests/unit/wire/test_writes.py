from typing import Any

import pytest

from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.touched import EVERYTHING, Touched, touched_names
from bqgate.gate.routes import METHODS
from bqgate.wire.query_request import parse_insert, parse_query
from bqgate.wire.writes import touched_by, touched_by_job, touched_by_route, touched_by_unread

DESTINATION = {"projectId": "q", "datasetId": "d", "tableId": "made$20260101"}


def insert(**query: Any) -> QueryRequest:
    """A query by jobs.insert in project p."""
    request = parse_insert("p", {"configuration": {"query": {"query": "SELECT 1", **query}}})
    assert request is not None
    return request


def said(statement_type: str, *targets: str, unknown_because: str | None = None, tables: int = 1) -> Estimate:
    """A dry run that reads a table of project q."""
    names = ("q.d.read",) * tables
    return Estimate(
        1, statement_type, tables, referenced_tables=names, targets=targets, unknown_because=unknown_because
    )


@pytest.mark.parametrize(
    ("request_", "estimate", "names"),
    [
        pytest.param(insert(), said("SELECT"), None, id="a plain query"),
        pytest.param(parse_query("p", {"query": "SELECT 1"}), said("SELECT"), None, id="by jobs.query"),
        pytest.param(insert(), said("EXPORT_DATA"), None, id="an export"),
        pytest.param(insert(destinationTable=DESTINATION), said("SELECT"), ["q.d.made"], id="with a destination"),
        pytest.param(
            insert(destinationTable={"datasetId": "d", "tableId": "t"}), said("SELECT"), ["p.d.t"], id="of its project"
        ),
        pytest.param(insert(), said("SELECT", "p.d.t"), ["p.d.t"], id="as the dry run says"),
        pytest.param(insert(), said("MERGE", "p.d.t"), ["p.d.t"], id="merge"),
        pytest.param(insert(), said("CREATE_VIEW", "p.d.v"), ["p.d.v"], id="a view replaced"),
        pytest.param(insert(), said("CREATE_FUNCTION", "p.d.f"), ["p.d.f"], id="a routine replaced"),
        pytest.param(insert(), said("DROP_SCHEMA", "p.d"), ["p.d"], id="a dataset dropped"),
        pytest.param(
            insert(), said("INSERT", "p.d.t", unknown_because="federated"), ["p.d.t"], id="a target without a bound"
        ),
        pytest.param(insert(), said("INSERT"), ["p", "q"], id="a write without a target"),
        pytest.param(insert(), said("COMMIT_TRANSACTION", tables=0), ["p"], id="the end of a transaction"),
        pytest.param(insert(), said("SCRIPT", "p.d.t", unknown_because="script"), ["p.d.t", "p", "q"], id="a script"),
        pytest.param(insert(), said("CALL", unknown_because="script", tables=0), ["p"], id="a procedure"),
        pytest.param(insert(), said("", unknown_because="dry_run_refused", tables=0), ["p"], id="no dry run"),
        pytest.param(insert(), said("", unknown_because="dry_run_away", tables=0), ["p"], id="no answer"),
    ],
)
def test_a_query_touches_what_it_may_write(request_: QueryRequest, estimate: Estimate, names: list[str] | None) -> None:
    """Its targets; where nobody knows them, its project and those that it names."""
    assert touched_by(request_, estimate) == (None if names is None else touched_names(names))


@pytest.mark.parametrize(
    ("configuration", "names"),
    [
        ({"load": {"destinationTable": DESTINATION}}, ["q.d.made"]),
        ({"load": {"destination_table": {"dataset_id": "d", "table_id": "t"}}}, ["p.d.t"]),
        ({"copy": {"destinationTable": {"datasetId": "d", "tableId": "t"}, "sourceTable": DESTINATION}}, ["p.d.t"]),
        ({"copy": {"destinationTable": {"datasetId": "d"}}}, ["p"]),
        ({"load": {}}, ["p"]),
        ({"load": []}, ["p"]),
        ({"load": {"destinationTable": {"datasetId": 1}}}, ["p"]),
        ({"neither": {}}, ["p"]),
        ({"extract": {"sourceTable": DESTINATION}}, None),
    ],
)
def test_a_load_or_copy_job_touches_its_destination(configuration: dict[str, Any], names: list[str] | None) -> None:
    """In whatever spelling; what cannot be read may write anything in the project, an extract job writes files."""
    wanted = None if names is None else touched_names(names)
    assert touched_by_job("p", {"configuration": configuration}) == wanted


def test_a_job_without_a_body_touches_its_project() -> None:
    """BigQuery will refuse it; nothing is raised here."""
    assert touched_by_job("p", {}) == Touched(projects=frozenset({"p"}))
    assert touched_by_job("p", {"configuration": 1}) == Touched(projects=frozenset({"p"}))


PARAMS = {"projectId": "P", "datasetId": "d", "tableId": "T", "routineId": "f", "modelId": "m", "policyId": "x"}


@pytest.mark.parametrize(
    ("method_id", "name"),
    [
        ("tables.insert", "p.d"),
        ("tables.patch", "p.d.t"),
        ("tables.update", "p.d.t"),
        ("tables.delete", "p.d.t"),
        ("tabledata.insertAll", "p.d.t"),
        ("routines.insert", "p.d"),
        ("routines.update", "p.d.f"),
        ("routines.delete", "p.d.f"),
        ("models.delete", "p.d.m"),
        ("datasets.delete", "p.d"),
        ("datasets.undelete", "p.d"),
        ("rowAccessPolicies.insert", "p.d.t"),
        ("rowAccessPolicies.delete", "p.d.t"),
        ("tables.get", None),
        ("jobs.cancel", None),
        ("datasets.insert", None),
    ],
)
def test_rest_writes_touch_what_their_path_names(method_id: str, name: str | None) -> None:
    """What is new lies in its dataset; reading touches nothing."""
    assert touched_by_route(method_id, PARAMS) == (None if name is None else touched_names([name]))


def test_every_method_can_be_asked_about() -> None:
    """Each of BigQuery's methods has an answer from the names in its path alone."""
    for method_id, _, path in METHODS:
        params = {name: value for name, value in PARAMS.items() if f"{{{name}}}" in path}
        touched_by_route(method_id, params)


def mine(query: dict[str, Any]) -> QueryRequest:
    """A query by jobs.insert in project mine."""
    request = parse_insert("mine", {"configuration": {"query": query}})
    assert request is not None
    return request


@pytest.mark.parametrize(
    ("sql", "projects"),
    [
        ("SELECT a FROM p.d.t; ", None),
        ("/* DROP TABLE p.d.t; */ (WITH x AS (SELECT ';') SELECT * FROM x)", None),
        ("INSERT INTO `other.d.t` SELECT 1", {"other", "mine"}),
        ("DROP TABLE `other` . d.t", {"other", "d", "mine"}),
        ("CREATE VIEW d.v AS SELECT a FROM `example.com:sales.d.t`", {"d", "mine", "example.com:sales"}),
        ("SELECT 1; DELETE FROM other.d.t WHERE true", {"other", "d", "mine"}),
    ],
)
def test_a_query_that_was_not_estimated_may_write_where_its_text_names_a_project(
    sql: str, projects: set[str] | None
) -> None:
    """Nothing where it only reads; else in its own project and in all that may be one by the text."""
    touched = touched_by_unread(parse_query("mine", {"query": sql, "useLegacySql": False}))
    if projects is None:
        assert touched is None
    else:
        assert touched is not None
        assert projects <= touched.projects


def test_a_query_that_was_not_estimated_and_runs_text_may_write_anything() -> None:
    """A procedure may lie in one project and write in another."""
    assert touched_by_unread(parse_query("mine", {"query": "CALL other.d.write()"})) == EVERYTHING


def test_a_query_that_was_not_estimated_writes_its_destination() -> None:
    """A SELECT into a table; and short names lie in the default dataset's project."""
    table = {"projectId": "other", "datasetId": "d", "tableId": "t"}
    asked = {"query": "SELECT 1", "destinationTable": table}
    assert touched_by_unread(mine(asked)) == touched_names(["other.d.t"])
    asked = {"query": "DROP TABLE t", "defaultDataset": {"projectId": "other", "datasetId": "d"}}
    assert touched_by_unread(mine(asked)) == touched_names(["mine", "other"])
