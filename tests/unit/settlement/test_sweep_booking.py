"""Tests of bqgate.settlement.sweep: what becomes of a job, by what the ledger knows of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bqgate.domain.entry import Entry, EntryKind, Origin
from bqgate.domain.hold import Hold
from bqgate.domain.job import Job, Outcome, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.tier import UNKNOWN_PROJECT
from bqgate.domain.units import MIB
from bqgate.settlement.sweep.matching import MADE_WITHIN, UNRECORDED_FOR
from tests.support.settlement_stand import usd
from tests.support.sweep_stand import SweepStand, sweep_stand


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[SweepStand]:
    async with sweep_stand(tmp_path) as opened:
        await opened.begin()
        opened.stand.clock.advance(60)
        yield opened


async def held(stand: SweepStand, *, job: bool = True, usd: int = 20) -> Hold:
    return await stand.stand.place(stand.gate, stand.stand.make_hold(job=job, usd=usd))


def ran(stand: SweepStand, hold: Hold, *, job_id: str = "", label: bool = True, mib: int | None = 10) -> Job:
    """The hold's job, made a moment after it was placed."""
    at = hold.placed_at + timedelta(milliseconds=100)
    name = job_id or (hold.job.job_id if hold.job is not None else "told-by-bigquery")
    return stand.bigquery.run(name, at=at, mib=mib, hold_id=hold.id if label else None)


async def swept(stand: SweepStand) -> list[Entry]:
    stand.stand.clock.advance(60)
    await stand.sweep().sweep()
    return await stand.entries()


def dollars(entries: list[Entry]) -> list[int]:
    return [each.cost_nanos // NANOS_PER_USD for each in entries]


async def test_a_job_that_nobody_settled_is_settled(stand: SweepStand) -> None:
    """An open hold's job is booked under the hold, and captured at what it cost."""
    hold = await held(stand)
    ran(stand, hold)
    (entry,) = await swept(stand)
    assert (entry.hold_id, entry.origin, entry.cost_nanos) == (hold.id, Origin.GATE, 10 * NANOS_PER_USD)
    assert usd(await stand.stand.balance(stand.gate)) == (10, 0)


async def test_a_job_that_only_its_label_names_is_settled(stand: SweepStand) -> None:
    """jobs.query tells the id with its answer; where that was lost, the label names the hold."""
    hold = await held(stand, job=False)
    ran(stand, hold)
    (entry,) = await swept(stand)
    assert entry.hold_id == hold.id
    assert entry.job is not None
    assert entry.job.job_id == "told-by-bigquery"


async def test_a_job_whose_label_was_dropped_is_settled(stand: SweepStand) -> None:
    """A session may take the label off; the id is the hold's all the same."""
    hold = await held(stand)
    ran(stand, hold, label=False)
    (entry,) = await swept(stand)
    assert entry.hold_id == hold.id


async def test_a_job_of_a_hold_that_was_given_back_is_booked_late(stand: SweepStand) -> None:
    """It ran although BigQuery knew no job: booked under its hold, and the budget learns of it."""
    hold = await held(stand)
    assert await stand.gate.settlement.void(hold, attempts=None)
    ran(stand, hold)
    (entry,) = await swept(stand)
    assert (entry.hold_id, entry.origin) == (hold.id, Origin.GATE)
    assert usd(await stand.stand.balance(stand.gate)) == (10, 0)


async def test_other_figures_make_an_adjustment(stand: SweepStand) -> None:
    """A job booked at other figures is corrected once, whoever sweeps; the charge stays as it is."""
    hold = await held(stand)
    job = ran(stand, hold)
    assert job.usage is not None
    first = replace(job.usage, bytes_billed=4 * MIB, slot_ms=1)
    charge = await stand.gate.settlement.settle(hold, first)
    assert charge is not None
    entries = await swept(stand)
    entries = await swept(stand)
    assert dollars(entries) == [4, 6]
    correction = entries[1]
    assert (correction.kind, correction.adjusts) == (EntryKind.ADJUSTMENT, charge.id)
    assert (correction.id, correction.hold_id) == (f"{charge.id}.1", None)
    assert (correction.bytes_billed, correction.slot_ms) == (6 * MIB, 999)
    assert correction.window_keys == charge.window_keys
    assert correction.placed_at == charge.placed_at
    assert (correction.customer, correction.principal) == (charge.customer, charge.principal)
    assert usd(await stand.stand.balance(stand.gate)) == (10, 0)


async def test_figures_may_change_more_than_once(stand: SweepStand) -> None:
    """Each correction is of what is booked by then, up or down."""
    hold = await held(stand)
    job = ran(stand, hold)
    for mib in (12, 3):
        assert job.usage is not None
        await swept(stand)
        job = stand.bigquery.change(job, usage=replace(job.usage, bytes_billed=mib * MIB))
    assert dollars(await swept(stand)) == [10, 2, -9]
    assert usd(await stand.stand.balance(stand.gate)) == (3, 0)


async def test_figures_may_change_back(stand: SweepStand) -> None:
    """One sweep that has booked a job, corrected it, and sees the first figures again corrects it back."""
    sweep = stand.sweep()
    job = ran(stand, await held(stand))
    for mib in (10, 12, 10, 12):
        assert job.usage is not None
        job = stand.bigquery.change(job, usage=replace(job.usage, bytes_billed=mib * MIB))
        stand.stand.clock.advance(60)
        await sweep.sweep()
    assert dollars(await stand.entries()) == [10, 2, -2, 2]


async def test_a_change_of_prices_is_no_difference(stand: SweepStand) -> None:
    """What was booked under the prices of its time stays."""
    stand.stand.ledger.register_prices(stand.policies.prices)
    await held(stand)
    hold = replace(stand.stand.make_hold(), prices_id=stand.policies.prices.id)
    await stand.stand.place(stand.gate, hold)
    ran(stand, hold)
    stand.bigquery.run("past", at=stand.stand.clock.now())
    before = await swept(stand)
    stand.policies.prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=1, nanos_per_slot_hour=0)
    assert await swept(stand) == before


