"""After a change of prices each charge is brought to the last ones, exactly, by corrections that are written once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bqgate.domain.entry import Entry, EntryKind, Origin
from bqgate.domain.job import Job, JobRef, Outcome, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import CostUnknown, PriceList, PricingModel
from bqgate.domain.units import MIB
from bqgate.settlement.held_prices import HeldPrices
from bqgate.settlement.rerating import LeftOut, RerateReport, Rerating, Span
from bqgate.settlement.sweep.job_booking import JobBooking
from tests.support.settlement_stand import CUSTOMER_REGISTRY, POLICIES, PRICES, Gate, Stand, settlement_stand, usd
from tests.unit.settlement.test_settle import done

DOUBLED = replace(PRICES, nanos_per_tib=2 * PRICES.nanos_per_tib)
# A nano-dollar a slot-hour more than nothing, and bytes as before: what must be rounded.
ODD = PriceList(PricingModel.BLENDED, 5_000_000_001, 40_000_003)


def rerating(stand: Stand, prices: PriceList) -> Rerating:
    """What `bqgate ledger rerate` runs, where the settings say these prices."""
    return Rerating(
        ledger=stand.ledger,
        bigquery=stand.bigquery,
        known_prices=HeldPrices(stand.ledger, PolicySnapshot(CUSTOMER_REGISTRY, prices)),
        prices=prices,
        clock=stand.clock,
    )


def always(stand: Stand) -> Span:
    """All that is booked."""
    return Span(stand.clock.now() - timedelta(days=1), stand.clock.now() + timedelta(days=1))


async def rerate(stand: Stand, prices: PriceList) -> RerateReport:
    """Book the corrections."""
    return await rerating(stand, prices).book(always(stand))


async def charge(stand: Stand, gate: Gate, mib: int, **changes: Any) -> Entry:
    """A job that billed so much, settled under PRICES; it ended in a place that is known."""
    hold = await stand.place(gate, replace(stand.make_hold(usd=20), prices_id=PRICES.id))
    usage = done(hold.job, mib, **({"statement_type": "SELECT", "slot_ms": 1_000} | changes))
    entry = await gate.settlement.settle(hold, usage)
    assert entry is not None
    return entry


async def costs(stand: Stand) -> dict[str, int]:
    """What each charge costs with its corrections, by its id."""
    entries = await stand.entries()
    ids = [each.id for each in entries if each.kind is EntryKind.CHARGE]
    return {each.charge.id: each.cost_nanos for each in await stand.ledger.find_booked(charge_ids=ids)}


async def test_charges_cost_what_they_cost_by_the_new_prices(stand: Stand, gate: Gate) -> None:
    """The correction counts where the charge counts, names the prices and the reason, and edits nothing."""
    entry = await charge(stand, gate, 3)
    stand.clock.advance(60)
    report = await rerate(stand, DOUBLED)
    (correction,) = [each for each in await stand.entries() if each.kind is EntryKind.ADJUSTMENT]
    assert (correction.cost_nanos, correction.reason) == (3 * NANOS_PER_USD, "rerate")
    assert (correction.id, correction.adjusts, correction.prices_id) == (f"{entry.id}.1", entry.id, DOUBLED.id)
    assert (correction.window_keys, correction.placed_at) == (entry.window_keys, entry.placed_at)
    assert (correction.bytes_billed, correction.slot_ms, correction.bytes_processed) == (0, 0, 0)
    assert entry in await stand.entries()
    assert await stand.ledger.fetch_prices(DOUBLED.id) == DOUBLED
    sums = report.customers["acme"]
    assert (sums.charge_count, sums.changed_count) == (1, 1)
    assert (sums.before_nanos, sums.after_nanos) == (3 * NANOS_PER_USD, 6 * NANOS_PER_USD)
    assert stand.bigquery.asked == []


async def test_twice_by_two_and_broken_off_is_once(stand: Stand, gate: Gate) -> None:
    """Each charge is corrected once, whoever does it how often."""
    for mib in (1, 2, 3):
        await charge(stand, gate, mib)
    await asyncio.gather(*(rerate(stand, DOUBLED) for _ in range(3)))
    await rerate(stand, DOUBLED)
    assert sorted((await costs(stand)).values()) == [2 * NANOS_PER_USD, 4 * NANOS_PER_USD, 6 * NANOS_PER_USD]
    assert len([each for each in await stand.entries() if each.kind is EntryKind.ADJUSTMENT]) == 3
    assert (await rerating(stand, DOUBLED).look(always(stand))).total.changed_count == 0


async def test_two_with_other_prices_end_at_one_of_them(stand: Stand, gate: Gate) -> None:
    """Nothing is added up of both; whoever runs it last wins."""
    entry = await charge(stand, gate, 3)
    tripled = replace(PRICES, nanos_per_tib=3 * PRICES.nanos_per_tib)
    await asyncio.gather(rerate(stand, DOUBLED), rerate(stand, tripled))
    assert (await costs(stand))[entry.id] in {6 * NANOS_PER_USD, 9 * NANOS_PER_USD}
    await rerate(stand, PRICES)
    assert (await costs(stand))[entry.id] == 3 * NANOS_PER_USD


async def test_looking_writes_nothing(stand: Stand, gate: Gate) -> None:
    """A dry run tells what the real one would."""
    await charge(stand, gate, 3)
    looked = await rerating(stand, DOUBLED).look(always(stand))
    assert len(await stand.entries()) == 1
    assert await rerate(stand, DOUBLED) == looked


async def test_a_running_gate_follows(stand: Stand, gate: Gate) -> None:
    """Its balance is that of the new prices after its next round, and no drift is told."""
    await charge(stand, gate, 3)
    await gate.reconciler.reconcile()
    await rerate(stand, DOUBLED)
    await gate.reconciler.reconcile()
    assert usd(await stand.balance(gate)) == (6, 0)
    assert "budget_drift" not in stand.log.getvalue()


async def test_only_the_span_and_the_customer_are_priced_again(stand: Stand, gate: Gate) -> None:
    """Charges booked at its beginning count, those at its end do not; others' do not."""
    before = await charge(stand, gate, 1)
    stand.clock.advance(60)
    within, since = await charge(stand, gate, 2), stand.clock.now()
    stand.clock.advance(60)
    after = await charge(stand, gate, 4)
    await rerating(stand, DOUBLED).book(Span(since, stand.clock.now(), "acme"))
    await rerating(stand, DOUBLED).book(Span(since, stand.clock.now() + timedelta(1), "another"))
    assert await costs(stand) == {
        before.id: NANOS_PER_USD,
        within.id: 4 * NANOS_PER_USD,
        after.id: 4 * NANOS_PER_USD,
    }


