"""What a job costs is settled when it is held: by that moment's prices, where it may run, and by its statements."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bqgate.domain.audit import AuditEvent
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.policy import PRICING_NAME, PolicyKind
from bqgate.sandbox import SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack
from tests.support.manual_clock import START

SETTINGS: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "upstream": {"credentials": "anonymous"},
    "customers": {"acme": {"projects": ["acme"]}},
}
SQL = "SELECT a FROM `acme.money.t`"
CENTS_10 = 100_000_000


def declare_ten_gib(stack: Stack) -> None:
    stack.sandbox.warehouse.create_dataset("acme", "money")
    table = TableRef("acme", "money", "t")
    stack.sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=10 * 2**30)


async def submit(stack: Stack, *, method: str = "jobs", sql: str = SQL, **fields: Any) -> tuple[int, str]:
    """Submit a query of ten GiB; status and reason."""
    query = {"query": sql, "useLegacySql": False, "useQueryCache": False}
    body = {"configuration": {"query": query, **fields}} if method == "jobs" else {**query, **fields}
    url = f"{stack.url}/bigquery/v2/projects/acme/{method}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        document = await answer.json()
        reason = document["error"]["errors"][0]["reason"] if "error" in document else ""
        return answer.status, reason


async def costs(stack: Stack) -> list[int]:
    """What is booked, oldest first, once nothing is held any more."""
    await stack.fetch_settled("acme")
    page = await stack.gate.ledger.fetch_entries(EntryFilter(customer="acme", kind=EntryKind.CHARGE))
    return [entry.cost_nanos for entry in reversed(page.entries)]


async def test_an_admins_new_price_holds_for_what_is_placed_after_it(tmp_path: Path) -> None:
    """A price that is raised ninefold while a job runs leaves that job its price, on every replica."""
    slow = SandboxSettings(time_scale=20.0)
    async with open_stack(tmp_path, SETTINGS, sandbox=slow, gate_count=2) as stack:
        declare_ten_gib(stack)
        assert await submit(stack) == (200, "")
        event = AuditEvent(at=START, action="pricing.change", actor="ann", target="pricing")
        raised = {"model": "on_demand", "usd_per_tib": "92.16"}
        await stack.gate.registry.write_policy(
            PolicyKind.PRICING, PRICING_NAME, raised, expected_version=0, event=event
        )
        for gate in stack.gates:
            await gate.policies.refresh()
        (hold,) = await stack.gate.ledger.fetch_open_holds("acme")
        assert stack.gate.policies.prices.id != hold.prices_id
        assert await costs(stack) == [CENTS_10]
        assert await submit(stack) == (200, "")
        assert await costs(stack) == [CENTS_10, 9 * CENTS_10]


@pytest.mark.parametrize("method", ["jobs", "queries"])
async def test_who_may_not_choose_a_reservation_is_refused_as_bigquery_refuses(tmp_path: Path, method: str) -> None:
    """Under capacity prices "none" would make bytes cost nothing; the customer's list allows it, at its price."""
    capacity = SETTINGS | {"pricing": {"model": "capacity", "usd_per_tib": "10.24", "usd_per_slot_hour": "0.01"}}
    reserved = SandboxSettings(reservation_id="acme:US.ours")
    async with open_stack(tmp_path, capacity, sandbox=reserved) as stack:
        declare_ten_gib(stack)
        assert await submit(stack, method=method, reservation="none") == (403, "accessDenied")
        assert await submit(stack, method=method, sql=f"SET @@reservation = 'none'; {SQL}") == (403, "accessDenied")
        assert await stack.gate.ledger.fetch_open_holds() == ()
        assert await submit(stack, method=method) == (200, "")
        assert (await costs(stack))[0] < CENTS_10 // 10
    allowing = capacity | {"customers": {"acme": {"projects": ["acme"], "reservations": ["none"]}}}
    (tmp_path / "allowing").mkdir()
    async with open_stack(tmp_path / "allowing", allowing, sandbox=reserved) as stack:
        declare_ten_gib(stack)
        assert await submit(stack, method=method, reservation="none") == (200, "")
        assert await costs(stack) == [CENTS_10]


@pytest.mark.parametrize("method", ["jobs", "queries"])
async def test_a_script_costs_what_its_statements_cost(tmp_path: Path, method: str) -> None:
    """Its two queries are booked once, as one job."""
    async with open_stack(tmp_path, SETTINGS) as stack:
        declare_ten_gib(stack)
        assert await submit(stack, method=method, sql=f"{SQL}; {SQL};") == (200, "")
        assert await costs(stack) == [2 * CENTS_10]
