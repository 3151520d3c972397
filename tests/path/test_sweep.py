"""The sweep of a whole gate over the sandbox, by both of its methods: what came past the gate is booked once."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bqgate.bigquery.credentials import AnonymousCredentials
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.bigquery.own_queries import GoogleOwnQueries
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryKind, Origin
from bqgate.domain.place import Place
from bqgate.wire.jobs_view import jobs_question
from tests.support.sweep_scene import CENTS_10, EVE, METHODS, SweepScene, sweep_scene

SQL = "SELECT a FROM `acme.money.ten_gib`"


@pytest.fixture(params=METHODS)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SweepScene]:
    async with sweep_scene(tmp_path, request.param) as opened:
        yield opened


async def test_a_query_past_the_gate_is_booked_once(scene: SweepScene) -> None:
    """A query that went to BigQuery directly is a bypass of its maker, at what it cost, however often it is swept."""
    await scene.query(SQL)
    for _ in range(3):
        await scene.sweep()
    (entry,) = await scene.entries()
    assert (entry.origin, entry.customer, entry.principal) == (Origin.BYPASS, "acme", EVE)
    assert (entry.kind, entry.cost_nanos, entry.decision) == (EntryKind.CHARGE, CENTS_10, "bypass")
    assert entry.job is not None
    assert entry.ended_at is not None
    assert entry.reservation == ""


async def test_a_bypass_counts_in_the_budget(scene: SweepScene) -> None:
    """The next decision of the gate knows of it: it is spent from the customer's day and month."""
    await scene.query(SQL, at=scene.stack.url)
    await scene.query(SQL)
    await scene.sweep()
    for balance in await scene.stack.fetch_settled("acme"):
        assert balance.captured_nanos == 2 * CENTS_10


async def test_what_went_through_the_gate_is_left_as_it_is(scene: SweepScene) -> None:
    """A job that the gate has booked is neither booked again nor corrected."""
    await scene.query(SQL, at=scene.stack.url)
    await scene.insert(SQL, "mine", at=scene.stack.url)
    await scene.stack.fetch_settled("acme")
    await scene.sweep()
    entries = await scene.entries()
    assert [each.origin for each in entries] == [Origin.GATE, Origin.GATE]


async def test_scripts_are_booked_by_their_statements(scene: SweepScene) -> None:
    """A script past the gate is one entry, of the sum of its statements; they are no entries of their own."""
    await scene.insert(f"{SQL}; {SQL}", "script")
    await scene.sweep()
    (entry,) = await scene.entries()
    assert entry.job is not None
    assert (entry.job.job_id, entry.cost_nanos) == ("script", 2 * CENTS_10)


async def test_what_costs_nothing_is_not_booked(scene: SweepScene) -> None:
    """Failed queries and cached results past the gate leave no entry."""
    await scene.insert("SELECT nothing FROM `acme.money.ten_gib`", "wrong")
    await scene.query(SQL)
    await scene.query(SQL, useQueryCache=True)
    await scene.sweep()
    assert len(await scene.entries()) == 1
    assert scene.stack.gate.metrics.value("bqgate_sweep_jobs_total", state="free") >= 1


async def test_a_copied_label_hides_nothing(scene: SweepScene) -> None:
    """A job past the gate that bears the label of a hold which has ended with another job is a bypass."""
    await scene.insert(SQL, "mine", at=scene.stack.url)
    await scene.stack.fetch_settled("acme")
    (booked,) = await scene.entries()
    await scene.insert(SQL, "forged", labels={"bqgate_hold": booked.hold_id or ""})
    await scene.sweep()
    assert [each.origin for each in await scene.entries()] == [Origin.GATE, Origin.BYPASS]


async def test_labels_of_the_maker_are_kept(scene: SweepScene) -> None:
    """A bypass has its job's labels, so that it counts in the budgets of labels and shows in their spend."""
    await scene.insert(SQL, "labelled", labels={"team": "data", "bqgate_customer": "forged"})
    await scene.sweep()
    (entry,) = await scene.entries()
    assert entry.labels == {"team": "data"}


