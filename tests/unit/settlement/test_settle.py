"""A hold ends with what its job cost, booked once, whatever fails on the way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.entry import Origin
from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.principal import Credential
from bqgate.domain.units import MIB
from tests.support.settlement_stand import ACME, PRICES, Gate, Stand, settlement_stand, usd
from tests.support.tcp_fault_proxy import TcpFaultProxy


def done(job: JobRef | None, mib: int, **changes: object) -> Usage:
    """A job that billed so many MiB, which cost so many dollars."""
    usage = Usage(job=job, outcome=Outcome.DONE, bytes_processed=mib * MIB, bytes_billed=mib * MIB)
    return replace(usage, **changes)  # type: ignore[arg-type]  # tests change one field at a time


async def test_a_finished_job_is_booked_and_captured_at_its_cost(stand: Stand, gate: Gate) -> None:
    """The entry bears cost and job, the hold is free again, the ledger has no open hold."""
    hold = await stand.place(gate, stand.make_hold(usd=20))
    entry = await gate.settlement.settle(hold, done(hold.job, 12))
    assert entry is not None
    assert await stand.entries() == (entry,)
    assert (entry.cost_nanos, entry.hold_id, entry.job) == (12 * NANOS_PER_USD, hold.id, hold.job)
    assert usd(await stand.balance(gate)) == (12, 0)
    assert await stand.ledger.fetch_open_holds() == ()
    assert gate.learned == [("acme", done(hold.job, 12))]


async def test_an_entry_says_by_which_prices_and_on_what_a_job_ran_and_when_it_ended(stand: Stand, gate: Gate) -> None:
    """So that it can be priced again; the prices are kept, though no hold has named them."""
    hold = await stand.place(gate, stand.make_hold())
    ended_at = stand.clock.now()
    usage = done(hold.job, 1, reservation="r", edition="ENTERPRISE", ended_at=ended_at)
    entry = await gate.settlement.settle(hold, usage)
    assert entry is not None
    assert (entry.origin, entry.reservation, entry.edition) == (Origin.GATE, "r", "ENTERPRISE")
    assert (entry.prices_id, entry.ended_at) == (PRICES.id, ended_at)
    assert await stand.ledger.fetch_prices(PRICES.id) == PRICES


@pytest.mark.parametrize(
    ("changes", "reservation"),
    [
        pytest.param({}, "", id="on demand"),
        pytest.param({"is_reservation_known": False}, None, id="not told"),
        pytest.param({"outcome": Outcome.ASSUMED}, None, id="assumed"),
        pytest.param({"job": None, "outcome": Outcome.NEVER_RAN}, None, id="never ran"),
    ],
)
async def test_what_is_not_told_of_a_job_is_not_on_demand(
    stand: Stand, gate: Gate, changes: dict[str, object], reservation: str | None
) -> None:
    """An empty reservation is BigQuery's word that there was none."""
    hold = await stand.place(gate, stand.make_hold())
    usage = replace(done(hold.job, 1), **changes)  # type: ignore[arg-type]  # as in done
    entry = await gate.settlement.settle(hold, usage)
    assert entry is not None
    assert entry.reservation == reservation


@pytest.mark.parametrize("outcome", [Outcome.CACHED, Outcome.FAILED])
async def test_what_is_free_is_booked_at_zero(stand: Stand, gate: Gate, outcome: Outcome) -> None:
    """Cached and failed jobs appear in the ledger and cost nothing."""
    hold = await stand.place(gate, stand.make_hold())
    await gate.settlement.settle(hold, Usage(job=hold.job, outcome=outcome, cache_hit=outcome is Outcome.CACHED))
    (entry,) = await stand.entries()
    assert (entry.cost_nanos, entry.outcome) == (0, outcome)
    assert usd(await stand.balance(gate)) == (0, 0)


async def test_a_stopped_job_is_booked_at_what_was_billed(stand: Stand, gate: Gate) -> None:
    """A cancelled job may be billed."""
    hold = await stand.place(gate, stand.make_hold())
    await gate.settlement.settle(hold, done(hold.job, 7, outcome=Outcome.STOPPED))
    assert usd(await stand.balance(gate)) == (7, 0)


async def test_a_failed_script_is_booked_at_the_statements_that_ran(stand: Stand, gate: Gate) -> None:
    """The parent's sum is booked, once, though the script failed; a failed statement stays free."""
    hold = await stand.place(gate, stand.make_hold())
    await gate.settlement.settle(hold, done(hold.job, 5, outcome=Outcome.FAILED, statement_type="SCRIPT"))
    (entry,) = await stand.entries()
    assert (entry.cost_nanos, entry.outcome) == (5 * NANOS_PER_USD, Outcome.FAILED)


