"""What a caller writes in an odd way is judged as BigQuery reads it: labels, enumerations, flags, masks of fields."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bqgate.domain.entry import Entry, EntryFilter
from tests.support.gate_stack import Stack, running_stack
from tests.support.two_customers import two_customers

QUERY = {"query": "SELECT carrier FROM nycflights13.airlines", "useLegacySql": False, "useQueryCache": False}
TEN_MIB = 10 * 2**20
WAYS = ["queries", "jobs", "upload", "batch"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    rich = {"daily_usd": "1000", "monthly_usd": "30000", "emergency_usd": "2000"}
    with running_stack(tmp_path_factory.mktemp("odd"), {"tiers": {"standard": rich}}) as opened:
        yield opened


def body_of(way: str, query: dict[str, Any], **configuration: Any) -> dict[str, Any]:
    """The query as QueryRequest, or as Job; the other fields beside it."""
    if way == "queries":
        return {**query, **configuration}
    return {"configuration": {"query": query, **configuration}}


def multipart(kind: str, *parts: tuple[str, str]) -> tuple[bytes, dict[str, str]]:
    """A body of several parts and its type."""
    text = "".join(f"--b\r\nContent-Type: {content_type}\r\n\r\n{content}\r\n" for content_type, content in parts)
    return f"{text}--b--".encode(), {"Content-Type": f"multipart/{kind}; boundary=b"}


def send(
    stack: Stack, way: str, project: str, body: dict[str, Any], *, base: str = "", query: str = ""
) -> tuple[int, dict[str, Any]]:
    """Submit a body in one of the ways; the status and the document of the answer."""
    text = json.dumps(body)
    if way == "upload":
        url = f"{base}/upload/bigquery/v2/projects/{project}/jobs?uploadType=multipart&{query}"
        data, headers = multipart("related", ("application/json", text), ("text/csv", "x"))
    elif way == "batch":
        line = f"POST {base}/bigquery/v2/projects/{project}/jobs?{query} HTTP/1.1"
        part = f"{line}\r\nContent-Type: application/json\r\n\r\n{text}"
        url = "/batch/bigquery/v2"
        data, headers = multipart("mixed", ("application/http", part))
    else:
        url = f"{base}/bigquery/v2/projects/{project}/{way}?{query}"
        data, headers = text.encode(), {"Content-Type": "application/json"}
    answer = requests.post(f"{stack.url}{url}", data=data, headers=headers, timeout=30)
    if way != "batch":
        return answer.status_code, answer.json()
    head, _, rest = answer.text.partition("HTTP/1.1 ")[2].partition("\r\n\r\n")
    return int(head.split()[0]), json.loads(rest.rpartition("\r\n--")[0])


def jobs_of(stack: Stack, project: str) -> list[dict[str, Any]]:
    """The configurations of the jobs that BigQuery made in a project."""
    url = f"{stack.sandbox.url}/bigquery/v2/projects/{project}/jobs?projection=full&allUsers=true"
    return [job["configuration"] for job in requests.get(url, timeout=30).json().get("jobs", [])]


def dry_runs_of(stack: Stack, project: str) -> int:
    """How many bodies with a dry run reached BigQuery in a project."""
    entries = [each for each in stack.sandbox.journal.entries() if f"/projects/{project}/" in each.path]
    return sum(each.body.get("configuration", each.body).get("dryRun") is True for each in entries if each.body)


def booked(stack: Stack, project: str) -> tuple[Entry, ...]:
    stack.settle(project)
    return stack.run(stack.gate.ledger.fetch_entries(EntryFilter(customer=project))).entries


def some(count: int) -> dict[str, str]:
    return {f"own_{number}": "x" for number in range(count)}


@pytest.mark.parametrize("base", ["", "/w/etl"])
@pytest.mark.parametrize("way", WAYS)
def test_a_query_whose_labels_leave_no_room_is_refused_at_the_door(stack: Stack, way: str, base: str) -> None:
    """Before a dry run and a hold; with one label less the hold's label goes out, and the cost is booked."""
    room = 62 if base else 63
    project = f"full-{way}-{len(base)}"
    status, answer = send(stack, way, project, body_of(way, QUERY, labels=some(room + 1)), base=base)
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert answer["error"]["message"].startswith("The number of labels exceeds the limit of 64")
    assert (jobs_of(stack, project), dry_runs_of(stack, project)) == ([], 0)
    assert send(stack, way, project, body_of(way, QUERY, labels=some(room)), base=base)[0] == 200
    (made,) = jobs_of(stack, project)
    assert len(made["labels"]) == 64
    assert made["labels"]["bqgate_hold"]


