import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from bqgate.advice import query_advisor as room
from bqgate.advice.query_advisor import UNDER_WAY_MAX, Asking, QueryAdvisor
from bqgate.domain.errors import BqgateError, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import Estimate, Job, JobRef, QueryRequest, Usage
from bqgate.domain.principal import Credential
from bqgate.domain.table import TableFacts
from bqgate.domain.units import GIB
from bqgate.wire.query_request import parse_insert, parse_query
from tests.support.manual_clock import ManualClock

SQL = "SELECT a FROM `p.d.events`"
CALLER = Credential("Bearer caller")
ESTIMATE = Estimate(900 * GIB, "SELECT", 1, referenced_tables=("p.d.events", "home.d.events"))
EVENTS = TableFacts("p", "d", "events", partition_column="day", column_types={"day": "DATE"})


@dataclass
class Counts:
    """A journal that keeps what became of each advice."""

    results: list[str] = field(default_factory=list)

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        assert name == "advice_total"
        self.results += [labels["result"]] * amount

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        raise AssertionError(name, value_s, labels)

    def log(self, event: str, /, **fields: object) -> None:
        raise AssertionError(event, fields)


@dataclass
class Google:
    """BigQuery, outside of the gate: one table, one estimate, or a failure of either."""

    facts: TableFacts = EVENTS
    rewritten: Estimate = field(default_factory=lambda: Estimate(12 * GIB, "SELECT", 1))
    tables_failure: BqgateError | None = None
    dry_run_failure: BqgateError | None = None
    asked: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def fetch_table(
        self, *, project_id: str, dataset_id: str, table_id: str, credential: Credential
    ) -> TableFacts:
        assert credential == CALLER
        self.asked.append(f"{project_id}.{dataset_id}.{table_id}")
        if self.tables_failure is not None:
            raise self.tables_failure
        return self.facts

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        assert (project_id, credential) == ("home", CALLER)
        self.bodies.append(body)
        if self.dry_run_failure is not None:
            raise self.dry_run_failure
        return self.rewritten

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        raise AssertionError(job, credential)

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        raise AssertionError("nobody asks after statements of scripts")

    async def find_job(self, **wanted: Any) -> JobRef | None:
        raise AssertionError(wanted)


def by_query(sql: str = SQL, **more: Any) -> QueryRequest:
    return parse_query("home", {"query": sql, "useLegacySql": False, **more})


def by_insert(sql: str = SQL, **more: Any) -> QueryRequest:
    request = parse_insert("home", {"configuration": {"query": {"query": sql, "useLegacySql": False, **more}}})
    assert request is not None
    return request


@asynccontextmanager
async def mending(
    google: Google | None = None, *, deadline_s: float = 30
) -> AsyncIterator[tuple[QueryAdvisor, Counts, ManualClock]]:
    counts, clock = Counts(), ManualClock()
    asking = None if google is None else Asking(google, google)
    advisor = QueryAdvisor(clock=clock, telemetry=counts, deadline_s=deadline_s, asking=asking)
    try:
        yield advisor, counts, clock
    finally:
        await advisor.close()


@pytest.mark.parametrize("request_of", [by_query, by_insert])
async def test_the_mended_query_is_estimated_in_the_callers_name(request_of: Any) -> None:
    """One look at the table, one dry run of the query with the missing filter, and what that would save."""
    google = Google()
    async with mending(google) as (advisor, counts, clock):
        advice = await advisor.advise(request_of(), ESTIMATE, CALLER)
        week_ago = (clock.now() - timedelta(days=7)).date()
    assert "it would process 12.0 GiB instead of 900.0 GiB" in advice
    assert google.asked == ["p.d.events"]
    (body,) = google.bodies
    query = body["configuration"]["query"]
    assert body["configuration"]["dryRun"] is True
    assert query["query"] == f"SELECT a FROM `p.d.events` WHERE `events`.`day` >= '{week_ago}'"
    assert counts.results == ["given"]


async def test_nothing_is_asked_where_the_settings_say_text_alone() -> None:
    """The query's text is all that is looked at."""
    async with mending() as (advisor, counts, _):
        assert "SELECT * reads every column of d.t" in await advisor.advise(
            by_query("SELECT * FROM d.t"), ESTIMATE, CALLER
        )
        assert await advisor.advise(by_query("SELECT 1"), ESTIMATE, CALLER) == ""
    assert counts.results == ["given", "nothing"]


