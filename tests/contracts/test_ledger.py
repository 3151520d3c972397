"""The contract of ports.Ledger's writes, over SQLite and PostgreSQL. Numbers cite the design's invariants of money."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from bqgate.domain.entry import Booking, EntryFilter, EntryKind
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.money import MAX_NANOS
from bqgate.ledger import SqlLedger
from bqgate.ports import Ledger
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START, ManualClock


async def test_the_adapter_is_a_ledger(ledger: SqlLedger) -> None:
    """SqlLedger has the port's methods with the port's types."""
    port: Ledger = ledger
    await port.check()


async def test_an_open_hold_comes_back_whole(ledger: SqlLedger) -> None:
    """Every field of a hold survives the round trip, and so does a hold with nothing optional set."""
    full = make_hold(
        "full",
        job=JobRef("acme-prod", "job-1", "europe-west1"),
        placed_at=datetime(2026, 11, 24, 13, 0, 0, 123457, tzinfo=timezone(timedelta(hours=1))),
        deadline_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        amount_nanos=MAX_NANOS,
        maximum_bytes_billed=2**63 - 1,
        prices_id="of-no-list",
        priced_as="CREATE_MODEL",
        account="acme@reports.iam.gserviceaccount.com",
    )
    bare = make_hold("bare", window_keys={}, idempotency_key=None, workload=None, maximum_bytes_billed=None)
    bare = replace(bare, estimate_bytes=None, fingerprint=None, placed_at=START + timedelta(microseconds=1))
    await ledger.open_hold(bare)
    await ledger.open_hold(full)
    assert sorted(await ledger.fetch_open_holds(), key=lambda hold: hold.id) == [bare, full]


async def test_open_holds_are_listed_oldest_first_and_by_customer(ledger: SqlLedger) -> None:
    """Holds of one customer or of all, in the order in which they were placed."""
    younger = make_hold("a", placed_at=START + timedelta(seconds=1))
    older = make_hold("b")
    other = make_hold("c", customer="other", placed_at=START - timedelta(seconds=1))
    for hold in (younger, older, other):
        await ledger.open_hold(hold)
    assert await ledger.fetch_open_holds() == (other, older, younger)
    assert await ledger.fetch_open_holds("acme") == (older, younger)
    assert await ledger.fetch_open_holds("nobody") == ()


async def test_opening_a_hold_again_changes_nothing(ledger: SqlLedger) -> None:
    """The first record of a hold stands."""
    await ledger.open_hold(make_hold("h"))
    await ledger.open_hold(make_hold("h", amount_nanos=5))
    assert await ledger.fetch_open_holds() == (make_hold("h"),)


async def test_a_job_is_attached_to_an_open_hold_alone(ledger: SqlLedger) -> None:
    """The job of an open hold is noted, a later note replaces it; ended and unknown holds stay as they are."""
    await ledger.open_hold(make_hold("h"))
    await ledger.attach_job("h", JobRef("acme-prod", "j"))
    await ledger.attach_job("h", JobRef("acme-prod", "j", "EU"))
    await ledger.attach_job("unknown", JobRef("acme-prod", "j"))
    assert await ledger.fetch_open_holds() == (make_hold("h", job=JobRef("acme-prod", "j", "EU")),)
    await ledger.close_hold("h")
    await ledger.attach_job("h", JobRef("acme-prod", "k"))
    assert await ledger.fetch_open_holds() == ()


@pytest.mark.parametrize(("held_in", "asked_in"), [("us", "US"), ("US", "us"), ("EU", None), (None, "EU")])
async def test_the_hold_of_a_job_is_found_however_its_place_is_written(
    ledger: SqlLedger, held_in: str | None, asked_in: str | None
) -> None:
    """A caller may write "us" where BigQuery answers "US"; a place that one of them does not tell may be any."""
    hold = make_hold("h", job=JobRef("acme-prod", "j", held_in))
    await ledger.open_hold(hold)
    assert await ledger.find_open_hold(JobRef("acme-prod", "j", asked_in)) == hold
    assert await ledger.find_open_hold(JobRef("acme-prod", "k", asked_in)) is None


async def test_the_hold_of_a_job_of_that_id_elsewhere_is_another(ledger: SqlLedger) -> None:
    """Each place has job ids of its own."""
    await ledger.open_hold(make_hold("h", job=JobRef("acme-prod", "j", "us-east1")))
    assert await ledger.find_open_hold(JobRef("acme-prod", "j", "US")) is None


async def test_closing_a_hold_ends_it_without_an_entry(ledger: SqlLedger) -> None:
    """A query that never ran leaves no entry, and closing again, or closing an unknown hold, changes nothing."""
    await ledger.open_hold(make_hold("h"))
    await ledger.close_hold("h")
    await ledger.close_hold("h")
    await ledger.close_hold("unknown")
    assert await ledger.fetch_open_holds() == ()
    assert await ledger.fetch_entry("h") is None


async def test_a_hold_that_ended_is_never_opened_again(ledger: SqlLedger) -> None:
    """Invariant 3: neither a closed hold, nor a booked one, nor one booked before it was recorded."""
    await ledger.open_hold(make_hold("closed"))
    await ledger.close_hold("closed")
    await ledger.open_hold(make_hold("booked"))
    await ledger.book(make_entry("booked"))
    await ledger.book(make_entry("early"))
    await ledger.book(make_entry("covered", job=JobRef("acme-prod", "job-of-early")))
    for hold_id in ("closed", "booked", "early", "covered"):
        await ledger.open_hold(make_hold(hold_id))
    assert await ledger.fetch_open_holds() == ()


async def test_booking_writes_the_entry_and_ends_the_hold(ledger: SqlLedger) -> None:
    """After book the entry is there, whole, and the hold is not open."""
    await ledger.open_hold(make_hold("h"))
    entry = make_entry("h", cost_nanos=MAX_NANOS, cache_hit=True)
    assert await ledger.book(entry) is Booking.BOOKED
    assert await ledger.fetch_entry("h") == entry
    assert await ledger.fetch_open_holds() == ()


async def test_an_entry_with_nothing_optional_comes_back_whole(ledger: SqlLedger) -> None:
    """What is unset stays unset."""
    entry = make_entry("h", workload=None, job=None, reason=None, estimate_bytes=None, fingerprint=None, labels={})
    entry = replace(entry, window_keys={}, outcome=Outcome.ASSUMED)
    assert await ledger.book(entry) is Booking.BOOKED
    assert await ledger.fetch_entry("h") == entry


async def test_a_hold_is_booked_once(ledger: SqlLedger) -> None:
    """Booking a hold again changes nothing, whatever the second entry says."""
    await ledger.open_hold(make_hold("h"))
    await ledger.book(make_entry("h"))
    assert await ledger.book(make_entry("h")) is Booking.HOLD_ALREADY_BOOKED
    other = make_entry("h", id="other", cost_nanos=1, job=JobRef("acme-prod", "other", "US"))
    assert await ledger.book(other) is Booking.HOLD_ALREADY_BOOKED
    assert (await ledger.fetch_entries(EntryFilter())).entries == (make_entry("h"),)


async def test_a_job_is_booked_once(ledger: SqlLedger) -> None:
    """Invariant 4: a second hold that claims the job ends void, with no entry."""
    await ledger.open_hold(make_hold("first"))
    await ledger.open_hold(make_hold("second"))
    job = JobRef("acme-prod", "j", "US")
    await ledger.book(make_entry("first", job=job))
    assert await ledger.book(make_entry("second", job=job)) is Booking.JOB_ALREADY_BOOKED
    assert await ledger.fetch_entry("second") is None
    assert await ledger.fetch_open_holds() == ()


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("US", "US", True),
        ("US", None, True),
        (None, "US", True),
        (None, "EU", True),
        ("EU", None, True),
        (None, None, True),
        ("US", "us", True),
        ("US", "EU", False),
        ("europe-west1", "europe-west1", True),
        ("europe-west1", "europe-west2", False),
        ("europe-west1", "EU", False),
        ("europe-west1", None, False),
        (None, "europe-west1", False),
    ],
)
async def test_a_job_is_told_by_project_location_and_id(
    ledger: SqlLedger, first: str | None, second: str | None, *, is_same: bool
) -> None:
    """No location means US or EU; those two are apart, and so is every other region."""
    await ledger.book(make_entry("a", job=JobRef("acme-prod", "j", first)))
    expected = Booking.JOB_ALREADY_BOOKED if is_same else Booking.BOOKED
    assert await ledger.book(make_entry("b", job=JobRef("acme-prod", "j", second))) is expected
    assert await ledger.book(make_entry("c", job=JobRef("other-project", "j", second))) is Booking.BOOKED
    assert await ledger.book(make_entry("d", job=JobRef("acme-prod", "J", second))) is Booking.BOOKED


async def test_only_charges_are_unique_by_job(ledger: SqlLedger) -> None:
    """An adjustment and a refusal may name the job of a charge; charges without a job do not meet."""
    job = JobRef("acme-prod", "j", "US")
    adjustment = make_entry(None, kind=EntryKind.ADJUSTMENT, job=job, cost_nanos=-5)
    assert await ledger.book(make_entry("h", job=job)) is Booking.BOOKED
    assert await ledger.book(replace(adjustment, id="a1")) is Booking.BOOKED
    assert await ledger.book(replace(adjustment, id="a2", kind=EntryKind.REFUSAL)) is Booking.BOOKED
    assert await ledger.book(make_entry("x", job=None)) is Booking.BOOKED
    assert await ledger.book(make_entry("y", job=None)) is Booking.BOOKED


async def test_an_entry_without_a_hold_is_booked_once_by_its_id(ledger: SqlLedger, ledger_kind: str) -> None:
    """A refusal that is booked again after an unknown end is not doubled."""
    refusal = make_entry(None, kind=EntryKind.REFUSAL, outcome=Outcome.REFUSED, cost_nanos=0, job=None)
    assert await ledger.book(refusal) is Booking.BOOKED
    again = await ledger.book(refusal)
    assert again is (Booking.BOOKED if ledger_kind == "journaled" else Booking.HOLD_ALREADY_BOOKED)  # not waited for
    assert len((await ledger.fetch_entries(EntryFilter())).entries) == 1


async def test_a_closed_hold_whose_job_ran_after_all_is_booked(ledger: SqlLedger) -> None:
    """Money that was spent is booked, though the hold was ended before."""
    await ledger.open_hold(make_hold("h"))
    await ledger.close_hold("h")
    assert await ledger.book(make_entry("h")) is Booking.BOOKED


async def test_two_ledgers_racing_for_a_job_book_it_once(
    ledger: SqlLedger, ledger_url: str, ledger_clock: ManualClock
) -> None:
    """Invariant 4 over two processes' worth of connections: of two holds per job exactly one is booked."""
    rival = await SqlLedger.open(ledger_url, ledger_clock)
    jobs = [JobRef("acme-prod", f"j{number}", "US") for number in range(40)]
    mine = [make_entry(f"mine-{job.job_id}", job=job) for job in jobs]
    theirs = [make_entry(f"theirs-{job.job_id}", job=replace(job, location=None)) for job in reversed(jobs)]
    for entry in (*mine, *theirs):
        await ledger.open_hold(make_hold(str(entry.hold_id)))
    outcomes = await asyncio.gather(*map(ledger.book, mine), *map(rival.book, theirs))
    assert sorted(outcomes) == [Booking.BOOKED] * 40 + [Booking.JOB_ALREADY_BOOKED] * 40
    page = await ledger.fetch_entries(EntryFilter(page_size=100))
    assert sorted(entry.job.job_id for entry in page.entries if entry.job) == sorted(job.job_id for job in jobs)
    assert await rival.fetch_open_holds() == ()
    await rival.close()


