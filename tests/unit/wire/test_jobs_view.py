"""Tests of bqgate.wire.jobs_view and job_identity: one job reads the same from a list and from INFORMATION_SCHEMA."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.domain.job import Job, JobRef, Outcome
from bqgate.domain.place import Place
from bqgate.domain.pricing import CostUnknown, PriceList, PricingModel
from bqgate.wire.job_identity import is_masked, job_from
from bqgate.wire.jobs_view import job_in_row, jobs_question
from tests.support.recorded_jobs import CASES, MASKED, listed, row

PRICES = PriceList(PricingModel.BLENDED, nanos_per_tib=5 * 10**9, nanos_per_slot_hour=4 * 10**7)


def from_list(document: dict[str, Any]) -> Job:
    return job_from(document, asked=JobRef("acme-prod", ""))


def from_row(values: dict[str, Any]) -> Job:
    job = job_in_row(values, Place("acme-prod", "us"))
    assert job is not None
    return job


@pytest.mark.parametrize("case", CASES)
def test_both_ways_show_the_same_job(case: str) -> None:
    """What a list and the view say of one job comes to the same job, and the same usage."""
    document, values = CASES[case]
    one, other = from_list(document), from_row(values)
    assert one == other


def test_what_is_read() -> None:
    """Id, maker, moments, labels of the gate and of the caller."""
    job = from_row(CASES["labelled"][1])
    assert job.ref == JobRef("acme-prod", "labelled", "US")
    assert (job.principal, job.hold_id, job.owner) == ("eve@acme.example", "h1", "c1")
    assert job.labels == {"team": "data"}
    assert job.created_at == datetime(2026, 11, 24, 12, 0, 0, 123_000, tzinfo=UTC)
    assert job.usage is not None
    assert (job.usage.bytes_billed, job.usage.slot_ms) == (20_971_520, 2_345)


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        ("plain", Outcome.DONE),
        ("cached", Outcome.CACHED),
        ("failed", Outcome.FAILED),
        ("stopped", Outcome.STOPPED),
        ("load", Outcome.DONE),
    ],
)
def test_how_a_job_ended(case: str, outcome: Outcome) -> None:
    """Errors are free, a cancelled job may be billed, cached results are free, loads process no query bytes."""
    job = from_row(CASES[case][1])
    assert job.usage is not None
    assert job.usage.outcome is outcome


def test_null_is_unknown_and_not_zero() -> None:
    """Under row-level security the bytes are hidden: no price makes that a cost of zero."""
    for shape in (from_list(CASES["row-level security"][0]), from_row(CASES["row-level security"][1])):
        assert shape.usage is not None
        assert shape.usage.bytes_billed is None
        with pytest.raises(CostUnknown):
            PRICES.cost_of(shape.usage, location="US")


def test_what_has_not_ended_has_no_usage() -> None:
    """Pending and running jobs are looked at again."""
    assert from_row(CASES["running"][1]).usage is None
    assert from_row(CASES["pending"][1]).usage is None


def test_a_scripts_parent_tells_no_reservation() -> None:
    """Parents bear none, wherever their statements ran; a plain query without one ran on demand."""
    script, plain = from_row(CASES["script"][1]), from_row(CASES["plain"][1])
    assert script.usage is not None
    assert plain.usage is not None
    assert not script.usage.is_reservation_known
    assert plain.usage.ran_in == ""


def test_regions_are_written_as_bigquery_writes_them() -> None:
    """Multi-regions in capitals, regions in small letters: a job is one job, however it was found."""
    eu = job_in_row(row("j"), Place("p", "eu"))
    tokyo = job_in_row(row("j"), Place("p", "asia-northeast1"))
    assert eu is not None
    assert tokyo is not None
    assert (eu.ref.location, tokyo.ref.location) == ("EU", "asia-northeast1")


@pytest.mark.parametrize("case", MASKED)
def test_masked_jobs_are_told(case: str) -> None:
    """A job that hides its maker or its figures is known as such."""
    assert is_masked(MASKED[case])
    assert not is_masked(listed("plain"))


@pytest.mark.parametrize("missing", ["job_id", "creation_time"])
def test_rows_that_say_nothing_are_no_jobs(missing: str) -> None:
    """Without an id or a moment there is nothing to book; without a maker it is masked."""
    assert job_in_row(row("j") | {missing: None}, Place("p", "us")) is None
    no_maker = row("j", user_email=None, principal_subject=None)
    assert job_in_row(no_maker, Place("p", "us")) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"labels": None},
        {"labels": "team:data"},
        {"labels": ({"key": None, "value": "x"}, {"key": "a", "value": None}, "b")},
        {"total_bytes_billed": "-1", "total_slot_ms": "many"},
        {"end_time": str(2**63 - 1)},
    ],
)
def test_odd_values_are_unknown(odd: dict[str, Any]) -> None:
    """What is not of the documented form says nothing, and breaks nothing."""
    job = from_row(row("j") | odd)
    assert job.usage is not None
    assert replace(job.usage, bytes_billed=None, slot_ms=None, ended_at=None).outcome is Outcome.DONE
    assert job.labels == {}


def test_the_question_bounds_the_partition() -> None:
    """It names its columns, asks for a span of creation_time by parameters, and is bounded."""
    sql = jobs_question(Place("acme-prod", "us"))
    assert "FROM `acme-prod`.`region-us`.INFORMATION_SCHEMA.JOBS_BY_PROJECT" in sql
    assert "creation_time >= @since AND creation_time < @until" in sql
    assert "LIMIT @rows_max" in sql
    assert "*" not in sql
    assert "query" not in sql.lower().replace("information_schema", "")


@pytest.mark.parametrize("name", ["a`.b", "x y", "", "`"])
def test_names_that_would_break_out_are_refused(name: str) -> None:
    """A project or a region is no place for SQL."""
    with pytest.raises(ValueError, match="no name"):
        jobs_question(Place(name, "us"))
    with pytest.raises(ValueError, match="no name"):
        jobs_question(Place("acme-prod", name))
