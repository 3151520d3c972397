"""Whatever a crash leaves between ledger and budgets, one round mends; twice or at once changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.hold import VoidOutcome
from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.principal import Credential
from bqgate.domain.tier import CustomerRegistry
from bqgate.domain.units import MIB
from bqgate.settlement.watched import Patience
from tests.support.manual_clock import ManualClock
from tests.support.settlement_stand import ACME, PRICES, Gate, Stand, settlement_stand, usd


@pytest.fixture(params=["memory", "redis"])
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    """A stand whose gates share one store."""
    stores: list[MemoryBudgetStore | RedisBudgetStore] = []
    async with settlement_stand(tmp_path, lambda _source, _clock: stores[0]) as stand:
        if request.param == "memory":
            stores.append(MemoryBudgetStore(stand.ledger, stand.clock))
        else:
            stores.append(
                RedisBudgetStore.open(request.getfixturevalue("redis_url"), stand.ledger, stand.clock, timeout_s=5)
            )
        yield stand
        await stores[0].close()


async def test_after_a_restart_open_holds_are_asked_after(shared: Stand) -> None:
    """A gate that crashed after forwarding: the next one books the job at once, with its own credential."""
    crashed = shared.gate()
    hold = await shared.place(crashed, shared.make_hold())
    shared.bigquery.end(shared.run_job(hold), bytes_billed=7 * MIB)
    gate = shared.gate()
    await gate.reconciler.reconcile()
    await gate.look_at_all()
    assert usd(await shared.balance(gate)) == (7, 0)
    assert gate.reconciler.oldest_open_hold_age_s == 0
    await gate.reconciler.reconcile()
    assert gate.poller.depth == 0


async def test_after_a_restart_a_customers_own_account_asks(shared: Stand) -> None:
    """Jobs that ran as the service account of their customer are asked after as that one."""
    account = "acme@gate.iam.example"
    shared.bigquery.accepted = {account}
    acme = replace(ACME, account=account)
    policies = PolicySnapshot(CustomerRegistry({"acme": acme}, {}, ACME.tier), PRICES)
    hold = await shared.place(shared.gate(), shared.make_hold())
    shared.bigquery.end(shared.run_job(hold), bytes_billed=7 * MIB)
    gate = shared.gate(policies=policies)
    await gate.reconciler.reconcile()
    await gate.look_at_all()
    assert usd(await shared.balance(gate)) == (7, 0)
    assert shared.bigquery.asked == [f"get as {account}"]


async def test_a_young_hold_is_left_to_who_placed_it(shared: Stand) -> None:
    """After its start a gate asks only after holds that their own gate had time for."""
    gate = shared.gate()
    await gate.reconciler.reconcile()
    hold = await shared.place(gate, shared.make_hold())
    await gate.reconciler.reconcile()
    assert gate.poller.depth == 0
    shared.clock.advance(60)
    await gate.reconciler.reconcile()
    assert gate.poller.watched_ids == {hold.id}
    assert gate.reconciler.oldest_open_hold_age_s == 60


async def test_what_another_replica_booked_is_forgotten(shared: Stand) -> None:
    """Two gates ask after one job; when one has booked it the other stops."""
    one, other = shared.gate(), shared.gate()
    hold = await shared.place(one, shared.make_hold())
    shared.bigquery.end(shared.run_job(hold), bytes_billed=7 * MIB)
    for gate in (one, other):
        await gate.reconciler.reconcile()
    await one.look_at_all()
    await other.reconciler.reconcile()
    assert other.poller.depth == 0
    assert shared.bigquery.asked == ["get as the gate's own"]


async def test_a_gate_that_may_not_ask_forgets_what_another_has_given_back(shared: Stand) -> None:
    """There is no entry to tell it; it would ask in vain until the deadline, a day later."""
    shared.bigquery.accepted = {"Bearer ya29.ada"}
    one, other = shared.gate(), shared.gate()
    hold = await shared.place(one, shared.make_hold())
    await other.reconciler.reconcile()
    one.poller.watch(hold, Credential("Bearer ya29.ada"), attempts=1)
    for _ in range(2):
        await other.look_at_all()
        assert other.poller.watched_ids == {hold.id}
        await one.look_at_all()
        shared.clock.advance(30)
    assert await shared.ledger.fetch_open_holds() == ()
    await other.look_at_all()
    assert other.poller.depth == 0
    assert await shared.entries() == ()


async def test_a_hold_closed_too_early_is_still_booked(shared: Stand) -> None:
    """Void in the ledger, and its job runs after all: the gate that forwarded it keeps asking, and books it."""
    gate = shared.gate()
    hold = await shared.place(gate, shared.make_hold())
    gate.poller.watch(hold, None)
    await shared.gate().settlement.void(hold, attempts=1)
    job = shared.run_job(hold)
    shared.clock.advance(60)
    await gate.reconciler.reconcile()
    shared.bigquery.end(job, bytes_billed=7 * MIB)
    await gate.look_at_all()
    (entry,) = await shared.entries()
    assert entry.bytes_billed == 7 * MIB


async def test_a_hold_that_was_never_recorded_is_void_after_a_grace(shared: Stand) -> None:
    """A crash between place_hold and open_hold: nothing was forwarded."""
    gate = shared.gate()
    hold = shared.make_hold()
    await gate.budgets.place_hold(hold, ACME.windows(shared.clock.now()))
    shared.clock.advance(59)
    await gate.reconciler.reconcile()
    assert usd(await shared.balance(gate)) == (0, 20)
    for _ in range(2):
        shared.clock.advance(60)
        await gate.reconciler.reconcile()
    assert usd(await shared.balance(gate)) == (0, 0)


async def test_an_orphan_that_somebody_keeps_is_left_alone(shared: Stand) -> None:
    """Another gate, whose clock is behind, extends a lease that is over by this one's: it has still to record it."""
    gate = shared.gate()
    hold = shared.make_hold()
    await gate.budgets.place_hold(hold, ACME.windows(shared.clock.now()))
    for _ in range(5):
        shared.clock.advance(30)
        await gate.budgets.keep_holds((hold,))
        shared.clock.advance(30)
        await gate.reconciler.reconcile()
    assert usd(await shared.balance(gate)) == (0, 20)


