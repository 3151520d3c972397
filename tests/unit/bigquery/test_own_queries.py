"""The gate's own queries before a sandbox."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from bqgate.bigquery.credentials import AnonymousCredentials
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.bigquery.own_queries import GoogleOwnQueries
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.clock import SystemClock
from bqgate.domain.errors import UpstreamRefused, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.job import Outcome
from bqgate.domain.units import MIB
from bqgate.ports import QueryAnswer
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.sandbox.faults import Fault

FLIGHTS = "`p`.nycflights13.airlines"


class Scene:
    """A sandbox and queries before it."""

    def __init__(self, sandbox: Sandbox, upstream: HttpUpstream) -> None:
        self.sandbox = sandbox
        self.calls = JsonCalls(upstream)
        self.queries = GoogleOwnQueries(self.calls, SystemClock())

    async def run(self, sql: str, *, cap: int = 100 * MIB, **parameters: int | str | datetime) -> QueryAnswer:
        return await self.queries.run(
            sql, project_id="p", location="US", job_id="bqgate_own_h1", parameters=parameters, maximum_bytes_billed=cap
        )

    def calls_of(self, method: str) -> int:
        return len(self.sandbox.journal.entries(method=method))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with Sandbox.start(SandboxSettings(page_rows=3)) as sandbox:
        upstream = HttpUpstream(sandbox.url, AnonymousCredentials())
        yield Scene(sandbox, upstream)
        await upstream.close()


async def test_a_query_brings_all_of_its_rows(scene: Scene) -> None:
    """Page after page, with its parameters, and what its job used."""
    answer = await scene.run(f"SELECT carrier, name FROM {FLIGHTS} WHERE carrier > @a ORDER BY carrier", a="B")
    carriers = [row["carrier"] for row in answer.rows]
    assert len(carriers) > 6
    assert carriers == sorted(carriers)
    assert answer.rows[0]["name"] == "JetBlue Airways"
    assert answer.usage.outcome is Outcome.DONE
    assert answer.usage.bytes_billed == 10 * MIB


async def test_values_are_of_bigquerys_json(scene: Scene) -> None:
    """Moments are microseconds, numbers and flags text, lists tuples, records mappings."""
    at = datetime(2026, 11, 24, 12, 0, 0, 5, UTC)
    sql = "SELECT @at AS at, @n AS n, true AS t, [1, 2] AS l, STRUCT('x' AS a) AS s, CAST(NULL AS STRING) AS nothing"
    answer = await scene.run(sql, at=at, n=7)
    micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    wanted = {"at": str(micros), "n": "7", "t": "true", "l": ("1", "2"), "s": {"a": "x"}, "nothing": None}
    assert answer.rows == (wanted,)


async def test_a_query_is_capped_and_never_cached(scene: Scene) -> None:
    """The same query twice is two jobs that bill, and one past its cap is BigQuery's to refuse."""
    sql = f"SELECT name FROM {FLIGHTS}"
    await scene.run(sql)
    again = await scene.queries.run(
        sql, project_id="p", location="US", job_id="other", parameters={}, maximum_bytes_billed=100 * MIB
    )
    assert (again.usage.outcome, again.usage.bytes_billed) == (Outcome.DONE, 10 * MIB)
    with pytest.raises(UpstreamRefused) as refused:
        await scene.queries.run(
            "SELECT COUNT(tailnum) FROM `p`.nycflights13.flights",
            project_id="p",
            location="US",
            job_id="third",
            parameters={},
            maximum_bytes_billed=10 * MIB,
        )
    assert b"bytesBilledLimitExceeded" in refused.value.body


async def test_a_query_that_bigquery_does_not_understand_is_refused(scene: Scene) -> None:
    """With BigQuery's own words."""
    with pytest.raises(UpstreamRefused) as refused:
        await scene.run("SELECT * FROM nowhere.at_all")
    assert b"nowhere" in refused.value.body


@pytest.mark.parametrize("kind", ["lost", "cut"])
async def test_a_lost_answer_is_no_second_job(scene: Scene, kind: Literal["lost", "cut"]) -> None:
    """The job is looked up by its id, and its rows are brought."""
    scene.sandbox.faults.add(Fault(kind, method="jobs.insert", count=1))
    answer = await scene.run(f"SELECT name FROM {FLIGHTS} LIMIT 1")
    assert len(answer.rows) == 1
    assert len(list(scene.sandbox.jobs)) == 1


async def test_a_repeat_of_a_job_is_that_job(scene: Scene) -> None:
    """BigQuery's 409 says that it is there; its rows are its rows."""
    first = await scene.run("SELECT 1 AS n")
    assert (await scene.run("SELECT 1 AS n")).rows == first.rows
    assert len(list(scene.sandbox.jobs)) == 1


async def test_bigquery_away_is_said(scene: Scene) -> None:
    """Nothing was made: the call ends, and whether it runs is for its hold to find out."""
    scene.sandbox.faults.add(Fault("error", method="jobs.insert"))
    with pytest.raises(UpstreamUnavailable):
        await scene.run("SELECT 1")
    assert not list(scene.sandbox.jobs)


async def test_rows_are_bounded(scene: Scene) -> None:
    """A query that brings more than may be kept ends as no answer."""
    queries = GoogleOwnQueries(scene.calls, SystemClock(), rows_max=5)
    with pytest.raises(UpstreamUnavailable, match="more than 5 rows"):
        await queries.run(
            f"SELECT name FROM {FLIGHTS}",
            project_id="p",
            location="US",
            job_id="many",
            parameters={},
            maximum_bytes_billed=100 * MIB,
        )


async def test_a_long_value_is_read(scene: Scene) -> None:
    """A page of more than what is read at one go is read in turns, and is the same."""
    answer = await scene.run("SELECT REPEAT('ab', 100000) AS long, 1 AS n")
    assert answer.rows[0]["long"] == "ab" * 100_000


async def test_time_is_bounded() -> None:
    """A query that does not end is given up, and BigQuery has been told to end it."""
    async with Sandbox.start(SandboxSettings(time_scale=10_000.0)) as sandbox:
        upstream = HttpUpstream(sandbox.url, AnonymousCredentials())
        queries = GoogleOwnQueries(JsonCalls(upstream, timeout_s=2), SystemClock(), deadline_s=1)
        try:
            with pytest.raises(UpstreamTimeout, match="within 1 s"):
                await queries.run(
                    "SELECT COUNT(tailnum) FROM `p`.nycflights13.flights",
                    project_id="p",
                    location="US",
                    job_id="slow",
                    parameters={},
                    maximum_bytes_billed=2**50,
                )
            (job,) = sandbox.jobs
            assert job.configuration["jobTimeoutMs"] == 1_000
        finally:
            await upstream.close()
