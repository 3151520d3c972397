from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

LOAD = {
    "configuration": {
        "load": {
            "destinationTable": {"projectId": "p", "datasetId": "d", "tableId": "t"},
            "schema": {"fields": [{"name": "x", "type": "INTEGER"}, {"name": "s", "type": "STRING"}]},
            "sourceFormat": "CSV",
        }
    },
    "jobReference": {"projectId": "p", "jobId": "load"},
}
PATH = "/upload/bigquery/v2/projects/p/jobs"


@pytest.fixture
async def loads(api: Any) -> Any:
    """Calls to a sandbox with a dataset to load into."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    return api


def related(metadata: Any, data: bytes) -> bytes:
    head = b"--xyz\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n" + json.dumps(metadata).encode()
    return head + b"\r\n--xyz\r\nContent-Type: */*\r\n\r\n" + data + b"\r\n--xyz--"


RELATED = {"Content-Type": 'multipart/related; boundary="xyz"'}


async def begin(api: Any, path: str = PATH, metadata: Any = None) -> str:
    """Open a resumable upload and return its URL."""
    answer = await api("POST", f"{path}?uploadType=resumable", LOAD if metadata is None else metadata)
    assert answer.status == 200, answer.body
    location: str = answer.headers["Location"]
    return location


async def put(api: Any, url: str, data: bytes, content_range: str) -> Any:
    async with api.session.put(
        url, data=data, headers={"Content-Range": content_range}, allow_redirects=False
    ) as response:
        return response.status, response.headers, await response.text()


async def test_multipart_loads_a_file(loads: Any) -> None:
    """Metadata and file in one body; the answer is the job."""
    answer = await loads("POST", f"{PATH}?uploadType=multipart", data=related(LOAD, b"1,a\n2,b\n"), headers=RELATED)
    assert answer.status == 200
    assert answer.body["statistics"]["load"]["outputRows"] == "2"
    assert answer.body["configuration"]["jobType"] == "LOAD"
    assert (await loads("GET", "datasets/d/tables/t/data")).body["rows"][1] == {"f": [{"v": "2"}, {"v": "b"}]}


async def test_multipart_may_be_chunked_and_below_the_prefix(loads: Any) -> None:
    """Node sends no Content-Length, and puts the upload path below `/bigquery/v2`."""

    async def chunks() -> AsyncIterator[bytes]:
        body = related(LOAD, b"1,a\n2,b\n3,c\n")
        for start in range(0, len(body), 50):
            yield body[start : start + 50]

    answer = await loads("POST", f"/bigquery/v2{PATH}?uploadType=multipart", data=chunks(), headers=RELATED)
    assert answer.body["statistics"]["load"]["outputRows"] == "3"


@pytest.mark.parametrize("path", [PATH, f"/resumable{PATH}"])
async def test_resumable_goes_chunk_by_chunk(loads: Any, path: str) -> None:
    """308 with the range that arrived, then the job; the URL is on the address that the caller used."""
    url = await begin(loads, path)
    assert url.startswith(f"{loads.sandbox.url}/upload/bigquery/v2/projects/p/jobs?uploadType=resumable&upload_id=")
    status, headers, _ = await put(loads, url, b"", "bytes */8")
    assert (status, headers.get("Range")) == (308, None)
    status, headers, _ = await put(loads, url, b"1,a\n", "bytes 0-3/*")
    assert (status, headers["Range"]) == (308, "bytes=0-3")
    status, headers, _ = await put(loads, url, b"", "bytes */8")
    assert (status, headers["Range"]) == (308, "bytes=0-3")
    status, _, text = await put(loads, url, b"2,b\n", "bytes 4-7/8")
    assert status == 200
    assert json.loads(text)["statistics"]["load"]["outputRows"] == "2"
    repeated, _, again = await put(loads, url, b"", "bytes */8")
    assert (repeated, json.loads(again)["id"]) == (200, "p:US.load")


async def test_repeated_bytes_are_taken_once(loads: Any) -> None:
    """A client that sends a chunk again, since the answer was lost, loads it once; a gap is refused."""
    url = await begin(loads)
    await put(loads, url, b"1,a\n", "bytes 0-3/*")
    status, headers, _ = await put(loads, url, b"1,a\n2,", "bytes 0-5/*")
    assert (status, headers["Range"]) == (308, "bytes=0-5")
    assert (await put(loads, url, b"x", "bytes 100-100/*"))[0] == 400
    status, _, text = await put(loads, url, b"b\n", "bytes 6-7/8")
    assert json.loads(text)["statistics"]["load"]["outputRows"] == "2"


async def test_location_follows_the_host_header(loads: Any) -> None:
    """A gate in front that keeps the Host header gets a URL on itself."""
    answer = await loads("POST", f"{PATH}?uploadType=resumable", LOAD, headers={"Host": "gate.example:8080"})
    assert answer.headers["Location"].startswith("http://gate.example:8080/upload/")


async def test_query_may_come_by_upload(loads: Any) -> None:
    """A query configuration on the upload path runs like any other."""
    job = {"configuration": {"query": {"query": "SELECT 1 AS x", "useLegacySql": False}}}
    answer = await loads("POST", f"{PATH}?uploadType=multipart", data=related(job, b""), headers=RELATED)
    assert answer.body["statistics"]["query"]["statementType"] == "SELECT"


async def test_files_do_not_stay(loads: Any) -> None:
    """The file on disk goes with the load, whether it went well or not."""
    await loads("POST", f"{PATH}?uploadType=multipart", data=related(LOAD, b"1,a\n"), headers=RELATED)
    again = await loads("POST", f"{PATH}?uploadType=multipart", data=related(LOAD, b"1,a\n"), headers=RELATED)
    assert again.reason == "duplicate"
    folder = loads.sandbox._uploads._folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("query", "data", "headers", "status"),
    [
        ("uploadType=multipart", b"not multipart", RELATED, 400),
        ("uploadType=multipart", b"{}", {"Content-Type": "application/json"}, 400),
        ("uploadType=multipart", related({"configuration": {"extract": {}}}, b""), RELATED, 501),
        ("uploadType=multipart", related({}, b"x"), RELATED, 400),
        ("uploadType=media", b"x", {}, 400),
        ("uploadType=carrier-pigeon", b"x", {}, 400),
        ("uploadType=resumable", b"{broken", {}, 400),
        ("upload_id=unknown", b"x", {}, 404),
    ],
)
async def test_broken_uploads_are_refused(loads: Any, query: str, data: bytes, headers: Any, status: int) -> None:
    """What is no upload is an error in BigQuery's form."""
    answer = await loads("POST", f"{PATH}?{query}", data=data, headers=headers)
    assert answer.status == status
    assert answer.body["error"]["errors"][0]["domain"] == "global"


async def test_upload_asks_who_calls(loads: Any) -> None:
    """A bad token is refused before the file is sent."""
    answer = await loads("POST", f"{PATH}?uploadType=resumable", LOAD, headers={"Authorization": "Bearer invalid"})
    assert answer.status == 401


async def test_uploads_are_in_the_journal_and_can_fail(loads: Any) -> None:
    """The metadata is noted; a fault on "upload" strikes."""
    await begin(loads)
    assert loads.sandbox.journal.entries(method="upload")[0].body == LOAD
    await loads("POST", "/sandbox/v1/faults", {"method": "upload", "status": 503})
    assert (await loads("POST", f"{PATH}?uploadType=resumable", LOAD)).status == 503
