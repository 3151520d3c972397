"""What the gate's own queries cost, and that it is booked once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bqgate.domain.entry import EntryKind, Origin
from bqgate.domain.errors import LedgerUnavailable, OwnQueriesSpent, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import Outcome
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.tier import GATE_ITSELF
from bqgate.ports import OwnQueries, QueryAnswer
from bqgate.sandbox.faults import Fault
from tests.support.own_costs_stand import OwnCostsStand, OwnGate, own_costs_stand

AIRLINES = "SELECT name FROM `p`.nycflights13.airlines"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[OwnCostsStand]:
    async with own_costs_stand(tmp_path) as opened:
        yield opened


class DiesWithTheAnswer:
    """Queries of a process that ends when the answer has come, before anything is done with it."""

    def __init__(self, queries: OwnQueries) -> None:
        self._queries = queries

    async def run(self, sql: str, **told: Any) -> QueryAnswer:
        await self._queries.run(sql, **told)
        raise asyncio.CancelledError


async def run(gate: OwnGate, sql: str = AIRLINES) -> int:
    """How many rows a query brings."""
    rows = await gate.own_costs.run(sql, purpose="trial", project_id="p", location="US", parameters={})
    return len(rows)


async def test_a_query_is_booked_as_the_gates_own(stand: OwnCostsStand) -> None:
    """Under a customer that nobody is, with what it was for, at what BigQuery billed."""
    gate = stand.gate()
    assert await run(gate) == 16
    (entry,) = await stand.entries()
    assert (entry.kind, entry.origin, entry.outcome) == (EntryKind.CHARGE, Origin.OWN, Outcome.DONE)
    assert (entry.customer, entry.principal, entry.workload) == (GATE_ITSELF, "bqgate", "trial")
    assert (entry.cost_nanos, entry.project_id) == (NANOS_PER_USD, "p")
    assert entry.job is not None
    assert entry.job.job_id == "bqgate_own_a1"
    assert await stand.ledger.fetch_open_holds() == ()


async def test_it_counts_in_the_deployments_budget_at_once(stand: OwnCostsStand) -> None:
    """Held while it runs, captured when it has ended, and as the ledger has it."""
    gate = stand.gate()
    stand.sandbox.faults.add(Fault("error", method="jobs.insert", count=1))
    with pytest.raises(UpstreamUnavailable):
        await run(gate)
    assert await gate.deployment_usd() == (0, 2)
    await run(gate)
    assert await gate.deployment_usd() == (1, 2)
    assert await stand.gate("b").deployment_usd() == (1, 2)


async def test_all_of_a_days_queries_are_bounded(stand: OwnCostsStand) -> None:
    """What might pass the day's bound does not run; it is counted, said once, and ends at midnight."""
    gate = stand.gate()
    for _ in range(4):  # a dollar each, and two are held for each
        await run(gate)
    for _ in range(2):
        with pytest.raises(OwnQueriesSpent, match=r"cost 4\.00 USD today, .* 5\.00 USD \(own_queries\.daily_usd\)"):
            await run(gate)
    assert len(list(stand.sandbox.jobs)) == 4
    labels = {"purpose": "trial", "result": "over_bound"}
    assert stand.metrics.value("bqgate_own_queries_total", **labels) == 2
    assert stand.log.getvalue().count("own_queries_spent") == 1
    assert await stand.ledger.fetch_open_holds() == ()
    with pytest.raises(OwnQueriesSpent):
        await run(stand.gate("b"))  # the bound is the ledger's, so a restart does not lift it
    stand.clock.advance(24 * 3600)
    assert await run(gate) == 16


async def test_gates_share_the_bound(stand: OwnCostsStand) -> None:
    """Two that ask at once do not pass it together."""
    one, other = stand.gate("a"), stand.gate("b")
    ends = await asyncio.gather(*(run(gate) for gate in (one, other, one, other)), return_exceptions=True)
    assert sum(isinstance(end, OwnQueriesSpent) for end in ends) >= 2
    assert sum(entry.cost_nanos for entry in await stand.entries()) <= 5 * NANOS_PER_USD


async def test_a_crash_before_the_booking_loses_nothing(stand: OwnCostsStand) -> None:
    """The hold that stood before it ran is settled by the next gate, once, and by no second one."""
    stand.queries = DiesWithTheAnswer(stand.queries)
    with pytest.raises(asyncio.CancelledError):
        await run(stand.gate())
    assert await stand.entries() == ()
    for name in ("b", "c"):
        after = stand.gate(name)
        await after.reconciler.reconcile()
        await after.look_at_all()
    (entry,) = await stand.entries()
    assert (entry.origin, entry.cost_nanos, entry.customer) == (Origin.OWN, NANOS_PER_USD, GATE_ITSELF)
    assert await stand.ledger.fetch_open_holds() == ()


async def test_a_query_whose_answer_is_lost_is_booked_all_the_same(stand: OwnCostsStand) -> None:
    """It has run: its rows are lost, its cost is not."""
    gate = stand.gate()
    stand.sandbox.faults.add(Fault("error", method="jobs.getQueryResults"))
    with pytest.raises(UpstreamUnavailable):
        await run(gate)
    await gate.look_at_all()
    (entry,) = await stand.entries()
    assert entry.cost_nanos == NANOS_PER_USD
    assert stand.metrics.value("bqgate_own_queries_total", purpose="trial", result="lost") == 1


async def test_a_query_that_is_refused_costs_nothing(stand: OwnCostsStand) -> None:
    """Its hold is given back once nobody can be at it any more."""
    gate = stand.gate()
    with pytest.raises(UpstreamRefused):
        await run(gate, "SELECT nothing FROM nowhere.at_all")
    for _ in range(3):
        stand.clock.advance(20)
        await gate.look_at_all()
    assert [entry.cost_nanos for entry in await stand.entries()] == [0]
    assert await stand.ledger.fetch_open_holds() == ()
    assert await gate.deployment_usd() == (0, 0)


async def test_without_a_ledger_nothing_runs(stand: OwnCostsStand) -> None:
    """What could not be booked is not spent."""
    gate = stand.gate()
    await stand.ledger.close()
    with pytest.raises(LedgerUnavailable):
        await run(gate)
    assert not list(stand.sandbox.jobs)
