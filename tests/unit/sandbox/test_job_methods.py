from __future__ import annotations

from typing import Any

import pytest


async def test_taken_id_is_409_with_bigquerys_words(api: Any) -> None:
    """A repeated jobId: 409 `duplicate`, and the first job stands."""
    assert (await api.insert("SELECT 1", "same")).status == 200
    answer = await api.insert("SELECT 2", "same")
    assert (answer.status, answer.reason) == (409, "duplicate")
    assert answer.body["error"]["message"] == "Already Exists: Job p:US.same"
    assert (await api("GET", "jobs/same")).body["configuration"]["query"]["query"] == "SELECT 1"


@pytest.mark.parametrize("job_id", ["has space", "a.b", "ü", "x" * 1025, ""])
async def test_bad_id_is_refused(api: Any, job_id: str) -> None:
    """Ids are letters, digits, underscores and dashes, 1,024 at most."""
    body = {"configuration": {"query": {"query": "SELECT 1"}}, "jobReference": {"jobId": job_id}}
    answer = await api("POST", "jobs", body)
    assert (answer.status, answer.reason) == (400, "invalid")


@pytest.mark.parametrize(
    ("configuration", "status", "reason"),
    [
        ({}, 400, "required"),
        ({"query": {"query": "SELECT 1"}, "load": {}}, 400, "invalid"),
        ({"extract": {"sourceTable": {}}}, 501, "notImplemented"),
        ({"query": 5}, 400, "invalid"),
        ({"query": {}}, 400, "required"),
        (
            {"load": {"destinationTable": {"datasetId": "d", "tableId": "t"}, "sourceUris": ["gs://b/o"]}},
            501,
            "notImplemented",
        ),
        ({"load": {}}, 400, "required"),
        ({"dryRun": True, "load": {"destinationTable": {"datasetId": "d", "tableId": "t"}}}, 400, "invalid"),
    ],
)
async def test_bad_configuration_is_refused(api: Any, configuration: Any, status: int, reason: str) -> None:
    """Exactly one configuration that the sandbox knows."""
    answer = await api("POST", "jobs", {"configuration": configuration})
    assert (answer.status, answer.reason) == (status, reason)


async def test_other_project_in_the_body_is_refused(api: Any) -> None:
    """The URL's project is the one that pays; the body may not name another."""
    body = {"configuration": {"query": {"query": "SELECT 1"}}, "jobReference": {"projectId": "q", "jobId": "a"}}
    assert (await api("POST", "jobs", body)).status == 400


async def test_location_keeps_jobs_apart(api: Any) -> None:
    """The same id lives once per location; outside the multi-regions the location must be named."""
    body = {
        "configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}},
        "jobReference": {"jobId": "a", "location": "europe-west3"},
    }
    assert (await api("POST", "jobs", body)).body["jobReference"]["location"] == "europe-west3"
    assert (await api("GET", "jobs/a")).status == 404
    assert (await api("GET", "jobs/a?location=europe-west3")).status == 200
    assert (await api("GET", "queries/a?location=us")).status == 404
    assert (await api.insert("SELECT 1", "a")).status == 200


async def test_unknown_job_is_not_found(api: Any) -> None:
    """404 with "Not found: Job", which clients look for."""
    for path in ("jobs/none", "queries/none"):
        answer = await api("GET", path)
        assert (answer.status, answer.reason) == (404, "notFound")
        assert answer.body["error"]["message"].startswith("Not found: Job p:")


async def test_list_filters_and_pages(api: Any, clock: Any) -> None:
    """Newest first, in pages, by user, state, time and projection."""
    for number in range(5):
        await api.insert(f"SELECT {number}", f"j{number}")
        clock.advance(1)
    ann = {"Authorization": "Bearer ann-token"}
    body = {"configuration": {"query": {"query": "SELECT 9", "useLegacySql": False}}, "jobReference": {"jobId": "ann"}}
    await api("POST", "jobs", body, headers=ann)
    first = (await api("GET", "jobs?maxResults=2")).body
    assert [job["jobReference"]["jobId"] for job in first["jobs"]] == ["j4", "j3"]
    assert "configuration" not in first["jobs"][0]
    rest = (await api("GET", f"jobs?maxResults=10&pageToken={first['nextPageToken']}&projection=full")).body
    assert [job["jobReference"]["jobId"] for job in rest["jobs"]] == ["j2", "j1", "j0"]
    assert rest["jobs"][0]["configuration"]["query"]["query"] == "SELECT 2"
    assert "nextPageToken" not in rest
    assert len((await api("GET", "jobs?allUsers=true")).body["jobs"]) == 6
    assert [job["user_email"] for job in (await api("GET", "jobs", headers=ann)).body["jobs"]] == ["ann@example.com"]
    assert (await api("GET", "jobs?stateFilter=running&stateFilter=pending")).body["jobs"] == []
    moment = rest["jobs"][0]["statistics"]["creationTime"]
    between = await api("GET", f"jobs?minCreationTime={moment}&maxCreationTime={moment}")
    assert [job["jobReference"]["jobId"] for job in between.body["jobs"]] == ["j2"]


async def test_deleted_job_is_gone(api: Any) -> None:
    """jobs.delete takes a finished job away."""
    await api.insert("SELECT 1", "a")
    assert (await api("DELETE", "jobs/a/delete")).status == 204
    assert (await api("GET", "jobs/a")).status == 404


async def test_numbers_are_strings(api: Any, flights: str) -> None:
    """int64 fields are JSON strings in milliseconds and bytes."""
    job = (await api.insert(flights, job={"jobTimeoutMs": "60000"})).body
    statistics = job["statistics"]
    for name in ("creationTime", "startTime", "endTime", "totalBytesProcessed", "totalSlotMs"):
        assert isinstance(statistics[name], str), name
        assert statistics[name].isdecimal(), name
    assert job["configuration"]["jobTimeoutMs"] == "60000"
