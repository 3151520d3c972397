"""A job is priced as it was held: a change of prices holds for what is placed after it, wherever the job ends."""

from dataclasses import replace

import pytest

from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.units import MIB
from bqgate.settlement.evidence import Inquiry
from bqgate.settlement.held_prices import HeldPrices
from tests.support.settlement_stand import CUSTOMER_REGISTRY, POLICIES, PRICES, Stand

RAISED = PolicySnapshot(CUSTOMER_REGISTRY, replace(PRICES, nanos_per_tib=2 * PRICES.nanos_per_tib))


def done(hold: Hold, mib: int) -> Usage:
    return Usage(hold.job, Outcome.DONE, bytes_billed=mib * MIB, statement_type="SELECT")


async def held(stand: Stand, policies: PolicySnapshot) -> Hold:
    """A hold of 20 dollars, placed and recorded under these prices."""
    gate = stand.gate(policies=policies)
    stand.ledger.register_prices(policies.prices)
    return await stand.place(gate, replace(stand.make_hold(usd=20), prices_id=policies.prices.id))


async def test_prices_raised_while_a_job_runs_do_not_raise_its_cost(stand: Stand) -> None:
    """Another process, with other prices, books it at the prices of its hold; the next one costs what holds now."""
    before, after = await held(stand, POLICIES), await held(stand, RAISED)
    other = stand.gate(policies=RAISED)
    for hold in (before, after):
        await other.settlement.settle(hold, done(hold, 9))
    costs = {entry.hold_id: entry.cost_nanos // NANOS_PER_USD for entry in await stand.entries()}
    assert costs == {before.id: 9, after.id: 18}


async def test_prices_lowered_while_a_job_runs_do_not_lower_its_cost(stand: Stand) -> None:
    """What was held at a price is paid at it; a hold that a restart brings back from the ledger too."""
    hold = await held(stand, RAISED)
    (recorded,) = await stand.ledger.fetch_open_holds()
    assert recorded.prices_id == hold.prices_id
    await stand.gate(policies=POLICIES).settlement.settle(recorded, done(recorded, 9))
    (entry,) = await stand.entries()
    assert entry.cost_nanos == 18 * NANOS_PER_USD


async def test_a_hold_of_before_costs_what_holds_now(stand: Stand) -> None:
    """It names no prices; one that names a list which nobody wrote has no better ones either."""
    prices = HeldPrices(stand.ledger, RAISED)
    assert await prices.prices_of(stand.make_hold()) is RAISED.prices
    assert await prices.prices_of(replace(stand.make_hold(), prices_id="nobody wrote it")) is RAISED.prices


async def test_known_prices_need_no_ledger(stand: Stand) -> None:
    """The present ones, and those asked after before; others wait for the ledger."""
    hold = await held(stand, POLICIES)
    prices = HeldPrices(stand.ledger, RAISED)
    assert await prices.prices_of(hold) == PRICES
    unknown = replace(hold, prices_id="other")
    await stand.ledger.close()
    assert await prices.prices_of(hold) == PRICES
    assert await HeldPrices(stand.ledger, POLICIES).prices_of(hold) is POLICIES.prices
    assert unknown.prices_id == "other"


async def test_while_the_ledger_is_away_a_job_of_unknown_prices_waits(stand: Stand) -> None:
    """Booked later at the right price, and not now at another."""
    hold = await held(stand, POLICIES)
    gate = stand.gate(policies=RAISED)
    stand.rename_price_lists("price_lists", "elsewhere")
    with pytest.raises(LedgerUnavailable):
        await gate.settlement.settle(hold, done(hold, 9))
    stand.rename_price_lists("elsewhere", "price_lists")
    await gate.settlement.settle(hold, done(hold, 9))
    (entry,) = await stand.entries()
    assert entry.cost_nanos == 9 * NANOS_PER_USD


async def test_a_script_is_asked_for_its_statements_and_priced_by_them(stand: Stand) -> None:
    """A CREATE MODEL in it costs fifty times; what nobody may list costs the most that its hold was sized for."""
    gate = stand.gate()
    for may_list, dollars in ((True, 2 + 3 * 50), (False, 5 * 50)):
        hold = await stand.place(gate, replace(stand.make_hold(usd=200), priced_as="CREATE_MODEL"))
        job = stand.run_job(hold)
        stand.bigquery.end(job, bytes_billed=5 * MIB, statement_type="SCRIPT")
        query = Usage(None, Outcome.DONE, bytes_billed=2 * MIB, statement_type="SELECT")
        model = Usage(None, Outcome.DONE, bytes_billed=3 * MIB, statement_type="CREATE_MODEL")
        stand.bigquery.run_statements(job, query, model)
        stand.bigquery.may_list = may_list
        gate.poller.watch(hold, None, inquiry=Inquiry(job), attempts=1)
        await gate.look_at_all()
        entry = await stand.ledger.fetch_entry(hold.id)
        assert entry is not None
        assert (entry.cost_nanos // NANOS_PER_USD, entry.outcome) == (dollars, Outcome.DONE)


@pytest.mark.parametrize("kind", ["SELECT", "CALL", "EXECUTE_IMMEDIATE", "SCRIPT"])
async def test_a_failed_job_is_booked_at_what_it_is_reported_to_have_billed(stand: Stand, kind: str) -> None:
    """Whatever it was; without a report it is free."""
    gate = stand.gate()
    for billed, dollars in ((4 * MIB, 4), (None, 0)):
        hold = await stand.place(gate, stand.make_hold())
        usage = Usage(hold.job, Outcome.FAILED, bytes_billed=billed, statement_type=kind)
        entry = await gate.settlement.settle(hold, usage)
        assert entry is not None
        assert (entry.cost_nanos, entry.outcome) == (dollars * NANOS_PER_USD, Outcome.FAILED)
