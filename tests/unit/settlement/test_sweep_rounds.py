"""Tests of bqgate.settlement.sweep: how far each round goes, what stops it, and what a crash leaves."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bqgate.domain.entry import Entry, Origin
from bqgate.domain.errors import LedgerUnavailable, OwnQueriesSpent, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.place import Place
from bqgate.settlement.sweep.pending_jobs import JOBLESS_FOR
from bqgate.settlement.sweep.sweep import FIRST_LOOK_BACK, SweepPace
from bqgate.wire.error_reply import error_body
from tests.support.ledgers import make_entry
from tests.support.settlement_stand import usd
from tests.support.sweep_stand import SweepStand, sweep_stand

PROD = Place("acme-prod")
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[SweepStand]:
    async with sweep_stand(tmp_path) as opened:
        yield opened


def names(entries: list[Entry]) -> set[str]:
    return {each.job.job_id for each in entries if each.job is not None}


async def mark_of(stand: SweepStand, place: Place = PROD) -> datetime | None:
    return (await stand.state.fetch_marks()).get(place)


def spans(stand: SweepStand, place: Place = PROD) -> list[tuple[datetime, datetime]]:
    return [(since, until) for asked, since, until in stand.bigquery.asked if asked == place]


def refusal(reason: str = "accessDenied") -> UpstreamRefused:
    return UpstreamRefused(403, error_body(403, reason, "Access Denied: Project acme-prod"))


async def test_a_first_start_books_nothing_of_before(stand: SweepStand) -> None:
    """Jobs that are older than the ledger were nobody's to book; from here on they are."""
    now = stand.stand.clock.now()
    stand.bigquery.run("old", at=now - MINUTE)
    sweep = await stand.begin()
    assert await mark_of(stand) == now
    stand.bigquery.run("new", at=now + MINUTE)
    stand.stand.clock.advance(120)
    await sweep.sweep()
    assert names(await stand.entries()) == {"new"}
    assert len(spans(stand)) == 1


async def test_a_ledger_that_is_there_already_is_looked_through_for_a_day(stand: SweepStand) -> None:
    """A gate that was upgraded finds the bypass of the last day, not of years."""
    now = stand.stand.clock.now()
    await stand.stand.ledger.book(make_entry("h1", booked_at=now - timedelta(days=300)))
    stand.bigquery.run("yesterday", at=now - timedelta(hours=20))
    stand.bigquery.run("before", at=now - FIRST_LOOK_BACK - MINUTE)
    await stand.begin()
    assert names(await stand.entries()) == {"job-of-h1", "yesterday"}


async def test_a_round_over_hundreds_of_projects_is_a_few_tasks(stand: SweepStand) -> None:
    """All are looked at; of ten thousand customers, a task for each took twenty megabytes and half a second a round."""
    projects = [f"project-{number}" for number in range(300)]
    sweep = await stand.begin(stand.sweep(projects=projects))
    stand.stand.clock.advance(60)
    others, most = len(asyncio.all_tasks()), 0
    round_ = asyncio.create_task(sweep.sweep())
    while not round_.done():
        most = max(most, len(asyncio.all_tasks()) - others)
        await asyncio.sleep(0)  # noqa: TID251 - gives way, and waits for nothing
    await round_
    assert {Place(project) for project in projects} <= {place for place, _, _ in stand.bigquery.asked}
    assert most < 30


async def test_whoever_asks_for_more_gets_it(stand: SweepStand) -> None:
    """With look_back_days the first look goes back so far, even to before the ledger."""
    now = stand.stand.clock.now()
    stand.bigquery.run("old", at=now - timedelta(days=29))
    await stand.begin(stand.sweep(SweepPace(look_back=timedelta(days=30))))
    assert names(await stand.entries()) == {"old"}


async def test_jobs_that_are_shown_late_are_found_in_the_overlap(stand: SweepStand) -> None:
    """BigQuery shows a job minutes after it was made: rounds begin behind the mark."""
    sweep = await stand.begin()
    stand.stand.clock.advance(60)
    stand.bigquery.run("late", at=stand.stand.clock.now())
    stand.bigquery.unlisted = {"late"}
    stand.stand.clock.advance(300)
    await sweep.sweep()
    stand.bigquery.unlisted = set()
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert names(await stand.entries()) == {"late"}


