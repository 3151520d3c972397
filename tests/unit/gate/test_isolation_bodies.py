import re
from typing import Any

import pytest

from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import AccessDenied, MalformedRequest
from bqgate.domain.tier import Customer, Tier
from bqgate.gate.isolation.job_bodies import JobBody
from bqgate.gate.isolation.rules import RULES, Rule
from bqgate.gate.routes import METHODS

TIER = Tier("standard", 10, 300, 50)
SCOPE = DataScope.of(Customer("acme", TIER, projects=("acme-prod",), data=("hub.acme", "gs://acme/in")), {"hub"})
OWN = {"datasetId": "d", "tableId": "t"}
GLOBEX = {"projectId": "globex", "datasetId": "d", "tableId": "t"}
BODY = JobBody(SCOPE, "acme-prod", "0123456789abcdef")


def insert(kind: str, **part: Any) -> dict[str, Any]:
    """A Job of one kind, judged for acme."""
    return BODY.judged("jobs.insert", {"configuration": {kind: part}})


def query(**fields: Any) -> dict[str, Any]:
    """A QueryRequest, judged for acme."""
    return BODY.judged("jobs.query", {"query": "SELECT 1", **fields})


def test_every_method_has_a_rule() -> None:
    """The table covers BigQuery's 47 methods, and nothing else."""
    assert sorted(RULES) == sorted(method_id for method_id, _, _ in METHODS)


def test_methods_that_give_others_access_are_refused() -> None:
    """No rule lets policies be written; what changes a resource is judged by its body."""
    assert all(rule is Rule.REFUSED for method, rule in RULES.items() if method.endswith("setIamPolicy"))
    changing = {"batchDelete", "delete", "insert", "update"}
    policies = {method: rule for method, rule in RULES.items() if method.startswith("rowAccessPolicies.")}
    assert {Rule.REFUSED} == {rule for method, rule in policies.items() if method.split(".")[1] in changing}
    bodies = re.compile(r"(datasets|tables|routines|models)\.(insert|update|patch)")
    assert all(rule.value.endswith("_body") for method, rule in RULES.items() if bodies.fullmatch(method))


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        pytest.param("query", {"destinationTable": GLOBEX}, id="destination"),
        pytest.param("query", {"destination_table": GLOBEX}, id="destination in snake_case"),
        pytest.param(
            "query", {"destinationTable": {"project_id": "globex", "dataset_id": "d"}}, id="snake_case inside"
        ),
        pytest.param("query", {"destinationTable": {"datasetId": "_1a2b", "tableId": "anon"}}, id="anonymous table"),
        pytest.param("query", {"defaultDataset": {"projectId": "globex", "datasetId": "d"}}, id="default dataset"),
        pytest.param("query", {"defaultDataset": {"datasetId": "_script1"}}, id="temporary default dataset"),
        pytest.param("query", {"tableDefinitions": {"x": {"sourceUris": ["gs://acme/in/a"]}}}, id="external table"),
        pytest.param("query", {"createSession": True}, id="session"),
        pytest.param("query", {"create_session": "true"}, id="session in snake_case"),
        pytest.param("query", {"connectionProperties": [{"key": "session_id", "value": "x"}]}, id="another's session"),
        pytest.param("query", {"connectionProperties": [{"key": "service_account", "value": "x"}]}, id="account"),
        pytest.param(
            "query", {"connectionProperties": [{"key": "dataset_project_id", "value": "globex"}]}, id="other project"
        ),
        pytest.param(
            "query",
            {"connectionProperties": [{"key": "query_label", "value": "bqgate_customer:1"}]},
            id="forged label",
        ),
        pytest.param(
            "query", {"userDefinedFunctionResources": [{"resourceUri": "gs://globex/f.js"}]}, id="another's library"
        ),
        pytest.param("load", {"destinationTable": GLOBEX}, id="load into another's table"),
        pytest.param("load", {"destinationTable": OWN, "sourceUris": ["gs://globex/a"]}, id="load another's file"),
        pytest.param("load", {"destinationTable": OWN, "source_uris": ["gs://globex/a"]}, id="in snake_case"),
        pytest.param("load", {"destinationTable": OWN, "referenceFileSchemaUri": "gs://globex/a"}, id="its schema"),
        pytest.param(
            "load",
            {"destinationTable": OWN, "hivePartitioningOptions": {"sourceUriPrefix": "gs://globex/a/"}},
            id="its folders",
        ),
        pytest.param("copy", {"sourceTable": GLOBEX, "destinationTable": OWN}, id="copy another's table"),
        pytest.param("copy", {"sourceTables": [OWN, GLOBEX], "destinationTable": OWN}, id="among own ones"),
        pytest.param("copy", {"source_tables": [GLOBEX], "destinationTable": OWN}, id="copy in snake_case"),
        pytest.param("copy", {"sourceTable": OWN, "destinationTable": GLOBEX}, id="copy into another's"),
        pytest.param("extract", {"sourceTable": GLOBEX, "destinationUris": ["gs://acme/in/x"]}, id="extract"),
        pytest.param(
            "extract",
            {"sourceModel": {"projectId": "globex", "datasetId": "d", "modelId": "m"}, "destinationUris": []},
            id="extract a model",
        ),
        pytest.param("extract", {"sourceTable": OWN, "destinationUris": ["gs://globex/x"]}, id="into another's bucket"),
        pytest.param("extract", {"sourceTable": OWN, "destinationUri": "gs://globex/x"}, id="in the old field"),
    ],
)
def test_a_job_that_names_what_is_not_its_customers_is_refused(kind: str, part: dict[str, Any]) -> None:
    """Whatever the field, the spelling or the kind of job."""
    with pytest.raises(AccessDenied, match=r"^Access Denied: "):
        insert(kind, **part)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("query", {"destinationTable": OWN, "defaultDataset": {"datasetId": "d"}}),
        ("query", {"destinationTable": {"projectId": "hub", "datasetId": "acme", "tableId": "t"}}),
        ("query", {"connectionProperties": [{"key": "time_zone", "value": "UTC"}]}),
        ("query", {"connectionProperties": [{"key": "query_label", "value": "team:a"}]}),
        ("load", {"destinationTable": OWN, "sourceUris": ["gs://acme/in/a.csv"]}),
        ("load", {"destinationTable": OWN}),
        ("copy", {"sourceTables": [OWN], "destinationTable": OWN}),
        ("extract", {"sourceTable": OWN, "destinationUris": ["gs://acme/in/x-*.csv"]}),
    ],
)
def test_a_job_within_the_scope_passes_with_its_fields(kind: str, part: dict[str, Any]) -> None:
    """What was judged is what goes on."""
    judged = insert(kind, **part)
    assert part == judged["configuration"][kind]


