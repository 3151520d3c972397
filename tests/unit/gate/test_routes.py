import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import googleapiclient.discovery_cache
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.errors import MalformedRequest, UnsupportedRequest
from bqgate.gate.routes import METHODS, SUBMITTING, Kind, resolve

DISCOVERY: dict[str, Any] = json.loads(
    (Path(googleapiclient.discovery_cache.__file__).parent / "documents" / "bigquery.v2.json").read_text()
)
PREFIXES = ("", "/bigquery/v2", "/w/team-a", "/w/team-a/bigquery/v2", "//bigquery//v2", "/w/team-a//bigquery/v2/")


def _example(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: {"projectId": "example.com:p-1"}.get(match[1], f"x_{match[1]}"), path)


def test_the_table_is_the_discovery_document() -> None:
    """Every method that Google publishes is in the table with its verb and path, and no other one is."""
    published = {
        (method["id"].removeprefix("bigquery."), method["httpMethod"], re.sub(r"\{\w+\}", "{}", method["flatPath"]))
        for resource in DISCOVERY["resources"].values()
        for method in resource["methods"].values()
    }
    assert {(name, verb, re.sub(r"\{\w+\}", "{}", path)) for name, verb, path in METHODS} == published
    assert len(METHODS) == 47


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("method_id", "verb", "path"), METHODS, ids=[method[0] for method in METHODS])
def test_every_method_is_found_below_every_prefix(method_id: str, verb: str, path: str, prefix: str) -> None:
    """A method is recognised in each form of its path, and goes upstream in BigQuery's own form."""
    route = resolve(verb, f"{prefix}/{_example(path)}")
    assert route.method_id == method_id
    assert route.kind is (Kind.SUBMIT if method_id in SUBMITTING else Kind.PASSED)
    assert route.upstream_path == f"/bigquery/v2/{_example(path)}"
    assert route.project_id == (None if method_id == "projects.list" else "example.com:p-1")
    assert route.workload == ("team-a" if "/w/" in prefix else None)


@pytest.mark.parametrize(
    ("path", "upstream_path"),
    [
        ("/upload/bigquery/v2/projects/p/jobs", "/upload/bigquery/v2/projects/p/jobs"),
        ("/upload/projects/p/jobs", "/upload/bigquery/v2/projects/p/jobs"),
        ("/bigquery/v2/upload/bigquery/v2/projects/p/jobs", "/upload/bigquery/v2/projects/p/jobs"),
        ("/resumable/upload/bigquery/v2/projects/p/jobs", "/resumable/upload/bigquery/v2/projects/p/jobs"),
        ("/w/a/upload/bigquery/v2/projects/p/jobs", "/upload/bigquery/v2/projects/p/jobs"),
    ],
)
def test_uploads_are_found_where_clients_send_them(path: str, upstream_path: str) -> None:
    """Each upload path, Node's doubled one too, is jobs.insert; PUT and DELETE on it continue an upload."""
    assert (resolve("POST", path).kind, resolve("POST", path).upstream_path) == (Kind.UPLOAD, upstream_path)
    assert (resolve("PUT", path).kind, resolve("DELETE", path).kind) == (Kind.CHUNK, Kind.CHUNK)
    assert resolve("POST", path).method_id == "jobs.insert"


@pytest.mark.parametrize("path", ["/batch", "/batch/bigquery/v2", "/w/a/batch", "/bigquery/v2/batch/bigquery/v2"])
def test_batches_are_found(path: str) -> None:
    """A batch has two paths, below a workload too."""
    assert resolve("POST", path).kind is Kind.BATCH


@pytest.mark.parametrize(
    ("path", "upstream_path"),
    [
        ("/$discovery/rest", "/$discovery/rest"),
        ("/%24discovery/rest", "/$discovery/rest"),
        ("/w/a/$discovery/rest", "/$discovery/rest"),
        ("/discovery/v1/apis/bigquery/v2/rest", "/discovery/v1/apis/bigquery/v2/rest"),
    ],
)
def test_discovery_has_two_paths(path: str, upstream_path: str) -> None:
    """Old and new clients find the discovery document."""
    assert (resolve("GET", path).kind, resolve("GET", path).upstream_path) == (Kind.DISCOVERY, upstream_path)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/"),
        ("POST", "/bigquery/v2/projects/p/queries/j"),
        ("PUT", "/bigquery/v2/projects/p/jobs"),
        ("PATCH", "/projects/p/queries"),
        ("POST", "/bigquery/v3/projects/p/queries"),
        ("POST", "/bigquery/v2/bigquery/v2/projects/p/queries"),
        ("POST", "/upload/bigquery/v2/projects/p/queries"),
        ("GET", "/upload/bigquery/v2/projects/p/jobs"),
        ("POST", "/projects/p/queries;x=1"),
        ("POST", "/PROJECTS/p/queries"),
        ("POST", "/projects/p/datasets/d:explode"),
        ("POST", "/projects/p/datasets/:undelete"),
        ("GET", "/batch"),
        ("POST", "/$discovery/rest"),
        ("BREW", "/projects"),
        ("GET", "/w/team-a"),
    ],
)
def test_what_is_not_in_the_table_is_refused(verb: str, path: str) -> None:
    """An unknown verb or path may cost money, so it does not pass."""
    with pytest.raises(UnsupportedRequest):
        resolve(verb, path)


