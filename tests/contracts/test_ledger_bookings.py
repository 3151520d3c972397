"""Every Ledger: what is booked for many jobs at once, and what has corrected it."""

from datetime import timedelta

import pytest

from bqgate.domain.entry import Booking, EntryKind, Origin
from bqgate.domain.hold import HoldState
from bqgate.domain.job import JobRef
from bqgate.ledger import SqlLedger
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START


async def test_a_job_is_found_with_its_corrections(ledger: SqlLedger) -> None:
    """A charge comes with its adjustments, oldest first, and costs their sum."""
    charge = make_entry("h1")
    await ledger.book(charge)
    for number, nanos in enumerate((5, -2), start=1):
        correction = make_entry(
            None,
            id=f"{charge.id}.{number}",
            kind=EntryKind.ADJUSTMENT,
            adjusts=charge.id,
            job=charge.job,
            cost_nanos=nanos,
            booked_at=START + timedelta(minutes=number),
        )
        assert await ledger.book(correction) is Booking.BOOKED
        assert await ledger.book(correction) is Booking.HOLD_ALREADY_BOOKED
    (found,) = await ledger.find_booked(jobs=[JobRef("acme-prod", "job-of-h1", "US")])
    assert [each.cost_nanos for each in found.adjustments] == [5, -2]
    assert found.cost_nanos == charge.cost_nanos + 3
    assert found.next_adjustment_id == f"{charge.id}.3"


async def test_a_charge_is_found_by_its_hold(ledger: SqlLedger) -> None:
    """A query that made no job is found by its hold; by both it is found once."""
    await ledger.book(make_entry("h1", job=None))
    await ledger.book(make_entry("h2"))
    (found,) = await ledger.find_booked(hold_ids=["h1", "unknown"])
    assert found.charge.hold_id == "h1"
    both = await ledger.find_booked(jobs=[JobRef("acme-prod", "job-of-h2", None)], hold_ids=["h2"])
    assert [each.charge.hold_id for each in both] == ["h2"]


async def test_a_charge_without_a_job_is_found_by_its_id(ledger: SqlLedger) -> None:
    """What was measured has neither hold nor job; it comes with its corrections, and refusals are no charges."""
    await ledger.book(make_entry(None, id="metered-1", job=None))
    await ledger.book(make_entry(None, id="metered-1.1", job=None, kind=EntryKind.ADJUSTMENT, adjusts="metered-1"))
    await ledger.book(make_entry(None, id="refused", job=None, kind=EntryKind.REFUSAL))
    (found,) = await ledger.find_booked(charge_ids=["metered-1", "metered-1.1", "refused", "unknown"])
    assert (found.charge.id, [each.id for each in found.adjustments]) == ("metered-1", ["metered-1.1"])
    assert await ledger.book(make_entry(None, id="metered-1", job=None)) is Booking.HOLD_ALREADY_BOOKED


@pytest.mark.parametrize(
    ("booked", "asked", "is_found"),
    [
        ("US", "US", True),
        ("US", "us", True),
        ("US", None, True),
        (None, "EU", True),
        ("US", "EU", False),
        (None, "europe-west3", False),
        ("europe-west3", "europe-west3", True),
    ],
)
async def test_a_job_is_its_id_project_and_place(
    ledger: SqlLedger, booked: str | None, asked: str | None, is_found: bool
) -> None:
    """Namesakes in other projects and places are other jobs; no place is the US or the EU."""
    await ledger.book(make_entry("h1", job=JobRef("acme-prod", "job-1", booked)))
    await ledger.book(make_entry("h2", job=JobRef("other", "job-1", asked)))
    found = await ledger.find_booked(jobs=[JobRef("acme-prod", "job-1", asked)])
    assert [each.charge.hold_id for each in found] == (["h1"] if is_found else [])


async def test_refusals_are_no_charges(ledger: SqlLedger) -> None:
    """What was refused is not booked for a job."""
    await ledger.book(make_entry("h1", kind=EntryKind.REFUSAL, cost_nanos=0))
    assert await ledger.find_booked(jobs=[JobRef("acme-prod", "job-of-h1", "US")], hold_ids=["h1"]) == ()


async def test_thousands_are_asked_for_at_once(ledger: SqlLedger) -> None:
    """More jobs than a database takes parameters for are found all the same."""
    await ledger.book(make_entry("h1"))
    jobs = [JobRef("acme-prod", f"job-of-h{number}", "US") for number in range(40_000)]
    found = await ledger.find_booked(jobs=jobs, hold_ids=[f"h{number}" for number in range(40_000)])
    assert [each.charge.hold_id for each in found] == ["h1"]


async def test_holds_are_read_ended_or_not(ledger: SqlLedger) -> None:
    """A hold is read by its id with how it ended; an unknown one is left out."""
    for hold_id in ("open", "captured", "voided"):
        await ledger.open_hold(make_hold(hold_id))
    await ledger.book(make_entry("captured"))
    await ledger.close_hold("voided")
    found = await ledger.fetch_holds(["open", "captured", "voided", "unknown"])
    assert {each.hold.id: each.state for each in found} == {
        "open": HoldState.HELD,
        "captured": HoldState.CAPTURED,
        "voided": HoldState.VOIDED,
    }


async def test_an_entry_says_how_its_cost_came_about(ledger: SqlLedger) -> None:
    """Origin, prices, reservation, edition and the end of the job come back as they were booked."""
    entry = make_entry(
        None,
        id="e1",
        origin=Origin.BYPASS,
        reservation="",
        edition="ENTERPRISE",
        prices_id="p1",
        ended_at=START - timedelta(minutes=3),
    )
    await ledger.book(entry)
    (found,) = await ledger.find_booked(jobs=[JobRef("acme-prod", "job-of-None", "US")])
    assert found.charge == entry
