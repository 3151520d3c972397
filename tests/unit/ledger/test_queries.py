"""Tests of bqgate.ledger.queries: each question is answered from the index that was made for it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from bqgate.domain.budget import Period, Window
from bqgate.domain.entry import EntryFilter, EntryLookup
from bqgate.domain.spend import SpendGroup, SpendPeriod, SpendQuery
from bqgate.ledger import migrate, queries
from bqgate.ledger.cost_queries import costs_since
from bqgate.ledger.page_token import write_page_token
from bqgate.ledger.spend_queries import spend_over_time
from bqgate.ledger.window_queries import spend_of
from tests.support.manual_clock import START

PAGE = EntryFilter(customer="acme", since=START, until=START, page_token=write_page_token(5, "x"))
LATELY = START + timedelta(minutes=20)
OF_HOURS, OF_DAYS = "INDEX sqlite_autoindex_spend_hours_1", "INDEX sqlite_autoindex_spend_days_1"
BY_NAMES = ["INDEX ix_entries_job", "INDEX uq_entries_hold", "INDEX sqlite_autoindex_entries_1"]
WINDOWS = (Window("acme", Period.DAY, "2026-11-24", None, START), Window("acme", Period.MONTH, "2026-11", None, START))


@pytest.mark.parametrize(
    ("statement", "indexes"),
    [
        (spend_of(WINDOWS), ["INDEX ix_spend_days_day", "INDEX ix_spend_days_month"]),
        (queries.slot_history_of("acme"), ["INDEX ix_entries_usage"]),
        (queries.open_holds(None), ["INDEX ix_holds_open"]),
        (queries.open_holds("acme"), ["INDEX ix_holds_open"]),
        (queries.entry_of_hold("h"), ["INDEX uq_entries_hold"]),
        (queries.entries_page(PAGE), ["INDEX ix_entries_customer_booked"]),
        (queries.entries_page(EntryFilter(page_token=PAGE.page_token)), ["INDEX ix_entries_booked"]),
        (costs_since(LATELY, "acme"), ["INDEX ix_entries_customer_booked", OF_HOURS, "INDEX ix_spend_days"]),
        (costs_since(LATELY, None), ["INDEX ix_entries_booked", OF_HOURS, OF_DAYS]),
        (
            spend_over_time(SpendQuery(SpendPeriod.WEEK, SpendGroup.LABEL, START.date(), label_key="team")),
            ["INDEX ix_entries_booked"],
        ),
        (spend_over_time(SpendQuery(SpendPeriod.DAY, SpendGroup.WORKLOAD, START.date())), [OF_DAYS]),
        (
            spend_over_time(SpendQuery(SpendPeriod.DAY, SpendGroup.CUSTOMER, START.date(), customer="acme")),
            ["INDEX ix_spend_days"],
        ),
        (queries.entries_of(EntryLookup("j", "d")), BY_NAMES),
        (queries.entries_of(EntryLookup("j", "d", "p", "US", "acme", "ann")), BY_NAMES),
    ],
)
async def test_sqlite_answers_by_an_index(tmp_path: Path, statement: sa.Select[Any], indexes: list[str]) -> None:
    """No table is scanned and, for pages and holds, nothing is sorted."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    await migrate(url)
    compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        parameters = tuple(compiled.params[name] for name in compiled.positiontup or ())
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", parameters).all()
    steps = " | ".join(str(row[-1]) for row in plan)
    for index in indexes:
        assert index in steps
    assert not any(f"SCAN {table} |" in f"{steps} |" for table in ("entries", "spend_days", "spend_hours"))
    if "GROUP BY" not in str(compiled):
        assert "TEMP B-TREE" not in steps