Prepare = Callable[[Stand, Entry, Usage], None]


def known(stand: Stand, entry: Entry, usage: Usage) -> None:
    """BigQuery has the job, and tells what it used."""
    assert entry.job is not None
    stand.bigquery.start(entry.job, hold_id="", created_at=stand.clock.now())
    stand.bigquery.jobs[entry.job.project_id, entry.job.job_id].usage = usage


def gone(stand: Stand, entry: Entry, usage: Usage) -> None:
    """BigQuery has no such job."""


@pytest.mark.parametrize(
    ("booked", "asked", "prepare", "dollars", "left_out"),
    [
        pytest.param({"prices_id": None}, {}, known, 6, None, id="an old row, asked after"),
        pytest.param({"prices_id": None}, {}, gone, 3, LeftOut.GONE, id="an old row, gone"),
        pytest.param({"prices_id": None, "job": None}, {}, gone, 3, LeftOut.NO_JOB, id="an old row without a job"),
        pytest.param({"outcome": Outcome.ASSUMED}, {}, known, 6, None, id="assumed, and known by now"),
        pytest.param({"outcome": Outcome.ASSUMED}, {"bytes_billed": None}, known, 3, LeftOut.HIDDEN, id="hidden"),
        pytest.param({"cost_nanos": 5 * NANOS_PER_USD}, {}, known, 6, None, id="booked otherwise than it says"),
        pytest.param({"origin": Origin.METERED, "job": None}, {}, gone, 3, LeftOut.METERED, id="metered"),
        pytest.param({"origin": Origin.BYPASS}, {}, gone, 6, None, id="past the gate"),
        pytest.param({"statement_type": "SCRIPT"}, {"statement_type": "SCRIPT"}, known, 6, None, id="a script"),
        pytest.param(
            {"outcome": Outcome.CACHED, "bytes_billed": 0, "slot_ms": 0, "cost_nanos": 0},
            {},
            gone,
            0,
            None,
            id="cached",
        ),
    ],
)
async def test_what_the_ledger_does_not_tell_is_asked_at_bigquery(
    stand: Stand,
    booked: dict[str, Any],
    asked: dict[str, Any],
    prepare: Prepare,
    dollars: int,
    left_out: LeftOut | None,
) -> None:
    """And where nobody tells it, the charge stands, and why is said."""
    stand.ledger.register_prices(PRICES)
    entry = Entry(
        id="e",
        kind=EntryKind.CHARGE,
        customer="acme",
        principal="ada",
        project_id="acme-prod",
        booked_at=stand.clock.now(),
        window_keys={},
        outcome=Outcome.DONE,
        cost_nanos=3 * NANOS_PER_USD,
        job=JobRef("acme-prod", "j", "US"),
        bytes_processed=3 * MIB,
        bytes_billed=3 * MIB,
        slot_ms=100,
        statement_type="SELECT",
        reservation="",
        prices_id=PRICES.id,
    )
    entry = replace(entry, **booked)
    await stand.ledger.book(entry)
    usage = Usage(
        entry.job, Outcome.DONE, bytes_processed=3 * MIB, bytes_billed=3 * MIB, slot_ms=100, statement_type="SELECT"
    )
    prepare(stand, entry, replace(usage, **asked))
    if prepare is known and entry.statement_type == "SCRIPT":
        assert entry.job is not None
        stand.bigquery.run_statements(entry.job, usage)
    report = await rerate(stand, DOUBLED)
    assert (await costs(stand))["e"] == dollars * NANOS_PER_USD
    assert list(report.left_out) == ([] if left_out is None else [left_out])


