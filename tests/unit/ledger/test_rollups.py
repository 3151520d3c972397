"""Tests of the sums by hour and by day, over SQLite and PostgreSQL: they are those of the entries, always."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from bqgate.domain.entry import CostRow, Entry, EntryKind, Origin
from bqgate.ledger import SqlLedger, migrate
from bqgate.ledger.check_books import check_books
from bqgate.ledger.connections import read_url
from bqgate.ledger.migrate import alembic_config
from bqgate.ledger.rows import entry_row
from bqgate.ledger.schema import METADATA
from tests.support.ledgers import make_entry
from tests.support.manual_clock import ManualClock
from tests.support.registries import tamper

MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)


def some_entries(seed: int, count: int = 60) -> list[Entry]:
    """Charges, refusals and adjustments of some principals, booked within two days about a midnight."""
    draw = Random(seed)

    def one(number: int) -> Entry:
        kind = draw.choice(list(EntryKind))
        changes: dict[str, Any] = {
            "kind": kind,
            "customer": draw.choice(["acme", "globex"]),
            "principal": draw.choice(["ann", "bob", ""]),
            "project_id": draw.choice(["p", "q"]),
            "workload": draw.choice([None, "nightly"]),
            "origin": draw.choice(list(Origin)),
            "booked_at": MIDNIGHT + timedelta(microseconds=draw.randrange(-86_400_000_000, 86_400_000_000)),
            "placed_at": draw.choice([None, MIDNIGHT - timedelta(seconds=1), MIDNIGHT]),
            "cost_nanos": 0 if kind is EntryKind.REFUSAL else draw.randrange(1_000),
            "window_keys": draw.choice([{}, make_entry("h").window_keys]),
        }
        return make_entry(None if kind is not EntryKind.CHARGE else f"h{number}", id=f"e{number}", **changes)

    return [one(number) for number in range(count)]


def added_up(entries: list[Entry], since: datetime) -> set[CostRow]:
    """What was booked since a moment, as simply as can be."""
    rows: dict[tuple[str, str, Origin], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.booked_at >= since and entry.kind is not EntryKind.REFUSAL:
            rows[entry.customer, entry.principal, entry.origin].append(entry)
    return {
        CostRow(
            *key,
            cost_nanos=sum(entry.cost_nanos for entry in of_key),
            bytes_billed=sum(entry.bytes_billed for entry in of_key),
            slot_ms=sum(entry.slot_ms for entry in of_key),
            job_count=sum(entry.kind is EntryKind.CHARGE for entry in of_key),
        )
        for key, of_key in rows.items()
    }


async def book_all(ledger: SqlLedger, entries: list[Entry]) -> None:
    await asyncio.gather(*(ledger.book(entry) for entry in entries))


async def test_costs_since_any_moment_are_those_of_the_entries(ledger_url: str) -> None:
    """From the midst of an hour, from a whole hour, from midnight: to the nano-dollar what the entries add up to."""
    entries = some_entries(1)
    ledger = await SqlLedger.open(ledger_url, ManualClock())
    await book_all(ledger, entries)
    moments = [MIDNIGHT, *(MIDNIGHT + timedelta(hours=hours) for hours in (-24, -3, 5))]
    moments += [entry.booked_at for entry in entries[:10]]
    for since in moments:
        assert set(await ledger.fetch_costs(since=since)) == added_up(entries, since)
        of_acme = {row for row in added_up(entries, since) if row.customer == "acme"}
        assert set(await ledger.fetch_costs(since=since, customer="acme")) == of_acme
    await ledger.close()


async def test_only_what_was_really_booked_counts(ledger_url: str) -> None:
    """Two gates that book the same entries, over one another, add each once."""
    entries = some_entries(2)
    gates = [await SqlLedger.open(ledger_url, ManualClock()) for _ in range(2)]
    await asyncio.gather(*(book_all(gate, entries[first:] + entries[:first]) for gate in gates for first in (0, 30)))
    since = MIDNIGHT - timedelta(days=1)
    assert set(await gates[0].fetch_costs(since=since)) == added_up(entries, since)
    for gate in gates:
        await gate.close()
    assert [fault for fault in await check_books(ledger_url) if "sums" in fault.what] == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE spend_hours SET cost_nanos = cost_nanos + 1", "sums of hours that are not those of their entries"),
        ("UPDATE spend_days SET job_count = job_count - 1", "sums of days that are not those of their entries"),
        ("UPDATE spend_days SET adjusted_nanos = 7", "sums of days that are not those of their entries"),
        ("DELETE FROM spend_days", "sums of days that are not those of their entries"),
        ("UPDATE spend_hours SET principal = 'eve'", "sums of hours that are not those of their entries"),
    ],
)
async def test_a_sum_that_differs_is_told(ledger_url: str, change: str, found: str) -> None:
    """Whoever changed a sum, took it away, or gave it to somebody else."""
    ledger = await SqlLedger.open(ledger_url, ManualClock())
    await ledger.book(make_entry("h"))
    await ledger.close()
    before = await check_books(ledger_url)
    await asyncio.to_thread(tamper, ledger_url, change)
    assert before == ()
    (fault,) = [each for each in await check_books(ledger_url) if "audit" not in each.examples]
    assert fault.what == found
    assert "acme" in fault.examples[0]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_was_there_is_added_up_by_the_migration(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The sums of entries of before are as right as those of entries that are booked since."""
    is_sqlite = kind == "sqlite"
    url = f"sqlite:///{tmp_path / 'old.db'}" if is_sqlite else str(request.getfixturevalue("empty_postgres_url"))
    entries = some_entries(3)
    engine = sa.create_engine(read_url(url, is_async=False), poolclass=sa.NullPool)
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        rows = [entry_row(entry) for entry in entries[:50]]
        rows[0]["origin"] = None  # as in entries of before there were origins
        connection.execute(sa.insert(METADATA.tables["entries"]), rows)
    engine.dispose()
    await migrate(url)
    ledger = await SqlLedger.open(url, ManualClock())
    await book_all(ledger, entries)
    await ledger.close()
    assert [fault for fault in await check_books(url) if "sums" in fault.what] == []
