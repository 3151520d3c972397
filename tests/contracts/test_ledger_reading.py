"""The contract of ports.Ledger's reads, over SQLite and PostgreSQL."""

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bqgate.domain.budget import Period, Window
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.entry import CostRow, Entry, EntryFilter, EntryKind, Origin
from bqgate.domain.errors import MalformedRequest
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.money import MAX_NANOS
from bqgate.domain.pricing import SlotHistory
from bqgate.ledger import SqlLedger
from bqgate.ledger.connections import read_url
from bqgate.ledger.rows import entry_row, to_micros
from bqgate.ledger.schema import entries, sweep_marks
from tests.support.ledgers import make_entry
from tests.support.manual_clock import START

DAY = Window("acme", Period.DAY, "2026-11-24", None, START)
MONTH = Window("acme", Period.MONTH, "2026-11", 5, START)


async def book_all(ledger: SqlLedger, *entries: Entry) -> None:
    for entry in entries:
        await ledger.book(entry)


async def test_spend_is_the_sum_of_a_windows_charges_and_adjustments(ledger: SqlLedger) -> None:
    """Each window counts its own key and its own customer; refusals are no spend."""
    next_day = {Period.DAY: "2026-11-25", Period.MONTH: "2026-11"}
    await book_all(
        ledger,
        make_entry("a", cost_nanos=100),
        make_entry("b", cost_nanos=20, window_keys=next_day),
        make_entry("c", cost_nanos=7, window_keys={Period.DAY: "2026-11-24"}),
        make_entry("d", cost_nanos=1_000, customer="other"),
        make_entry("e", cost_nanos=5_000, kind=EntryKind.REFUSAL),
        make_entry(None, cost_nanos=-30, kind=EntryKind.ADJUSTMENT),
    )
    spend = await ledger.fetch_spend((DAY, MONTH))
    assert spend.captured_nanos == {DAY.id: 77, MONTH.id: 90}


async def test_spend_of_an_unknown_window_is_zero(ledger: SqlLedger) -> None:
    """Nothing booked is nothing spent, and no windows are no question."""
    assert (await ledger.fetch_spend((DAY,))).captured_nanos.get(DAY.id, 0) == 0
    assert (await ledger.fetch_spend(())).captured_nanos == {}


async def test_what_is_remembered_of_grace_and_breaker_comes_with_the_spend(ledger: SqlLedger) -> None:
    """The first start of each window's grace, and the days whose last word on the breaker is that it tripped."""
    start, trip, reset = BreakerEventKind.GRACE_STARTED, BreakerEventKind.TRIPPED, BreakerEventKind.RESET

    async def record(kind: BreakerEventKind, minute: int, window: Window = DAY, customer: str = "acme") -> None:
        at = START + timedelta(minutes=minute)
        await ledger.record_breaker_event(BreakerEvent(customer, window.period, window.key, at, kind, "ann"))

    assert (await ledger.fetch_spend((DAY, MONTH))).grace_started_at == {}
    await record(start, 5)
    await record(start, 3)
    await record(start, 1, customer="other")
    await record(trip, 7)
    spend = await ledger.fetch_spend((DAY, MONTH))
    assert spend.grace_started_at == {DAY.id: START + timedelta(minutes=3)}
    assert spend.tripped_at == {DAY.key: START + timedelta(minutes=7)}
    assert (await ledger.fetch_spend((MONTH,))).tripped_at == {}
    await record(reset, 9)
    await record(trip, 8)  # was tripped before the reset, and written after it
    assert (await ledger.fetch_spend((DAY,))).tripped_at == {}
    await record(trip, 9)
    await record(BreakerEventKind.CLOSED, 9)
    assert (await ledger.fetch_spend((DAY,))).tripped_at == {}


async def test_large_sums_are_exact(ledger: SqlLedger) -> None:
    """No amount passes through a float."""
    await book_all(ledger, *(make_entry(f"h{number}", cost_nanos=MAX_NANOS) for number in range(3)))
    assert (await ledger.fetch_spend((DAY,))).captured_nanos == {DAY.id: 3 * MAX_NANOS}