async def test_hidden_bytes_cost_the_hold_and_are_named_assumed(stand: Stand, gate: Gate) -> None:
    """Row-level security hides the bytes: unknown is never zero."""
    hold = await stand.place(gate, stand.make_hold(usd=9))
    await gate.settlement.settle(hold, Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=None))
    (entry,) = await stand.entries()
    assert (entry.cost_nanos, entry.outcome) == (9 * NANOS_PER_USD, Outcome.ASSUMED)
    assert stand.metrics.value("bqgate_assumed_total", customer="acme") == 1
    assert gate.learned == []


async def test_an_overrun_is_captured_whole_counted_and_logged(stand: Stand, gate: Gate) -> None:
    """A job that cost more than its hold is the named excess of invariant 5."""
    hold = await stand.place(gate, stand.make_hold(usd=3))
    await gate.settlement.settle(hold, done(hold.job, 11))
    assert usd(await stand.balance(gate)) == (11, 0)
    assert stand.metrics.value("bqgate_overruns_total", customer="acme") == 1
    assert "hold_overrun" in stand.log.getvalue()


async def test_settling_twice_changes_nothing(stand: Stand, gate: Gate) -> None:
    """Two paths that see one job, at once or one after the other, book and capture it once (invariants 3, 4)."""
    hold = await stand.place(gate, stand.make_hold())
    await asyncio.gather(*(gate.settlement.settle(hold, done(hold.job, 12)) for _ in range(5)))
    await gate.settlement.settle(hold, done(hold.job, 12))
    assert len(await stand.entries()) == 1
    assert usd(await stand.balance(gate)) == (12, 0)
    assert stand.metrics.value("bqgate_booked_nanos_total", customer="acme") == 12 * NANOS_PER_USD
    assert len(gate.learned) == 1


async def test_a_later_path_captures_what_the_first_one_booked(stand: Stand, gate: Gate) -> None:
    """Booked as assumed by one, seen as done by another after a crash: the entry's cost counts."""
    hold = await stand.place(gate, stand.make_hold(usd=20))
    await stand.ledger.book(gate.settlement._entry_for(hold, Usage(job=hold.job, outcome=Outcome.ASSUMED), PRICES))
    entry = await gate.settlement.settle(hold, done(hold.job, 12))
    assert entry is not None
    assert entry.outcome is Outcome.ASSUMED
    assert usd(await stand.balance(gate)) == (20, 0)


async def test_a_job_booked_under_another_hold_leaves_this_one_void(stand: Stand, gate: Gate) -> None:
    """A caller's repeat of one job has a hold of its own; the job is paid once."""
    first = await stand.place(gate, stand.make_hold())
    second = await stand.place(gate, replace(stand.make_hold(), job=first.job))
    await gate.settlement.settle(first, done(first.job, 12))
    assert await gate.settlement.settle(second, done(first.job, 12)) is None
    assert usd(await stand.balance(gate)) == (12, 0)
    assert await stand.ledger.fetch_open_holds() == ()


async def test_a_settled_hold_is_no_longer_asked_after(stand: Stand, gate: Gate) -> None:
    """The answer came after all, while the poller was asking."""
    hold = await stand.place(gate, stand.make_hold())
    gate.poller.watch(hold, None)
    await gate.poller.settle(hold, done(hold.job, 12))
    assert gate.poller.depth == 0


async def test_a_void_leaves_no_trace_in_the_spend(stand: Stand, gate: Gate) -> None:
    """What never ran is no entry; voiding twice is once."""
    hold = await stand.place(gate, stand.make_hold())
    await gate.settlement.void(hold, attempts=1)
    await gate.settlement.void(hold, attempts=1)
    assert await stand.entries() == ()
    assert usd(await stand.balance(gate)) == (0, 0)
    assert await stand.ledger.fetch_open_holds() == ()
    assert stand.metrics.value("bqgate_holds_total", event="voided") == 1


async def test_without_the_ledger_the_hold_stays_and_is_settled_later(stand: Stand, gate: Gate) -> None:
    """The caller is not bothered, the money stays held, and the poller books without asking BigQuery again."""
    hold = await stand.place(gate, stand.make_hold())
    with stand.ledger_away():
        await gate.poller.settle(hold, done(hold.job, 12))
        assert usd(await stand.balance(gate)) == (0, 20)
        await gate.look_at_all()
        assert gate.poller.watched_ids == {hold.id}
    await gate.look_at_all()
    assert usd(await stand.balance(gate)) == (12, 0)
    assert gate.poller.depth == 0
    assert stand.bigquery.asked == []