async def test_an_outage_is_caught_up_with_in_pieces(stand: SweepStand) -> None:
    """After three days without a sweep, everything since the mark is read, in pieces that each have a mark."""
    await stand.begin()
    begun = stand.stand.clock.now()
    for hour in range(72):
        stand.bigquery.run(f"job-{hour}", at=begun + timedelta(hours=hour, minutes=30))
    stand.stand.clock.advance(72 * 3600)
    stand.bigquery.asked.clear()
    stand.bigquery.failures["acme-prod"] = []
    await stand.sweep().sweep()
    assert len(await stand.entries()) == 72
    assert len(spans(stand)) > 10
    assert await mark_of(stand) == stand.stand.clock.now()


async def test_a_span_with_too_many_jobs_is_cut(stand: SweepStand) -> None:
    """More jobs than are kept in memory at once are read in shorter spans, none of them twice or never."""
    await stand.begin()
    begun = stand.stand.clock.now()
    for number in range(100):
        stand.bigquery.run(f"job-{number}", at=begun + timedelta(seconds=number))
    stand.bigquery.jobs_max = 7
    stand.stand.clock.advance(3600)
    await stand.sweep().sweep()
    assert len(await stand.entries()) == 100
    assert await mark_of(stand) == stand.stand.clock.now()


async def test_many_jobs_of_one_minute_are_read_in_few_questions(stand: SweepStand) -> None:
    """Where jobs are dense, each span begins at about the length of the last one that was short enough."""
    await stand.begin()
    at = stand.stand.clock.now()
    stand.bigquery.jobs_max = 10
    for number in range(200):
        stand.bigquery.run(f"job-{number}", at=at + number * timedelta(milliseconds=300), mib=0)
    stand.bigquery.asked.clear()
    stand.stand.clock.advance(60)
    await stand.sweep().sweep()
    assert stand.counted("bypass") + stand.counted("free") == 200
    assert len(spans(stand)) < 75


async def test_more_jobs_of_one_moment_than_are_read_are_not_passed_over(stand: SweepStand) -> None:
    """Where no span is short enough, the mark stays before it, and the failure is told."""
    await stand.begin()
    moment = stand.stand.clock.now() + MINUTE
    for number in range(10):
        stand.bigquery.run(f"job-{number}", at=moment)
    stand.bigquery.jobs_max = 7
    stand.stand.clock.advance(3600)
    await stand.sweep().sweep()
    mark = await mark_of(stand)
    assert mark is not None
    assert mark <= moment
    assert stand.stand.metrics.value("bqgate_failures_total", system="bigquery", step="sweep") == 1


async def test_a_job_that_runs_is_asked_after_until_it_ends(stand: SweepStand) -> None:
    """One that was made before the mark and ended hours later is booked, also by a sweep that was started since."""
    await stand.begin()
    stand.stand.clock.advance(60)
    job = stand.bigquery.run("long", at=stand.stand.clock.now(), is_running=True)
    for _ in range(3):
        stand.stand.clock.advance(3600)
        await stand.sweep().sweep()
    assert await stand.entries() == []
    ended = stand.bigquery.run("unused", at=stand.stand.clock.now(), project="elsewhere")
    stand.bigquery.change(job, usage=ended.usage)
    stand.stand.clock.advance(60)
    await stand.sweep().sweep()
    (entry,) = await stand.entries()
    assert entry.origin is Origin.BYPASS
    assert await stand.state.fetch_pending("acme-prod") == ()


async def test_a_query_without_a_job_that_runs_is_read_again(stand: SweepStand) -> None:
    """jobs.get does not know it; the span in which it was made is read until it has ended."""
    await stand.begin(stand.sweep(by_region=True, regions=["us"]))
    stand.stand.clock.advance(60)
    job = stand.bigquery.run("query-id", at=stand.stand.clock.now(), is_running=True)
    stand.bigquery.jobless = {"query-id"}
    for _ in range(4):
        stand.stand.clock.advance(3600)
        await stand.sweep(by_region=True, regions=["us"]).sweep()
    assert await stand.entries() == []
    other = stand.bigquery.run("unused", at=stand.stand.clock.now(), project="elsewhere")
    stand.bigquery.change(job, usage=other.usage)
    await stand.sweep(by_region=True, regions=["us"]).sweep()
    assert len(await stand.entries()) == 1
    assert await stand.state.fetch_pending("acme-prod") == ()


async def test_what_has_vanished_is_counted_and_let_go_of(stand: SweepStand) -> None:
    """A running job that was deleted, or never ends: nobody can learn its cost, and it is not asked after for ever."""
    for by_region, patience_s in ((False, 60.0), (True, JOBLESS_FOR.total_seconds() + 60)):
        await stand.begin(stand.sweep(by_region=by_region, regions=["us"]))
        stand.stand.clock.advance(60)
        job = stand.bigquery.run(f"deleted-{by_region}", at=stand.stand.clock.now(), is_running=True)
        stand.stand.clock.advance(60)
        await stand.sweep(by_region=by_region, regions=["us"]).sweep()
        stand.bigquery.jobs.remove(job)
        stand.stand.clock.advance(patience_s)
        await stand.sweep(by_region=by_region, regions=["us"]).sweep()
        assert await stand.state.fetch_pending("acme-prod") == ()
    assert stand.counted("vanished") == 2


