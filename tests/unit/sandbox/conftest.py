"""Run sandboxes for the tests: one in the test's own event loop, and one in a thread for clients that block."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from bqgate.sandbox.clock import Clock
from bqgate.sandbox.server import Sandbox
from bqgate.sandbox.settings import SandboxSettings
from bqgate.sandbox.warehouse import Warehouse

FLIGHTS = "SELECT carrier, COUNT(*) AS n FROM nycflights13.flights GROUP BY carrier ORDER BY carrier"


@dataclass
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: Any

    @property
    def reason(self) -> str:
        reason: str = self.body["error"]["errors"][0]["reason"]
        return reason


class Api:
    """Raw calls to a sandbox, below `/bigquery/v2/projects/p`."""

    def __init__(self, session: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.session = session
        self.sandbox = sandbox

    async def __call__(self, verb: str, path: str, body: Any = None, **options: Any) -> Answer:
        url = self.sandbox.url + (path if path.startswith("/") else f"/bigquery/v2/projects/p/{path}")
        if body is not None:
            options["data"] = io.BytesIO(json.dumps(body).encode())
            options["headers"] = {**(options.get("headers") or {}), "Content-Type": "application/json"}
        async with self.session.request(verb, url, **options) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            return Answer(response.status, json.loads(text) if is_json else text, response.headers)

    async def insert(self, sql: str, job_id: str | None = None, *, job: Any = None, **query: Any) -> Answer:
        """Insert a query job; `query` are fields of configuration.query, `job` of configuration."""
        body: dict[str, Any] = {
            "configuration": {"query": {"query": sql, "useLegacySql": False, **query}, **(job or {})}
        }
        if job_id:
            body["jobReference"] = {"projectId": "p", "jobId": job_id}
        return await self("POST", "jobs", body)

    async def query(self, sql: str, *, headers: Any = None, **request: Any) -> Answer:
        return await self("POST", "queries", {"query": sql, "useLegacySql": False, **request}, headers=headers)


@pytest.fixture
def flights() -> str:
    return FLIGHTS


@pytest.fixture
def settings() -> SandboxSettings:
    return SandboxSettings(users={"ann-token": "ann@example.com", "bob-token": "bob@example.com"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def one_warehouse() -> Iterator[Warehouse]:
    """A warehouse for all tests, since reading the example data takes a while."""
    opened = Warehouse()
    yield opened
    opened.close()


@pytest.fixture
def warehouse(one_warehouse: Warehouse) -> Iterator[Warehouse]:
    """The warehouse, clean of what a test made in project p."""
    yield one_warehouse
    for dataset in one_warehouse.list_datasets("p"):
        if dataset.dataset != "nycflights13":
            one_warehouse.delete_dataset("p", dataset.dataset, delete_contents=True)


@pytest.fixture
async def sandbox(settings: SandboxSettings, clock: Clock, warehouse: Warehouse) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(settings, clock=clock, warehouse=warehouse) as running:
        yield running


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(session, sandbox)


@pytest.fixture
def frozen_clock() -> Clock:
    return Clock(frozen_at=datetime(2026, 11, 24, 12, tzinfo=UTC))


@pytest.fixture
async def slow_api(settings: SandboxSettings, frozen_clock: Clock, warehouse: Warehouse) -> AsyncIterator[Api]:
    """Calls to a sandbox whose jobs take their natural time, by a clock that only the test moves."""
    slow = SandboxSettings(time_scale=1.0, users=settings.users)
    async with (
        Sandbox.start(slow, clock=frozen_clock, warehouse=warehouse) as running,
        aiohttp.ClientSession() as session,
    ):
        yield Api(session, running)


@contextmanager
def sandbox_in_thread(settings: SandboxSettings) -> Iterator[Sandbox]:
    """Serve from a thread with an event loop of its own."""
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    ready = threading.Event()
    running: list[Sandbox] = []

    async def serve() -> None:
        async with Sandbox.start(settings) as started:
            running.append(started)
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(60), "the sandbox did not start"
    try:
        yield running[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        loop.close()


@pytest.fixture(scope="session")
def threaded() -> Iterator[Sandbox]:
    """A sandbox for blocking clients; shared, so tests name their own datasets."""
    with sandbox_in_thread(SandboxSettings()) as running:
        yield running


@pytest.fixture
def client(threaded: Sandbox) -> Iterator[bigquery.Client]:
    """Google's own client, pointed at the sandbox."""
    with bigquery.Client(
        "acme",
        AnonymousCredentials(),  # type: ignore[no-untyped-call]  # Google gives it no types
        client_options={"api_endpoint": threaded.url},
        location="US",
    ) as made:
        yield made
    threaded.faults.clear()
