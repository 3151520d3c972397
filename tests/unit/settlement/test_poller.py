"""The poller asks until it knows, gives up on nothing, and keeps to its bounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.domain.money import MAX_NANOS, NANOS_PER_USD
from bqgate.domain.principal import Credential
from bqgate.domain.units import MIB
from bqgate.settlement.evidence import Denied, Inquiry, conclude
from bqgate.settlement.watched import Patience, Watched
from tests.support.settlement_stand import Gate, Stand, usd

ADA = Credential("Bearer ya29.ada")


@asynccontextmanager
async def running(gate: Gate) -> AsyncIterator[None]:
    """Run the poller as app does."""
    task = asyncio.create_task(gate.poller.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def pass_time(stand: Stand, gate: Gate, seconds: float) -> None:
    """Move the clock, and return when the poller has done what was due and sleeps again."""
    await stand.clock.wait_for_sleepers()
    stand.clock.advance(seconds)
    for _ in range(10):
        await asyncio.sleep(0)  # noqa: TID251 - lets the poller see that it was woken, and begin its look
    while any(watched.is_under_way for watched in gate.poller._watched.values()):  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0.001)  # noqa: TID251 - the ledger works in threads, in real time
    await stand.clock.wait_for_sleepers()


async def until_drained(stand: Stand, gate: Gate, *, step_s: float = 1) -> float:
    """Let time pass until nothing is watched; the seconds that it took."""
    start_s = stand.clock.monotonic_s()
    async with asyncio.timeout(20):
        while gate.poller.depth:
            await pass_time(stand, gate, step_s)
    return stand.clock.monotonic_s() - start_s


async def test_a_job_is_asked_after_until_it_ends(stand: Stand, gate: Gate) -> None:
    """Booked soon after its end, by the caller's credential, with nobody waiting for it."""
    stand.bigquery.accepted = {"Bearer ya29.ada"}
    hold = await stand.place(gate, stand.make_hold())
    job = stand.run_job(hold)
    async with running(gate):
        gate.poller.watch(hold, ADA)
        for _ in range(200):
            await pass_time(stand, gate, 1)
        assert usd(await stand.balance(gate)) == (0, 20)
        stand.bigquery.end(job, bytes_billed=12 * MIB)
        assert await until_drained(stand, gate) <= 38
    assert usd(await stand.balance(gate)) == (12, 0)
    assert len(stand.bigquery.asked) < 25


async def test_a_new_hold_is_not_kept_waiting_by_an_older_ones_delay(stand: Stand, gate: Gate) -> None:
    """A sleeping poller wakes for what is due earlier."""
    slow = await stand.place(gate, stand.make_hold())
    stand.run_job(slow)
    async with running(gate):
        gate.poller.watch(slow, None)
        for _ in range(100):
            await pass_time(stand, gate, 1)
        quick = await stand.place(gate, stand.make_hold())
        stand.bigquery.end(stand.run_job(quick), bytes_billed=5 * MIB)
        gate.poller.watch(quick, None)
        await asyncio.sleep(0.001)  # noqa: TID251 - lets the poller begin its shorter sleep
        await pass_time(stand, gate, 0.4)
    assert usd(await stand.balance(gate)) == (5, 20)
    assert gate.poller.watched_ids == {slow.id}


async def test_many_holds_are_asked_after_a_few_at_a_time(stand: Stand, gate: Gate) -> None:
    """A hundred end with all of them booked."""
    async with running(gate):
        for _ in range(100):
            hold = await stand.place(gate, stand.make_hold(usd=2))
            stand.bigquery.end(stand.run_job(hold), bytes_billed=MIB)
            gate.poller.watch(hold, None)
        await until_drained(stand, gate)
    assert usd(await stand.balance(gate)) == (100, 0)


async def test_an_absent_job_is_void_only_after_a_while(stand: Stand, gate: Gate) -> None:
    """BigQuery may still make it after a 5xx: it is looked for until nothing can be on its way."""
    hold = await stand.place(gate, stand.make_hold())
    async with running(gate):
        gate.poller.watch(hold, None, attempts=1)
        seconds = await until_drained(stand, gate)
    assert 30 <= seconds <= 60
    assert await stand.entries() == ()
    assert await stand.ledger.fetch_open_holds() == ()
    assert usd(await stand.balance(gate)) == (0, 0)


