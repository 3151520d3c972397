"""Put gates before an upstream that keeps its books, send the same query in several ways at once, and audit what came.

Each repetition of a race has a project of its own, which is a customer with a limit that fits one query and not two, so
that a hold that ends too early shows: the next query passes. The number of repetitions is a test's own, or REPETITIONS
in the environment (`make races`).
"""

import asyncio
import io
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bqgate.app import SettingsSource, open_gate
from bqgate.clock import SystemClock
from bqgate.ledger.check_books import check_books
from bqgate.settings import load_settings
from tests.support.auditor import Audit, LedgerTables, audit, without_open_holds
from tests.support.scorekeeper import Scorekeeper
from tests.support.scorekeeper_books import GIB, Prices
from tests.support.skipping_clock import SkippingClock

# At 10.24 dollars per TiB a GiB costs a cent: of three cents, one query fits below the limit and two do not.
PRICES = Prices(nanos_per_tib=10_240_000_000)
CENT = 10_000_000
LIMIT_NANOS = 5 * CENT
THREE_CENTS = f"/*bytes={3 * GIB} ms=10*/"
AT_ONCE = 8
_DURATIONS_MS = (0, 10, 60, 250)
# Longer than a busy machine takes, and shorter than the limits of the gate, so that who meets one counts as hung.
_PATIENCE_S = 30.0
_CALM_S = 30.0
# The longest that a hold may outlive its query, in the time of the gates.
_SKIPPED_S_MAX = 300
_SKIP_S = 2


def repetitions(few: int, *, at_most: int | None = None) -> int:
    """How often a race is run: `few` every day, REPETITIONS where that is set, and never more than `at_most`."""
    wanted = int(os.environ.get("REPETITIONS") or few)
    return wanted if at_most is None else min(wanted, at_most)


def query_of(cents: int, number: int, statement_type: str = "SELECT") -> str:
    """A query of so many cents that ends at once, soon, or later, by the number of the repetition."""
    duration_ms = _DURATIONS_MS[number % len(_DURATIONS_MS)]
    return f"/*bytes={cents * GIB} ms={duration_ms} type={statement_type}*/"


async def pass_ms(milliseconds: float) -> None:
    """Let so much real time pass, where a race needs a distance between its runners."""
    await SystemClock().sleep(milliseconds / 1000)


@dataclass(frozen=True)
class Stores:
    """Where budgets and ledger are, and how many gates share them."""

    budgets_url: str
    ledger_url: str
    gate_count: int