async def test_entries_are_paged_newest_first(ledger: SqlLedger) -> None:
    """Pages join without a gap or a repeat, also where many entries are of one moment."""
    booked = [
        make_entry(f"h{number:02}", booked_at=START + timedelta(microseconds=number // 4)) for number in range(23)
    ]
    await book_all(ledger, *booked)
    expected = sorted(booked, key=lambda entry: (entry.booked_at, entry.id), reverse=True)
    seen: list[Entry] = []
    token: str | None = None
    sizes = []
    while True:
        page = await ledger.fetch_entries(EntryFilter(customer="acme", page_size=5, page_token=token))
        seen += page.entries
        sizes.append(len(page.entries))
        token = page.next_page_token
        if token is None:
            break
        # What is booked while somebody reads does not move the pages.
        await ledger.book(make_entry(f"new-{token}", booked_at=START + timedelta(seconds=1)))
    assert seen == expected
    assert sizes == [5, 5, 5, 5, 3]


async def test_a_page_that_ends_with_the_last_entry_has_no_next(ledger: SqlLedger) -> None:
    """No empty page follows."""
    await book_all(ledger, *(make_entry(f"h{number}") for number in range(3)))
    assert (await ledger.fetch_entries(EntryFilter(page_size=3))).next_page_token is None
    assert (await ledger.fetch_entries(EntryFilter(customer="nobody"))).entries == ()


async def test_entries_are_filtered(ledger: SqlLedger) -> None:
    """By customer, kind and time; since is inclusive and until is not."""
    early = make_entry("early", booked_at=START)
    late = make_entry("late", booked_at=START + timedelta(hours=1), kind=EntryKind.REFUSAL, cost_nanos=0)
    other = make_entry("other", booked_at=START + timedelta(minutes=30), customer="other")
    await book_all(ledger, early, late, other)

    async def found(wanted: EntryFilter) -> tuple[Entry, ...]:
        return (await ledger.fetch_entries(wanted)).entries

    assert await found(EntryFilter()) == (late, other, early)
    assert await found(EntryFilter(customer="acme")) == (late, early)
    assert await found(EntryFilter(kind=EntryKind.REFUSAL)) == (late,)
    assert await found(EntryFilter(since=other.booked_at)) == (late, other)
    assert await found(EntryFilter(until=other.booked_at)) == (early,)
    assert await found(EntryFilter(since=early.booked_at, until=late.booked_at, customer="acme")) == (early,)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "not base64!",
        "ünïcode",
        "e1:5:x",
        base64.urlsafe_b64encode(b"e1:5:").decode(),
        base64.urlsafe_b64encode(b"e1:9999999999999999999:x").decode(),
        base64.urlsafe_b64encode(b"e1:5:nul\x00").decode(),
        base64.urlsafe_b64encode(b"e1:5:\xff\xfe").decode(),
        base64.urlsafe_b64encode(b'{"offset": 5}').decode(),
    ],
)
async def test_a_foreign_page_token_is_malformed(ledger: SqlLedger, token: str) -> None:
    """A token that the ledger did not write is the caller's mistake, whatever is in it."""
    with pytest.raises(MalformedRequest) as caught:
        await ledger.fetch_entries(EntryFilter(page_token=token))
    assert caught.value.field == "page_token"


async def test_a_page_of_nothing_is_malformed(ledger: SqlLedger) -> None:
    """A page has at least one entry, or paging would never end."""
    with pytest.raises(MalformedRequest) as caught:
        await ledger.fetch_entries(EntryFilter(page_size=0))
    assert caught.value.field == "page_size"