async def test_what_was_answered_without_a_job_is_void_at_once(stand: Stand, gate: Gate) -> None:
    """BigQuery refused every attempt, and knows no such job when it is asked afterwards."""
    hold = await stand.place(gate, stand.make_hold())
    async with running(gate):
        gate.poller.watch(hold, None, inquiry=Inquiry(is_answered=True), attempts=1)
        assert await until_drained(stand, gate, step_s=0.1) <= 1
    assert usd(await stand.balance(gate)) == (0, 0)


async def test_a_hold_of_unknown_attempts_is_not_void_while_one_may_be_under_way(stand: Stand, gate: Gate) -> None:
    """As long as somebody keeps its lease it is asked after, however long that takes; then the patience begins."""
    hold = await stand.place(gate, stand.make_hold())
    gate.poller.watch(hold, None)
    for _ in range(40):
        stand.clock.advance(10)
        await gate.budgets.keep_holds((hold,))
        await gate.look_at_all()
    for _ in range(2):
        stand.clock.advance(16)
        await gate.look_at_all()
        assert usd(await stand.balance(gate)) == (0, 20)
    stand.clock.advance(16)
    await gate.look_at_all()
    assert usd(await stand.balance(gate)) == (0, 0)


@pytest.mark.parametrize(("looks", "between_s", "is_void"), [(1, 3600, False), (10, 1, False), (3, 16, True)])
async def test_an_old_hold_is_void_only_after_looks_over_a_while(
    stand: Stand, gate: Gate, looks: int, between_s: int, *, is_void: bool
) -> None:
    """After a restart a hold may be old at the first look: neither one look nor many at once will do."""
    hold = await stand.place(gate, stand.make_hold())
    stand.clock.advance(3600)
    gate.poller.watch(hold, None)
    await gate.look_at_all()
    for _ in range(looks - 1):
        stand.clock.advance(between_s)
        await gate.look_at_all()
    assert (await stand.ledger.fetch_open_holds() == ()) is is_void


async def test_a_job_id_that_is_another_querys_frees_the_hold(stand: Stand, gate: Gate) -> None:
    """The same job id with other SQL: the job bears the label of the hold that it runs under, and is paid for there."""
    hold = await stand.place(gate, stand.make_hold())
    other = await stand.place(gate, replace(stand.make_hold(), job=hold.job))
    stand.bigquery.end(stand.run_job(other), bytes_billed=7 * MIB)
    gate.poller.watch(hold, None, attempts=1)
    gate.poller.watch(other, None, attempts=1)
    await gate.look_at_all()
    (entry,) = await stand.entries()
    assert entry.hold_id == other.id
    assert usd(await stand.balance(gate)) == (7, 0)


@pytest.mark.parametrize(("may_bill", "is_void"), [(False, True), (True, False)])
async def test_a_refused_query_is_free_where_nobody_may_ask(
    stand: Stand, gate: Gate, *, may_bill: bool, is_void: bool
) -> None:
    """A caller who may run queries and see no jobs: BigQuery's no is the last word, unless something ran before it."""
    hold = await stand.place(gate, stand.make_hold())
    stand.bigquery.accepted.clear()
    inquiry = conclude((Denied(may_bill=may_bill),))
    assert isinstance(inquiry, Inquiry)
    gate.poller.watch(hold, ADA, inquiry=inquiry, attempts=1)
    await gate.look_at_all()
    assert (await stand.ledger.fetch_open_holds() == ()) is is_void


async def test_a_refusal_here_says_nothing_of_attempts_elsewhere(stand: Stand, gate: Gate) -> None:
    """A repeat was refused at this gate, and the first attempt's gate has died: where nobody may ask, nobody knows."""
    hold = await stand.place(gate, stand.make_hold())
    stand.bigquery.accepted.clear()
    inquiry = conclude((Denied(),))
    assert isinstance(inquiry, Inquiry)
    gate.poller.watch(hold, ADA, inquiry=inquiry, attempts=None)
    for _ in range(4):
        stand.clock.advance(60)
        await gate.look_at_all()
    assert [each.id for each in await stand.ledger.fetch_open_holds()] == [hold.id]


