"""What becomes of the probe that an open cost breaker let through is remembered in the ledger."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind, GracePolicy
from bqgate.domain.decision import PROBE
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.hold import Hold, PlacementOutcome
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.units import MIB
from tests.support.budget_scene import own_id
from tests.support.settlement_stand import ACME, Gate, Stand, settlement_stand

USD = NANOS_PER_USD
GRACE_POLICY = GracePolicy(grace_s=900, emergency_nanos=1_100 * USD, cooldown_s=600)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A stand on budgets in memory."""
    async with settlement_stand(tmp_path) as budget_status:
        yield budget_status


def today(stand: Stand) -> str:
    return ACME.windows(stand.clock.now())[0].key


async def tripped_at(stand: Stand) -> set[str]:
    spend = await stand.ledger.fetch_spend(ACME.windows(stand.clock.now()))
    return set(spend.tripped_at)


async def place(stand: Stand, gate: Gate, hold: Hold) -> Hold:
    """Place a hold under the terms above and record it; a probe bears its decision."""
    hold = replace(hold, placed_at=stand.clock.now())
    placement = await gate.budgets.place_hold(hold, ACME.windows(hold.placed_at), GRACE_POLICY)
    assert placement.outcome is PlacementOutcome.PLACED
    hold = replace(hold, decision=PROBE if placement.is_probe else "forward")
    await stand.ledger.open_hold(hold)
    return hold


async def start_probe(stand: Stand, gate: Gate) -> Hold:
    """Trip the breaker by an attempt that does not fit, let the cool-down pass, and place a probe."""
    filler = await place(stand, gate, stand.make_hold(usd=1_000))
    over = replace(stand.make_hold(usd=101), placed_at=stand.clock.now())
    refused = await gate.budgets.place_hold(over, ACME.windows(stand.clock.now()), GRACE_POLICY)
    assert refused.has_tripped
    at, day = stand.clock.now(), today(stand)
    await stand.ledger.record_breaker_event(
        BreakerEvent("acme", Period.DAY, day, at, BreakerEventKind.TRIPPED, over.principal)
    )
    await gate.settlement.void(filler, attempts=1)
    stand.clock.advance(600)
    probe = await place(stand, gate, stand.make_hold())
    assert probe.decision == PROBE
    return probe


def usage_of(hold: Hold, mib: int) -> Usage:
    return Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=mib * MIB)


async def test_a_probe_that_closed_the_breaker_is_remembered(stand: Stand) -> None:
    """A store that loses everything after it finds no open breaker in the ledger."""
    gate = stand.gate()
    probe = await start_probe(stand, gate)
    assert await gate.settlement.settle(probe, usage_of(probe, 7)) is not None
    assert await tripped_at(stand) == set()
    assert '"cost_breaker_closed"' in stand.log.getvalue()


async def test_a_probe_that_opened_it_anew_is_remembered(stand: Stand) -> None:
    """It cost more than the emergency limit allows: the day is open in the ledger, from the probe's end."""
    gate = stand.gate()
    probe = await start_probe(stand, gate)
    stand.clock.advance(5)
    await gate.settlement.settle(probe, usage_of(probe, 1_101))
    spend = await stand.ledger.fetch_spend(ACME.windows(stand.clock.now()))
    assert spend.tripped_at == {today(stand): stand.clock.now()}
    assert spend.captured_nanos[own_id(Period.DAY, today(stand))] == 1_101 * USD
    assert stand.metrics.value("bqgate_breaker_trips_total", customer="acme") == 1


async def test_a_probe_that_was_voided_is_no_news(stand: Stand) -> None:
    """The breaker is as it was, and nothing is recorded."""
    gate = stand.gate()
    probe = await start_probe(stand, gate)
    await gate.settlement.void(probe, attempts=1)
    assert (await gate.budgets.fetch_status(ACME.windows(stand.clock.now()))).breaker is not None
    assert await tripped_at(stand) == {today(stand)}
    assert "cost_breaker" not in stand.log.getvalue()


class DeafStore(MemoryBudgetStore):
    """One whose answers to captures are lost; or that is away, and captures nothing."""

    is_away = False
    is_heard = False

    async def capture(self, hold: Hold, cost_nanos: int, *, is_late: bool = False) -> bool:
        is_ended = not self.is_away and await super().capture(hold, cost_nanos)
        if not self.is_heard:
            raise BudgetStoreUnavailable("no answer")
        return is_ended


@pytest.fixture
async def deaf_stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A stand on budgets of which a capture hears nothing."""
    async with settlement_stand(tmp_path, DeafStore) as opened:
        yield opened


async def book_while_away(stand: Stand) -> tuple[Gate, DeafStore]:
    """A probe is booked, and the budgets do not capture it."""
    gate = stand.gate()
    probe = await start_probe(stand, gate)
    assert isinstance(gate.budgets, DeafStore)
    gate.budgets.is_away = True
    await gate.settlement.settle(probe, usage_of(probe, 7))
    return gate, gate.budgets


async def test_a_probe_whose_end_was_not_heard_of_is_remembered(deaf_stand: Stand) -> None:
    """The customer's part of it has ended, or all of it: what became of the breaker can still be asked."""
    gate = deaf_stand.gate()
    probe = await start_probe(deaf_stand, gate)
    deaf_stand.clock.advance(5)
    await gate.settlement.settle(probe, usage_of(probe, 1_101))
    spend = await deaf_stand.ledger.fetch_spend(ACME.windows(deaf_stand.clock.now()))
    assert spend.tripped_at == {today(deaf_stand): deaf_stand.clock.now()}


async def test_a_probe_that_has_not_ended_yet_is_no_news(deaf_stand: Stand) -> None:
    """Nothing was captured: the breaker waits for its probe, and the ledger keeps what it knew."""
    await book_while_away(deaf_stand)
    assert await tripped_at(deaf_stand) == {today(deaf_stand)}
    assert "cost_breaker" not in deaf_stand.log.getvalue()


async def test_a_probe_that_reconcile_ends_is_remembered(deaf_stand: Stand) -> None:
    """It was booked while the budgets were away; the next round captures it, which closes the breaker."""
    gate, budgets = await book_while_away(deaf_stand)
    budgets.is_away, budgets.is_heard = False, True
    await gate.reconciler.reconcile()
    assert await tripped_at(deaf_stand) == set()
    assert '"cost_breaker_closed"' in deaf_stand.log.getvalue()