async def test_an_assumed_cost_is_corrected(stand: SweepStand) -> None:
    """A job whose end nobody could learn, booked at its hold, costs what BigQuery says once it does."""
    hold = await held(stand)
    assumed = Usage(job=None, outcome=Outcome.ASSUMED)
    await stand.gate.settlement.settle(hold, assumed)
    ran(stand, hold)
    assert dollars(await swept(stand)) == [20, -10]


async def test_hidden_costs_are_booked_at_the_least_and_counted(stand: SweepStand) -> None:
    """A bypass whose bytes BigQuery hides is booked, marked assumed, and counted: unknown is not free."""
    stand.bigquery.run("secret", at=stand.stand.clock.now(), mib=None)
    (entry,) = await swept(stand)
    assert (entry.origin, entry.outcome) == (Origin.BYPASS, Outcome.ASSUMED)
    assert stand.counted("unknown_cost") == 1


@pytest.mark.parametrize("label", [True, False])
async def test_a_second_job_of_one_label_is_a_bypass(stand: SweepStand, *, label: bool) -> None:
    """Of two jobs with a hold's label the first is the hold's, whichever is seen first."""
    hold = await held(stand, job=False)
    ran(stand, hold, job_id="first")
    forged = stand.bigquery.run("a-later-one", at=hold.placed_at + timedelta(seconds=5))
    stand.bigquery.change(forged, hold_id=hold.id if label else None)
    entries = await swept(stand)
    origins = {each.job.job_id: each.origin for each in entries if each.job is not None}
    assert origins == {"first": Origin.GATE, "a-later-one": Origin.BYPASS}


@pytest.mark.parametrize(
    ("changes", "made_after"),
    [
        ({}, MADE_WITHIN + timedelta(minutes=1)),
        ({}, -timedelta(minutes=30)),
        ({"owner": "another"}, timedelta(seconds=1)),
    ],
    ids=["long after", "before", "another customer's"],
)
async def test_a_label_that_cannot_be_its_own_proves_nothing(
    stand: SweepStand, changes: dict[str, str], made_after: timedelta
) -> None:
    """A job with the label of a hold under which it cannot have been made is a bypass; the hold stands."""
    stand.stand.clock.advance(3600)
    hold = await held(stand, job=False)
    stand.stand.clock.advance(7200)
    forged = stand.bigquery.run("forged", at=hold.placed_at + made_after)
    stand.bigquery.change(forged, hold_id=hold.id, **changes)
    entries = await swept(stand)
    assert [each.origin for each in entries] == [Origin.BYPASS]
    assert await stand.stand.ledger.fetch_open_hold(hold.id) is not None


async def test_a_label_in_another_project_proves_nothing(stand: SweepStand) -> None:
    """A hold is of one project."""
    hold = await held(stand, job=False)
    stand.bigquery.run("forged", at=hold.placed_at, project="shared", hold_id=hold.id)
    (entry,) = await swept(stand)
    assert (entry.origin, entry.project_id) == (Origin.BYPASS, "shared")


