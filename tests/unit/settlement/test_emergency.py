"""A customer whose cost breaker opened: its running jobs are cancelled, most expensive first, and booked as before."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.job import Job, JobRef
from bqgate.domain.principal import Credential
from bqgate.ledger import SqlLedger
from bqgate.settlement.emergency import CUSTOMERS_MAX, EmergencyStop
from bqgate.wire.job_labels import customer_label
from tests.support.hold_services import CountingTelemetry
from tests.support.ledgers import make_hold
from tests.support.manual_clock import ManualClock

ADA = Credential("Bearer ada")


class Canceller:
    """BigQuery's jobs.get and jobs.cancel; keeps what it was asked to cancel, and fails for some jobs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Credential | None]] = []
        self.failures: dict[str, Exception] = {}
        self.jobs: dict[str, Job] = {}

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        return self.jobs[job.job_id]

    async def cancel_job(self, job: JobRef, *, credential: Credential | None) -> None:
        self.asked.append((job.job_id, credential))
        if job.job_id in self.failures:
            raise self.failures[job.job_id]


class Scene:
    """A ledger with open holds, and an emergency stop over it."""

    def __init__(self, ledger: SqlLedger, clock: ManualClock) -> None:
        self.ledger, self.clock = ledger, clock
        self.bigquery, self.telemetry = Canceller(), CountingTelemetry()
        self.credentials: dict[str, Credential] = {}
        self.stop = EmergencyStop(
            ledger=ledger,
            bigquery=self.bigquery,
            credential_of=self.credential_of,
            clock=clock,
            telemetry=self.telemetry,
        )

    def credential_of(self, hold: Hold) -> Credential | None:
        return self.credentials.get(hold.id)

    async def run(self, name: str, cents: int, customer: str = "acme", *, has_job: bool = True) -> None:
        job = JobRef("p", name, "US") if has_job else None
        hold = make_hold(name, customer=customer, amount_nanos=cents * 10**7, job=job, idempotency_key=None)
        await self.ledger.open_hold(hold)

    def results(self) -> list[str]:
        return [labels["result"] for name, labels in self.telemetry.counted if name == "emergency_cancels_total"]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    ledger = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", clock)
    yield Scene(ledger, clock)
    await ledger.close()


async def stopped(scene: Scene, customer: str = "acme") -> None:
    """Stop a customer, however long it takes by the clock."""
    stopping = asyncio.ensure_future(scene.stop.stop(customer))
    while not stopping.done():
        await asyncio.wait({stopping}, timeout=0.01)
        scene.clock.advance(1)
    stopping.result()


async def test_the_most_expensive_is_cancelled_first(scene: Scene) -> None:
    """In the order of what they hold; nobody else's job is touched, and every hold stays open."""
    for name, cents in (("cheap", 10), ("dear", 90), ("middle", 40)):
        await scene.run(name, cents)
    await scene.run("other", 500, customer="globex")
    await stopped(scene)
    assert [name for name, _ in scene.bigquery.asked] == ["dear", "middle", "cheap"]
    assert len(await scene.ledger.fetch_open_holds("acme")) == 3


async def test_jobs_are_cancelled_as_their_callers(scene: Scene) -> None:
    """With the credential that is known here, else as the gate."""
    await scene.run("hers", 10)
    await scene.run("another replica's", 5)
    scene.credentials["hers"] = ADA
    await stopped(scene)
    assert scene.bigquery.asked == [("hers", ADA), ("another replica's", None)]


async def test_a_job_that_another_made_under_the_id_that_was_chosen_runs_on(scene: Scene) -> None:
    """Who holds for a query under another's job id, and trips its own breaker, stops nobody else's job."""
    for number, (name, label, owner) in enumerate(
        (("taken", "others-hold", None), ("unlabelled", None, customer_label("globex")), ("own", "own", None))
    ):
        job = JobRef("p", f"{name}_job", "US")
        await scene.ledger.open_hold(
            make_hold(name, amount_nanos=(9 - number) * 10**7, job=job, idempotency_key=None),
        )
        scene.bigquery.jobs[job.job_id] = Job(job, None, label, owner)
    await stopped(scene)
    assert [name for name, _ in scene.bigquery.asked] == ["own_job"]
    assert scene.results() == ["anothers", "anothers", "asked"]


async def test_one_that_cannot_be_cancelled_stops_no_other(scene: Scene) -> None:
    """What became of each is counted."""
    for number, name in enumerate(("gone", "forbidden", "silent", "fine")):
        await scene.run(name, 90 - number)
    await scene.run("unnamed", 1, has_job=False)
    scene.bigquery.failures = {
        "gone": JobNotFound("gone"),
        "forbidden": UpstreamRefused(403, b""),
        "silent": UpstreamUnavailable("silent"),
    }
    await stopped(scene)
    assert scene.results() == ["absent", "refused", "unavailable", "asked", "unknown_job"]


async def test_cancels_are_paced(scene: Scene) -> None:
    """Five a second and not all at once."""
    for number in range(3):
        await scene.run(f"job{number}", 10)
    stopping = asyncio.ensure_future(scene.stop.stop("acme"))
    async with asyncio.timeout(10):
        while not scene.bigquery.asked:
            await asyncio.wait({stopping}, timeout=0.01)
    await asyncio.wait({stopping}, timeout=0.05)
    assert len(scene.bigquery.asked) == 1
    while not stopping.done():
        scene.clock.advance(0.2)
        await asyncio.wait({stopping}, timeout=0.01)
    assert len(scene.bigquery.asked) == 3


async def test_a_customer_is_stopped_once_a_trip(scene: Scene) -> None:
    """Told twice before its turn came, its jobs are cancelled once; the list of customers is bounded."""
    await scene.run("job", 10)
    scene.stop.begin("acme")
    scene.stop.begin("acme")
    running = asyncio.ensure_future(scene.stop.run())
    async with asyncio.timeout(10):
        while not scene.bigquery.asked:
            await asyncio.wait({running}, timeout=0.01)
    scene.clock.advance(10)
    await asyncio.wait({running}, timeout=0.05)
    assert len(scene.bigquery.asked) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for number in range(CUSTOMERS_MAX + 1):
        scene.stop.begin(f"customer{number}")
    assert ("shed_total", {"where": "emergency"}) in scene.telemetry.counted


async def test_a_ledger_that_is_away_is_counted(scene: Scene) -> None:
    """Nothing is cancelled on a guess; the breaker is open all the same."""
    await scene.ledger.close()
    scene.ledger._connections = type(scene.ledger._connections)("sqlite:////nowhere/at/all.db", timeout_s=1)
    await scene.stop.stop("acme")
    assert scene.telemetry.counted == [("failures_total", {"system": "ledger", "step": "emergency"})]
    assert scene.bigquery.asked == []
