"""google-api-python-client, built from the discovery document that comes through the gate."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest, HttpRequest, MediaIoBaseUpload

from tests.support.client_scene import GIB, Scene
from tests.support.python_client import token_credentials


def build_service(url: str) -> Any:
    """A client whose only address is the gate's discovery document."""
    return build(
        "bigquery",
        "v2",
        credentials=token_credentials(),
        discoveryServiceUrl=url + "/discovery/v1/apis/{api}/{apiVersion}/rest",
        static_discovery=False,
        cache_discovery=False,
    )


@pytest.fixture
def service(scene: Scene) -> Iterator[Any]:
    with build_service(scene.url) as built:
        yield built


def query_body(sql: str) -> dict[str, Any]:
    return {"query": sql, "useLegacySql": False, "useQueryCache": False}


def insert_body(sql: str) -> dict[str, Any]:
    return {"configuration": {"query": query_body(sql)}}


def test_methods_lead_through_the_gate(scene: Scene, project: str, service: Any) -> None:
    """jobs.query, jobs.insert, jobs.get and listings; both queries are in the books."""
    scene.declare(project, t=42)
    answer = service.jobs().query(projectId=project, body=query_body("SELECT 1 AS n")).execute()
    assert "1" == answer["rows"][0]["f"][0]["v"]
    job = service.jobs().insert(projectId=project, body=insert_body("SELECT a FROM shop.t")).execute()
    reference = job["jobReference"]
    assert reference["jobId"].startswith("bqgate_")
    seen = service.jobs().get(**reference).execute()
    assert str(42 * GIB) == seen["statistics"]["query"]["totalBytesBilled"]
    listed = service.datasets().list(projectId=project).execute()["datasets"]
    assert "shop" in {dataset["datasetReference"]["datasetId"] for dataset in listed}
    assert ["0.00", "0.42"] == [entry["cost_usd"] for entry in scene.booked(project)]


def test_a_workload_in_the_discovery_address_stays(scene: Scene, project: str) -> None:
    """The document names the gate with its /w/ prefix, so every call bears the workload."""
    with build_service(f"{scene.url}/w/nightly") as service:
        service.jobs().query(projectId=project, body=query_body("SELECT 1")).execute()
    assert ["nightly"] == [entry["workload"] for entry in scene.booked(project)]


def test_the_packaged_document_with_an_endpoint_works(scene: Scene, project: str) -> None:
    """client_options.api_endpoint is the full base path; no discovery call is made."""
    options = {"api_endpoint": f"{scene.url}/bigquery/v2/"}
    with build("bigquery", "v2", credentials=token_credentials(), client_options=options) as service:
        answer = service.jobs().query(projectId=project, body=query_body("SELECT 2 AS n")).execute()
    assert "2" == answer["rows"][0]["f"][0]["v"]
    assert 1 == len(scene.booked(project))


def test_every_call_of_a_batch_is_judged(scene: Scene, project: str, service: Any) -> None:
    """In one batch: a query that runs, one too big, an invalid one, a listing; each gets its own answer."""
    scene.declare(project, t=42, huge=5_000)
    answers: dict[str, Any] = {}

    def keep(name: str, response: Any, error: HttpError | None) -> None:
        answers[name] = response if error is None else (error.status_code, error.error_details[0]["reason"])

    batch: BatchHttpRequest = service.new_batch_http_request(callback=keep)
    jobs = service.jobs()
    requests: dict[str, HttpRequest] = {
        "runs": jobs.query(projectId=project, body=query_body("SELECT COUNT(*) AS n FROM shop.t WHERE a = 1")),
        "inserted": jobs.insert(projectId=project, body=insert_body("SELECT a FROM shop.t")),
        "too big": jobs.query(projectId=project, body=query_body("SELECT a FROM shop.huge")),
        "invalid": jobs.query(projectId=project, body=query_body("SELEC 1")),
        "listing": service.tables().list(projectId=project, datasetId="shop"),
    }
    for name, request in requests.items():
        batch.add(request, request_id=name)
    batch.execute()
    assert "0" == answers["runs"]["rows"][0]["f"][0]["v"]
    assert "bqgate_hold" in answers["inserted"]["configuration"]["labels"]
    assert (400, "bytesBilledLimitExceeded") == answers["too big"]
    assert (400, "invalidQuery") == answers["invalid"]
    assert ["huge", "t"] == sorted(table["tableReference"]["tableId"] for table in answers["listing"]["tables"])
    entries = scene.booked(project)
    assert ["0.42", "0.42"] == [entry["cost_usd"] for entry in entries if entry["outcome"] == "done"]
    assert ["query_too_big"] == [entry["reason"] for entry in entries if entry["kind"] == "refusal"]


def test_a_very_long_address_arrives(scene: Scene, project: str, service: Any) -> None:
    """Beyond 2,048 characters the client sends POST with X-HTTP-Method-Override: GET; the gate takes it as the GET."""
    listed = service.jobs().list(projectId=project, pageToken="x" * 3_000)
    with pytest.raises(HttpError) as failed:
        listed.execute()
    assert 400 == failed.value.status_code
    assert ["jobs.list"] == [entry.method for entry in scene.received(project)]


def test_a_refusal_is_not_repeated(scene: Scene, project: str, service: Any) -> None:
    """Even a client told to retry five times sends a refused query once."""
    scene.use_up(project)
    with pytest.raises(HttpError, match="Custom quota exceeded"):
        service.jobs().query(projectId=project, body=query_body("SELECT a + 1 FROM shop.spent")).execute(num_retries=5)
    assert ["refusal"] == [entry["kind"] for entry in scene.booked(project)][1:]


@pytest.mark.parametrize("resumable", [False, True])
def test_media_go_through_the_gate(scene: Scene, project: str, service: Any, resumable: bool) -> None:
    """A load with a file, in one request and in chunks."""
    scene.declare(project)
    media = MediaIoBaseUpload(io.BytesIO(b"1,a\n2,b\n"), "application/octet-stream", resumable=resumable)
    target = {"projectId": project, "datasetId": "shop", "tableId": "m"}
    load = {"destinationTable": target, "sourceFormat": "CSV", "autodetect": True}
    job = service.jobs().insert(projectId=project, body={"configuration": {"load": load}}, media_body=media).execute()
    assert "2" == service.jobs().get(**job["jobReference"]).execute()["statistics"]["load"]["outputRows"]