def test_a_job_bears_its_customers_label_and_no_other_of_the_gates() -> None:
    """The caller can neither set, nor change, nor crowd out the gate's labels."""
    labels = {"team": "a", "bqgate_customer": "fedcba9876543210", "bqgate_hold": "x", "BQGATE_workload": "y"}
    expected = {"team": "a", "bqgate_customer": "0123456789abcdef"}
    assert expected == query(labels=labels)["labels"]
    document = {"configuration": {"labels": labels, "query": {"query": "SELECT 1"}}}
    assert expected == BODY.judged("jobs.insert", document)["configuration"]["labels"]
    assert {"bqgate_customer": "0123456789abcdef"} == insert("load", destinationTable=OWN)["configuration"]["labels"]
    with pytest.raises(MalformedRequest, match="labels"):
        query(labels={f"l{number}": "" for number in range(64)})


@pytest.mark.parametrize(
    "fields",
    [
        {"defaultDataset": {"datasetId": "d"}, "default_dataset": {"projectId": "globex", "datasetId": "d"}},
        {"defaultDataset": {"datasetId": "d", "dataset_id": "e"}},
        {"connectionProperties": {"key": "session_id"}},
        {"connectionProperties": ["session_id"]},
        {"createSession": 1},
    ],
)
def test_what_has_two_readings_is_refused(fields: dict[str, Any]) -> None:
    """Two spellings of one name, and values of a wrong type, are no request that can be judged."""
    with pytest.raises(MalformedRequest):
        query(**fields)


def test_a_reference_to_another_project_is_refused_for_every_kind_of_job() -> None:
    """jobReference.projectId must be the URL's, also where the job is no query."""
    with pytest.raises(MalformedRequest):
        BODY.judged("jobs.insert", {"jobReference": {"project_id": "globex"}, "configuration": {"load": {}}})


def test_a_request_id_is_the_customers_own() -> None:
    """Two customers with the same requestId get two; the same customer's repeat stays a repeat."""
    mine, again = query(requestId="r-1")["requestId"], query(request_id="r-1")["requestId"]
    other = JobBody(SCOPE, "acme-prod", "f" * 16).judged("jobs.query", {"query": "x", "requestId": "r-1"})["requestId"]
    assert mine == again
    assert mine not in {"r-1", other}
    assert len(mine) <= 36


def test_where_bigquery_knows_the_caller_only_data_is_judged() -> None:
    """Without an owner nothing is marked, sessions pass, and tables of others are still refused."""
    body = JobBody(SCOPE, "acme-prod", None)
    document = {"query": "SELECT 1", "createSession": True, "requestId": "r-1"}
    assert document == body.judged("jobs.query", document)
    with pytest.raises(AccessDenied):
        body.judged("jobs.insert", {"configuration": {"copy": {"sourceTable": GLOBEX, "destinationTable": OWN}}})
