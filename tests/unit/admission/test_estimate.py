import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bqgate.admission.estimates.dry_run_places import FairDryRuns
from bqgate.admission.estimates.estimator import EstimateCaching, Estimator
from bqgate.domain.errors import TooManyRequests, UpstreamUnavailable
from bqgate.domain.job import Estimate, Job, JobRef, QueryRequest, Usage
from bqgate.domain.principal import Credential
from bqgate.domain.tier import UNKNOWN_PROJECT
from bqgate.domain.touched import touched_names
from bqgate.wire.query_request import parse_query
from tests.support.hold_services import CountingTelemetry
from tests.support.manual_clock import ManualClock

ANN = Credential(subject="ann")
T = touched_names(["p.d.t"])


@dataclass
class SlowBigQuery:
    """BigQuery as far as dry runs go: each takes `takes_s` of the clock's time and reads the table that its SQL names.

    `size` is what a table holds at the moment at which a dry run begins.
    """

    clock: ManualClock
    takes_s: float = 0
    size: int = 100
    asked: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    failure: Exception | None = None

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        sql = body["configuration"]["query"]["query"]
        self.asked.append(sql)
        size, cached = self.size, body["configuration"]["query"]["useQueryCache"]
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.clock.sleep(self.takes_s)
        finally:
            self.under_way -= 1
        if self.failure is not None:
            raise self.failure
        return Estimate(size, "SELECT", 1, referenced_tables=(sql.split()[-1],), cache_hit=cached)

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        raise AssertionError("no job is asked after")

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        raise AssertionError("no statement is asked after")

    async def find_job(self, **_: Any) -> JobRef | None:
        raise AssertionError("no job is looked for")


@dataclass
class Scene:
    """An estimator and what happens to it."""

    clock: ManualClock
    bigquery: SlowBigQuery
    telemetry: CountingTelemetry
    estimator: Estimator
    tasks: "list[asyncio.Task[Estimate]]" = field(default_factory=list)

    def ask(self, sql: str = "SELECT a FROM p.d.t", customer: str = "acme") -> "asyncio.Task[Estimate]":
        """Ask for an estimate, without waiting for it."""
        return asyncio.create_task(self.estimator.estimate(query(sql), ANN, customer))

    async def settle(self) -> None:
        """Let all go as far as they come without time."""
        for _ in range(20):
            await self.clock.sleep(0)


def query(sql: str = "SELECT a FROM p.d.t") -> QueryRequest:
    return parse_query("p", {"query": sql, "useLegacySql": False})


def scene_of(**caching: int) -> Scene:
    clock, telemetry = ManualClock(), CountingTelemetry()
    bigquery = SlowBigQuery(clock)
    return Scene(clock, bigquery, telemetry, Estimator(bigquery, clock, telemetry, EstimateCaching(**caching)))


@pytest.fixture
async def scene() -> Scene:
    return scene_of()


async def test_a_write_lets_the_next_query_be_estimated_anew(scene: Scene) -> None:
    """A table grew by a write that the gate saw: the next estimate, and so the next cap, is of the new size."""
    assert (await scene.ask()).bytes_processed == 100
    scene.bigquery.size = 1_000
    assert (await scene.ask()).bytes_processed == 100, "nobody told"
    scene.estimator.drop(T)
    assert (await scene.ask()).bytes_processed == 1_000
    assert ("estimates_dropped_total", {}) in scene.telemetry.counted


async def test_a_write_elsewhere_drops_nothing(scene: Scene) -> None:
    """Who writes to another table costs nobody a dry run."""
    await scene.ask()
    scene.estimator.drop(touched_names(["p.d.other"]))
    await scene.ask()
    assert len(scene.bigquery.asked) == 1


async def test_a_dry_run_under_way_while_a_write_lands_is_not_kept(scene: Scene) -> None:
    """It may have seen the table before the write; who asked before the write gets it, nobody after."""
    scene.bigquery.takes_s = 1
    early = scene.ask()
    await scene.clock.wait_for_sleepers()
    scene.estimator.drop(T)
    scene.bigquery.size = 1_000
    late = scene.ask()
    await scene.settle()
    scene.clock.advance(1)
    assert (await early).bytes_processed == 100
    await scene.clock.wait_for_sleepers()
    scene.clock.advance(1)
    assert (await late).bytes_processed == 1_000, "it joined before the write was known to concern it"
    assert (await scene.ask()).bytes_processed == 1_000
    assert len(scene.bigquery.asked) == 2


async def test_a_write_elsewhere_does_not_disturb_a_dry_run_under_way(scene: Scene) -> None:
    """It is joined and kept."""
    scene.bigquery.takes_s = 1
    first = scene.ask()
    await scene.clock.wait_for_sleepers()
    scene.estimator.drop(touched_names(["p.d.other"]))
    second = scene.ask()
    await scene.settle()
    scene.clock.advance(1)
    await asyncio.gather(first, second)
    await scene.ask()
    assert len(scene.bigquery.asked) == 1


