"""Give tests a registry on each database, events for its audit log, and a way to tamper with it.

Fixtures: `registry`, a SqlRegistry on the database of `ledger_url`. `tamper` writes behind the gate's back.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from bqgate.domain.audit import AuditEvent
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.principal import Role
from bqgate.ledger import SqlRegistry
from bqgate.ledger.connections import read_url
from tests.support.manual_clock import START


@pytest.fixture
async def registry(ledger_url: str) -> AsyncIterator[SqlRegistry]:
    """A registry on each database in turn."""
    opened = await SqlRegistry.open(ledger_url)
    yield opened
    await opened.close()


def make_event(action: str = "tier.updated", **changes: Any) -> AuditEvent:
    """An event with every field set, unless told otherwise."""
    event = AuditEvent(
        at=START,
        action=action,
        actor="ann@acme.example",
        target="tiers/gold",
        role="admin",
        subject="key:3f00",
        customer="acme",
        source="192.0.2.7",
        request_id="r-1",
        detail="ünïcode ☃",
        before={"daily_usd": "10", "nested": {"b": [1, 2.5, None], "a": "é"}},
        after={"daily_usd": "20", "nested": {"b": [], "a": True}},
    )
    return replace(event, **changes)


def make_key(key_id: str, **changes: Any) -> Key:
    """A key file's key with no end."""
    key = Key(
        id=key_id,
        kind=KeyKind.KEY_FILE,
        principal="nightly-load",
        role=Role.ANALYST,
        customer="acme",
        created_at=START,
        created_by="ann@acme.example",
        public_key="-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
    )
    return replace(key, **changes)


def tamper(url: str, *statements: str) -> None:
    """Run SQL behind the gate's back, with the triggers that keep the tables append-only out of the way."""
    engine = sa.create_engine(read_url(url, is_async=False), poolclass=sa.NullPool)
    unguarded = {
        "sqlite": ["DROP TRIGGER IF EXISTS audit_no_update", "DROP TRIGGER IF EXISTS audit_no_delete"],
        "postgresql": ["DROP TRIGGER IF EXISTS audit_no_change ON audit"],
    }[engine.dialect.name]
    with engine.begin() as connection:
        for statement in (*unguarded, *statements):
            connection.exec_driver_sql(statement)
    engine.dispose()
