"""Tests of bqgate.ledger.reports: a replica answers what people look at, and the ledger where the replica does not."""

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from bqgate.domain.entry import EntryFilter
from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger import SqlReports
from bqgate.ledger.connections import Connections
from bqgate.ledger.reports import Ask, ReplicaFirst
from bqgate.ledger.sql_ledger import SqlLedger
from tests.support.hold_services import CountingTelemetry
from tests.support.ledgers import make_entry
from tests.support.manual_clock import START, ManualClock

FELL_BACK = ("failures_total", {"system": "ledger_replica", "step": "read"})


async def gone(_statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    raise LedgerUnavailable("It is not there.")


async def names_of(replica: Ask, ledger: Ask, telemetry: CountingTelemetry) -> list[str | None]:
    reports = SqlReports(ReplicaFirst(replica, ledger, telemetry))
    page = await reports.fetch_entries(EntryFilter())
    assert len(await reports.fetch_costs(since=START)) == len(page.entries)
    return [entry.hold_id for entry in page.entries]


async def test_a_replica_is_read_as_long_as_it_answers(postgres_url: str, other_postgres_url: str) -> None:
    """What it has is told, be it older; when it does not answer the ledger is read, which is counted."""
    asks: list[Ask] = []
    opened: list[Connections] = []
    for name, url in (("at the replica", other_postgres_url), ("at the ledger", postgres_url)):
        ledger = await SqlLedger.open(url, ManualClock())
        await ledger.book(make_entry(name))
        await ledger.close()
        opened.append(Connections(url, timeout_s=5))
        asks.append(opened[-1].fetch_rows)
    replica, ledger_itself = asks
    telemetry = CountingTelemetry()
    assert await names_of(replica, ledger_itself, telemetry) == ["at the replica"]
    assert telemetry.counted == []
    assert await names_of(gone, ledger_itself, telemetry) == ["at the ledger"]
    assert telemetry.counted == [FELL_BACK, FELL_BACK]
    for connections in opened:
        await connections.close()


async def test_without_either_there_is_no_answer() -> None:
    """Both gone is the ledger gone."""
    with pytest.raises(LedgerUnavailable):
        await SqlReports(ReplicaFirst(gone, gone, CountingTelemetry())).fetch_costs(since=START)
