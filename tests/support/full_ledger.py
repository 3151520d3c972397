"""Give tests a ledger with rows in every table, odd ones among them, and all of its rows as they are stored.

`fill_ledger` writes through the gate's own classes; `stored_rows` reads past them, JSON as the text that is kept.
"""

from typing import Any

import sqlalchemy as sa

from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.entry import EntryKind, Origin
from bqgate.domain.job import JobRef
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlLedger, SqlRegistry
from bqgate.ledger.connections import read_url
from bqgate.ledger.schema import METADATA
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START, ManualClock
from tests.support.registries import make_event, make_key

ODD_LABELS = {"näme": "☃ \\ \" '\n\t", "": "", "wide": "\U00020000", "null": "null"}


async def fill_ledger(url: str, *, audit_records: int = 3) -> None:
    """Holds of each state, entries of each kind, breaker events, policies, keys, and an audit log."""
    ledger = await SqlLedger.open(url, ManualClock())
    for hold_id in ("charged", "closed", "open"):
        await ledger.open_hold(make_hold(hold_id, labels=ODD_LABELS))
    await ledger.book(make_entry("charged", labels=ODD_LABELS, placed_at=START, origin=Origin.GATE, ended_at=START))
    await ledger.close_hold("closed")
    correction: dict[str, Any] = {
        "kind": EntryKind.ADJUSTMENT,
        "cost_nanos": -699_999_999,
        "adjusts": "entry-of-charged",
        "job": JobRef("acme-prod", "job-of-charged", "US"),
        "placed_at": START,
    }
    await ledger.book(make_entry(None, id="correction", **correction))
    largest: dict[str, Any] = {"cost_nanos": 2**63 - 1, "bytes_billed": 2**63 - 1, "estimate_bytes": None, "labels": {}}
    await ledger.book(
        make_entry("never-opened", principal="bob", workload=None, reason=None, cache_hit=True, **largest)
    )
    for kind in (BreakerEventKind.TRIPPED, BreakerEventKind.RESET):
        await ledger.record_breaker_event(BreakerEvent("acme", Period.DAY, "2026-11-24", START, kind, "ann"))
    await ledger.close()
    registry = await SqlRegistry.open(url)
    document = {"daily_usd": "10", "näme": [1, None, "☃"]}
    await registry.write_policy(PolicyKind.TIER, "gold", document, expected_version=0, event=make_event())
    await registry.add_key(make_key("k-1"), make_event("key.created"))
    await registry.append_audit([make_event(before=None) for _ in range(audit_records)])
    await registry.close()


def stored_rows(url: str) -> dict[str, set[tuple[Any, ...]]]:
    """Every row of every table."""
    engine = sa.create_engine(read_url(url, is_async=False), poolclass=sa.NullPool)
    with engine.begin() as connection:
        found = {}
        for name, table in METADATA.tables.items():
            columns = [sa.cast(each, sa.Text) if isinstance(each.type, sa.JSON) else each for each in table.columns]
            found[name] = {tuple(row) for row in connection.execute(sa.select(*columns))}
    engine.dispose()
    return found