@pytest.mark.parametrize(
    "path",
    [
        "/projects/p%2Fqueries/jobs",
        "/projects/p/datasets/../queries",
        "/projects/p/datasets/%2e%2E/queries",
        "/projects/p/jobs#/x/cancel",
        "/projects/p%0a/queries",
        "/projects/p%5cq/queries",
        "/projects/%ff/queries",
        "/projects/p%20/queries",
        "/projects/p%C2%A0/queries",
        "/projects/p/datasets/d%E3%80%80/tables/t/insertAll",
        "/projects/p/jobs/%20j/cancel",
        "/projects/p/datasets/d/tables/t%E2%80%AEt/insertAll",
        "/projects/p/datasets/d/tables/t%E2%80%8Bt/insertAll",
        "/projects/p/datasets/d/tables/t%E2%80%A8t/insertAll",
        "/projects/p/datasets/d/tables/t%EF%BB%BFt/insertAll",
        "/projects/p/datasets/d/tables/t%00/insertAll",
        "/projects/p/datasets/d/tables/t%C2%85/insertAll",
        "/w/Team A/projects",
        f"/w/{'a' * 64}/projects",
    ],
)
def test_a_path_with_two_readings_is_malformed(path: str) -> None:
    """The gate and BigQuery must not read one path differently."""
    with pytest.raises(MalformedRequest):
        resolve("POST", path)


@pytest.mark.parametrize(
    "project",
    [
        *("ACME-PROD", "Acme-prod", "acme-proD", "%41cme-prod", "acme_prod", "acme.prod", "acme-prod-", "-acme-prod"),
        *("acme-prod.", "acme-prod:", ":acme-prod", "EXAMPLE.com:acme-prod", "example.com.:acme-prod", "a:b:c"),
        *("example..com:acme-prod", "example.com:Acme", "example.com:1234567", "0123456789012", "12345678901234567890"),
        *("1acme", "acme-prod%00", "acme%2dprod%2D", "%EF%BC%91%EF%BC%92%EF%BC%93", "%D9%A1%D9%A2%D9%A3", "-", "*"),
        *("acme-prod%2A", "acme-prod%40"),
        "a" * 64,
        f"{'d' * 254}:acme-prod",
        "acme-prod;x=1",
        "acme-prod%20",
        "acme-prod%0A",
        "acme%C2%ADprod",
        "%C4%B1acme",
    ],
)
def test_a_project_that_google_would_not_know_is_refused_in_bigquerys_words(project: str) -> None:
    """An id has one spelling, so that no other one finds another budget; a number is written as Google writes it."""
    for path in ("queries", "jobs"):
        with pytest.raises(MalformedRequest) as refused:
            resolve("POST", f"/bigquery/v2/projects/{project}/{path}")
        assert refused.value.reason in {"invalid", "badRequest"}


@pytest.mark.parametrize(
    "project", ["p", "acme-prod", "a1", "example.com:acme-prod", "my-domain.co.uk:p-1", "123456789012", "1", "a" * 63]
)
def test_ids_and_numbers_of_projects_are_taken(project: str) -> None:
    """As old and new clients write them, percent-encoded or not."""
    for written in (project, project.replace(":", "%3A"), f"%{ord(project[0]):x}{project[1:]}"):
        assert resolve("POST", f"/projects/{written}/queries").project_id == project


def test_an_encoded_method_name_is_the_method() -> None:
    """Percent-encoding a letter does not hide a query, and what goes upstream is what came."""
    route = resolve("POST", "/bigquery/v2/projects/p/%71ueries")
    assert route.method_id == "jobs.query"
    assert route.upstream_path == "/bigquery/v2/projects/p/%71ueries"


def test_ids_keep_their_encoding_upstream() -> None:
    """Parameters are decoded for the gate, and the path is not re-encoded."""
    route = resolve("GET", "/projects/a%3Ab/datasets/d/tables/t%C3%A4%20x%7e")
    assert route.params["tableId"] == "tä x~"
    assert route.upstream_path == "/bigquery/v2/projects/a%3Ab/datasets/d/tables/t%C3%A4%20x%7e"


@pytest.mark.parametrize(
    "table",
    [
        "a\u3000b",
        "a\u00a0b",
        "\u3000",
        "a\u2003b",
        "a b",
        "e\u0301",
        "表",
        "\u0661",
        "a‿b",
        "a-b",
        "🦆",
        "t$20260101",
        "\U00033333",
    ],
)
def test_tables_may_be_named_in_any_script(table: str) -> None:
    """Letters, marks, numbers and every kind of space reach BigQuery as they came; it refuses the rest."""
    encoded = quote(table, safe="").lower()
    route = resolve("GET", f"/projects/p/datasets/d/tables/{encoded}/data")
    assert route.params["tableId"] == table
    assert route.upstream_path == f"/bigquery/v2/projects/p/datasets/d/tables/{encoded}/data"


def test_head_is_read_as_get() -> None:
    """HEAD asks what GET would answer."""
    assert resolve("HEAD", "/projects/p/jobs/j").method_id == "jobs.get"


@given(st.sampled_from(["GET", "POST", "PUT"]), st.text(max_size=60))
def test_any_text_is_a_method_or_refused(verb: str, path: str) -> None:
    """No path makes the table fail."""
    with suppress(MalformedRequest, UnsupportedRequest):
        assert resolve(verb, path).upstream_path.startswith("/")