async def test_an_id_that_was_copied_with_its_label_is_another_job_elsewhere(stand: SweepStand) -> None:
    """One id in another region is another job, whatever label it bears."""
    hold = await held(stand)
    ran(stand, hold)
    assert hold.job is not None
    stand.bigquery.run(hold.job.job_id, at=hold.placed_at, location="EU", hold_id=hold.id)
    origins = [each.origin for each in await swept(stand)]
    assert sorted(origins) == [Origin.BYPASS, Origin.GATE]


async def test_a_label_of_an_unknown_hold_is_waited_for(stand: SweepStand) -> None:
    """It may be of a gate whose database is away; after a while it is nobody's, and a bypass."""
    stand.bigquery.run("early", at=stand.stand.clock.now(), hold_id="not-recorded")
    assert await swept(stand) == []
    stand.stand.clock.advance(UNRECORDED_FOR.total_seconds())
    (entry,) = await swept(stand)
    assert entry.origin is Origin.BYPASS


async def test_a_hold_that_was_recorded_late_has_its_job(stand: SweepStand) -> None:
    """The same job, when its gate has recorded the hold meanwhile."""
    hold = stand.stand.make_hold(job=False)
    ran(stand, hold)
    assert await swept(stand) == []
    await stand.stand.place(stand.gate, hold)
    (entry,) = await swept(stand)
    assert (entry.origin, entry.hold_id) == (Origin.GATE, hold.id)


async def test_who_pays_for_a_bypass(stand: SweepStand) -> None:
    """A project's owner; in a shared project its maker's customer; else the project itself, of the default tier."""
    now = stand.stand.clock.now()
    stand.bigquery.run("owned", at=now)
    stand.bigquery.run("shared", at=now, project="shared")
    stand.bigquery.run("strangers", at=now, project="shared", principal="mallory@else.example")
    stand.bigquery.run("nobodys", at=now, project="nobodys")
    stand.bigquery.run("named", at=now, project="named")
    await stand.sweep(projects=["nobodys"]).sweep()
    stand.stand.clock.advance(60)
    await stand.sweep(projects=["nobodys"]).sweep()
    paid = {each.job.job_id: each.customer for each in await stand.entries() if each.job is not None}
    assert paid == {"owned": "acme", "shared": "acme", "strangers": "shared", "nobodys": "nobodys"}


def test_a_project_called_like_a_customer_is_not_that_one(stand: SweepStand) -> None:
    """Anybody may make a project of any name: before a gate that asks who calls, it is nobody's."""
    registry = stand.policies.customer_registry
    assert registry.payer_of_job("acme", None, is_open=True) == "acme"
    assert registry.payer_of_job("acme", None) == UNKNOWN_PROJECT
    assert registry.payer_of_job("acme-prod", None) == "acme"


async def test_customers_whose_budgets_are_off_have_no_bypass(stand: SweepStand) -> None:
    """Mode off computes nothing: what went through the gate is not booked either."""
    stand.bigquery.run("unheld", at=stand.stand.clock.now(), project="globex-prod")
    assert await swept(stand) == []
    assert stand.counted("off") == 1


async def test_a_bypass_counts_in_the_day_in_which_it_was_made(stand: SweepStand) -> None:
    """Found after midnight, it is of the day before, as a query through the gate would be."""
    made_at = stand.stand.clock.now() + timedelta(hours=11, minutes=55)
    stand.stand.clock.advance_to(made_at)
    stand.bigquery.run("late", at=made_at)
    stand.stand.clock.advance(600)
    (entry,) = await swept(stand)
    assert sorted(entry.window_keys.values()) == ["2026-11", "2026-11-24"]
    assert entry.placed_at == made_at


async def test_a_script_is_booked_by_its_statements_kinds(stand: SweepStand) -> None:
    """The statements of a script past the gate are asked for, and each costs as its kind does."""
    at = stand.stand.clock.now()
    script = stand.bigquery.run("script", at=at, mib=4, kind="SCRIPT")
    assert script.usage is not None
    part = replace(script.usage, bytes_billed=2 * MIB, statement_type="SELECT", children=None)
    stand.bigquery.children["script"] = (part, replace(part, statement_type="CREATE_MODEL"))
    assert dollars(await swept(stand)) == [2 + 2 * 50]