async def test_a_cost_past_every_amount_ends_its_hold(stand: Stand, gate: Gate) -> None:
    """A number of bytes that no job can have is booked as the largest amount that there is, once."""
    hold = await stand.place(gate, stand.make_hold())
    stand.bigquery.end(stand.run_job(hold), bytes_billed=2**63 - 1)
    gate.poller.watch(hold, None)
    await gate.look_at_all()
    (entry,) = await stand.entries()
    assert (entry.cost_nanos, gate.poller.depth) == (MAX_NANOS, 0)


async def test_a_job_that_appears_late_is_booked(stand: Stand, gate: Gate) -> None:
    """Looks that found nothing are forgotten when it is there."""
    hold = await stand.place(gate, stand.make_hold())
    gate.poller.watch(hold, None, attempts=1)
    for _ in range(2):
        await gate.look_at_all()
        stand.clock.advance(14)
    job = stand.run_job(hold)
    await gate.look_at_all()
    stand.bigquery.end(job, bytes_billed=3 * MIB)
    await gate.look_at_all()
    assert usd(await stand.balance(gate)) == (3, 0)


async def test_a_deleted_job_is_not_free(stand: Stand, gate: Gate) -> None:
    """A job that was there and is no longer costs its hold: deleting it hides what it billed."""
    hold = await stand.place(gate, stand.make_hold(usd=8))
    job = stand.run_job(hold)
    gate.poller.watch(hold, None)
    await gate.look_at_all()
    stand.bigquery.delete(job)
    for _ in range(5):
        await gate.look_at_all()
        stand.clock.advance(30)
    (entry,) = await stand.entries()
    assert (entry.outcome, entry.cost_nanos) == (Outcome.ASSUMED, 8 * NANOS_PER_USD)


async def test_a_job_deleted_before_anyone_asked_is_not_free(stand: Stand, gate: Gate) -> None:
    """BigQuery said that it made the job; deleting it at once is no way round the budget."""
    hold = await stand.place(gate, stand.make_hold(usd=8))
    gate.poller.watch(hold, None, inquiry=Inquiry(is_made=True), attempts=1)
    for _ in range(6):
        stand.clock.advance(60)
        await gate.look_at_all()
    (entry,) = await stand.entries()
    assert (entry.outcome, entry.cost_nanos) == (Outcome.ASSUMED, 8 * NANOS_PER_USD)


@pytest.mark.parametrize("way", ["refused", "silent"])
async def test_without_news_the_hold_is_the_cost_at_the_deadline(stand: Stand, gate: Gate, way: str) -> None:
    """Not before, and counted."""
    hold = await stand.place(gate, stand.make_hold(usd=8))
    if way == "refused":
        stand.bigquery.accepted.clear()
    else:
        stand.bigquery.failure = UpstreamUnavailable("503")
    gate.poller.watch(hold, ADA)
    stand.clock.advance_to(hold.deadline_at - timedelta(seconds=1))
    await gate.look_at_all()
    assert await stand.entries() == ()
    stand.clock.advance(1)
    await gate.look_at_all()
    (entry,) = await stand.entries()
    assert (entry.outcome, entry.cost_nanos, entry.job) == (Outcome.ASSUMED, 8 * NANOS_PER_USD, hold.job)
    assert stand.metrics.value("bqgate_assumed_total", customer="acme") == 1


async def test_a_job_that_still_runs_at_its_deadline_is_waited_for(stand: Stand, gate: Gate) -> None:
    """That it runs is news; nothing is assumed."""
    hold = await stand.place(gate, stand.make_hold())
    job = stand.run_job(hold)
    gate.poller.watch(hold, None)
    stand.clock.advance_to(hold.deadline_at + timedelta(hours=1))
    await gate.look_at_all()
    stand.bigquery.end(job, bytes_billed=4 * MIB)
    await gate.look_at_all()
    assert usd(await stand.balance(gate)) == (4, 0)