async def test_a_silent_bigquery_leaves_charges_as_they_are(stand: Stand, gate: Gate) -> None:
    """What it would have to be asked about is left out, and can be done later."""
    entry = await charge(stand, gate, 3, statement_type="SCRIPT")
    stand.bigquery.accepted.clear()
    assert list((await rerate(stand, DOUBLED)).left_out) == [LeftOut.REFUSED]
    assert await costs(stand) == {entry.id: 3 * NANOS_PER_USD}


async def test_slots_that_were_not_charged_for_are_not_taken_for_none(stand: Stand, gate: Gate) -> None:
    """The old prices needed no slots, so their 0 in the ledger says nothing: BigQuery is asked."""
    entry = await charge(stand, gate, 1, slot_ms=0)
    assert entry.job is not None
    known(stand, entry, replace(done(entry.job, 1), statement_type="SELECT", slot_ms=3_600_000))
    report = await rerate(stand, ODD)
    assert report.asked_count == 1
    assert (await costs(stand))[entry.id] == 4_769 + 40_000_003


async def test_the_sweep_and_a_rerating_do_not_undo_each_other(stand: Stand, gate: Gate) -> None:
    """The sweep compares under the last prices by which a charge was booked; what it corrects is priced by them."""
    entry = await charge(stand, gate, 3)
    assert entry.job is not None
    await rerate(stand, DOUBLED)
    sweep = JobBooking(
        ledger=stand.ledger,
        settlement=gate.settlement,
        bigquery=stand.bigquery,
        policies=POLICIES,  # the sweep's gate has not heard of the new prices
        clock=stand.clock,
        telemetry=stand.telemetry,
        new_id=lambda: uuid4().hex,
        bypass_counts=True,
        is_open=False,
    )
    usage = replace(done(entry.job, 3), statement_type="SELECT", slot_ms=1_000)
    job = Job(entry.job, usage, created_at=stand.clock.now(), principal="ada@acme.example")
    await sweep.book([job])
    assert await costs(stand) == {entry.id: 6 * NANOS_PER_USD}
    await sweep.book([replace(job, usage=replace(usage, bytes_billed=4 * MIB))])
    assert await costs(stand) == {entry.id: 8 * NANOS_PER_USD}
    await rerate(stand, PRICES)
    assert await costs(stand) == {entry.id: 4 * NANOS_PER_USD}


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    """Prices of every model, down to the nano-dollar, with and without a table."""
    nanos = st.integers(0, 10**11)
    return PriceList(
        draw(st.sampled_from(PricingModel)),
        draw(nanos),
        draw(nanos),
        nanos_per_tib_by_location=draw(st.sampled_from([{}, {"us": draw(nanos)}, {"eu": draw(nanos)}])),
        nanos_per_slot_hour_by_edition=draw(st.sampled_from([{}, {"enterprise": draw(nanos)}])),
    )