async def test_costs_are_summed_by_principal_most_expensive_first(ledger: SqlLedger) -> None:
    """Charges and adjustments since a moment, inclusive; an adjustment is no job."""
    usage = {"bytes_billed": 10, "slot_ms": 5}
    await book_all(
        ledger,
        make_entry("old", cost_nanos=10**9, booked_at=START - timedelta(microseconds=1)),
        make_entry("a1", cost_nanos=100, **usage),
        make_entry("a2", cost_nanos=50, **usage),
        make_entry(None, id="adj", kind=EntryKind.ADJUSTMENT, cost_nanos=-20, bytes_billed=0, slot_ms=0),
        make_entry("b", cost_nanos=500, principal="bob@acme.example", **usage),
        make_entry("o", cost_nanos=200, customer="other", **usage),
        make_entry("r", kind=EntryKind.REFUSAL, cost_nanos=0, customer="refused"),
        make_entry(None, id="past", origin=Origin.BYPASS, cost_nanos=90, **usage),
    )
    ann = CostRow("acme", "ann@acme.example", Origin.GATE, 130, 20, 10, 2)
    past = CostRow("acme", "ann@acme.example", Origin.BYPASS, 90, 10, 5, 1)
    bob = CostRow("acme", "bob@acme.example", Origin.GATE, 500, 10, 5, 1)
    other = CostRow("other", "ann@acme.example", Origin.GATE, 200, 10, 5, 1)
    assert await ledger.fetch_costs(since=START) == (bob, other, ann, past)
    assert await ledger.fetch_costs(since=START, customer="acme") == (bob, ann, past)
    assert await ledger.fetch_costs(since=START + timedelta(microseconds=1)) == ()


async def test_entries_of_one_origin(ledger: SqlLedger, ledger_url: str) -> None:
    """Entries of before there were origins came through the gate."""
    await book_all(
        ledger,
        make_entry("new", booked_at=START + timedelta(seconds=1)),
        *(
            make_entry(None, id=origin.value, origin=origin, job=JobRef("acme-prod", origin.value, "US"))
            for origin in Origin
            if origin is not Origin.GATE
        ),
    )
    engine = sa.create_engine(read_url(ledger_url, is_async=False))
    with engine.begin() as connection:
        connection.execute(entries.insert(), entry_row(make_entry("old")) | {"origin": None})
    engine.dispose()
    for origin in Origin:
        page = await ledger.fetch_entries(EntryFilter(origin=origin))
        expected = ["new", "old"] if origin is Origin.GATE else [None]
        assert [entry.hold_id for entry in page.entries] == expected
        assert {entry.origin for entry in page.entries} == {origin}


async def test_how_far_the_sweep_is_everywhere(ledger: SqlLedger, ledger_url: str) -> None:
    """As far as in the project and the region in which it is least far; nowhere before it has begun."""
    assert await ledger.fetch_swept_until() is None
    engine = sa.create_engine(read_url(ledger_url, is_async=False))
    with engine.begin() as connection:
        for project_id, region, minutes in (("a", "", 3), ("a", "eu", 2), ("b", "", 4)):
            until = to_micros(START + timedelta(minutes=minutes))
            mark = {"project_id": project_id, "region": region, "swept_until": until}
            connection.execute(sweep_marks.insert(), mark)
    engine.dispose()
    assert await ledger.fetch_swept_until() == START + timedelta(minutes=2)


async def test_slot_history_leaves_out_what_tells_nothing(ledger: SqlLedger) -> None:
    """Only the customer's own charges that ran, and not those from the cache."""
    used = {"slot_ms": 1_000, "bytes_processed": 10**6}
    await book_all(
        ledger,
        make_entry("done", **used),
        make_entry("stopped", outcome=Outcome.STOPPED, **used),
        make_entry("cached", cache_hit=True, **used),
        make_entry("cached too", outcome=Outcome.CACHED, **used),
        make_entry("failed", outcome=Outcome.FAILED, **used),
        make_entry("assumed", outcome=Outcome.ASSUMED, **used),
        make_entry("other", customer="other", **used),
        make_entry("refusal", kind=EntryKind.REFUSAL, **used),
    )
    assert await ledger.fetch_slot_history("acme") == SlotHistory(slot_ms=2_000, bytes_processed=2 * 10**6)
    assert await ledger.fetch_slot_history("nobody") == SlotHistory()


async def test_slot_history_is_of_the_last_thousand(ledger: SqlLedger) -> None:
    """Older habits are forgotten."""
    old = replace(make_entry("old"), slot_ms=10**9, booked_at=START - timedelta(days=1))
    await ledger.book(old)
    base = make_entry("new", slot_ms=3, bytes_processed=7)
    bookings = []
    for number in range(1_000):
        job = base.job and replace(base.job, job_id=f"j{number}")
        bookings.append(ledger.book(replace(base, id=f"e{number}", hold_id=f"h{number}", job=job)))
    await asyncio.gather(*bookings)
    assert await ledger.fetch_slot_history("acme") == SlotHistory(slot_ms=3_000, bytes_processed=7_000)