async def test_a_project_that_refuses_stops_nobody(stand: SweepStand) -> None:
    """It is said once, with the role that it takes, and left alone for a while; the others go on, its mark stays."""
    sweep = await stand.begin()
    before = await mark_of(stand)
    stand.stand.clock.advance(60)
    stand.bigquery.run("elsewhere", at=stand.stand.clock.now(), project="shared")
    stand.bigquery.run("unseen", at=stand.stand.clock.now())
    stand.bigquery.failures["acme-prod"] = [refusal() for _ in range(100)]
    for _ in range(5):
        stand.stand.clock.advance(60)
        await sweep.sweep()
    assert names(await stand.entries()) == {"elsewhere"}
    assert await mark_of(stand) == before
    lines = [line for line in stand.stand.log.getvalue().splitlines() if "sweep_refused" in line]
    assert len(lines) == 1
    assert "roles/bigquery.resourceViewer" in lines[0]
    assert stand.places.refused_count == 1
    stand.bigquery.failures.clear()
    stand.stand.clock.advance(3600)
    await sweep.sweep()
    assert names(await stand.entries()) == {"elsewhere", "unseen"}
    assert stand.places.refused_count == 0


async def test_masked_jobs_are_neither_absent_nor_free(stand: SweepStand) -> None:
    """Where BigQuery shows others' jobs without their makers and figures, it counts as a refusal: the mark stays."""
    sweep = await stand.begin()
    before = await mark_of(stand)
    stand.bigquery.masked = {"acme-prod"}
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert await mark_of(stand) == before
    assert stand.counted("masked") == 1
    assert stand.places.refused_count == 1


