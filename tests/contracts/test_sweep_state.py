"""The SweepStore on each database, and in memory: marks never go back, pending jobs are kept until they are dropped."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bqgate.domain.job import JobRef
from bqgate.domain.place import Place
from bqgate.ledger import SqlLedger, SqlSweepState
from bqgate.ledger.sweep_state import PENDING_MAX
from bqgate.ports import PendingJob, SweepStore
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START
from tests.support.memory_ledger import MemoryLedger
from tests.support.memory_sweep_state import MemorySweepState

PLACE = Place("acme-prod", "us")


@pytest.fixture
async def store(ledger_url: str, ledger: SqlLedger | MemoryLedger) -> AsyncIterator[SweepStore]:
    """A sweep that has been nowhere."""
    if isinstance(ledger, MemoryLedger):
        yield MemorySweepState(ledger)
        return
    opened = SqlSweepState.open(ledger_url)
    yield opened
    await opened.close()


def job(number: int, location: str | None = "US") -> PendingJob:
    return PendingJob(JobRef("acme-prod", f"job-{number}", location), START + timedelta(seconds=number))


async def test_marks_go_forward(store: SweepStore) -> None:
    """Of two who write a mark the later one counts, in whatever order; places are apart."""
    assert await store.fetch_marks() == {}
    for minutes in (5, 10, 7):
        await store.advance(PLACE, swept_until=START + timedelta(minutes=minutes), pending=())
    await store.advance(Place("acme-prod"), swept_until=START, pending=())
    assert await store.fetch_marks() == {PLACE: START + timedelta(minutes=10), Place("acme-prod"): START}


async def test_places_that_are_not_swept_any_more_have_no_mark(store: SweepStore) -> None:
    """What is forgotten is begun anew; other places of the project stay."""
    for place in (PLACE, Place("acme-prod"), Place("acme-prod", "eu")):
        await store.advance(place, swept_until=START, pending=())
    await store.drop_marks([PLACE, Place("acme-prod"), Place("nowhere")])
    await store.drop_marks([])
    assert await store.fetch_marks() == {Place("acme-prod", "eu"): START}


async def test_pending_jobs_are_kept_until_they_are_dropped(store: SweepStore) -> None:
    """Noted twice they are there once, oldest first, and of one project only."""
    await store.advance(PLACE, swept_until=START, pending=[job(2), job(1)])
    await store.note_pending([job(1), job(3)])
    await store.note_pending([])
    assert await store.fetch_pending("acme-prod") == (job(1), job(2), job(3))
    assert await store.fetch_pending("globex-prod") == ()
    await store.drop_pending([job(1).ref, job(3).ref, job(9).ref])
    assert await store.fetch_pending("acme-prod") == (job(2),)
    await store.drop_pending([])


async def test_one_id_in_two_regions_is_two_jobs(store: SweepStore) -> None:
    """BigQuery's ids are unique within a region."""
    await store.advance(PLACE, swept_until=START, pending=[job(1), job(1, "EU"), job(1, None)])
    assert len(await store.fetch_pending("acme-prod")) == 3
    await store.drop_pending([job(1, "EU").ref])
    assert {each.ref.location for each in await store.fetch_pending("acme-prod")} == {"US", None}


async def test_pending_jobs_are_bounded(store: SweepStore) -> None:
    """Of very many the oldest come first; the others come when those are done. Dropping takes any number."""
    jobs = [job(number) for number in range(PENDING_MAX + 5)]
    await store.advance(PLACE, swept_until=START, pending=jobs)
    assert await store.fetch_pending("acme-prod") == tuple(jobs[:PENDING_MAX])
    await store.drop_pending([each.ref for each in jobs[:PENDING_MAX]])
    assert await store.fetch_pending("acme-prod") == tuple(jobs[PENDING_MAX:])


async def test_where_was_booked_lately(store: SweepStore, ledger: SqlLedger) -> None:
    """Projects and regions of jobs, each once, in small letters; entries without a job tell nothing."""
    await ledger.book(make_entry("h1", job=JobRef("acme-prod", "a", "US")))
    await ledger.book(make_entry("h2", job=JobRef("acme-prod", "b", "US")))
    await ledger.book(make_entry("h3", job=JobRef("globex-prod", "c", None)))
    await ledger.book(make_entry("h4", job=None))
    await ledger.book(make_entry("h5", job=JobRef("old", "d", "EU"), booked_at=START - timedelta(days=2)))
    found = await store.fetch_booked_places(since=START - timedelta(days=1))
    assert found == {Place("acme-prod", "us"), Place("globex-prod", "")}


async def test_when_the_ledger_began(store: SweepStore, ledger: SqlLedger) -> None:
    """Its first entry, or an open hold that is older; None while it is empty."""
    assert await store.fetch_beginning() is None
    await ledger.book(make_entry("h1", booked_at=START))
    assert await store.fetch_beginning() == START
    await ledger.open_hold(make_hold("h2", placed_at=START - timedelta(minutes=5)))
    assert await store.fetch_beginning() == START - timedelta(minutes=5)