async def test_a_void_that_the_ledger_missed_is_made_later(stand: Stand, gate: Gate) -> None:
    """The budgets have it back; the ledger closes it as soon as it answers and BigQuery has said that nothing ran."""
    hold = await stand.place(gate, stand.make_hold())
    with stand.ledger_away():
        await gate.poller.give_back(hold, Credential(), attempts=1)
    assert gate.poller.watches(hold.id)
    await gate.look_at_all()
    assert await stand.ledger.fetch_open_holds() == ()
    assert usd(await stand.balance(gate)) == (0, 0)
    assert await stand.entries() == ()


async def test_a_hold_that_others_have_joined_is_not_given_back(stand: Stand, gate: Gate) -> None:
    """A repeat elsewhere may have sent the query: BigQuery is asked, and what it billed is booked."""
    hold = await stand.place(gate, stand.make_hold())
    await gate.budgets.place_hold(hold, ACME.windows(stand.clock.now()))
    await gate.poller.give_back(hold, Credential(), attempts=1)
    assert usd(await stand.balance(gate)) == (0, 20)
    job = stand.run_job(hold)
    await gate.look_at_all()
    stand.bigquery.end(job, bytes_billed=7 * MIB)
    await gate.look_at_all()
    assert usd(await stand.balance(gate)) == (7, 0)


async def test_whose_joiners_sent_nothing_is_given_back_when_their_lease_is_over(stand: Stand, gate: Gate) -> None:
    """Not before: until then one of them may be sending."""
    hold = await stand.place(gate, stand.make_hold())
    await gate.budgets.place_hold(hold, ACME.windows(stand.clock.now()))
    await gate.poller.give_back(hold, Credential(), attempts=1)
    waited_s = 0
    while gate.poller.depth:
        stand.clock.advance(5)
        waited_s += 5
        await gate.look_at_all()
    assert 15 + 30 <= waited_s <= 15 + 30 + 10
    assert await stand.entries() == ()
    assert usd(await stand.balance(gate)) == (0, 0)


@pytest.fixture
async def behind_proxy(tmp_path: Path, redis_url: str) -> AsyncIterator[tuple[Stand, TcpFaultProxy]]:
    """A stand whose budgets are in a Redis that can be cut off."""
    async with (
        TcpFaultProxy("127.0.0.1", urlsplit(redis_url).port or 0) as proxy,
        settlement_stand(
            tmp_path,
            lambda source, clock: RedisBudgetStore.open(f"redis://127.0.0.1:{proxy.port}/0", source, clock),
        ) as stand,
    ):
        yield stand, proxy


async def test_a_lost_capture_is_left_to_reconcile(behind_proxy: tuple[Stand, TcpFaultProxy]) -> None:
    """Booked with Redis away: the entry stands, the hold too, and the next round captures it."""
    stand, proxy = behind_proxy
    gate = stand.gate()
    hold = await stand.place(gate, stand.make_hold())
    proxy.refuse()
    entry = await gate.settlement.settle(hold, done(hold.job, 12))
    assert entry is not None
    assert stand.metrics.value("bqgate_failures_total", system="budgets", step="settle") == 1
    await proxy.heal()
    assert usd(await stand.balance(gate)) == (0, 20)
    await gate.reconciler.reconcile()
    assert usd(await stand.balance(gate)) == (12, 0)
    await gate.budgets.close()


async def test_a_voided_hold_is_not_charged_on_an_assumption(stand: Stand, gate: Gate) -> None:
    """Who voids a hold knows more than the poller that gives up on its job at the deadline."""
    hold = await stand.place(gate, stand.make_hold(usd=20))
    await gate.settlement.void(hold, attempts=1)
    assert await gate.settlement.settle(hold, Usage(job=hold.job, outcome=Outcome.ASSUMED)) is None
    assert await stand.entries() == ()
    assert usd(await stand.balance(gate)) == (0, 0)


async def test_a_hold_that_the_ledger_missed_is_charged_on_an_assumption(stand: Stand, gate: Gate) -> None:
    """The ledger was away when it was placed, and is back before anybody recorded it: its query went out."""
    hold = stand.make_hold(usd=20)
    await gate.budgets.place_hold(hold, ACME.windows(stand.clock.now()))
    entry = await gate.settlement.settle(hold, Usage(job=hold.job, outcome=Outcome.ASSUMED))
    assert entry is not None
    assert await stand.entries() == (entry,)
    assert usd(await stand.balance(gate)) == (20, 0)
    assert await stand.ledger.fetch_open_holds() == ()