async def test_a_region_that_is_away_keeps_the_mark(stand: SweepStand) -> None:
    """What the others listed is booked at once; what it has not is found when it is back."""
    sweep = await stand.begin()
    before = await mark_of(stand)
    stand.bigquery.missing = {"acme-prod"}
    stand.stand.clock.advance(1800)
    stand.bigquery.run("seen", at=stand.stand.clock.now() - MINUTE)
    await sweep.sweep()
    assert names(await stand.entries()) == {"seen"}
    assert await mark_of(stand) == before
    stand.bigquery.missing = set()
    stand.bigquery.run("from-there", at=stand.stand.clock.now() - timedelta(minutes=25))
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert names(await stand.entries()) == {"seen", "from-there"}


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamUnavailable("503"),
        UpstreamRefused(403, error_body(403, "rateLimitExceeded", "Exceeded rate limits")),
        LedgerUnavailable("away"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_what_fails_for_a_while_is_caught_up_with(stand: SweepStand, failure: Exception) -> None:
    """A round that BigQuery, its limits or the ledger breaks off goes on from its mark at the next one."""
    sweep = await stand.begin()
    stand.stand.clock.advance(60)
    stand.bigquery.run("waiting", at=stand.stand.clock.now())
    stand.bigquery.failures["acme-prod"] = [failure, failure]
    for _ in range(3):
        assert await stand.entries() == []
        stand.stand.clock.advance(1200)
        await sweep.sweep()
    assert names(await stand.entries()) == {"waiting"}
    assert stand.places.refused_count == 0


async def test_a_crash_before_the_mark_moves_books_nothing_twice(stand: SweepStand) -> None:
    """Booked, and the mark not yet written: the next sweep looks at the same jobs, and each is booked once."""
    await stand.begin()
    stand.stand.clock.advance(60)
    for number in range(5):
        stand.bigquery.run(f"job-{number}", at=stand.stand.clock.now())
    stand.stand.clock.advance(60)
    before = await mark_of(stand)
    assert before is not None
    await stand.sweep().sweep()
    await forget_marks(stand)
    await stand.state.advance(PROD, swept_until=before, pending=())
    await stand.sweep().sweep()
    assert len(await stand.entries()) == 5


async def test_projects_and_regions_are_learnt(stand: SweepStand) -> None:
    """Beside those of customers: shared ones, those of the settings, those booked in of late, regions seen there."""
    now = stand.stand.clock.now()
    await stand.stand.ledger.book(make_entry("h1", booked_at=now))
    stand.bigquery.run("tokyo", at=now, location="asia-northeast1")
    sweep = stand.sweep(by_region=True, projects=["more"], regions=["EU"])
    await sweep.sweep()
    stand.stand.clock.advance(60)
    await sweep.sweep()
    asked = {place for place, _, _ in stand.bigquery.asked}
    assert Place("acme-prod", "asia-northeast1") in asked
    assert Place("acme-prod", "us") in asked
    assert {Place("more", "eu"), Place("shared", "eu")} <= asked


async def test_names_that_are_no_names_are_not_asked_for(stand: SweepStand) -> None:
    """What callers wrote as a project or a location goes into no question."""
    now = stand.stand.clock.now()
    entry = make_entry("h1", booked_at=now)
    assert entry.job is not None
    strange = type(entry.job)("acme-prod", "job", "us`.x; DROP TABLE y")
    await stand.stand.ledger.book(make_entry("h1", booked_at=now, job=strange))
    sweep = stand.sweep(by_region=True, regions=["eu"])
    await sweep.sweep()
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert {place.region for place, _, _ in stand.bigquery.asked} == {"eu"}


async def test_how_far_behind_it_is(stand: SweepStand) -> None:
    """The age of the oldest mark grows while a project cannot be read."""
    sweep = await stand.begin()
    assert sweep.mark_age_s == 0
    stand.bigquery.failures["acme-prod"] = [UpstreamUnavailable("503")] * 5
    stand.stand.clock.advance(300)
    await sweep.sweep()
    assert sweep.mark_age_s == 300


async def test_budgets_learn_of_what_was_booked_before_a_failure(stand: SweepStand) -> None:
    """A ledger that takes all but one of some jobs keeps the budgets from none of those that it has."""
    sweep = await stand.begin()
    assert usd(await stand.stand.balance(stand.gate)) == (0, 0)
    now = stand.stand.clock.now()
    for number in range(120):
        stand.bigquery.run(f"past-{number:03}", at=now, mib=1 if number < 2 else 0, outcome=Outcome.STOPPED)
    stand.stand.clock.advance(60)
    with stand.stand.ledger_refuses("past-001"):
        await sweep.sweep()
    assert names(await stand.entries()) == {"past-000"}
    assert usd(await stand.stand.balance(stand.gate)) == (1, 0)


async def test_a_mark_of_the_future_is_no_mark(stand: SweepStand) -> None:
    """A clock that was ahead for a while, and set back, keeps no job from being seen: it is looked anew, a day back."""
    await stand.stand.ledger.book(make_entry("h1", booked_at=stand.stand.clock.now() - timedelta(hours=3)))
    await stand.state.advance(PROD, swept_until=stand.stand.clock.now() + timedelta(days=2), pending=())
    stand.bigquery.run("before", at=stand.stand.clock.now() - timedelta(hours=2))
    sweep = await stand.begin()
    assert names(await stand.entries()) >= {"before"}
    assert await mark_of(stand) == stand.stand.clock.now()
    stand.stand.clock.advance(60)
    stand.bigquery.run("after", at=stand.stand.clock.now())
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert names(await stand.entries()) >= {"after"}


async def test_clocks_that_differ_a_little_pass_nothing_over(stand: SweepStand) -> None:
    """A mark that another replica's clock has put half a minute ahead is gone on from."""
    now = stand.stand.clock.now()
    await stand.state.advance(PROD, swept_until=now + timedelta(seconds=30), pending=())
    stand.bigquery.run("just-now", at=now - timedelta(seconds=1))
    await stand.begin()
    assert names(await stand.entries()) == {"just-now"}


async def test_a_project_that_refused_from_the_first_is_caught_up_with(stand: SweepStand) -> None:
    """It has a mark from its first look on: it shows as behind, and three days later nothing is passed over."""
    begun_at = stand.stand.clock.now()
    stand.bigquery.failures["acme-prod"] = [refusal()]
    await stand.stand.ledger.book(make_entry("h1", booked_at=begun_at - timedelta(minutes=1)))
    sweep = await stand.begin()
    assert await mark_of(stand) == begun_at - timedelta(minutes=1)
    stand.bigquery.run("meanwhile", at=begun_at + timedelta(hours=1))
    stand.stand.clock.advance(3 * 86_400)
    assert sweep.mark_age_s > 3 * 86_400
    await sweep.sweep()
    assert "meanwhile" in names(await stand.entries())


async def test_an_outage_of_days_forgets_no_place(stand: SweepStand) -> None:
    """A project of which only the ledger tells is gone on with from its mark, however long all gates were down."""
    now = stand.stand.clock.now()
    await stand.stand.ledger.book(make_entry("h1", booked_at=now, job=JobRef("walk-in", "first", "US")))
    await stand.begin()
    stand.bigquery.run("meanwhile", at=now + timedelta(hours=1), project="walk-in")
    stand.stand.clock.advance(4 * 86_400)
    await stand.begin()
    assert "meanwhile" in names(await stand.entries())


async def test_a_place_that_is_swept_no_more_is_forgotten(stand: SweepStand) -> None:
    """A project that a customer has lost holds back neither the oldest mark nor the count of refusals."""
    stand.bigquery.failures["globex-prod"] = [refusal()]
    sweep = await stand.begin()
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert stand.places.refused_count == 1
    registry = stand.policies.customer_registry
    stand.policies.customer_registry = replace(registry, customer_by_project={"acme-prod": "acme"})
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert stand.places.refused_count == 0
    assert await mark_of(stand, Place("globex-prod")) is None


async def test_a_pending_job_that_gives_no_answer_stops_nobody(stand: SweepStand) -> None:
    """Its region may be away: it is asked again in the next round, and new jobs are booked meanwhile."""
    now = stand.stand.clock.now()
    sweep = await stand.begin()
    stand.bigquery.run("away", at=now, is_running=True)
    stand.stand.clock.advance(60)
    await sweep.sweep()
    stand.bigquery.silent.add("away")
    stand.bigquery.run("new", at=stand.stand.clock.now())
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert "new" in names(await stand.entries())
    assert [each.ref.job_id for each in await stand.state.fetch_pending("acme-prod")] == ["away"]


async def test_a_script_whose_statements_cannot_be_listed_stops_nobody(stand: SweepStand) -> None:
    """It is asked again in the next rounds, and those beside it are booked."""
    sweep = await stand.begin()
    now = stand.stand.clock.now()
    stand.bigquery.run("script", at=now, kind="SCRIPT")
    stand.bigquery.run("new", at=now)
    stand.bigquery.silent.add("script")
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert names(await stand.entries()) == {"new"}
    stand.bigquery.silent.clear()
    stand.stand.clock.advance(3600)
    await sweep.sweep()
    assert names(await stand.entries()) == {"new", "script"}


async def test_a_wrong_region_stops_no_other(stand: SweepStand) -> None:
    """A mistyped region of sweep.regions is said by its name; the regions beside it are read."""
    stand.bigquery.wrong_regions.add("eu-wst1")
    stand.bigquery.run("seen", at=stand.stand.clock.now() - MINUTE)
    sweep = stand.sweep(SweepPace(look_back=MINUTE * 10), by_region=True, regions=["eu-wst1", "us"])
    await sweep.sweep()
    assert names(await stand.entries()) == {"seen"}
    lines = [line for line in stand.stand.log.getvalue().splitlines() if "sweep_refused" in line]
    assert any("acme-prod" in line and "eu-wst1" in line and "sweep.regions" in line for line in lines)


async def test_where_the_bound_of_own_queries_is_used_up_the_free_way_is_gone(stand: SweepStand) -> None:
    """Jobs are seen by jobs.list; the mark waits for the view, which alone has queries without a job. Said once."""
    sweep = await stand.begin(stand.sweep(by_region=True, regions=["us"]))
    place = Place("acme-prod", "us")
    before = await mark_of(stand, place)
    stand.bigquery.failures["acme-prod"] = [OwnQueriesSpent("spent") for _ in range(3)]
    for number in range(3):
        stand.bigquery.run(f"listed-{number}", at=stand.stand.clock.now())
        stand.stand.clock.advance(60)
        await sweep.sweep()
        assert names(await stand.entries()) == {f"listed-{each}" for each in range(number + 1)}
        assert await mark_of(stand, place) == before
    assert stand.stand.log.getvalue().count("sweep_waits") == 1
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert await mark_of(stand, place) == stand.stand.clock.now()
    assert len(await stand.entries()) == 3


async def test_a_region_that_is_away_for_long_hides_nothing_of_the_others(stand: SweepStand) -> None:
    """Past a piece's end, too, what the others list is booked at once."""
    sweep = await stand.begin()
    before = await mark_of(stand)
    stand.bigquery.missing = {"acme-prod"}
    stand.stand.clock.advance(86_400)
    stand.bigquery.run("seen", at=stand.stand.clock.now() - MINUTE)
    await sweep.sweep()
    assert names(await stand.entries()) == {"seen"}
    assert await mark_of(stand) == before


async def forget_marks(stand: SweepStand) -> None:
    """What a crash before the mark was written leaves."""
    import sqlite3  # noqa: PLC0415 - only here

    database = sqlite3.connect(stand.stand.path)
    database.execute("DELETE FROM sweep_marks")
    database.commit()
    database.close()
