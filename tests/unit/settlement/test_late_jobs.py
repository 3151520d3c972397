"""A job that turns up after its hold was given back is booked all the same."""

from dataclasses import replace

from bqgate.domain.units import MIB
from bqgate.settlement.late_jobs import LateJobs
from tests.support.settlement_stand import ACME, Gate, Stand, usd


async def give_back_unanswered(stand: Stand, gate: Gate) -> tuple[LateJobs, str]:
    """A hold that was given back because its query was sent, never answered, and made no job for a while."""
    late = LateJobs(settlement=gate.settlement, bigquery=stand.bigquery, clock=stand.clock, telemetry=stand.telemetry)
    hold = await stand.place(gate, stand.make_hold())
    await gate.settlement.void(hold, attempts=1)
    late.expect(hold, None)
    stand.run_job(hold)
    return late, hold.id


async def test_a_late_job_is_booked_and_counts(stand: Stand, gate: Gate) -> None:
    """While it runs it is asked after; its cost is in the ledger, and after reconcile in the budgets."""
    late, hold_id = await give_back_unanswered(stand, gate)
    await late.look(hold_id)
    assert await stand.entries() == ()
    (job,) = [each.ref for each in stand.bigquery.jobs.values()]
    stand.bigquery.end(job, bytes_billed=7 * MIB)
    with stand.ledger_away():
        await late.look(hold_id)
    await late.look(hold_id)
    await late.look(hold_id)
    (entry,) = await stand.entries()
    assert (entry.hold_id, entry.bytes_billed) == (hold_id, 7 * MIB)
    assert stand.metrics.value("bqgate_late_jobs_total", customer="acme") == 1
    for _ in range(3):
        await gate.reconciler.reconcile()
    assert usd(await stand.balance(gate)) == (7, 0)


async def test_a_late_job_counts_for_a_customer_without_a_row_of_its_own(stand: Stand, gate: Gate) -> None:
    """Nobody configured it, and no hold of it is open: what was booked lately tells whom to look at."""
    windows = replace(ACME, id="globex").windows(stand.clock.now())
    hold = replace(stand.make_hold(), customer="globex")
    await gate.budgets.place_hold(hold, windows)
    await stand.ledger.open_hold(hold)
    late = LateJobs(settlement=gate.settlement, bigquery=stand.bigquery, clock=stand.clock, telemetry=stand.telemetry)
    await gate.settlement.void(hold, attempts=1)
    late.expect(hold, None)
    stand.bigquery.end(stand.run_job(hold), bytes_billed=7 * MIB)
    await late.look(hold.id)
    for _ in range(2):
        stand.clock.advance(60)
        await gate.reconciler.reconcile()
    day, _ = await gate.budgets.fetch_balances(windows)
    assert usd(day) == (7, 0)


async def test_what_never_turns_up_is_forgotten(stand: Stand, gate: Gate) -> None:
    """After the last look nobody asks any more."""
    late, hold_id = await give_back_unanswered(stand, gate)
    stand.bigquery.jobs.clear()
    for _ in range(5):
        await late.look(hold_id)
    assert stand.bigquery.asked == ["get as the gate's own", "list as the gate's own"] * 2
