"""Put a gate before BigQuery, Redis and PostgreSQL that each stand behind a wire which can be broken at a given moment.

`Stand.query` runs one query of ten cents and breaks a system at a Moment of its way; what came of it is looked up in
Redis and PostgreSQL themselves, past the wires and past the gate.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from bqgate.app import Gate, open_gate
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.clock import SystemClock
from bqgate.domain.budget import Window
from bqgate.domain.entry import Entry, EntryFilter, EntryKind
from bqgate.ledger import SqlLedger
from bqgate.sandbox import Fault, Sandbox, SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.budget_scene import hold_on, windows_of
from tests.support.gate_stack import settings_for
from tests.support.skipping_clock import SkippingClock, zone_where_it_is_noon
from tests.support.tcp_fault_proxy import TcpFaultProxy

CENTS_10 = 100_000_000
SLOW_S = 0.03
# How long the ledger's answers are held up while it is waited for the moment to break something: so long may a busy
# machine take to notice that moment, where the gate is patient.
HELD_UP_S = 0.15
QUERY = {"query": "SELECT a FROM d.t", "useLegacySql": False, "useQueryCache": False, "timeoutMs": 100}


class Moment(StrEnum):
    """Where on its way a query is when a system breaks."""

    BEFORE_HOLD = "before the hold"
    BEFORE_FORWARD = "between hold and forward"
    BEFORE_BOOKING = "after the forward"
    BEFORE_CAPTURE = "between booking and capture"


def document(wires: dict[str, TcpFaultProxy], database: str, folder: Path, *, is_patient: bool) -> dict[str, Any]:
    """No breakers, no reconcile but the test's, and little patience where a test waits for it to end."""
    call_s, redis_ms, ledger_ms = (20, 20_000, 20_000) if is_patient else (1, 500, 1_000)
    ports = {system: wire.port for system, wire in wires.items()}
    return {
        "upstream": {"url": f"http://127.0.0.1:{ports['bigquery']}", "credentials": "anonymous"}
        | {"call_timeout_s": call_s, "poll_slack_s": call_s},
        "budgets": {"url": f"redis://127.0.0.1:{ports['redis']}/0", "timeout_ms": redis_ms},
        "ledger": {"url": f"postgresql://postgres@127.0.0.1:{ports['ledger']}/{database}", "timeout_ms": ledger_ms}
        | {"sync": "before_forward", "journal_folder": str(folder / "journal")},
        "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
        "admission": {"headroom_ratio": "0", "estimate_ttl_s": 0},
        "settlement": {"reconcile_interval_s": 3_600, "orphan_age_s": 60},
        "breakers": {"failures_to_open": 1_000},
        "customers": {"acme": {"projects": ["acme"], "time_zone": zone_where_it_is_noon()}},
    }


