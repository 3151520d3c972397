"""What a proof does where BigQuery shows little, much or nothing: no silence is taken for agreement."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.money import NANOS_PER_USD
from bqgate.ledger import SqlProofs
from bqgate.settlement.proof import Cause, CheckReport, CheckSpan, LedgerCheck
from bqgate.settlement.proof.report import Unproven
from bqgate.wire.error_reply import error_body
from tests.support.sweep_stand import SweepStand, sweep_stand

HOUR = timedelta(hours=1)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[SweepStand]:
    """A stand in which a job of ten dollars past the gate has been swept."""
    async with sweep_stand(tmp_path) as opened:
        sweep = await opened.begin()
        opened.stand.clock.advance(3600)
        opened.bigquery.run("swept", at=opened.stand.clock.now() - timedelta(minutes=5))
        await sweep.sweep()
        yield opened


async def check(stand: SweepStand, *, hours: int = 24, customer: str | None = None) -> CheckReport:
    """Compare what was made in the last hours."""
    proofs = SqlProofs.open(f"sqlite:///{stand.stand.path}")
    now = stand.stand.clock.now()
    try:
        return await LedgerCheck(
            reader=stand.bigquery,
            bigquery=stand.bigquery,
            ledger=stand.stand.ledger,
            proofs=proofs,
            sweeps=stand.state,
            policies=stand.policies,
            clock=stand.stand.clock,
            is_open=True,
        ).check(CheckSpan(now - hours * HOUR, now + HOUR, customer))
    finally:
        await proofs.close()


async def test_equal_books_prove(stand: SweepStand) -> None:
    """All projects that are anybody's are looked at."""
    report = await check(stand)
    assert (report.equal_count, report.causes, report.not_looked) == (1, {}, [])
    assert report.bigquery_nanos == report.ledger_nanos == 10 * NANOS_PER_USD
    assert set(report.projects) == {"acme-prod", "globex-prod", "shared"}


async def test_a_masked_list_is_no_agreement(stand: SweepStand) -> None:
    """Who may list jobs, and not see whose they are, has not looked; nothing is said about the project's charges."""
    stand.bigquery.masked = {"acme-prod"}
    report = await check(stand)
    (unseen,) = report.not_looked
    assert (unseen.project_id, report.equal_count, report.causes) == ("acme-prod", 0, {})
    assert "roles/bigquery.resourceViewer" in unseen.remedy


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            UpstreamRefused(403, error_body(403, "accessDenied", "Access Denied: no listAll")),
            "Access Denied: no listAll",
        ),
        (UpstreamUnavailable("BigQuery is not answering (status 503)."), "BigQuery is not answering (status 503)."),
    ],
)
async def test_a_refused_project_is_told_and_others_are_looked_at(
    stand: SweepStand, error: Exception, said: str
) -> None:
    """With BigQuery's own words."""
    stand.bigquery.failures["globex-prod"] = [error]
    report = await check(stand)
    assert [(each.project_id, each.why) for each in report.not_looked] == [("globex-prod", said)]
    assert report.equal_count == 1


async def test_a_region_that_is_away_is_told(stand: SweepStand) -> None:
    """The others are compared, and the proof is not whole."""
    stand.bigquery.missing = {"acme-prod"}
    report = await check(stand)
    assert [each.why for each in report.not_looked] == ["a region did not list its jobs"]
    assert report.equal_count == 1


async def test_a_job_that_the_list_lacks_is_asked_for_by_name(stand: SweepStand) -> None:
    """It is compared, and not called absent."""
    stand.bigquery.unlisted = {"swept"}
    report = await check(stand)
    assert (report.equal_count, report.causes) == (1, {})
    assert stand.bigquery.asked_after == ["swept"]


async def test_more_jobs_than_are_read_at_once_are_read_in_pieces(stand: SweepStand) -> None:
    """Each once."""
    sweep = stand.sweep()
    start = stand.stand.clock.now()
    for number in range(9):
        stand.bigquery.run(f"more-{number}", at=start + timedelta(seconds=number))
    stand.stand.clock.advance(60)
    await sweep.sweep()
    stand.bigquery.jobs_max = 2
    report = await check(stand)
    assert (report.equal_count, report.causes, report.not_looked) == (10, {}, [])


