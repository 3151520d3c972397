"""Tests of bqgate.domain.booking_check: what the ledger should have for a job, and what is to be done."""

from dataclasses import replace
from typing import Any

import pytest

from bqgate.domain.booking_check import BookingCheck, BookingState, check_booking, prices_id_of
from bqgate.domain.entry import BookedCharge, EntryKind
from bqgate.domain.hold import HoldState, RecordedHold
from bqgate.domain.job import Job, JobRef, Outcome, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.units import MIB
from tests.support.ledgers import make_entry, make_hold

REF = JobRef("acme-prod", "job-1", "US")
# One dollar per MiB.
PRICES = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=NANOS_PER_USD * 2**20, nanos_per_slot_hour=0)


def job(mib: int | None, *, outcome: Outcome = Outcome.DONE, **changes: Any) -> Job:
    """A finished query that billed so many MiB; None: BigQuery hides it."""
    billed = None if mib is None else mib * MIB
    usage = Usage(job=REF, outcome=outcome, bytes_billed=billed, slot_ms=1, statement_type="SELECT")
    return replace(Job(REF, usage), **changes)


def booked(usd: int, *corrections_usd: int, **changes: Any) -> BookedCharge:
    charge = make_entry("h1", job=REF, cost_nanos=usd * NANOS_PER_USD, hold_nanos=20 * NANOS_PER_USD, **changes)
    corrections = [
        make_entry(None, id=f"a{n}", kind=EntryKind.ADJUSTMENT, cost_nanos=each * NANOS_PER_USD, adjusts=charge.id)
        for n, each in enumerate(corrections_usd)
    ]
    return BookedCharge(charge, tuple(corrections))


def held(state: HoldState, usd: int = 20) -> RecordedHold:
    return RecordedHold(make_hold("h1", amount_nanos=usd * NANOS_PER_USD, job=REF, priced_as="SELECT"), state)


def check(
    found: Job,
    *,
    booked: BookedCharge | None = None,
    hold: RecordedHold | None = None,
    prices: PriceList | None = PRICES,
) -> BookingCheck:
    return check_booking(found, booked=booked, hold=hold, prices=prices)


def usd(nanos: int) -> int:
    return nanos // NANOS_PER_USD


def test_what_is_booked_at_its_cost_agrees() -> None:
    """A charge, and a charge with its corrections, agree with a job of the same cost."""
    assert check(job(12), booked=booked(12)).state is BookingState.AGREES
    assert check(job(12), booked=booked(20, -9, 1)).state is BookingState.AGREES


@pytest.mark.parametrize(("mib", "missing_usd"), [(15, 3), (10, -2)])
def test_other_figures_are_a_difference(mib: int, missing_usd: int) -> None:
    """A job that billed more or less than is booked differs by that, corrections counted."""
    found = check(job(mib), booked=booked(20, -8), hold=held(HoldState.CAPTURED))
    assert found.state is BookingState.DIFFERS
    assert usd(found.difference_nanos) == missing_usd


def test_an_assumed_cost_is_corrected_once_it_is_known() -> None:
    """What was booked at its hold differs from what BigQuery tells later."""
    found = check(job(12), booked=booked(20, outcome=Outcome.ASSUMED), hold=held(HoldState.CAPTURED))
    assert (found.state, usd(found.difference_nanos)) == (BookingState.DIFFERS, -8)


def test_hidden_figures_take_nothing_back() -> None:
    """A job whose bytes BigQuery hides is no reason to give back what was booked, nor is its hold exceeded twice."""
    for charge in (booked(20, outcome=Outcome.ASSUMED), booked(25)):
        found = check(job(None), booked=charge, hold=held(HoldState.CAPTURED))
        assert found.state in {BookingState.HIDDEN, BookingState.AGREES}
        assert found.difference_nanos == 0


def test_prices_nobody_knows_any_more_change_nothing() -> None:
    """Without the prices by which a job was booked, nobody can say that it is wrong."""
    found = check(job(12), booked=booked(20), prices=None)
    assert (found.state, found.difference_nanos) == (BookingState.HIDDEN, 0)


def test_a_hold_says_what_is_to_be_done() -> None:
    """An open hold is to be settled; one that was given back although its job ran is booked late."""
    assert check(job(12), hold=held(HoldState.HELD)).state is BookingState.OPEN
    late = check(job(12), hold=held(HoldState.VOIDED))
    assert (late.state, usd(late.difference_nanos)) == (BookingState.LATE, 12)


def test_nobodys_job_came_past_the_gate() -> None:
    """A job with neither charge nor hold is a bypass at what it cost, and at the least where BigQuery hides it."""
    found = check(job(12))
    assert (found.state, usd(found.difference_nanos)) == (BookingState.BYPASS, 12)
    hidden = check(job(None))
    assert hidden.state is BookingState.BYPASS
    assert hidden.due is not None
    assert not hidden.due.is_exact


@pytest.mark.parametrize(
    "free",
    [
        job(None, outcome=Outcome.FAILED),
        job(0, outcome=Outcome.CACHED),
        job(0, is_query=False),
    ],
    ids=["failed", "cached", "load"],
)
def test_what_costs_nothing_past_the_gate_is_no_bypass(free: Job) -> None:
    """Failed queries, cached results, loads: nothing is booked for them."""
    assert check(free).state is BookingState.FREE


def test_a_failed_query_that_billed_something_is_a_bypass() -> None:
    """An error is free unless BigQuery reports what it billed."""
    assert check(job(12, outcome=Outcome.FAILED)).state is BookingState.BYPASS


def test_what_runs_and_what_a_script_bears_is_not_due() -> None:
    """A running job and a statement of a script are not booked by themselves."""
    assert check(job(12, usage=None)).state is BookingState.RUNNING
    assert check(job(12, parent_id="script-1")).state is BookingState.CHILD


def test_the_last_prices_that_are_named_hold() -> None:
    """A charge that was priced anew is compared under its new prices; one that names none under its hold's."""
    hold = RecordedHold(make_hold("h1", prices_id="of-hold"), HoldState.CAPTURED)
    charge = make_entry("h1", prices_id="old")
    rerated = make_entry(None, id="a1", kind=EntryKind.ADJUSTMENT, prices_id="new")
    plain = make_entry(None, id="a2", kind=EntryKind.ADJUSTMENT)
    assert prices_id_of(BookedCharge(charge, (rerated, plain)), hold) == "new"
    assert prices_id_of(BookedCharge(charge), hold) == "old"
    assert prices_id_of(BookedCharge(replace(charge, prices_id=None)), hold) == "of-hold"
    assert prices_id_of(None, None) is None