@pytest.mark.parametrize(
    ("sql", "options", "asked"),
    [
        ("SELECT a FROM d.events", {}, ["home.d.events"]),
        ("SELECT a FROM events", {"defaultDataset": {"projectId": "p", "datasetId": "d"}}, ["p.d.events"]),
        ("SELECT a FROM events", {"defaultDataset": {"datasetId": "d"}}, ["home.d.events"]),
        ("SELECT a FROM events", {}, []),
        ("SELECT a FROM p.d.secret", {}, []),
    ],
)
async def test_only_tables_that_the_query_may_read_are_looked_at(
    sql: str, options: dict[str, Any], asked: list[str]
) -> None:
    """Names are completed as BigQuery does it, and only those that its own dry run named are asked for."""
    for request_of in (by_query, by_insert):
        google = Google()
        async with mending(google) as (advisor, _, _):
            await advisor.advise(request_of(sql, **options), ESTIMATE, CALLER)
        assert google.asked == asked


@pytest.mark.parametrize(
    ("google", "sentence"),
    [
        (Google(tables_failure=UpstreamRefused(403, b"{}")), "p.d.events is read without a filter"),
        (Google(tables_failure=UpstreamUnavailable("away")), "p.d.events is read without a filter"),
        (Google(dry_run_failure=UpstreamRefused(400, b"{}")), "No filter prunes the partitions of p.d.events"),
        (Google(dry_run_failure=UpstreamUnavailable("away")), "No filter prunes the partitions of p.d.events"),
        (Google(rewritten=Estimate(0, "", 0, unknown_because="federated")), "No filter prunes the partitions"),
    ],
)
async def test_a_failure_leaves_what_was_known_before_it(google: Google, sentence: str) -> None:
    """BigQuery may refuse or be away; advice gets poorer, and no number is made up."""
    async with mending(google) as (advisor, _, _):
        advice = await advisor.advise(by_query(), ESTIMATE, CALLER)
    assert advice.startswith(sentence)
    assert "GiB" not in advice


@pytest.mark.parametrize(
    "request_",
    [by_query("SELECT a FROM [p:d.t]"), by_query(useLegacySql=True), by_query("SELEC 1"), by_query("(" * 5_000)],
)
async def test_what_cannot_be_read_gets_no_advice(request_: QueryRequest) -> None:
    """Legacy SQL, nonsense and bottomless nesting: the refusal goes out as it is."""
    async with mending(Google()) as (advisor, counts, _):
        assert await advisor.advise(request_, ESTIMATE, CALLER) == ""
    assert counts.results == ["nothing"]


async def test_a_repeated_query_is_not_looked_at_again() -> None:
    """For a minute a client that hammers costs nothing; another caller is looked at anew."""
    google = Google()
    async with mending(google) as (advisor, _, clock):
        first = await advisor.advise(by_query(), ESTIMATE, CALLER)
        assert await advisor.advise(by_query(), ESTIMATE, CALLER) == first
        assert len(google.bodies) == 1
        clock.advance(60)
        assert await advisor.advise(by_query(), ESTIMATE, CALLER) == first
        assert len(google.bodies) == 2


async def test_time_and_places_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is read for ever: each refusal waits for its deadline at most, and soon none waits at all.

    When the thread is free again, so are the places.
    """
    release = threading.Event()

    def read_for_ever(_sql: str) -> None:
        release.wait(60)

    monkeypatch.setattr(room, "read_shape", read_for_ever)
    async with mending(deadline_s=0.01) as (advisor, counts, _):
        for number in range(UNDER_WAY_MAX + 2):
            assert await advisor.advise(by_query(f"SELECT {number}"), ESTIMATE, CALLER) == ""
        assert counts.results == ["late"] * UNDER_WAY_MAX + ["busy"] * 2
        release.set()
        await asyncio.get_running_loop().run_in_executor(advisor._reader, bool)  # behind all that is being read
        await advisor.advise(by_query("SELECT 100"), ESTIMATE, CALLER)
    assert counts.results[-1] == "nothing"


async def test_what_was_found_before_the_deadline_is_told() -> None:
    """A slow BigQuery costs the numbers, not the sentence."""

    class SlowGoogle(Google):
        async def dry_run(self, **_wanted: Any) -> Estimate:
            await asyncio.Event().wait()
            raise AssertionError

    async with mending(SlowGoogle(), deadline_s=1) as (advisor, counts, _):
        advice = await advisor.advise(by_query(), ESTIMATE, CALLER)
    assert advice.startswith("No filter prunes the partitions of p.d.events (partitioned by day).")
    assert counts.results == ["late"]