OUTCOMES = st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.STOPPED, Outcome.FAILED, Outcome.CACHED])


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """What BigQuery may tell of a job."""
    outcome, reservation = draw(OUTCOMES), draw(st.none() | st.just("p:US.r"))
    size = st.none() | st.just(0) | st.integers(0, 2**42)
    return Usage(
        job=None,
        outcome=outcome,
        bytes_processed=draw(st.just(0) | st.integers(0, 2**42)),
        bytes_billed=draw(size),
        slot_ms=draw(size),
        statement_type=draw(st.sampled_from(["SELECT", "CREATE_MODEL", "SCRIPT", None])),
        cache_hit=outcome is Outcome.CACHED,
        reservation=reservation,
        is_reservation_known=reservation is not None or draw(st.booleans()),
        edition=draw(st.none() | st.just("ENTERPRISE")),
    )


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(used=st.lists(usages(), min_size=3, max_size=8), changes=st.lists(price_lists(), min_size=2, max_size=5))
async def test_after_any_changes_of_prices_charges_cost_what_the_last_ones_say(
    tmp_path_factory: pytest.TempPathFactory, used: list[Usage], changes: list[PriceList]
) -> None:
    """To the nano-dollar, whatever was told when they were booked; what nobody tells stands as it was."""
    folder: Path = tmp_path_factory.mktemp("rerate")
    async with settlement_stand(folder) as stand:
        first, *later = changes
        gate = stand.gate(policies=PolicySnapshot(CUSTOMER_REGISTRY, first))
        truth: dict[str, Usage] = {}
        for usage in used:
            hold = replace(stand.make_hold(), prices_id=first.id, priced_as=None)
            assert hold.job is not None
            known_usage = replace(usage, job=hold.job)
            stand.bigquery.start(hold.job, hold_id=hold.id, created_at=stand.clock.now())
            stand.bigquery.jobs[hold.job.project_id, hold.job.job_id].usage = known_usage
            hold = replace(hold, amount_nanos=1_000)
            await stand.ledger.open_hold(hold)
            stand.ledger.register_prices(first)
            entry = await gate.settlement.settle(hold, replace(known_usage, children=()))
            assert entry is not None
            truth[entry.id] = known_usage
        for prices in later:
            before = await costs(stand)
            await rerate(stand, prices)
            after = await costs(stand)
            for entry_id, usage in truth.items():
                expected = exact_cost(prices, usage)
                assert after[entry_id] == (before[entry_id] if expected is None else expected)


def exact_cost(prices: PriceList, usage: Usage) -> int | None:
    """What a job costs by its whole truth; None where that is not told."""
    try:
        return prices.cost_of(replace(usage, children=()) if usage.statement_type == "SCRIPT" else usage, location="US")
    except CostUnknown:
        return None
