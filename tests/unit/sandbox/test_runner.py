from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from bqgate.sandbox.clock import Clock
from bqgate.sandbox.server import Sandbox
from bqgate.sandbox.settings import SandboxSettings


async def until(api: Any, job_id: str, state: str) -> Any:
    """Ask for a job until it is in a state; every question lets its task go on."""
    for _ in range(500):
        job = (await api("GET", f"jobs/{job_id}")).body
        if job["status"]["state"] == state:
            return job
    pytest.fail(f"job {job_id} did not become {state}: {job['status']}")


async def test_job_takes_its_time(slow_api: Any, flights: str) -> None:
    """PENDING, then RUNNING with slot time that grows, then DONE, all by the clock."""
    inserted = (await slow_api.insert(flights, "a", useQueryCache=False)).body
    assert inserted["status"]["state"] == "PENDING"
    slow_api.sandbox.clock.advance(0.05)
    await until(slow_api, "a", "RUNNING")
    incomplete = (await slow_api("GET", "queries/a?timeoutMs=0")).body
    assert incomplete["jobComplete"] is False
    assert "rows" not in incomplete
    slow_api.sandbox.clock.advance(3600)
    job = await until(slow_api, "a", "DONE")
    assert int(job["statistics"]["endTime"]) - int(job["statistics"]["startTime"]) >= 3600_000
    assert int(job["statistics"]["totalSlotMs"]) > 0


async def test_long_poll_ends_with_the_job(slow_api: Any, flights: str) -> None:
    """A getQueryResults waits and answers when the job is done, not at its timeout."""
    await slow_api.insert(flights, "a", useQueryCache=False)
    slow_api.sandbox.clock.advance(0.05)
    await until(slow_api, "a", "RUNNING")
    poll = asyncio.ensure_future(slow_api("GET", "queries/a?timeoutMs=100000"))
    # One more round trip, so that the poll has reached the server.
    await slow_api("GET", "jobs/a")
    slow_api.sandbox.clock.advance(60)
    assert (await asyncio.wait_for(poll, 10)).body["jobComplete"] is True


async def test_cancelled_pending_job_is_free(slow_api: Any, flights: str) -> None:
    """A job that is cancelled before it runs ends as stopped and bills nothing."""
    await slow_api.insert(flights, "a", useQueryCache=False)
    cancelled = await slow_api("POST", "jobs/a/cancel")
    assert cancelled.body["job"]["jobReference"]["jobId"] == "a"
    job = await until(slow_api, "a", "DONE")
    assert job["status"]["errorResult"]["reason"] == "stopped"
    assert job["statistics"]["query"]["totalBytesBilled"] == "0"


async def test_cancelled_running_job_is_billed(slow_api: Any, flights: str) -> None:
    """A running job that is cancelled ends as stopped and is billed for what it did."""
    await slow_api.insert(flights, "a", useQueryCache=False)
    slow_api.sandbox.clock.advance(0.05)
    await until(slow_api, "a", "RUNNING")
    await slow_api("POST", "jobs/a/cancel")
    job = await until(slow_api, "a", "DONE")
    assert job["status"]["errorResult"]["reason"] == "stopped"
    assert int(job["statistics"]["query"]["totalBytesBilled"]) >= 10 * 2**20
    rows = await slow_api("GET", "queries/a")
    assert (rows.status, rows.reason) == (400, "stopped")


async def test_job_timeout_stops_the_job(slow_api: Any, flights: str) -> None:
    """A jobTimeoutMs ends a job that takes longer."""
    await slow_api.insert(flights, "a", useQueryCache=False, job={"jobTimeoutMs": "1"})
    slow_api.sandbox.clock.advance(0.05)
    await until(slow_api, "a", "RUNNING")
    slow_api.sandbox.clock.advance(60)
    job = await until(slow_api, "a", "DONE")
    assert job["status"]["errorResult"]["reason"] == "stopped"
    assert "timed out" in job["status"]["errorResult"]["message"]


async def test_cancelling_a_finished_job_changes_nothing(api: Any, flights: str) -> None:
    """A job that is done stays as it is."""
    await api.insert(flights, "a")
    before = (await api("GET", "jobs/a")).body
    await api("POST", "jobs/a/cancel")
    assert (await api("GET", "jobs/a")).body == before


async def test_failed_script_bills_what_had_run(api: Any, flights: str) -> None:
    """Statements before the one that fails stay billed, as children and in the parent's sum."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    job = (await api.insert(f"{flights}; SELECT 1 / 0 AS x;", "s", useQueryCache=False)).body
    assert job["status"]["errorResult"]["reason"] == "invalidQuery"
    children = (await api("GET", "jobs?parentJobId=s&projection=full")).body["jobs"]
    billed = [int(child["statistics"]["query"]["totalBytesBilled"]) for child in children]
    assert sum(billed) == int(job["statistics"]["query"]["totalBytesBilled"]) > 0


async def test_reservation_is_said_unless_overridden(flights: str) -> None:
    """With a reservation set jobs name it; `reservation: none` forces on demand."""
    settings = SandboxSettings(reservation_id="p:US.main", edition="ENTERPRISE")
    async with Sandbox.start(settings) as sandbox, aiohttp.ClientSession() as session:
        url = f"{sandbox.url}/projects/p/jobs"
        query = {"query": {"query": flights, "useLegacySql": False}}
        async with session.post(url, json={"configuration": query}) as response:
            statistics = (await response.json())["statistics"]
        async with session.post(url, json={"configuration": {**query, "reservation": "none"}}) as response:
            on_demand = (await response.json())["statistics"]
    assert (statistics["reservation_id"], statistics["edition"]) == ("p:US.main", "ENTERPRISE")
    assert "reservation_id" not in on_demand


async def test_closing_with_jobs_under_way_ends(flights: str) -> None:
    """A sandbox with a running job closes at once."""
    clock = Clock(frozen_at=datetime(2026, 11, 24, tzinfo=UTC))
    body = {"configuration": {"query": {"query": flights, "useLegacySql": False}}}
    async with (
        asyncio.timeout(20),
        Sandbox.start(SandboxSettings(time_scale=1), clock=clock) as sandbox,
        aiohttp.ClientSession() as session,
        session.post(f"{sandbox.url}/projects/p/jobs", json=body) as response,
    ):
        assert response.status == 200
