"""What begins a grace or opens a breaker is counted, noted and recorded; the ledger's absence changes no decision."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bqgate.admission.breaker_log import record_breaker_events
from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import (
    CostBreaker,
)
from bqgate.domain.hold import Hold, Placement, PlacementOutcome
from bqgate.domain.reject_reason import RejectReason
from tests.support.budget_scene import own_id
from tests.support.settlement_stand import ACME, Stand, settlement_stand

DAY = "2026-11-24"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A ledger, a journal, a clock."""
    async with settlement_stand(tmp_path) as budget_status:
        yield budget_status


def hold_of(stand: Stand) -> Hold:
    return replace(stand.make_hold(), placed_at=stand.clock.now())


async def test_the_start_of_a_grace_is_remembered_for_its_window_alone(stand: Stand) -> None:
    """The day began its grace; the month did not."""
    hold = hold_of(stand)
    day, month = ACME.windows(hold.placed_at)
    placement = Placement(PlacementOutcome.PLACED, hold.id, (), grace_started_in=(day,))
    await record_breaker_events(placement, hold, ledger=stand.ledger, telemetry=stand.telemetry)
    spend = await stand.ledger.fetch_spend((day, month))
    assert spend.grace_started_at == {own_id(Period.DAY, DAY): hold.placed_at}
    assert spend.tripped_at == {}
    assert stand.metrics.value("bqgate_grace_started_total", customer="acme") == 1
    assert '"grace_started"' in stand.log.getvalue()


async def test_a_trip_is_remembered_for_its_day(stand: Stand) -> None:
    """With its moment, under the day in which it happened; and told at the level of a warning."""
    hold = hold_of(stand)
    breaker = CostBreaker(hold.placed_at, hold.placed_at + timedelta(hours=12))
    placement = Placement(PlacementOutcome.REFUSED, None, (), RejectReason.EMERGENCY, breaker, has_tripped=True)
    await record_breaker_events(placement, hold, ledger=stand.ledger, telemetry=stand.telemetry)
    assert (await stand.ledger.fetch_spend(ACME.windows(hold.placed_at))).tripped_at == {DAY: hold.placed_at}
    assert stand.metrics.value("bqgate_breaker_trips_total", customer="acme") == 1
    assert '"level": "warning"' in stand.log.getvalue()


async def test_a_ledger_that_is_away_is_counted(stand: Stand) -> None:
    """Nothing is raised: the decision stands."""
    hold = hold_of(stand)
    placement = Placement(PlacementOutcome.REFUSED, None, (), RejectReason.EMERGENCY, has_tripped=True)
    with stand.ledger_away():
        await record_breaker_events(placement, hold, ledger=stand.ledger, telemetry=stand.telemetry)
    assert stand.metrics.value("bqgate_failures_total", system="ledger", step="breaker") == 1
    assert (await stand.ledger.fetch_spend(ACME.windows(hold.placed_at))).tripped_at == {}


async def test_an_attempt_that_began_nothing_is_no_news(stand: Stand) -> None:
    """No line, no count, no question to the ledger."""
    hold = hold_of(stand)
    with stand.ledger_away():
        await record_breaker_events(
            Placement(PlacementOutcome.PLACED, hold.id, ()), hold, ledger=stand.ledger, telemetry=stand.telemetry
        )
    assert stand.log.getvalue() == ""
    assert stand.metrics.value("bqgate_failures_total", system="ledger", step="breaker") == 0