async def test_two_ledgers_racing_for_a_hold_book_it_once(
    ledger: SqlLedger, ledger_url: str, ledger_clock: ManualClock
) -> None:
    """The answer and the poller of another replica see one end; one entry is written."""
    rival = await SqlLedger.open(ledger_url, ledger_clock)
    mine = [make_entry(f"h{number}", id=f"mine-{number}") for number in range(40)]
    theirs = [replace(entry, id=entry.id.replace("mine", "theirs")) for entry in mine]
    outcomes = await asyncio.gather(*map(ledger.book, mine), *map(rival.book, theirs))
    assert sorted(outcomes) == [Booking.BOOKED] * 40 + [Booking.HOLD_ALREADY_BOOKED] * 40
    await rival.close()


async def test_a_write_that_cannot_be_done_harms_no_other(ledger: SqlLedger) -> None:
    """Of many writes at once, only the one that no database can take fails."""
    odd = [make_hold("amount", amount_nanos=2**70), make_hold("text", customer="\ud800")]
    fine = [make_hold(f"h{number}") for number in range(20)]
    results = await asyncio.gather(*map(ledger.open_hold, [*fine[:10], *odd, *fine[10:]]), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 10 + [LedgerUnavailable] * 2 + [type(None)] * 10
    assert {hold.id for hold in await ledger.fetch_open_holds()} == {hold.id for hold in fine}


async def test_a_closed_ledger_finished_its_writes_and_takes_no_more(
    ledger: SqlLedger, ledger_url: str, ledger_clock: ManualClock
) -> None:
    """Close waits for what is under way; afterwards a write is refused."""
    writes = [asyncio.create_task(ledger.open_hold(make_hold(f"h{number}"))) for number in range(50)]
    started = asyncio.Event()
    asyncio.get_running_loop().call_soon(started.set)
    await started.wait()
    await ledger.close()
    await asyncio.gather(*writes)
    with pytest.raises(LedgerUnavailable, match="closed"):
        await ledger.open_hold(make_hold("late"))
    again = await SqlLedger.open(ledger_url, ledger_clock)
    assert len(await again.fetch_open_holds()) == 50
    await again.close()
