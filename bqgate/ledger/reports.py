"""Answer what people look at: costs, spend, pages of entries, and what enforcing would have done.

`SqlReports` implements ports.LedgerReports and ports.ShadowDecisionSource, on the ledger's own database as part of
SqlLedger, or on a replica of it. Such answers may be some seconds old. `ReplicaFirst` asks a replica, and the ledger
itself where that does not answer; what decides about money is never asked of it.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bqgate.domain.entry import CostRow, Entry, EntryFilter, EntryPage
from bqgate.domain.errors import LedgerUnavailable, MalformedRequest
from bqgate.domain.shadow_decision import ShadowDecisionRow
from bqgate.domain.spend import SpendQuery, SpendTable
from bqgate.ledger import cost_queries, queries, shadow_decision_queries, spend_queries
from bqgate.ledger.page_token import page_of
from bqgate.ledger.rows import cost_row_of, entry_of, from_micros, shadow_decision_row_of, spend_table_of
from bqgate.ports import Telemetry

Ask = Callable[[sa.Select[Any]], Awaitable[Sequence[sa.Row[Any]]]]


class SqlReports:
    """Reports of a ledger. `ask` returns all rows of a question."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def fetch_entries(self, wanted: EntryFilter) -> EntryPage:
        """Entries newest first, a page at a time.

        Raises:
            LedgerUnavailable: the database did not answer.
            MalformedRequest: the page token is not one of ours, or the page has no size.
        """
        if wanted.page_size < 1:
            raise MalformedRequest("A page has at least one entry.", field="page_size")
        rows = await self._ask(queries.entries_page(wanted))
        return page_of(tuple(map(entry_of, rows)), wanted.page_size)

    async def fetch_spending(self, wanted: SpendQuery) -> SpendTable:
        """Spend by period, customer and group, latest and most expensive first, with the totals of all rows."""
        return spend_table_of(await self._ask(spend_queries.spend_over_time(wanted)))

    async def fetch_costs(self, *, since: datetime, customer: str | None = None) -> tuple[CostRow, ...]:
        """Spend booked at a moment or later, by customer, principal and origin, most expensive first."""
        return tuple(map(cost_row_of, await self._ask(cost_queries.costs_since(since, customer))))

    async def fetch_swept_until(self) -> datetime | None:
        """Up to which moment the sweep has looked everywhere; None: it never has."""
        micros = (await self._ask(queries.oldest_sweep_mark()))[0].swept_until
        return None if micros is None else from_micros(micros)

    async def fetch_shadow_decisions(
        self, *, since: datetime, until: datetime, customer: str | None = None
    ) -> tuple[ShadowDecisionRow, ...]:
        """Charges of a span of time by what enforcing would have done; see ports.ShadowDecisionSource."""
        rows = await self._ask(shadow_decision_queries.shadow_decisions_between(since, until, customer))
        return tuple(shadow_decision_row_of(row) for row in rows)

    async def fetch_most_expensive_rejections(
        self, *, since: datetime, until: datetime, customer: str | None = None, count: int = 10
    ) -> tuple[Entry, ...]:
        """The most expensive charges that enforcing would have refused."""
        rows = await self._ask(shadow_decision_queries.most_expensive_rejections(since, until, customer, count))
        return tuple(entry_of(row) for row in rows)


class ReplicaFirst:
    """Asks a replica, and the ledger itself where the replica does not answer, which is counted."""

    def __init__(self, replica: Ask, ledger: Ask, telemetry: Telemetry) -> None:
        self._replica = replica
        self._ledger = ledger
        self._telemetry = telemetry

    async def __call__(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a question.

        Raises:
            LedgerUnavailable: neither answered.
        """
        try:
            return await self._replica(statement)
        except LedgerUnavailable:
            self._telemetry.count("failures_total", system="ledger_replica", step="read")
            return await self._ledger(statement)