async def test_customers_that_are_off_have_no_books(stand: SweepStand) -> None:
    """Nothing of theirs is booked, so nothing is missed."""
    stand.bigquery.run("theirs", at=stand.stand.clock.now(), project="globex-prod")
    report = await check(stand)
    assert (report.off_count, report.causes) == (1, {})


async def test_hidden_figures_are_not_proved(stand: SweepStand) -> None:
    """A booked job of which BigQuery tells nothing any more stands beside the sums, with what it is booked at."""
    (job,) = stand.bigquery.jobs
    assert job.usage is not None
    stand.bigquery.change(job, usage=replace(job.usage, bytes_billed=None))
    report = await check(stand)
    assert (report.equal_count, report.causes) == (0, {})
    assert (report.unproven, report.unproven_nanos) == ({Unproven.HIDDEN: 1}, 10 * NANOS_PER_USD)


async def test_what_is_older_than_bigquerys_history_is_not_proved(stand: SweepStand) -> None:
    """A job of half a year ago cannot be there any more."""
    stand.bigquery.jobs.clear()
    stand.stand.clock.advance(181 * 24 * 3600)
    report = await check(stand, hours=182 * 24)
    assert (report.unproven, report.causes) == ({Unproven.TOO_OLD: 1}, {})


async def test_a_job_at_the_border_of_a_span_is_compared_once(stand: SweepStand) -> None:
    """Its hold was placed before the border, and the job made after it."""
    stand.stand.clock.advance(7200)
    hold = await stand.stand.place(stand.gate, stand.stand.make_hold())
    assert hold.job is not None
    job = stand.bigquery.run(hold.job.job_id, at=hold.placed_at + timedelta(seconds=2))
    assert job.usage is not None
    await stand.gate.settlement.settle(hold, job.usage)
    for offset, expected in ((1, 0), (3, 1)):
        proofs = SqlProofs.open(f"sqlite:///{stand.stand.path}")
        span = CheckSpan(hold.placed_at - HOUR / 2, hold.placed_at + timedelta(seconds=offset))
        report = await LedgerCheck(
            reader=stand.bigquery,
            bigquery=stand.bigquery,
            ledger=stand.stand.ledger,
            proofs=proofs,
            sweeps=stand.state,
            policies=stand.policies,
            clock=stand.stand.clock,
            is_open=True,
        ).check(span)
        await proofs.close()
        assert (report.equal_count, report.causes) == (expected, {})


async def test_running_jobs_are_no_difference(stand: SweepStand) -> None:
    """They have no cost yet."""
    stand.bigquery.run("runs", at=stand.stand.clock.now(), is_running=True)
    report = await check(stand)
    assert (report.running_count, report.causes) == (1, {})


async def test_a_project_that_only_the_ledger_knows_is_looked_at(stand: SweepStand) -> None:
    """What was booked there is proved, too."""
    entry = (await stand.entries())[0]
    assert entry.job is not None
    elsewhere = replace(entry, id="elsewhere", job=replace(entry.job, project_id="nobodys"), project_id="nobodys")
    await stand.stand.ledger.book(elsewhere)
    report = await check(stand)
    assert report.causes == {Cause.NO_JOB: 1}
    assert "nobodys" in report.projects


async def test_nothing_that_is_not_whole_is_called_so(stand: SweepStand) -> None:
    """Neither what BigQuery has forgotten, for jobs past the gate may have been there, nor what it does not tell."""
    assert (await check(stand)).is_whole
    too_long = await check(stand, hours=181 * 24)
    assert [each.project_id for each in too_long.not_looked] == ["*"]
    (job,) = stand.bigquery.jobs
    assert job.usage is not None
    stand.bigquery.change(job, usage=replace(job.usage, bytes_billed=None))
    assert not (await check(stand)).is_whole