async def test_writes_without_end_do_not_keep_a_query_from_its_estimate(scene: Scene) -> None:
    """Under a stream of writes to its table it asks anew a few times, then takes what there is."""
    scene.bigquery.takes_s = 1
    asking = scene.ask()
    joined = None
    while not asking.done():
        await scene.clock.wait_for_sleepers()
        scene.estimator.drop(T)
        joined = joined or scene.ask()
        await scene.settle()
        scene.clock.advance(1)
        await scene.settle()
    assert joined is not None
    for _ in range(5):
        scene.estimator.drop(T)
        scene.clock.advance(1)
        await scene.settle()
    assert joined.done()


async def test_an_estimate_that_proved_wrong_is_forgotten(scene: Scene) -> None:
    """The next is a new one, also while the old dry run is still under way."""
    await scene.ask()
    scene.bigquery.size = 1_000
    scene.estimator.forget(query(), ANN)
    assert (await scene.ask()).bytes_processed == 1_000
    scene.clock.advance(61)
    scene.bigquery.takes_s = 1
    old = scene.ask()
    await scene.clock.wait_for_sleepers()
    scene.bigquery.size = 2_000
    scene.estimator.forget(query(), ANN)
    new = scene.ask()
    await scene.clock.wait_for_sleepers(2)
    scene.clock.advance(1)
    assert ((await old).bytes_processed, (await new).bytes_processed) == (1_000, 2_000)
    assert (await scene.ask()).bytes_processed == 2_000


async def test_four_hundred_slow_dry_runs_keep_nobody_else_waiting(scene: Scene) -> None:
    """One customer's fill its share of the places; another's first is made at once, and never more than there are."""
    scene.bigquery.takes_s = 5
    slow = [scene.ask(f"SELECT {number} FROM p.d.t", "slow") for number in range(400)]
    await scene.clock.wait_for_sleepers(75)
    other = scene.ask("SELECT b FROM p.d.t", "other")
    await scene.settle()
    assert scene.bigquery.asked[-1] == "SELECT b FROM p.d.t"
    for _ in range(30):
        scene.clock.advance(5)
        await scene.settle()
    await other
    await asyncio.gather(*slow)
    assert scene.bigquery.most_under_way <= 100
    assert len(scene.bigquery.asked) == 401


async def test_one_callers_many_tokens_are_one_in_the_line(scene: Scene) -> None:
    """Whoever has a thousand tokens of its own waits no less than who has one, also where no customer is known yet."""
    scene = scene_of(max_dry_runs=1)
    scene.bigquery.takes_s = 1
    for number in range(20):
        eve = Credential(f"Bearer ya29.eve-{number}", subject="google:eve@evil.example")
        asking = scene.estimator.estimate(query(f"SELECT {number} FROM p.d.eves"), eve, UNKNOWN_PROJECT)
        scene.tasks.append(asyncio.create_task(asking))
    await scene.clock.wait_for_sleepers()
    bob = Credential("Bearer ya29.bob", subject="google:bob@beta.example")
    asking = scene.estimator.estimate(query("SELECT b FROM p.d.bobs"), bob, UNKNOWN_PROJECT)
    scene.tasks.append(asyncio.create_task(asking))
    for _ in range(22):
        await scene.settle()
        scene.clock.advance(1)
    await asyncio.gather(*scene.tasks)
    assert scene.bigquery.asked.index("SELECT b FROM p.d.bobs") <= 2


async def test_customers_do_not_wait_in_one_anothers_line() -> None:
    """The same query of two customers is two dry runs: joining another's would mean to wait behind its others."""
    scene = scene_of(max_dry_runs=2)
    scene.bigquery.takes_s = 1
    asked = [scene.ask("SELECT a FROM p.d.t", customer) for customer in ("a", "b", "b")]
    await scene.settle()
    scene.clock.advance(1)
    await scene.settle()
    scene.clock.advance(1)
    await asyncio.gather(*asked)
    assert len(scene.bigquery.asked) == 2


async def test_a_second_look_takes_a_place_and_is_shared() -> None:
    """It stands in the same line, and many who look for the same at once make one call; it is never kept."""
    scene = scene_of(max_dry_runs=1)
    scene.bigquery.takes_s = 1
    first = scene.ask("SELECT 1 FROM p.d.u")
    await scene.clock.wait_for_sleepers()
    looks = [asyncio.create_task(scene.estimator.is_cached(query(), ANN, "acme")) for _ in range(5)]
    await scene.settle()
    assert len(scene.bigquery.asked) == 1
    for _ in range(2):
        scene.clock.advance(1)
        await scene.settle()
    await first
    assert await asyncio.gather(*looks) == [True] * 5
    assert len(scene.bigquery.asked) == 2
    looking = asyncio.create_task(scene.estimator.is_cached(query(), ANN, "acme"))
    await scene.clock.wait_for_sleepers()
    scene.clock.advance(1)
    assert await looking
    assert len(scene.bigquery.asked) == 3