async def test_a_customers_label_needs_room_as_well(tmp_path: Path) -> None:
    """Where BigQuery takes all customers for one, each job says whose it is."""
    async with two_customers(tmp_path) as gate:
        for count, status in ((62, 200), (63, 400)):
            reply = await gate.query("acme", "SELECT owner FROM `hub.acme.t`", labels=some(count))
            assert reply.status == status, reply.text
        path = "/w/etl/bigquery/v2/projects/hub/queries"
        for count, status in ((61, 200), (62, 400)):
            body = {"query": "SELECT owner FROM `hub.acme.t`", "useLegacySql": False, "labels": some(count)}
            assert (await gate.call("acme", "POST", path, body)).status == status


@pytest.mark.parametrize("base", ["", "/w/etl"])
def test_a_load_job_keeps_no_label_of_the_gates(stack: Stack, base: str) -> None:
    """A job that costs nothing cannot pass for another query's."""
    table = {"projectId": "nycflights13", "datasetId": "nycflights13", "tableId": f"loaded_{len(base)}"}
    load = {"destinationTable": table, "sourceFormat": "CSV", "autodetect": True}
    project = f"loads-{len(base)}"
    labels = {"bqgate_hold": "01FORGED", "Bqgate_Customer": "x", "team": "ml"}
    _, answer = send(stack, "upload", project, {"configuration": {"load": load, "labels": labels}}, base=base)
    assert answer["configuration"]["labels"] == {"team": "ml"}


@pytest.mark.parametrize(
    "mode", [None, 2, "2", "job_creation_optional", "jobCreationOptional", "JOB_CREATION_OPTIONAL"]
)
def test_every_query_gets_a_job_and_is_booked(stack: Stack, mode: Any) -> None:
    """Whatever the caller asks for, and however it is written."""
    project = f"mode-{repr(mode).encode().hex()}"
    body = QUERY if mode is None else QUERY | {"jobCreationMode": mode}
    status, answer = send(stack, "queries", project, body)
    assert (status, "jobId" in answer["jobReference"]) == (200, True)
    sent = [each.body for each in stack.sandbox.journal.entries(method="jobs.query") if f"/{project}/" in each.path]
    assert [body["jobCreationMode"] for body in sent] == ["JOB_CREATION_REQUIRED"]
    assert [entry.bytes_billed for entry in booked(stack, project)] == [TEN_MIB]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", ["TRUE", "1", "yes"])
def test_an_oddly_written_dry_run_runs_nothing(stack: Stack, way: str, text: str) -> None:
    """It goes on as the dry run that it was judged to be, and nothing is booked."""
    project = f"dry-{way}-{text.lower()}"
    status, _ = send(stack, way, project, body_of(way, QUERY, dryRun=text))
    assert status == 200
    assert (jobs_of(stack, project), dry_runs_of(stack, project)) == ([], 1)
    assert booked(stack, project) == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mask", ["jobReference/projectId", "statistics(totalSlotMs)", "kind"])
def test_a_mask_hides_no_cost(stack: Stack, way: str, mask: str) -> None:
    """The gate reads all of the answer; the caller gets what it asked for."""
    project = f"mask-{way}-{len(mask)}"
    status, answer = send(stack, way, project, body_of(way, QUERY), query=f"fields={mask}")
    assert status == 200
    assert set(answer) <= {mask.partition("/")[0].partition("(")[0]}
    (entry,) = booked(stack, project)
    assert (entry.bytes_billed, entry.statement_type, entry.job is not None) == (TEN_MIB, "SELECT", True)
    assert entry.job is not None
    assert entry.job.location == "US"


@pytest.mark.parametrize("way", WAYS)
def test_a_mask_that_is_none_is_refused_before_the_query_runs(stack: Stack, way: str) -> None:
    """BigQuery would say so after the query ran."""
    project = f"no-mask-{way}"
    status, answer = send(stack, way, project, body_of(way, QUERY), query="fields=jobReference(")
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "invalidParameter")
    assert (jobs_of(stack, project), dry_runs_of(stack, project)) == ([], 0)