async def test_statements_of_scripts_are_not_booked(stand: SweepStand) -> None:
    """The script bears their cost."""
    stand.bigquery.run("statement", at=stand.stand.clock.now(), parent_id="script")
    assert await swept(stand) == []


async def test_loads_are_not_booked(stand: SweepStand) -> None:
    """Load, copy and extract jobs run on the shared pool for nothing."""
    stand.bigquery.run("load", at=stand.stand.clock.now(), mib=0, is_query=False)
    assert await swept(stand) == []


async def test_two_who_sweep_at_once_book_once(stand: SweepStand) -> None:
    """A lease may overlap for a moment: the ledger lets one of them book, of bypasses and corrections alike."""
    hold = await held(stand)
    job = ran(stand, hold)
    assert job.usage is not None
    await stand.gate.settlement.settle(hold, replace(job.usage, bytes_billed=MIB))
    for number in range(20):
        stand.bigquery.run(f"past-{number}", at=stand.stand.clock.now())
    stand.stand.clock.advance(60)
    await asyncio.gather(stand.sweep().sweep(), stand.sweep().sweep(), stand.sweep().sweep())
    entries = await stand.entries()
    assert len(entries) == 22
    assert sum(each.cost_nanos for each in entries) == 21 * 10 * NANOS_PER_USD


async def test_a_running_job_keeps_its_hold_from_one_that_copied_its_label(stand: SweepStand) -> None:
    """Of two jobs with a hold's label the first is the hold's while it still runs, also one seen in a round before."""
    hold = await held(stand, job=False)
    first = stand.bigquery.run("first", at=hold.placed_at + timedelta(seconds=1), hold_id=hold.id, is_running=True)
    sweep = stand.sweep()
    stand.stand.clock.advance(3)
    await sweep.sweep()
    stand.bigquery.run("copied", at=hold.placed_at + timedelta(seconds=4), hold_id=hold.id, mib=1)
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert [each.origin for each in await stand.entries()] == [Origin.BYPASS]
    assert await stand.stand.ledger.fetch_open_hold(hold.id) is not None
    usage = Usage(job=first.ref, outcome=Outcome.DONE, bytes_billed=10 * MIB, slot_ms=1, statement_type="SELECT")
    stand.bigquery.change(first, usage=usage)
    stand.stand.clock.advance(60)
    await sweep.sweep()
    assert {each.job.job_id: each.origin for each in await stand.entries() if each.job is not None} == {
        "copied": Origin.BYPASS,
        "first": Origin.GATE,
    }


async def test_an_id_that_was_copied_to_another_region_settles_nothing(stand: SweepStand) -> None:
    """While the hold's job runs, one of the same id elsewhere is another's, though it ended first."""
    hold = await held(stand)
    assert hold.job is not None
    stand.bigquery.run(hold.job.job_id, at=hold.placed_at, location="EU", hold_id=hold.id)
    assert [each.origin for each in await swept(stand)] == [Origin.BYPASS]
    assert await stand.stand.ledger.fetch_open_hold(hold.id) is not None


async def test_a_correction_names_the_job_of_its_hold(stand: SweepStand) -> None:
    """An assumed cost whose job was found since is nobody else's: a copied label changes it no more."""
    hold = await held(stand, job=False)
    await stand.gate.settlement.settle(hold, Usage(job=None, outcome=Outcome.ASSUMED))
    ran(stand, hold, job_id="first")
    await swept(stand)
    stand.stand.clock.advance(900)
    stand.bigquery.run("copied", at=stand.stand.clock.now(), hold_id=hold.id, mib=1)
    entries = await swept(stand)
    assert dollars(entries) == [20, -10, 1]
    assert entries[-1].origin is Origin.BYPASS


async def test_only_the_account_that_makes_its_job_can_have_made_it(stand: SweepStand) -> None:
    """Where the gate makes a customer's jobs in the name of an account, another maker's is no job of the hold."""
    hold = replace(stand.stand.make_hold(job=False), account="acme@acme-prod.iam.gserviceaccount.com")
    await stand.stand.place(stand.gate, hold)
    stand.bigquery.run("eves", at=hold.placed_at, hold_id=hold.id)
    assert [each.origin for each in await swept(stand)] == [Origin.BYPASS]
    stand.bigquery.run("its-own", at=hold.placed_at, hold_id=hold.id, principal=hold.account)
    assert [each.origin for each in await swept(stand)] == [Origin.BYPASS, Origin.GATE]