async def test_a_job_learned_from_the_answer_survives_a_crash(stand: Stand, gate: Gate) -> None:
    """The id that jobs.query told is written to the ledger while the job runs."""
    hold = await stand.place(gate, stand.make_hold(job=False))
    job = stand.run_job(hold, job=JobRef("acme-prod", "made_by_bigquery", "US"))
    gate.poller.watch(hold, None, inquiry=Inquiry(job), attempts=1)
    await gate.look_at_all()
    (recorded,) = await stand.ledger.fetch_open_holds()
    assert recorded.job == job


async def test_the_ledger_away_is_asked_again(stand: Stand, gate: Gate) -> None:
    """What the job used is remembered; BigQuery is not asked twice."""
    hold = await stand.place(gate, stand.make_hold())
    stand.bigquery.end(stand.run_job(hold), bytes_billed=3 * MIB)
    gate.poller.watch(hold, None)
    with stand.ledger_away():
        await gate.look_at_all()
    assert gate.poller.depth == 1
    await gate.look_at_all()
    assert usd(await stand.balance(gate)) == (3, 0)
    assert len(stand.bigquery.asked) == 1
    assert stand.metrics.value("bqgate_failures_total", system="ledger", step="poll") == 1


async def test_a_usage_that_is_told_while_its_hold_is_given_back_is_booked(stand: Stand, gate: Gate) -> None:
    """The last answer told it, and could not book it: that the hold ends just then does not make it forgotten."""
    hold = await stand.place(gate, stand.make_hold())
    told = Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=3 * MIB)
    gate.settlement._on_end = lambda ended: gate.poller.watch(ended, None, usage=told)
    gate.poller.watch(hold, None, inquiry=Inquiry(is_answered=True), attempts=1)
    await gate.look_at_all()
    await gate.look_at_all()
    (entry,) = await stand.entries()
    assert (entry.hold_id, entry.bytes_billed) == (hold.id, 3 * MIB)


async def test_memory_is_bounded_and_nothing_is_lost(stand: Stand) -> None:
    """A hold for which there is no room stays open in the ledger, and reconcile brings it when there is."""
    gate = stand.gate(capacity=1)
    first, second = [await stand.place(gate, stand.make_hold(usd=2)) for _ in range(2)]
    for hold in (first, second):
        stand.bigquery.end(stand.run_job(hold), bytes_billed=MIB)
        gate.poller.watch(hold, None)
    assert gate.poller.watched_ids == {first.id}
    assert stand.metrics.value("bqgate_shed_total", where="poller") == 1
    await gate.look_at_all()
    await gate.reconciler.reconcile()
    await gate.look_at_all()
    assert usd(await stand.balance(gate)) == (2, 0)


async def test_a_bug_in_one_look_does_not_lose_the_others(stand: Stand, gate: Gate) -> None:
    """Run again by its supervisor, the poller goes on with all of them; the faulty one waits longest."""
    poisoned = await stand.place(gate, stand.make_hold())
    stand.bigquery.end(stand.run_job(poisoned), bytes_billed=-MIB)
    gate.poller.watch(poisoned, None)
    sound = await stand.place(gate, stand.make_hold())
    stand.bigquery.end(stand.run_job(sound), bytes_billed=3 * MIB)
    faulty = asyncio.create_task(gate.poller.run())
    await stand.clock.wait_for_sleepers()
    stand.clock.advance(1)
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(faulty, timeout=5)
    gate.poller.watch(sound, None)
    async with running(gate), asyncio.timeout(5):
        while sound.id in gate.poller.watched_ids:
            await pass_time(stand, gate, 0.1)
    assert usd(await stand.balance(gate)) == (3, 20)
    assert gate.poller.watched_ids == {poisoned.id}


def test_back_off_doubles_to_its_bound_with_a_spread_of_its_own() -> None:
    """From a quarter of a second to half a minute, a quarter more or less, not the same for all holds."""
    patience = Patience()
    for looks, plain_ms in enumerate([250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]):
        delays_ms = {patience.delay_ms(f"hold{number}", looks) for number in range(50)}
        assert all(plain_ms * 3 // 4 <= delay_ms <= plain_ms * 5 // 4 for delay_ms in delays_ms)
        assert len(delays_ms) > 10
    assert patience.delay_ms("hold", 10**6) <= 37_500


def test_a_credential_shows_in_no_repr(stand: Stand) -> None:
    """Invariant 10."""
    assert "ya29" not in repr(Watched(stand.make_hold(), ADA))