async def test_a_hold_is_not_void_while_a_gate_whose_clock_is_behind_keeps_it(redis_url: str, tmp_path: Path) -> None:
    """Its leases look over, and get longer all the same: the ledger is away from that gate alone."""
    async with settlement_stand(tmp_path) as stand:
        clock = ManualClock(stand.clock.now() - timedelta(seconds=40))
        stores = [RedisBudgetStore.open(redis_url, stand.ledger, each, timeout_s=5) for each in (stand.clock, clock)]
        gate = Gate(stand, stores[0], patience=Patience())
        hold = replace(stand.make_hold(), placed_at=clock.now())
        await stores[1].place_hold(hold, ACME.windows(clock.now()))

        async def pass_a_round(*, is_kept: bool) -> None:
            stand.clock.advance(60)
            clock.advance(60)
            if is_kept:
                await stores[1].keep_holds((hold,))
            await gate.reconciler.reconcile()

        for _ in range(3):
            await pass_a_round(is_kept=True)
        assert usd(await stand.balance(gate)) == (0, 20)
        await pass_a_round(is_kept=False)
        assert usd(await stand.balance(gate)) == (0, 0)
        for store in stores:
            await store.close()


async def test_a_hold_that_the_ledger_missed_is_left_to_the_gate_that_has_still_to_book_it(shared: Stand) -> None:
    """The ledger was away for longer than the grace: its hold has neither record nor entry, and its job ran."""
    gate = shared.gate()
    hold = shared.make_hold()
    await gate.budgets.place_hold(hold, ACME.windows(shared.clock.now()))
    with shared.ledger_away():
        await gate.poller.settle(hold, Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=7 * MIB))
        shared.clock.advance(60)
    await gate.reconciler.reconcile()
    assert usd(await shared.balance(gate)) == (0, 20)
    await gate.look_at_all()
    assert usd(await shared.balance(gate)) == (7, 0)


@pytest.mark.parametrize(("mib", "captured"), [(7, 7), (0, 0)])
async def test_a_booked_hold_is_captured_at_its_entrys_cost(shared: Stand, mib: int, captured: int) -> None:
    """A crash between book and capture."""
    gate = shared.gate()
    hold = await shared.place(gate, shared.make_hold())
    usage = Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=mib * MIB)
    await shared.ledger.book(gate.settlement._entry_for(hold, usage, PRICES))
    await asyncio.gather(*(shared.gate().reconciler.reconcile() for _ in range(3)))
    assert usd(await shared.balance(gate)) == (captured, 0)


async def test_a_closed_hold_is_void_after_a_grace(shared: Stand) -> None:
    """A crash between close_hold and void."""
    gate = shared.gate()
    hold = await shared.place(gate, shared.make_hold())
    await shared.ledger.close_hold(hold.id)
    reconcilers = [shared.gate().reconciler for _ in range(3)]
    for _ in range(2):
        shared.clock.advance(60)
        await asyncio.gather(*(reconciler.reconcile() for reconciler in reconcilers))
    assert usd(await shared.balance(gate)) == (0, 0)


