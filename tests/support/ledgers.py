"""Give tests a ledger on each database, and holds and entries to put into it.

Fixtures: `ledger_url`, an empty ledger on SQLite and then on PostgreSQL; `ledger`, a SqlLedger on it, and in tests of
the sweep's contract, and of the ledger's that ask for no URL, the MemoryLedger, on which simulations run, and one on
SQLite behind a journal;
`ledger_clock`, its clock.
`make_hold` and `make_entry` build values with every field set, unless told otherwise.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bqgate.domain.budget import Period
from bqgate.domain.entry import Entry, EntryKind
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.units import MIB
from bqgate.ledger import JournalPlace, SqlLedger
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import START, ManualClock
from tests.support.memory_ledger import MemoryLedger

WINDOW_KEYS = {Period.DAY: "2026-11-24", Period.MONTH: "2026-11"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for a ledger once for each kind."""
    if "ledger_kind" in metafunc.fixturenames:
        name = metafunc.definition.path.name
        is_ledgers = name.startswith("test_ledger") and "ledger_url" not in metafunc.fixturenames
        has_memory = is_ledgers or name.startswith("test_sweep_state")
        more = [*(["memory"] if has_memory else []), *(["journaled"] if is_ledgers else [])]
        metafunc.parametrize("ledger_kind", ["sqlite", "postgresql", *more])


@pytest.fixture
def ledger_url(ledger_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty ledger; of one in memory there is none."""
    if ledger_kind == "memory":
        return ""
    if ledger_kind in {"sqlite", "journaled"}:
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger_clock() -> ManualClock:
    """The ledger's clock."""
    return ManualClock()


@pytest.fixture
async def ledger(
    ledger_kind: str, request: pytest.FixtureRequest, ledger_clock: ManualClock, tmp_path: Path
) -> AsyncIterator[SqlLedger | MemoryLedger]:
    """A ledger on each database in turn, in memory, and behind a journal."""
    if ledger_kind == "memory":
        yield MemoryLedger()
        return
    place = JournalPlace(tmp_path / "journal", 64 * MIB, ListTelemetry()) if ledger_kind == "journaled" else None
    opened = await SqlLedger.open(request.getfixturevalue("ledger_url"), ledger_clock, journal=place)
    yield opened
    await opened.close()


def make_hold(hold_id: str, **changes: Any) -> Hold:
    """A hold of a dollar of the customer "acme"."""
    hold = Hold(
        id=hold_id,
        customer="acme",
        principal="ann@acme.example",
        project_id="acme-prod",
        amount_nanos=1_000_000_000,
        window_keys=WINDOW_KEYS,
        placed_at=START,
        deadline_at=START + timedelta(hours=6),
        idempotency_key="job:acme-prod:job-1",
        workload="nightly",
        maximum_bytes_billed=2**40,
        estimate_bytes=2**39,
        estimate_nanos=900_000_000,
        decision="throttle",
        fingerprint="f1",
    )
    return replace(hold, **changes)


def make_entry(hold_id: str | None, **changes: Any) -> Entry:
    """A charge of 70 cents for a job with no id of its own yet; its own id follows the hold's."""
    entry = Entry(
        id=f"entry-of-{hold_id}",
        kind=EntryKind.CHARGE,
        customer="acme",
        principal="ann@acme.example",
        project_id="acme-prod",
        booked_at=START,
        window_keys=WINDOW_KEYS,
        outcome=Outcome.DONE,
        cost_nanos=700_000_000,
        hold_id=hold_id,
        hold_nanos=1_000_000_000,
        workload="nightly",
        job=JobRef("acme-prod", f"job-of-{hold_id}", "US"),
        decision="throttle",
        reason="near its limit",
        estimate_bytes=2**39,
        estimate_nanos=900_000_000,
        bytes_processed=2**38,
        bytes_billed=2**38 + 2**20,
        slot_ms=12_345,
        statement_type="SELECT",
        fingerprint="f1",
        labels={"team": "data", "näme": "ünïcode ☃"},
    )
    return replace(entry, **changes)