@dataclass
class Stand:
    """The gate, the wires by system, and Redis and PostgreSQL as they are."""

    gate: Gate
    sandbox: Any
    wires: dict[str, TcpFaultProxy]
    clock: SkippingClock
    budgets: RedisBudgetStore
    ledger: SqlLedger
    windows: tuple[Window, ...]
    held_up_s: float

    async def query(self, moment: Moment | None, break_it: Callable[[], Awaitable[None]]) -> tuple[int, str]:
        """Run the query and break something on its way; status and reason, or (0, "cut") where the answer broke off.

        Without a moment it is broken beforehand, and strikes when it is reached.
        """
        if moment in {None, Moment.BEFORE_HOLD}:
            await break_it()
            return await self._post()
        if moment is Moment.BEFORE_BOOKING:
            held_up = self.sandbox.faults.add(Fault(kind="delay", delay_s=0.3, method="jobs.query", count=1))
            return await self._post_and(break_it, when=lambda: _now(held_up.hits == 1))
        self.wires["ledger"].answers.delay(self.held_up_s)
        when = self._is_being_recorded() if moment is Moment.BEFORE_FORWARD else self._is_booked
        return await self._post_and(break_it, when=when)

    async def fill_windows(self) -> None:
        """Have Redis know the windows, so that no ledger is needed to place a hold."""
        await self.gate.budgets.fetch_balances(self.windows)

    async def come_back(self, done: Callable[[], Awaitable[bool]]) -> None:
        """Let all systems work, and two minutes pass with a reconcile each; then let time run until it is done."""
        self.sandbox.faults.clear()
        await until(self._is_idle)  # a job that BigQuery begins late must not begin two minutes late
        for wire in self.wires.values():
            await wire.heal()
        for _ in range(2):  # an orphan's lease must stand unchanged from one round to the next
            self.clock.skip(61)
            await self.gate.reconciler.reconcile()

        async def done_meanwhile() -> bool:
            self.clock.skip(1)  # a hundred times as fast as real time: who never ran is asked after for a minute
            return await done()

        await until(done_meanwhile)

    async def held(self) -> set[str]:
        """Which of the two stores have an open hold."""
        in_budgets = await self.budgets.fetch_hold_ids("acme")
        in_ledger = await self.ledger.fetch_open_holds("acme")
        return ({"budgets"} if in_budgets else set()) | ({"ledger"} if in_ledger else set())

    async def entries(self) -> tuple[Entry, ...]:
        return (await self.ledger.fetch_entries(EntryFilter(kind=EntryKind.CHARGE))).entries

    async def _post(self) -> tuple[int, str]:
        try:
            async with aiohttp.ClientSession() as session:
                url = f"{self.gate.url}/bigquery/v2/projects/acme/queries"
                async with session.post(url, json=QUERY) as answer:
                    body = await answer.json()
                    return answer.status, body["error"]["errors"][0]["reason"] if "error" in body else ""
        except aiohttp.ClientError:
            return 0, "cut"

    async def _post_and(
        self, break_it: Callable[[], Awaitable[None]], *, when: Callable[[], Awaitable[bool]]
    ) -> tuple[int, str]:
        posting = asyncio.ensure_future(self._post())
        await until(when)
        self.wires["ledger"].answers.heal()
        await break_it()
        return await posting

    async def _is_idle(self) -> bool:
        return all(call.status for call in self.sandbox.journal.entries(method="jobs.query"))

    def _is_being_recorded(self) -> Callable[[], Awaitable[bool]]:
        """Whether the gate has heard of its hold: Redis has it, and the ledger was asked something since."""
        asked_before: list[int] = []

        async def is_true() -> bool:
            asked = self.wires["ledger"].requests.chunk_count
            if not asked_before and await self.budgets.fetch_hold_ids("acme"):
                asked_before.append(asked)
            return bool(asked_before) and asked > asked_before[0]

        return is_true

    async def _is_booked(self) -> bool:
        return bool(await self.entries())


async def _now(is_true: bool) -> bool:
    return is_true


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when it is true; TimeoutError after half a minute."""
    async with asyncio.timeout(30):
        while not await condition():
            await SystemClock().sleep(0.01)


async def load_scripts(budgets: RedisBudgetStore) -> None:
    """Have Redis know the scripts, so that an answer that is cut is never the one that asks for their text."""
    windows = windows_of("somebody else")
    hold = hold_on(windows)
    await budgets.place_hold(hold, windows)
    await budgets.void(hold)


@asynccontextmanager
async def fault_stand(
    folder: Path,
    redis_url: str,
    postgres_url: str,
    *,
    is_patient: bool = True,
    sync: str = "before_forward",
    more: Mapping[str, Any] | None = None,
) -> AsyncIterator[Stand]:
    """A gate and all that is behind it, working. `more` are sections of the settings, `sync` is the ledger's."""
    clock = SkippingClock()
    database, socket_folder = urlsplit(postgres_url).path[1:], parse_qs(urlsplit(postgres_url).query)["host"][0]
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(SandboxSettings()))
        sandbox.warehouse.create_dataset("acme", "d")
        table = TableRef("acme", "d", "t")
        sandbox.warehouse.create_table(table, (Field("a", "INT64"),), declared_bytes=10 * 2**30)
        wires = {
            "bigquery": TcpFaultProxy("127.0.0.1", urlsplit(sandbox.url).port or 0),
            "redis": TcpFaultProxy("127.0.0.1", urlsplit(redis_url).port or 0),
            "ledger": TcpFaultProxy.before_socket(Path(socket_folder, ".s.PGSQL.5432")),
        }
        for wire in wires.values():
            await stack.enter_async_context(wire)
        sections = document(wires, database, folder, is_patient=is_patient) | dict(more or {})
        sections["ledger"] |= {"sync": sync}
        settings = settings_for(folder, "", sections)
        ledger = await SqlLedger.open(postgres_url, clock)
        stack.push_async_callback(ledger.close)
        budgets = RedisBudgetStore.open(redis_url, ledger, clock)
        stack.push_async_callback(budgets.close)
        await load_scripts(budgets)
        gate = await stack.enter_async_context(open_gate(settings, clock=clock, log_stream=io.StringIO()))
        await gate.reconciler.reconcile()  # after the one at the start: only the test's own calls meet a fault
        windows = settings.customer_registry.customer("acme").windows(clock.now())
        held_up_s = HELD_UP_S if is_patient else SLOW_S
        yield Stand(gate, sandbox, wires, clock, budgets, ledger, windows, held_up_s)