async def test_a_crash_between_void_and_close_leaves_no_hold_open(shared: Stand) -> None:
    """The store remembers the end, the ledger has it open: nobody can join, so BigQuery's word closes it."""
    hold = await shared.place(shared.gate(), shared.make_hold())
    assert await shared.gate().budgets.void(hold, attempts=1) is VoidOutcome.VOIDED
    gates = [shared.gate(), shared.gate()]
    for _ in range(2):
        await asyncio.gather(*(gate.reconciler.reconcile() for gate in gates))
        await asyncio.gather(*(gate.look_at_all() for gate in gates))
        assert usd(await shared.balance(gates[0])) == (0, 0)
        shared.clock.advance(60)
    assert await shared.ledger.fetch_open_holds() == ()
    assert await shared.entries() == ()
    await asyncio.gather(*(gate.look_at_all() for gate in gates))
    assert [gate.poller.depth for gate in gates] == [0, 0]


async def test_what_was_given_back_is_not_assumed_where_nobody_may_ask(shared: Stand) -> None:
    """A crash between void and close, and no credential that may see jobs: the budgets know that nothing ran."""
    made = shared.make_hold()
    hold = await shared.place(shared.gate(), replace(made, deadline_at=made.placed_at + timedelta(minutes=4)))
    assert await shared.gate().budgets.void(hold, attempts=1) is VoidOutcome.VOIDED
    shared.bigquery.accepted.clear()
    gate = shared.gate()
    for _ in range(5):
        await gate.reconciler.reconcile()
        await gate.look_at_all()
        shared.clock.advance(60)
    assert await shared.entries() == ()
    assert await shared.ledger.fetch_open_holds() == ()
    assert gate.poller.depth == 0


async def test_a_deleted_job_that_bigquery_had_named_is_not_free_for_another_gate(shared: Stand) -> None:
    """jobs.query makes no job id: where the ledger has one, BigQuery told it, though this gate never asked before."""
    hold = await shared.place(shared.gate(), shared.make_hold(job=False))
    job = shared.run_job(hold, job=JobRef("acme-prod", "made-up", "US"))
    await shared.ledger.attach_job(hold.id, job)
    shared.bigquery.delete(job)
    gate = shared.gate()
    await gate.reconciler.reconcile()
    for _ in range(3):
        await gate.look_at_all()
        shared.clock.advance(30)
    (entry,) = await shared.entries()
    assert (entry.outcome, entry.cost_nanos, entry.job) == (Outcome.ASSUMED, hold.amount_nanos, job)


async def test_a_hold_that_was_given_back_and_ran_after_all_is_booked(shared: Stand) -> None:
    """As before, but a job appears: what the store says of the hold is no proof of what BigQuery ran."""
    hold = await shared.place(shared.gate(), shared.make_hold())
    assert await shared.gate().budgets.void(hold, attempts=1) is VoidOutcome.VOIDED
    gate = shared.gate()
    await gate.reconciler.reconcile()
    await gate.look_at_all()
    shared.bigquery.end(shared.run_job(hold), bytes_billed=7 * MIB)
    shared.clock.advance(60)
    await gate.look_at_all()
    (entry,) = await shared.entries()
    assert entry.bytes_billed == 7 * MIB
    assert await shared.ledger.fetch_open_holds() == ()


async def test_a_hold_that_the_store_lost_is_put_back_once(shared: Stand) -> None:
    """The ledger says open, the store knows nothing, its windows stand: three replicas put it back, once."""
    gate = shared.gate()
    kept = await shared.place(gate, shared.make_hold(usd=3))
    lost = shared.make_hold(usd=20)
    await shared.ledger.open_hold(lost)
    shared.run_job(kept)
    shared.run_job(lost)
    assert usd(await shared.balance(gate)) == (0, 3)
    await asyncio.gather(*(shared.gate().reconciler.reconcile() for _ in range(3)))
    assert usd(await shared.balance(gate)) == (0, 23)
    assert shared.metrics.value("bqgate_holds_total", event="restored") == 1


async def test_a_lasting_drift_is_told_and_mended(shared: Stand) -> None:
    """Spend in the ledger that the store does not know is told in the second round, and there after it."""
    gate = shared.gate()
    running = await shared.place(gate, shared.make_hold())
    stray = shared.make_hold()
    await shared.ledger.book(gate.settlement._entry_for(stray, Usage(job=stray.job, outcome=Outcome.ASSUMED), PRICES))
    await gate.reconciler.reconcile()
    assert shared.metrics.value("bqgate_budget_drifts_total", period="day") == 0
    assert usd(await shared.balance(gate)) == (0, 20)
    await gate.reconciler.reconcile()
    assert shared.metrics.value("bqgate_budget_drifts_total", period="day") == 1
    assert '"drift_nanos": -20000000000' in shared.log.getvalue()
    assert usd(await shared.balance(gate)) == (20, 20)
    for _ in range(3):
        await gate.reconciler.reconcile()
    assert shared.metrics.value("bqgate_budget_drifts_total", period="day") == 1
    assert await gate.budgets.void(running) is VoidOutcome.VOIDED
    assert usd(await shared.balance(gate)) == (20, 0)