async def test_other_dry_runs_take_places_too() -> None:
    """Those of advice and of isolation wait like everybody's."""
    scene = scene_of(max_dry_runs=1)
    scene.bigquery.takes_s = 1
    first = scene.ask()
    await scene.clock.wait_for_sleepers()
    fair = FairDryRuns(scene.bigquery, scene.estimator.places)
    body = {"configuration": {"query": {"query": "SELECT c FROM p.d.t", "useQueryCache": False}}}
    second = asyncio.create_task(fair.dry_run(project_id="p", body=body, credential=ANN))
    await scene.settle()
    assert len(scene.bigquery.asked) == 1
    for _ in range(2):
        scene.clock.advance(1)
        await scene.settle()
    assert [each.bytes_processed for each in await asyncio.gather(first, second)] == [100, 100]


async def test_a_caller_that_leaves_gives_its_place_back_and_asks_nothing() -> None:
    """No dry run is made for somebody who is gone; who stands behind moves up."""
    scene = scene_of(max_dry_runs=1)
    scene.bigquery.takes_s = 1
    asked = [scene.ask(f"SELECT {number} FROM p.d.t") for number in range(3)]
    await scene.clock.wait_for_sleepers()
    asked[1].cancel()
    await asyncio.wait({asked[1]})
    await scene.settle()
    assert scene.estimator.places.waiting_count == 1
    for _ in range(2):
        scene.clock.advance(1)
        await scene.settle()
    await asyncio.gather(asked[0], asked[2])
    assert scene.bigquery.asked == ["SELECT 0 FROM p.d.t", "SELECT 2 FROM p.d.t"]
    assert (0, 0) == (scene.estimator.places.waiting_count, scene.estimator.places.taken_count)


async def test_a_caller_that_leaves_takes_no_other_with_it() -> None:
    """Its dry run is made while anybody who joined still wants it, and finished once it was sent."""
    scene = scene_of(max_dry_runs=1)
    scene.bigquery.takes_s = 1
    sent, waits = scene.ask("SELECT 1 FROM p.d.t"), scene.ask("SELECT 2 FROM p.d.t")
    await scene.clock.wait_for_sleepers()
    joined = scene.ask("SELECT 2 FROM p.d.t")
    await scene.settle()
    for leaving in (sent, waits):
        leaving.cancel()
    await asyncio.wait({sent, waits})
    for _ in range(2):
        scene.clock.advance(1)
        await scene.settle()
    assert (await joined).bytes_processed == 100
    assert (await scene.ask("SELECT 1 FROM p.d.t")).bytes_processed == 100
    assert len(scene.bigquery.asked) == 2


@asynccontextmanager
async def full(scene: Scene) -> AsyncIterator[None]:
    """One place, taken by a dry run that takes a minute."""
    scene.bigquery.takes_s = 60
    first = scene.ask("SELECT 0 FROM p.d.t")
    await scene.clock.wait_for_sleepers()
    yield
    scene.clock.advance(60)
    await first


async def test_who_waits_too_long_is_sent_away() -> None:
    """After the deadline, and not before; clients have not given up by then."""
    scene = scene_of(max_dry_runs=1, waiting_deadline_s=30)
    async with full(scene):
        late = scene.ask("SELECT 1 FROM p.d.t")
        await scene.clock.wait_for_sleepers(2)
        scene.clock.advance(29)
        await scene.settle()
        assert not late.done()
        scene.clock.advance(1)
        with pytest.raises(TooManyRequests, match="30 s"):
            await late
        assert Counter(labels.get("where") for _, labels in scene.telemetry.counted)["dry_run_deadline"] == 1
    await scene.settle()
    assert scene.clock.sleeper_count == 0, "nobody watches deadlines where nobody waits"


async def test_past_its_bound_the_queue_sends_away() -> None:
    """429 at once, and who has less waiting finds room."""
    scene = scene_of(max_dry_runs=1, max_waiting=2)
    async with full(scene):
        waiting = [scene.ask(f"SELECT {number} FROM p.d.t") for number in (1, 2, 3)]
        await scene.settle()
        with pytest.raises(TooManyRequests, match="waiting for their dry runs"):
            await waiting[2]
        other = scene.ask("SELECT 4 FROM p.d.t", "other")
        await scene.settle()
        assert [each.done() for each in (*waiting, other)] == [False, True, True, False]
        for each in (*waiting, other):
            each.cancel()
        assert isinstance(waiting[1].exception(), TooManyRequests)
        await asyncio.wait({waiting[0], other})


async def test_a_failure_gives_the_place_back(scene: Scene) -> None:
    """Nothing is kept of it, and nothing is left taken."""
    scene.bigquery.failure = UpstreamUnavailable("gone")
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable):
            await scene.ask()
    assert (2, 0) == (len(scene.bigquery.asked), scene.estimator.places.taken_count)


async def test_a_gate_that_stops_answers_who_waits() -> None:
    """At once and with 429, so that the caller asks another gate; what is under way is finished."""
    scene = scene_of(max_dry_runs=1)
    async with full(scene):
        waiting = scene.ask("SELECT 1 FROM p.d.t")
        await scene.settle()
        scene.estimator.places.close()
        with pytest.raises(TooManyRequests, match="stopping"):
            await waiting
        with pytest.raises(TooManyRequests, match="stopping"):
            await scene.ask("SELECT 2 FROM p.d.t")
    assert scene.bigquery.asked == ["SELECT 0 FROM p.d.t"]
