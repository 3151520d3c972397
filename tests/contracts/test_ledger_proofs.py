"""Every ProofSource: charges by when their jobs were made, and what no job stands for."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from bqgate.domain.entry import EntryKind, Origin
from bqgate.domain.job import JobRef
from bqgate.ledger import SqlLedger, SqlProofs
from tests.support.ledgers import make_entry
from tests.support.manual_clock import START

MINUTE = timedelta(minutes=1)
SPAN: dict[str, Any] = {"since": START, "until": START + MINUTE}


@pytest.fixture
async def proofs(ledger: SqlLedger, ledger_url: str) -> AsyncIterator[SqlProofs]:
    """A source over the same database."""
    opened = SqlProofs.open(ledger_url)
    yield opened
    await opened.close()


async def test_charges_come_by_when_they_were_placed(ledger: SqlLedger, proofs: SqlProofs) -> None:
    """However late they were booked; those of before that was kept, by when they were booked. The end is not in it."""
    late = START + timedelta(hours=3)
    for name, placed_at, booked_at in (
        ("first", START, late),
        ("before", START - MINUTE, START),
        ("end", START + MINUTE, START),
        ("old", None, START),
        ("older", None, START - MINUTE),
    ):
        await ledger.book(make_entry(name, placed_at=placed_at, booked_at=booked_at))
    await ledger.book(make_entry("refused", kind=EntryKind.REFUSAL, placed_at=START))
    await ledger.book(make_entry("elsewhere", placed_at=START, job=JobRef("other", "j", "US")))
    found = await proofs.fetch_charges_made("acme-prod", **SPAN, customer=None, after_id="")
    assert [entry.hold_id for entry in found] == ["first", "old"]
    rest = await proofs.fetch_charges_made("acme-prod", **SPAN, customer="acme", after_id="entry-of-first")
    assert [entry.hold_id for entry in rest] == ["old"]
    assert await proofs.fetch_charges_made("acme-prod", **SPAN, customer="other", after_id="") == ()


async def test_charges_come_in_pages_to_the_last(ledger: SqlLedger, proofs: SqlProofs, monkeypatch: Any) -> None:
    """Each once, in the order of their ids."""
    monkeypatch.setattr("bqgate.ledger.proofs.PAGE", 2)
    for number in range(5):
        await ledger.book(make_entry(f"h{number}", placed_at=START))
    seen: list[str | None] = []
    after_id = ""
    while page := await proofs.fetch_charges_made("acme-prod", **SPAN, customer=None, after_id=after_id):
        seen += [entry.hold_id for entry in page]
        after_id = page[-1].id
    assert seen == [f"h{number}" for number in range(5)]


async def test_charges_without_a_job_are_added_up(ledger: SqlLedger, proofs: SqlProofs) -> None:
    """Those that cost something, and were not metered."""
    for name, changes in (
        ("one", {"cost_nanos": 3}),
        ("two", {"cost_nanos": 4}),
        ("free", {"cost_nanos": 0}),
        ("metered", {"origin": Origin.METERED}),
        ("later", {"placed_at": START + MINUTE}),
    ):
        await ledger.book(make_entry(name, **({"job": None, "placed_at": START} | changes)))
    await ledger.book(make_entry("job", placed_at=START))
    assert await proofs.fetch_jobless(**SPAN, customer=None) == (2, 7)
    assert await proofs.fetch_jobless(**SPAN, customer="other") == (0, 0)


async def test_adjustments_of_nothing_are_found(ledger: SqlLedger, proofs: SqlProofs) -> None:
    """Those whose charge is not there, and those that name none."""
    await ledger.book(make_entry("h1", placed_at=START))
    for name, adjusts in (("good", "entry-of-h1"), ("stray", "nowhere"), ("blank", None), ("later", "nowhere")):
        placed_at = START + MINUTE if name == "later" else START
        kind = EntryKind.ADJUSTMENT
        await ledger.book(make_entry(None, id=name, kind=kind, adjusts=adjusts, job=None, placed_at=placed_at))
    found = await proofs.fetch_stray_adjustments(**SPAN, customer=None)
    assert [entry.id for entry in found] == ["blank", "stray"]
    assert await proofs.fetch_stray_adjustments(**SPAN, customer="other") == ()
