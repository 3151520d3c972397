"""Past the limit: two gates on one Redis and one ledger, 200 callers at every boundary, and a clock moved by hand."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis as blocking_redis

from bqgate.app import Gate, open_gate
from bqgate.budgets.wipes import PUT_BACK_S
from bqgate.domain.budget import Balance
from bqgate.domain.cost_breaker import BudgetStatus
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from bqgate.settings import Settings
from tests.support.gate_stack import settings_for
from tests.support.manual_clock import START, ManualClock

CALLERS = 200
GRACE_S = 15 * 60
CENTS_10 = 100_000_000
# At 10.24 dollars per TiB, ten GiB cost exactly ten cents: ten queries a day, five more in grace.
DOCUMENT: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0", "refusal_ttl_s": 0},
    "tiers": {
        "standard": {
            "daily_usd": "1.00",
            "emergency_usd": "1.50",
            "grace_minutes": GRACE_S // 60,
            "breaker_cooldown_minutes": 60,
            "throttle_wait_ms": 0,
        }
    },
    "customers": {"acme": {"projects": ["acme"]}},
}


@dataclass
class Scene:
    """Gates that share a ledger and a budget store."""

    gates: list[Gate]
    settings: Settings
    clock: ManualClock
    session: aiohttp.ClientSession
    asked: int = 0

    async def ask(self) -> tuple[int, str, str]:
        """Run a query of ten cents at the gates in turn; status, decision, and the message of an error."""
        self.asked += 1
        sql = f"SELECT a, {self.asked} AS n FROM `acme.money.ten_gib`"
        url = f"{self.gates[self.asked % len(self.gates)].url}/bigquery/v2/projects/acme/queries"
        body = {"query": sql, "useLegacySql": False, "useQueryCache": False}
        async with self.session.post(url, json=body) as answer:
            document = await answer.json()
            message = document["error"]["message"] if "error" in document else ""
            return answer.status, answer.headers["X-Bqgate-Decision"], message

    async def ask_often(self, count: int = CALLERS) -> Counter[tuple[int, str]]:
        """Run queries at once; how often each status and decision came, once all is booked."""
        answers = await asyncio.gather(*(self.ask() for _ in range(count)))
        await self.settle()
        return Counter((status, decision) for status, decision, _ in answers)

    async def settle(self) -> None:
        for gate in self.gates:
            await gate.holds.drain()

    async def budget_status(self) -> BudgetStatus:
        windows = self.settings.customer_registry.customer("acme").windows(self.clock.now())
        return await self.gates[0].budgets.fetch_status(windows)

    async def day(self) -> Balance:
        return (await self.budget_status()).balances[0]

    async def reasons(self) -> Counter[str | None]:
        """Why queries were refused, as the ledger has it once each gate has read what it wrote itself."""
        wanted = EntryFilter(customer="acme", kind=EntryKind.REFUSAL, page_size=1_000)
        for gate in self.gates:
            await gate.ledger.fetch_entries(wanted)
        return Counter(entry.reason for entry in (await self.gates[0].ledger.fetch_entries(wanted)).entries)

    def counted(self, name: str) -> float:
        return sum(gate.metrics.value(name, customer="acme") for gate in self.gates)


@asynccontextmanager
async def scene_of(folder: Path, document: dict[str, Any], gate_count: int) -> AsyncIterator[Scene]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(SandboxSettings()))
        sandbox.warehouse.create_dataset("acme", "money")
        table = TableRef("acme", "money", "ten_gib")
        sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=10 * 2**30)
        settings = settings_for(folder, sandbox.url, document)
        gates = [
            await stack.enter_async_context(open_gate(settings, clock=clock, log_stream=io.StringIO()))
            for _ in range(gate_count)
        ]
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        yield Scene(gates, settings, clock, session)


@pytest.fixture(params=["memory", "one gate on Redis", "two gates on one Redis"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """A gate in memory, a gate on Redis, two gates on Redis."""
    budgets: dict[str, Any] = {}
    if request.param != "memory":
        budgets = {"budgets": {"url": request.getfixturevalue("redis_url"), "timeout_ms": 10_000}}
    count = 2 if request.param.startswith("two") else 1
    async with scene_of(tmp_path, DOCUMENT | budgets, count) as opened:
        yield opened


async def test_two_hundred_callers_stop_at_the_emergency_limit(scene: Scene) -> None:
    """Invariant 2: ten within the limit, five more in grace, and the sixteenth opens the breaker for all the others."""
    answers = await scene.ask_often()
    assert answers == {(200, "forward"): 10, (200, "grace"): 5, (403, "reject"): 185}
    day = await scene.day()
    assert (day.captured_nanos, day.held_nanos, day.grace_started_at) == (15 * CENTS_10, 0, START)
    assert await scene.reasons() == {"emergency": 1, "breaker_open": 184}
    assert scene.counted("bqgate_grace_started_total") == 1
    assert scene.counted("bqgate_breaker_trips_total") == 1
    wanted = EntryFilter(customer="acme", kind=EntryKind.CHARGE, page_size=1_000)
    charges = (await scene.gates[0].ledger.fetch_entries(wanted)).entries
    assert Counter(entry.decision for entry in charges) == {"forward": 10, "grace": 5}


async def test_two_hundred_callers_find_grace_over(scene: Scene) -> None:
    """One was let past the limit; at the moment its grace ends nobody is, though the emergency limit has room."""
    assert await scene.ask_often(11) == {(200, "forward"): 10, (200, "grace"): 1}
    scene.clock.advance(GRACE_S)
    assert await scene.ask_often() == {(403, "reject"): CALLERS}
    assert (await scene.day()).used_nanos == 11 * CENTS_10
    assert await scene.reasons() == {"grace_over": CALLERS}
    assert (await scene.budget_status()).breaker is None


async def test_two_hundred_callers_try_a_half_open_breaker_one_at_a_time(scene: Scene) -> None:
    """A probe that is refused, here because grace is over, opens it anew: the others do not try."""
    await scene.ask_often(16)
    scene.clock.advance(3_600)
    assert await scene.ask_often() == {(403, "reject"): CALLERS}
    reasons = await scene.reasons()
    # Under the emergency limit there is no room for ten cents, so the probe is refused by that.
    assert reasons == {"emergency": 2, "breaker_open": CALLERS - 1}
    breaker = (await scene.budget_status()).breaker
    assert breaker is not None
    assert breaker.opened_at == scene.clock.now()


async def test_the_refusals_say_why_until_when_and_who_can_help(scene: Scene) -> None:
    """Each of the three has its own words."""
    await scene.ask_often(11)
    scene.clock.advance(GRACE_S)
    _, _, message = await scene.ask()
    assert message.startswith("Custom quota exceeded: customer acme has used 1.10 of 1.00 USD today, 2026-11-24")
    assert "Its grace ended 2026-11-24T12:15Z. Resets 2026-11-25T00:00Z." in message
    scene.clock.advance_to(START + timedelta(days=1))
    await scene.ask_often(15)
    _, _, message = await scene.ask()
    assert message.startswith("Custom quota exceeded: customer acme has used 1.50 of 1.50 USD today, 2026-11-25")
    assert "all that it may spend in an emergency" in message
    scene.clock.advance(60)
    _, _, message = await scene.ask()
    assert "the cost breaker of customer acme is open since 2026-11-25T12:00Z" in message
    assert "before 2026-11-26T00:00Z, unless an admin of bqgate resets it" in message


async def test_the_next_day_all_is_new(scene: Scene) -> None:
    """Breaker and grace were the old day's; the new one has its limit and a grace of its own."""
    await scene.ask_often(20)
    assert (await scene.budget_status()).breaker is not None
    scene.clock.advance_to(START + timedelta(hours=12))
    assert await scene.ask_often(11) == {(200, "forward"): 10, (200, "grace"): 1}
    assert (await scene.day()).grace_started_at == START + timedelta(hours=12)


@pytest.mark.parametrize(("before", "reason"), [(11, "grace_over"), (16, "breaker_open")])
async def test_a_redis_that_lost_everything_is_whole_before_it_decides(
    tmp_path: Path, redis_url: str, before: int, reason: str
) -> None:
    """Grace goes on from where it began, and an open breaker is open, for 200 callers at two gates at once."""
    document = DOCUMENT | {"budgets": {"url": redis_url, "timeout_ms": 10_000}}
    async with scene_of(tmp_path, document, 2) as scene:
        await scene.ask_often(before)
        scene.clock.advance(GRACE_S)
        refused_before = await scene.reasons()
        with blocking_redis.Redis.from_url(redis_url) as raw:
            raw.flushall()
        asking = asyncio.ensure_future(scene.ask_often())
        while not (await asyncio.wait({asking}, timeout=0.1))[0]:
            scene.clock.advance(PUT_BACK_S)  # each gate lets the other put back what it holds
        assert asking.result() == {(403, "reject"): CALLERS}
        assert await scene.reasons() - refused_before == {reason: CALLERS}
        day = await scene.day()
        assert (day.captured_nanos, day.held_nanos) == (min(before, 15) * CENTS_10, 0)
        assert day.grace_started_at == START
