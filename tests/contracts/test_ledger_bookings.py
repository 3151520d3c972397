"""Every Ledger: what is booked for many jobs at once, and what has corrected it."""

import asyncio
from datetime import timedelta

import pytest

from bqgate.domain.budget import Period, Window
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.entry import Booking, EntryKind, Origin
from bqgate.domain.hold import HoldState
from bqgate.domain.job import JobRef
from bqgate.ledger import SqlLedger
from tests.support.ledgers import WINDOW_KEYS, make_entry, make_hold
from tests.support.manual_clock import START, ManualClock


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


async def test_a_charge_is_found_by_its_own_id(ledger: SqlLedger) -> None:
    """With its corrections; by all three it is found once, and what is no charge is not found."""
    await ledger.book(make_entry("h1"))
    await ledger.book(
        make_entry(None, id="a", kind=EntryKind.ADJUSTMENT, adjusts="entry-of-h1", job=None, cost_nanos=1)
    )
    job = JobRef("acme-prod", "job-of-h1", "US")
    (found,) = await ledger.find_booked(jobs=[job], hold_ids=["h1"], charge_ids=["entry-of-h1", "a", "unknown"])
    assert (found.charge.id, found.cost_nanos) == ("entry-of-h1", 700_000_001)


async def test_of_two_who_correct_at_once_one_does(ledger: SqlLedger, ledger_url: str) -> None:
    """Both have read the same, so both write one id: one is booked, and the other hears that it was not first."""
    other = await SqlLedger.open(ledger_url, ManualClock())
    try:
        charge = make_entry("h1")
        await ledger.book(charge)
        outcomes = await asyncio.gather(
            *(
                each.book(
                    make_entry(
                        None,
                        id=f"{charge.id}.1",
                        kind=EntryKind.ADJUSTMENT,
                        adjusts=charge.id,
                        job=charge.job,
                        cost_nanos=nanos,
                    )
                )
                for each in (ledger, other)
                for nanos in (5, 7)
            )
        )
        assert sorted(outcomes).count(Booking.BOOKED) == 1
        assert set(outcomes) == {Booking.BOOKED, Booking.HOLD_ALREADY_BOOKED}
    finally:
        await other.close()


async def test_corrections_are_added_up_by_window(ledger: SqlLedger) -> None:
    """Adjustments alone, each in the windows of its charge; of every customer in the deployment's."""
    earlier = {Period.DAY: "2026-11-23", Period.MONTH: "2026-11"}
    for number, (nanos, keys, customer) in enumerate(
        [(5, WINDOW_KEYS, "acme"), (-2, WINDOW_KEYS, "acme"), (10, earlier, "acme"), (100, WINDOW_KEYS, "other")]
    ):
        correction = make_entry(
            None,
            id=f"a{number}",
            kind=EntryKind.ADJUSTMENT,
            cost_nanos=nanos,
            window_keys=keys,
            customer=customer,
            placed_at=START,
        )
        await ledger.book(correction)
    await ledger.book(make_entry("h1"))
    ends_at = START.replace(hour=0) + timedelta(days=1)
    own = [Window("acme", Period.DAY, "2026-11-24", None, ends_at), Window("acme", Period.MONTH, "2026-11", 5, ends_at)]
    assert list((await ledger.fetch_adjusted(own)).values()) == [3, 13]
    everybody = Window(DEPLOYMENT_ACCOUNT, Period.DAY, "2026-11-24", None, ends_at)
    assert list((await ledger.fetch_adjusted([everybody])).values()) == [113]
    assert await ledger.fetch_adjusted([]) == {}
