from __future__ import annotations

import json
from typing import Any

import pytest
from googleapiclient import discovery
from googleapiclient.http import HttpRequest, build_http

from bqgate.sandbox.server import Sandbox

HEADERS = {"Content-Type": 'multipart/mixed; boundary="b"'}


def part(text: str, content_id: str = "") -> str:
    head = f"Content-ID: <{content_id}>\r\n" if content_id else ""
    return f"--b\r\nContent-Type: application/http\r\n{head}\r\n{text}\r\n"


def call(verb: str, path: str, body: Any = None) -> str:
    text = json.dumps(body) if body is not None else ""
    return f"{verb} {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}"


def parts_of(answer: Any) -> list[tuple[int, Any, str]]:
    """Take a batch answer apart: status, JSON, Content-ID of each."""
    boundary = answer.headers["Content-Type"].partition("boundary=")[2]
    found = []
    for text in answer.body.split(f"--{boundary}")[1:-1]:
        outer, head, body = text.strip().split("\r\n\r\n", 2)
        found.append((int(head.split()[1]), json.loads(body), outer.partition("Content-ID: ")[2]))
    return found


@pytest.mark.parametrize("path", ["/batch", "/batch/bigquery/v2", "/bigquery/v2/batch"])
async def test_each_call_is_answered_on_its_own(api: Any, path: str) -> None:
    """A query, a lookup that fails and a list: three answers, in order, under their ids."""
    query = {"query": "SELECT 1 AS x", "useLegacySql": False}
    body = (
        part(call("POST", "/bigquery/v2/projects/p/queries?fields=rows", query), "one")
        + part(call("GET", "/bigquery/v2/projects/p/jobs/none"), "two")
        + part(call("GET", "/projects/p/datasets"))
        + "--b--\r\n"
    )
    answer = await api("POST", path, data=body, headers=HEADERS)
    assert answer.status == 200
    first, second, third = parts_of(answer)
    assert first == (200, {"rows": [{"f": [{"v": "1"}]}]}, "<response-one>")
    assert (second[0], second[2]) == (404, "<response-two>")
    assert third[1]["kind"] == "bigquery#datasetList"


async def test_caller_of_the_batch_is_the_caller_of_its_parts(api: Any) -> None:
    """The outer Authorization holds unless a part has its own."""
    job = {"configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}}}
    own = call("POST", "/bigquery/v2/projects/p/jobs", job).replace(
        "Content-Type", "Authorization: Bearer bob-token\r\nContent-Type", 1
    )
    body = part(call("POST", "/bigquery/v2/projects/p/jobs", job)) + part(own) + "--b--"
    answer = await api("POST", "/batch", data=body, headers={**HEADERS, "Authorization": "Bearer ann-token"})
    assert [each[1]["user_email"] for each in parts_of(answer)] == ["ann@example.com", "bob@example.com"]


async def test_calls_inside_are_in_the_journal_and_can_fail(api: Any) -> None:
    """Every inner call is noted, and faults strike inside a batch."""
    await api("POST", "/sandbox/v1/faults", {"method": "jobs.list", "status": 403, "reason": "rateLimitExceeded"})
    body = part(call("GET", "/bigquery/v2/projects/p/jobs")) + "--b--"
    answer = await api("POST", "/batch", data=body, headers=HEADERS)
    assert parts_of(answer)[0][0] == 403
    assert len(api.sandbox.journal.entries(method="jobs.list")) == 1
    assert len(api.sandbox.journal.entries(method="batch")) == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("", HEADERS),
        ("nothing", {"Content-Type": "text/plain"}),
        ("--b\r\nContent-Type: text/plain\r\n\r\nGET /x HTTP/1.1\r\n--b--", HEADERS),
        (part("") + "--b--", HEADERS),
        (part(call("GET", "/projects/p/jobs")) * 1001 + "--b--", HEADERS),
    ],
    ids=["empty", "no multipart", "no application/http", "no call", "too many"],
)
async def test_what_is_no_batch_is_refused(api: Any, body: str, headers: Any) -> None:
    """A 400 in BigQuery's form, and nothing was done."""
    answer = await api("POST", "/batch", data=body, headers=headers)
    assert (answer.status, answer.reason) == (400, "badRequest")
    assert api.sandbox.journal.entries(method="jobs.list") == []


def test_googles_batch_client(threaded: Sandbox) -> None:
    """BatchHttpRequest of google-api-python-client reads the answers."""
    service = discovery.build(
        "bigquery",
        "v2",
        http=build_http(),
        discoveryServiceUrl=f"{threaded.url}/$discovery/rest?version=v2",
        static_discovery=False,
    )
    answers: dict[str, Any] = {}

    def keep(request_id: str, response: Any, error: Any) -> None:
        answers[request_id] = error or response

    with service:
        batch = service.new_batch_http_request(callback=keep)
        query: HttpRequest = service.jobs().query(projectId="p", body={"query": "SELECT 7", "useLegacySql": False})
        batch.add(query, request_id="q")
        batch.add(service.datasets().get(projectId="p", datasetId="none"), request_id="d")
        batch.execute()
    assert answers["q"]["rows"] == [{"f": [{"v": "7"}]}]
    assert answers["d"].resp.status == 404