async def test_a_drift_in_a_month_that_has_just_ended_is_mended(shared: Stand) -> None:
    """A store that lost the last seconds of a month is whole again although it is over: jobs end in it still."""
    gate = shared.gate()
    shared.clock.advance(6 * 24 * 3600)
    lost = shared.make_hold()
    yesterday = ACME.windows(shared.clock.now())
    await gate.budgets.fetch_balances(yesterday)
    await shared.ledger.book(gate.settlement._entry_for(lost, Usage(job=lost.job, outcome=Outcome.ASSUMED), PRICES))
    shared.clock.advance(13 * 3600)
    assert ACME.windows(shared.clock.now())[1].key != yesterday[1].key
    for _ in range(2):
        await gate.reconciler.reconcile()
    assert [usd(balance) for balance in await gate.budgets.fetch_balances(yesterday)] == [(20, 0)] * 2


async def test_two_replicas_mend_a_drift_once(shared: Stand) -> None:
    """A failover lost the last capture; both replicas see it and forget the window: whole, and nothing twice."""
    gates = [shared.gate(), shared.gate()]
    hold = await shared.place(gates[0], shared.make_hold())
    usage = Usage(job=shared.run_job(hold), outcome=Outcome.DONE, bytes_billed=7 * MIB)
    await shared.ledger.book(gates[0].settlement._entry_for(hold, usage, PRICES))
    await gates[0].budgets.void(hold)  # the capture is lost, and the hold with it
    for _ in range(4):
        await asyncio.gather(*(gate.reconciler.reconcile() for gate in gates))
    assert [usd(await shared.balance(gate)) for gate in gates] == [(7, 0), (7, 0)]
    assert shared.metrics.value("bqgate_budget_drifts_total", period="day") in {1, 2}


async def test_an_outage_ends_the_round_and_not_the_loop(tmp_path: Path) -> None:
    """With the store away jobs are still asked after; the loop comes again."""
    async with settlement_stand(
        tmp_path, lambda source, clock: RedisBudgetStore.open("redis://127.0.0.1:1/0", source, clock)
    ) as stand:
        gate = stand.gate()
        hold = stand.make_hold()
        await stand.ledger.open_hold(hold)
        loop = asyncio.create_task(gate.reconciler.run())
        await stand.clock.wait_for_sleepers()
        assert gate.poller.watched_ids == {hold.id}
        stand.clock.advance(60)
        await stand.clock.wait_for_sleepers()
        loop.cancel()
        assert stand.metrics.value("bqgate_failures_total", system="budgets", step="reconcile") == 2


async def test_a_ledger_that_is_away_is_counted(tmp_path: Path) -> None:
    """Without the ledger nothing is mended and nothing is raised."""
    async with settlement_stand(tmp_path) as stand:
        gate = stand.gate()
        with stand.ledger_away():
            await gate.reconciler.reconcile()
        assert stand.metrics.value("bqgate_failures_total", system="ledger", step="reconcile") == 1


async def test_after_a_restart_the_account_that_made_a_job_asks_after_it(shared: Stand) -> None:
    """Whatever account its customer has by now, or none: another one lists no job, as if the query had never run."""
    made, later = "acme@gate.iam.example", "acme-2@gate.iam.example"
    shared.bigquery.accepted = {made}
    for account in (later, None):
        policies = PolicySnapshot(CustomerRegistry({"acme": replace(ACME, account=account)}, {}, ACME.tier), PRICES)
        hold = await shared.place(shared.gate(), replace(shared.make_hold(job=False), account=made))
        job = shared.run_job(hold, job=JobRef("acme-prod", f"job_{hold.id}", "US"))
        shared.bigquery.end(job, bytes_billed=7 * MIB)
        gate = shared.gate(policies=policies)
        await gate.reconciler.reconcile()
        await gate.look_at_all()
        assert gate.poller.depth == 0
    assert usd(await shared.balance(gate)) == (14, 0)
    assert set(shared.bigquery.asked) == {f"get as {made}", f"list as {made}"}


async def test_after_a_restart_what_ran_in_the_gates_own_name_is_asked_after_in_it(shared: Stand) -> None:
    """Its customer has an account since, which the job is not shown to."""
    acme = replace(ACME, account="acme@gate.iam.example")
    policies = PolicySnapshot(CustomerRegistry({"acme": acme}, {}, ACME.tier), PRICES)
    hold = await shared.place(shared.gate(), replace(shared.make_hold(), account=""))
    shared.bigquery.end(shared.run_job(hold), bytes_billed=7 * MIB)
    gate = shared.gate(policies=policies)
    await gate.reconciler.reconcile()
    await gate.look_at_all()
    assert usd(await shared.balance(gate)) == (7, 0)
    assert shared.bigquery.asked == ["get as the gate's own"]
