"""The contract of ports.ShadowDecisionSource, over SQLite and PostgreSQL: what enforcing would have done."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from bqgate.domain.entry import Entry, EntryFilter, EntryKind
from bqgate.domain.job import Outcome
from bqgate.domain.shadow_decision import ShadowDecision, ShadowDecisionRow
from bqgate.ledger import SqlLedger, migrate
from bqgate.ledger.shadow_decision_queries import most_expensive_rejections, shadow_decisions_between
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START

STOPPED = ShadowDecision("budget_used_up", 0, "customer/day")
DELAYED = ShadowDecision(None, 2_000, "customer/month")
END = START + timedelta(hours=1)


async def book_all(ledger: SqlLedger, *entries: Entry) -> None:
    for entry in entries:
        await ledger.book(entry)


@pytest.mark.parametrize("shadow_decision", [None, STOPPED, DELAYED, ShadowDecision(None, 0, "query")])
async def test_holds_and_entries_keep_what_would_have_been(
    ledger: SqlLedger, shadow_decision: ShadowDecision | None
) -> None:
    """What was foreseen comes back as it was, from the open hold and from the booked entry."""
    hold, entry = (
        make_hold("open", shadow_decision=shadow_decision),
        make_entry("booked", shadow_decision=shadow_decision),
    )
    await ledger.open_hold(hold)
    await ledger.book(entry)
    assert await ledger.fetch_open_holds() == (hold,)
    assert await ledger.fetch_entry("booked") == entry
    assert (await ledger.fetch_entries(EntryFilter())).entries == (entry,)


async def test_charges_are_summed_by_what_would_have_become_of_them(ledger: SqlLedger) -> None:
    """By customer, principal, reason and budget: how many, what they cost, how long they would have waited."""
    await book_all(
        ledger,
        make_entry("a", cost_nanos=5, shadow_decision=STOPPED),
        make_entry("b", cost_nanos=7, shadow_decision=STOPPED),
        make_entry("c", cost_nanos=11, shadow_decision=DELAYED),
        make_entry("d", cost_nanos=13, shadow_decision=ShadowDecision(None, 500, "customer/month")),
        make_entry("e", cost_nanos=17),
        make_entry("f", cost_nanos=19, customer="globex", principal="bob", shadow_decision=STOPPED),
        make_entry("g", cost_nanos=0, kind=EntryKind.REFUSAL, outcome=Outcome.REFUSED),
    )
    ann = ("acme", "ann@acme.example")
    rows = await ledger.fetch_shadow_decisions(since=START, until=END)
    assert sorted(rows, key=lambda row: row.cost_nanos) == [
        ShadowDecisionRow(*ann, "budget_used_up", "customer/day", 2, 12, 0, 0, 0),
        ShadowDecisionRow(*ann, None, None, 1, 17, 0, 0, 0),
        ShadowDecisionRow("globex", "bob", "budget_used_up", "customer/day", 1, 19, 0, 0, 0),
        ShadowDecisionRow(*ann, None, "customer/month", 2, 24, 2, 2_500, 2_000),
    ]
    assert [row.customer for row in await ledger.fetch_shadow_decisions(since=START, until=END, customer="globex")] == [
        "globex"
    ]


async def test_the_span_begins_with_since_and_ends_before_until(ledger: SqlLedger) -> None:
    """A charge is in exactly one of two spans that meet."""
    await book_all(
        ledger,
        make_entry("a", shadow_decision=STOPPED, booked_at=START - timedelta(microseconds=1)),
        make_entry("b", shadow_decision=STOPPED, booked_at=START),
        make_entry("c", shadow_decision=STOPPED, booked_at=END),
    )
    (row,) = await ledger.fetch_shadow_decisions(since=START, until=END)
    assert row.query_count == 1
    assert [entry.hold_id for entry in await ledger.fetch_most_expensive_rejections(since=START, until=END)] == ["b"]


async def test_the_most_expensive_that_would_have_been_refused_come_first(ledger: SqlLedger) -> None:
    """Those that would only have waited are none of them, and no more come than were asked for."""
    await book_all(
        ledger,
        make_entry("a", cost_nanos=5, shadow_decision=STOPPED),
        make_entry("b", cost_nanos=9, shadow_decision=STOPPED),
        make_entry("c", cost_nanos=99, shadow_decision=DELAYED),
        make_entry("d", cost_nanos=7, shadow_decision=STOPPED, customer="globex"),
        make_entry("e", cost_nanos=98),
    )

    async def most_expensive(**wanted: Any) -> list[str | None]:
        return [
            entry.hold_id for entry in await ledger.fetch_most_expensive_rejections(since=START, until=END, **wanted)
        ]

    assert await most_expensive() == ["b", "d", "a"]
    assert await most_expensive(count=1) == ["b"]
    assert await most_expensive(customer="globex") == ["d"]
    assert await most_expensive(customer="nobody") == []


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (shadow_decisions_between(START, END, "acme"), "ix_entries_customer_booked"),
        (shadow_decisions_between(START, END, None), "ix_entries_booked"),
        (most_expensive_rejections(START, END, "acme", 10), "ix_entries_customer_booked"),
        (most_expensive_rejections(START, END, None, 10), "ix_entries_booked"),
    ],
)
async def test_sqlite_reads_only_the_span(tmp_path: Path, statement: sa.Select[Any], index: str) -> None:
    """However many entries there are, those of the span are found by an index."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    await migrate(url)
    compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        parameters = tuple(compiled.params[name] for name in compiled.positiontup or ())
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", parameters).all()
    steps = " | ".join(str(row[-1]) for row in plan)
    assert f"SEARCH entries USING INDEX {index}" in steps