async def test_job_less_queries_are_seen_by_information_schema(tmp_path: Path) -> None:
    """A query that BigQuery ran without a job is booked under its queryId; jobs.list does not know it."""
    for method, expected in (("information_schema", 1), ("jobs_list", 0)):
        folder = tmp_path / method
        folder.mkdir()
        async with sweep_scene(folder, method) as scene:
            answer = await scene.query(SQL, jobCreationMode="JOB_CREATION_OPTIONAL")
            assert "jobReference" not in answer
            await scene.sweep()
            entries = await scene.entries()
            assert len(entries) == expected
            assert all(each.job is not None and each.job.job_id == answer["queryId"] for each in entries)


async def test_uncounted_bypass_leaves_every_budget_alone(tmp_path: Path) -> None:
    """With bypass_counts: false it is booked, and neither the customer's nor the deployment's budget has it."""
    document = {
        "sweep": {"bypass_counts": False},
        "scoped_budgets": {"everybody": {"deployment": True, "daily_usd": "100"}},
    }
    async with sweep_scene(tmp_path, "jobs_list", document) as scene:
        await scene.query(SQL)
        await scene.sweep()
        (entry,) = await scene.entries()
        assert entry.cost_nanos == CENTS_10
        registry = scene.stack.gate.policies.customer_registry
        assert registry.deployment is not None
        now = entry.booked_at
        spend = await scene.ledger.fetch_spend(registry.customer("acme").windows(now))
        assert set(spend.captured_nanos.values()) == {0}
        spend = await scene.ledger.fetch_spend(registry.deployment.windows(now))
        assert set(spend.captured_nanos.values()) == {0}


async def test_its_own_questions_are_booked_as_the_gates_own(tmp_path: Path) -> None:
    """What information_schema costs is booked once, as the gate's own, and is nobody's bypass."""
    async with sweep_scene(tmp_path, "information_schema") as scene:
        for _ in range(3):
            await scene.sweep()
        assert await scene.entries() == []
        (own,) = await scene.ledger.fetch_costs(since=datetime(2020, 1, 1, tzinfo=UTC))
        assert own.customer == "_gate"
        assert own.job_count >= 3


async def test_what_a_row_weighs(tmp_path: Path) -> None:
    """The bytes of a job in the columns that are read, by the sizes of types: what docs/sweep.md reckons with."""
    async with sweep_scene(tmp_path, "information_schema") as scene:
        await scene.insert(SQL, "5f7c4f0a-6d0b-4c39-9d0e-1a2b3c4d5e6f", labels={"team": "data", "env": "prod"})
        await scene.query(SQL, at=scene.stack.url)
        upstream = HttpUpstream(scene.stack.sandbox.url, AnonymousCredentials())
        answer = await GoogleOwnQueries(JsonCalls(upstream), SystemClock()).run(
            jobs_question(Place("acme", "us")),
            project_id="acme",
            location="US",
            job_id="weigh",
            parameters={
                "since": datetime(2020, 1, 1, tzinfo=UTC),
                "until": datetime(2100, 1, 1, tzinfo=UTC),
                "rows_max": 100,
            },
            maximum_bytes_billed=2**30,
        )
        await upstream.close()
    weights = [sum(weight_of(name, value) for name, value in row.items()) for row in answer.rows]
    assert len(weights) >= 2
    assert all(100 <= weight <= 400 for weight in weights), weights


def weight_of(name: str, value: Any) -> int:
    """The logical bytes of a value (https://cloud.google.com/bigquery/pricing#data): NULL weighs nothing."""
    if value is None:
        return 0
    if isinstance(value, tuple):
        return sum(weight_of(name, each) for each in value)
    if isinstance(value, Mapping):
        return sum(weight_of(key, each) for key, each in value.items())
    if name in {"creation_time", "end_time", "total_bytes_processed", "total_bytes_billed", "total_slot_ms"}:
        return 8
    return 1 if name == "cache_hit" else 2 + len(str(value).encode())
