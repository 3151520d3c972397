"""Two gates as users run them, in processes of their own on one Redis and one ledger, and 100 callers at a boundary.

The day's limit has its test in test_no_overspend.py; here are the emergency limit and the end of grace.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from bqgate.clock import SystemClock
from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.entry import Entry, EntryFilter, EntryKind
from bqgate.domain.job import Outcome
from bqgate.ledger import SqlLedger
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from bqgate.settings import load_settings
from tests.support.served_gate import served_gate
from tests.support.skipping_clock import zone_where_it_is_noon

CALLERS = 100
CENTS_10 = 100_000_000
GRACE_MINUTES = 15
# At 10.24 dollars per TiB, ten GiB cost exactly ten cents: ten queries a day, five more in grace.
DOCUMENT: dict[str, Any] = {
    "server": {"port": 0},
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {
        "standard": {
            "daily_usd": "1.00",
            "emergency_usd": "1.50",
            "grace_minutes": GRACE_MINUTES,
            "throttle_wait_ms": 0,
        }
    },
    "settlement": {"poll_first_ms": 20, "poll_longest_ms": 200},
}


@dataclass
class Scene:
    """What outlives the two processes: their settings file, and the ledger that they share."""

    config: Path
    ledger: SqlLedger
    keys: dict[Period, str]

    async def have_begun_grace(self, ago: timedelta) -> None:
        """Have eleven queries in the books, and the grace of the day begun so long ago; Redis knows nothing of it."""
        now = SystemClock().now()
        entry = Entry(
            id="before",
            kind=EntryKind.CHARGE,
            customer="acme",
            principal="ann",
            project_id="acme",
            booked_at=now - ago,
            window_keys=self.keys,
            outcome=Outcome.DONE,
            cost_nanos=11 * CENTS_10,
        )
        await self.ledger.book(entry)
        begun = BreakerEvent(
            "acme", Period.DAY, self.keys[Period.DAY], now - ago, BreakerEventKind.GRACE_STARTED, "ann"
        )
        await self.ledger.record_breaker_event(begun)

    async def ask_at_two_processes(self) -> tuple[Counter[tuple[int, str]], dict[str, Any]]:
        """100 callers at once, half at each; how often each answer came, and the budget once all is booked."""
        async with AsyncExitStack() as stack:
            urls = [(await stack.enter_async_context(served_gate(self.config)))[1] for _ in range(2)]
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            answers = await asyncio.gather(*(ask(session, urls[number % 2], number) for number in range(CALLERS)))
            async with asyncio.timeout(60):
                while True:
                    async with session.get(f"{urls[0]}/v1/customers/acme/budget") as answer:
                        budget: dict[str, Any] = await answer.json()
                    if budget["windows"]["day"]["held_usd"] == "0.00":
                        return Counter(answers), budget
                    await SystemClock().sleep(0.05)

    async def reasons(self) -> Counter[str | None]:
        """Why queries were refused, as the ledger has it."""
        wanted = EntryFilter(customer="acme", kind=EntryKind.REFUSAL, page_size=1_000)
        return Counter(entry.reason for entry in (await self.ledger.fetch_entries(wanted)).entries)


async def ask(session: aiohttp.ClientSession, url: str, number: int) -> tuple[int, str]:
    """Run a query of ten cents; status and decision."""
    sql = f"SELECT a, {number} AS n FROM `acme.money.ten_gib`"
    body = {"query": sql, "useLegacySql": False, "useQueryCache": False}
    async with session.post(f"{url}/bigquery/v2/projects/acme/queries", json=body) as answer:
        await answer.read()
        return answer.status, answer.headers["X-Bqgate-Decision"]


@pytest.fixture
async def scene(tmp_path: Path, redis_url: str) -> AsyncIterator[Scene]:
    clock, ledger_url = SystemClock(), f"sqlite:///{tmp_path}/ledger.db"
    async with Sandbox.start(SandboxSettings()) as sandbox:
        sandbox.warehouse.create_dataset("acme", "money")
        table = TableRef("acme", "money", "ten_gib")
        sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=10 * 2**30)
        document = DOCUMENT | {
            "upstream": {"url": sandbox.url, "credentials": "anonymous"},
            "budgets": {"url": redis_url, "timeout_ms": 10_000},
            "ledger": {"url": ledger_url, "timeout_ms": 60_000},
            "customers": {"acme": {"projects": ["acme"], "time_zone": zone_where_it_is_noon()}},
        }
        config = tmp_path / "bqgate.yaml"
        config.write_text(yaml.safe_dump(document))
        windows = load_settings(config, {}).customer_registry.customer("acme").windows(clock.now())
        ledger = await SqlLedger.open(ledger_url, clock)
        yield Scene(config, ledger, {window.period: window.key for window in windows})
        await ledger.close()


async def test_at_the_emergency_limit(scene: Scene) -> None:
    """Invariant 2: ten within the limit, five more in grace, one opens the breaker, and the rest find it open."""
    answers, budget = await scene.ask_at_two_processes()
    assert answers == {(200, "forward"): 10, (200, "grace"): 5, (403, "reject"): 85}
    assert budget["windows"]["day"]["spent_usd"] == "1.50"
    assert budget["breaker"]["state"] == "open"
    assert await scene.reasons() == {"emergency": 1, "breaker_open": 84}


@pytest.mark.parametrize(
    ("ago", "expected", "spent", "reasons"),
    [
        pytest.param(
            timedelta(minutes=1),
            {(200, "grace"): 4, (403, "reject"): 96},
            "1.50",
            {"emergency": 1, "breaker_open": 95},
            id="not yet",
        ),
        pytest.param(
            timedelta(minutes=GRACE_MINUTES), {(403, "reject"): 100}, "1.10", {"grace_over": 100}, id="reached"
        ),
    ],
)
async def test_at_the_end_of_grace(
    scene: Scene, ago: timedelta, expected: dict[Any, int], spent: str, reasons: dict[str, int]
) -> None:
    """While it lasts the emergency limit bounds what runs; from its end on nothing does, and no breaker opens."""
    await scene.have_begun_grace(ago)
    answers, budget = await scene.ask_at_two_processes()
    assert answers == expected
    assert budget["windows"]["day"]["spent_usd"] == spent
    assert budget["breaker"]["state"] == ("open" if "emergency" in reasons else "closed")
    assert await scene.reasons() == reasons
