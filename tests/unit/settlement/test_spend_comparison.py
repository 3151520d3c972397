"""Corrections are written to the ledger alone: the budgets take them in at the next round, and nobody is alarmed."""

from dataclasses import replace

import pytest

from bqgate.domain.entry import Entry, EntryKind
from bqgate.domain.money import NANOS_PER_USD
from tests.support.settlement_stand import Gate, Stand, usd
from tests.unit.settlement.test_settle import done


async def booked(stand: Stand, gate: Gate, dollars: int) -> Entry:
    """A job that cost so much."""
    hold = await stand.place(gate, stand.make_hold(usd=dollars))
    entry = await gate.settlement.settle(hold, done(hold.job, dollars))
    assert entry is not None
    return entry


async def correct(stand: Stand, charge: Entry, dollars: int, number: int = 1) -> None:
    """What the sweep and `bqgate ledger rerate` do."""
    correction = replace(
        charge,
        id=f"{charge.id}.{number}",
        kind=EntryKind.ADJUSTMENT,
        adjusts=charge.id,
        hold_id=None,
        hold_nanos=0,
        cost_nanos=dollars * NANOS_PER_USD,
    )
    await stand.ledger.book(correction)


async def test_a_correction_reaches_a_running_gate_at_its_next_round(stand: Stand, gate: Gate) -> None:
    """Up and down, one after the other and several at once; no drift is counted or logged."""
    charge = await booked(stand, gate, 10)
    await gate.reconciler.reconcile()
    for number, dollars, expected in ((1, 7, 17), (2, -12, 5)):
        await correct(stand, charge, dollars, number)
        await gate.reconciler.reconcile()
        assert usd(await stand.balance(gate)) == (expected, 0)
    for number in (3, 4):
        await correct(stand, charge, 1, number)
    await gate.reconciler.reconcile()
    assert usd(await stand.balance(gate)) == (7, 0)
    assert stand.metrics.value("bqgate_budget_drifts_total", period="day") == 0
    assert "budget_drift" not in stand.log.getvalue()
    assert stand.log.getvalue().count("budgets_corrected") == 3


async def test_what_corrections_do_not_explain_is_a_drift(stand: Stand, gate: Gate) -> None:
    """A charge that the budgets have missed beside a correction: told after two rounds, and mended."""
    charge = await booked(stand, gate, 10)
    await gate.reconciler.reconcile()
    await correct(stand, charge, 5)
    await stand.ledger.book(replace(charge, id="missed", hold_id=None, job=None, cost_nanos=2 * NANOS_PER_USD))
    await gate.reconciler.reconcile()
    assert usd(await stand.balance(gate)) == (10, 0)
    await gate.reconciler.reconcile()
    assert usd(await stand.balance(gate)) == (17, 0)
    assert stand.metrics.value("bqgate_budget_drifts_total", period="day") == 1


async def test_a_correction_is_followed_beside_what_is_under_way(stand: Stand, gate: Gate) -> None:
    """A job that is booked and not yet captured at the first look is no part of what was corrected."""
    charge = await booked(stand, gate, 10)
    await gate.reconciler.reconcile()
    hold = await stand.place(gate, stand.make_hold(usd=3))
    await correct(stand, charge, 5)
    between = replace(charge, id="between", hold_id=hold.id, job=hold.job, cost_nanos=2 * NANOS_PER_USD)
    await stand.ledger.book(between)  # booked by another gate, which captures it in a moment
    await gate.budgets.capture(hold, between.cost_nanos)
    await gate.reconciler.reconcile()
    assert usd(await stand.balance(gate)) == (17, 0)
    assert stand.metrics.value("bqgate_budget_drifts_total", period="day") == 0


@pytest.mark.parametrize("dollars", [5, -5])
async def test_a_gate_that_began_after_a_correction_has_it_already(stand: Stand, dollars: int) -> None:
    """Its budgets are filled from the ledger, corrections and all."""
    charge = await booked(stand, stand.gate(), 10)
    await correct(stand, charge, dollars)
    gate = stand.gate()
    assert usd(await stand.balance(gate)) == (10 + dollars, 0)
    await gate.reconciler.reconcile()
    assert "budget" not in stand.log.getvalue()