def document_for(stores: Stores, upstream_url: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings as a user writes them: one price, the limit, no grace and no throttling, quick polls and reconciling.

    `more` is laid over them; None takes a key away.
    """
    base: dict[str, Any] = {
        "server": {"port": 0},
        "upstream": {"url": upstream_url, "credentials": "anonymous", "connect_timeout_s": 60},
        "budgets": {"url": stores.budgets_url} | ({} if stores.budgets_url == "memory://" else {"timeout_ms": 10_000}),
        "ledger": {"url": stores.ledger_url, "timeout_ms": 60_000},
        "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
        "admission": {"headroom_ratio": "0", "estimate_ttl_s": 0},
        "settlement": {"poll_first_ms": 10, "poll_longest_ms": 100, "reconcile_interval_s": 1, "orphan_age_s": 60},
        "breakers": {"failures_to_open": 1_000},
        "rate_limits": {"budget_checks_per_minute": 100_000, "other_per_minute": 100_000},
        "tiers": {
            "standard": {
                "daily_usd": "0.05",
                "monthly_usd": "0.05",
                "emergency_usd": "0.05",
                "grace_minutes": 0,
                "throttle_wait_ms": 0,
                "thresholds": [{"used_ratio": "1", "action": "monitor"}],
            }
        },
    }
    for name, section in (more or {}).items():
        base[name] = _laid_over(base.get(name, {}), section)
    return base


def _laid_over(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in more.items():
        below = merged.get(name)
        merged[name] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return {name: value for name, value in merged.items() if value is not None}


@dataclass
class Caller:
    """Who sends queries, and never waits for ever. `told` counts what came of all attempts."""

    session: aiohttp.ClientSession
    told: Counter[str] = field(default_factory=Counter)
    hung: list[str] = field(default_factory=list)

    async def insert(
        self,
        url: str,
        project: str,
        job_id: str | None,
        sql: str = THREE_CENTS,
        *,
        leaves_after_ms: float | None = None,
        query: str = "",
        **more: Any,
    ) -> str:
        """One jobs.insert; its status, "cut", "left" or "hung"."""
        reference = {"projectId": project} | ({} if job_id is None else {"jobId": job_id})
        configuration = {"query": {"query": sql, "useLegacySql": False}} | more
        body = {"jobReference": reference, "configuration": configuration}
        path = f"{url}/bigquery/v2/projects/{project}/jobs{query}"
        return await self._call("POST", path, body, leaves_after_ms)

    async def query(
        self,
        url: str,
        project: str,
        request_id: str,
        sql: str = THREE_CENTS,
        *,
        leaves_after_ms: float | None = None,
        query: str = "",
        **more: Any,
    ) -> str:
        """One jobs.query; what came of it as above."""
        body = {"query": sql, "useLegacySql": False, "requestId": request_id} | more
        return await self._call("POST", f"{url}/bigquery/v2/projects/{project}/queries{query}", body, leaves_after_ms)

    async def delete(self, url: str, project: str, job_id: str) -> str:
        """One jobs.delete."""
        return await self._call("DELETE", f"{url}/bigquery/v2/projects/{project}/jobs/{job_id}/delete", None, None)

    async def request(self, method: str, url: str) -> str:
        """Any call without a body."""
        return await self._call(method, url, None, None)

    async def upload(self, url: str, project: str, body: Any, boundary: str) -> str:
        """A jobs.insert as a multipart upload."""
        path = f"{url}/upload/bigquery/v2/projects/{project}/jobs?uploadType=multipart"
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        return await self._sent(path, self.session.post(path, data=body, headers=headers), None)

    async def _call(self, method: str, url: str, body: Any, leaves_after_ms: float | None) -> str:
        return await self._sent(url, self.session.request(method, url, json=body), leaves_after_ms)

    async def _sent(self, url: str, sending: Any, leaves_after_ms: float | None) -> str:
        try:
            async with asyncio.timeout(_PATIENCE_S if leaves_after_ms is None else leaves_after_ms / 1000):
                async with sending as answer:
                    await answer.read()
                    came = str(answer.status)
        except TimeoutError:
            came = "hung" if leaves_after_ms is None else "left"
        except aiohttp.ClientError:
            came = "cut"
        if came == "hung":
            self.hung.append(url)
        self.told[came] += 1
        return came


@dataclass
class OpenedGate:
    """A gate in this process, which can be stopped as SIGTERM stops one: by leaving its context."""

    url: str
    stack: AsyncExitStack = field(repr=False)

    async def stop(self) -> None:
        """Stop it; twice is once."""
        await self.stack.aclose()


@dataclass
class Scene:
    """What is running. `skip` moves the clock of all gates."""

    keeper: Scorekeeper
    gates: list[OpenedGate]
    caller: Caller
    clock: SkippingClock
    stores: Stores
    open_one: Callable[[], Awaitable[OpenedGate]]
    log: io.StringIO
    tables: LedgerTables
    config: Path

    def url(self, number: int) -> str:
        """The address of a gate; numbers past the last begin anew."""
        return self.gates[number % len(self.gates)].url

    async def recorded(self, project: str, count: int) -> None:
        """Return when the ledger has so many holds of a project, open or ended; TimeoutError."""
        async with asyncio.timeout(_PATIENCE_S):
            while len(self._holds(project)) < count:
                await pass_ms(3)

    async def ended(self, project: str) -> None:
        """Return when the ledger has no open hold of a project; TimeoutError."""
        async with asyncio.timeout(_PATIENCE_S):
            while None in self._holds(project):
                await pass_ms(3)

    def _holds(self, project: str) -> list[int | None]:
        """When each hold of a project ended."""
        rows = self.tables.rows(f"SELECT ended_at FROM holds WHERE project_id = '{project}'")
        return [row[0] for row in rows]

    async def race(
        self,
        count: int,
        run: Callable[["Scene", str, int], Awaitable[None]],
        *,
        name: str,
        at_once: int = AT_ONCE,
    ) -> Audit:
        """Run a race so often, each in a project of its own, with one more query behind it; then audit all.

        Raises:
            AssertionError: what was billed is not what was booked, a limit was passed, a hold is open, a caller hung,
                or `ledger verify` finds a fault.
        """
        for begin in range(0, count, at_once):
            numbers = range(begin, min(begin + at_once, count))
            await asyncio.gather(*(self._once(run, number) for number in numbers))
            if begin and begin % 200 == 0:
                print(f"\n{name}: {begin} of {count}", end="", flush=True)  # noqa: T201 - shown by make races
        return await self.audit(name=name)

    async def _once(self, run: Callable[["Scene", str, int], Awaitable[None]], number: int) -> None:
        project = f"race-{number}"
        await run(self, project, number)
        await self.caller.insert(self.url(number), project, f"next-{number}")

    async def audit(
        self, *, name: str, limit_nanos: int | None = LIMIT_NANOS, prices: Prices = PRICES, is_strict: bool = True
    ) -> Audit:
        """Wait until nothing runs and nothing is held, then compare; see race."""
        self.keeper.faults.clear()
        await self.settled()
        found = await asyncio.to_thread(audit, self.keeper, self.tables, prices, limit_nanos=limit_nanos)
        faults = await check_books(self.stores.ledger_url)
        callers = ", ".join(f"{count} x {came}" for came, count in sorted(self.caller.told.items()))
        line = f"{name}: {found}\n  callers: {callers}"
        print(f"\n{line}", flush=True)  # noqa: T201 - shown by make races
        assert not is_strict or not found.differences, line
        assert not self.caller.hung, f"{line}\n  hung: {self.caller.hung[:3]}"
        assert not faults, f"{line}\n  ledger verify: {faults}"
        return found

    async def settled(self) -> None:
        """Wait until upstream is idle and the ledger has no open hold; or for as long as a hold may take to end."""
        await self.keeper.quiet()
        skipped = 0

        def skip() -> None:
            nonlocal skipped
            if skipped < _SKIPPED_S_MAX:
                self.clock.skip(_SKIP_S)
                skipped += _SKIP_S

        await without_open_holds(self.tables, skip, timeout_s=_CALM_S)


@asynccontextmanager
async def race_scene(
    stores: Stores,
    folder: Path,
    *,
    more: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> AsyncIterator[Scene]:
    """Run the upstream and the gates in this process. `more` are sections of the settings."""
    clock, log = SkippingClock(), io.StringIO()
    async with AsyncExitStack() as stack:
        keeper = await stack.enter_async_context(Scorekeeper.running(seed=seed))
        file = folder / "bqgate.yaml"
        file.write_text(yaml.safe_dump(document_for(stores, keeper.url, more)))
        settings, source = load_settings(file, {}), SettingsSource(file, {})

        async def open_one() -> OpenedGate:
            own = await stack.enter_async_context(AsyncExitStack())
            gate = await own.enter_async_context(open_gate(settings, clock=clock, log_stream=log, source=source))
            return OpenedGate(gate.url, own)

        gates = [await open_one() for _ in range(stores.gate_count)]
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        tables = LedgerTables(stores.ledger_url)
        stack.callback(tables.close)
        yield Scene(keeper, gates, Caller(session), clock, stores, open_one, log, tables, file)
