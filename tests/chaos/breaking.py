"""Break what a plan says for as long as it says, mend it again, and change the settings as an operator would."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import assert_never

import aiohttp
import redis

from bqgate.clock import SystemClock
from tests.chaos.facts import SPREADS_S, History
from tests.chaos.gates import GateProcess
from tests.chaos.plan import Change, ChangeKind, Fault, FaultKind
from tests.chaos.stores import PostgresDatabase, RedisProcess, SqliteFile
from tests.chaos.world import NANOS_PER_CENT, Limits
from tests.support import scorekeeper_faults as upstream_faults
from tests.support.scorekeeper import Scorekeeper
from tests.support.tcp_fault_proxy import TcpFaultProxy

_UPSTREAM_PROBABILITY = 0.35
_LATE_S = 2.0
_SLOW_S = 1.0
_CUT_BYTES = 0
_API_S = 5.0
_API_TRIES = 3
_STARTS_WITHIN_S = 60.0


@dataclass
class Breakage:
    """What faults strike, and how long what gates learn from was away."""

    gates: list[GateProcess]
    keeper: Scorekeeper
    ledger: SqliteFile | PostgresDatabase
    redis: RedisProcess | None
    redis_proxies: list[TcpFaultProxy]
    ledger_proxies: list[TcpFaultProxy]
    now_s: Callable[[], float]
    move_clocks: Callable[[float], None]
    outages: list[tuple[float, float]] = field(default_factory=list)

    async def strike(self, fault: Fault) -> None:
        """Let one fault happen, and return when it is over."""
        match fault.kind:
            case FaultKind.GATE_KILLED:
                async with self._outage():
                    await self.gates[fault.gate].kill(fault.seconds)
                    await self._is_back(self.gates[fault.gate])
            case FaultKind.GATE_STOPPED:
                async with self._outage():
                    await self.gates[fault.gate].terminate(fault.seconds)
                    await self._is_back(self.gates[fault.gate])
            case FaultKind.GATE_PAUSED:
                async with self._outage():
                    await self.gates[fault.gate].pause(fault.seconds)
            case FaultKind.UPSTREAM:
                await self._break_upstream(fault)
            case FaultKind.CLOCKS_MOVED:
                self.move_clocks(float(fault.detail))
            case (
                FaultKind.DATABASE_STOPPED
                | FaultKind.DATABASE_CRASHED
                | FaultKind.DATABASE_LOCKED
                | FaultKind.DATABASE_FULL
                | FaultKind.DATABASE_CROWDED
                | FaultKind.DATABASE_CUT
            ):
                async with self._outage():
                    await self._break_ledger(fault)
            case _:
                assert self.redis is not None
                await self._break_redis(fault, self.redis)

    @asynccontextmanager
    async def _outage(self) -> AsyncIterator[None]:
        from_s = self.now_s()
        try:
            yield
        finally:
            self.outages.append((from_s, self.now_s()))

    async def _is_back(self, gate: GateProcess) -> None:
        """A gate reads its settings when it begins to start, and hears of a change only when it listens."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_STARTS_WITHIN_S):
                await gate.is_up.wait()

    async def _break_upstream(self, fault: Fault) -> None:
        kind = upstream_faults.FaultKind(fault.detail)
        seconds = _SLOW_S if kind is upstream_faults.FaultKind.SLOW else _LATE_S
        switched = self.keeper.faults.add(
            upstream_faults.Fault(kind, is_dry_run=None, count=None, probability=_UPSTREAM_PROBABILITY, seconds=seconds)
        )
        try:
            await SystemClock().sleep(fault.seconds)
        finally:
            self.keeper.faults.remove(switched)

    async def _break_ledger(self, fault: Fault) -> None:
        ledger = self.ledger
        if fault.kind is FaultKind.DATABASE_LOCKED:
            await ledger.lock(fault.seconds)
        elif fault.kind is FaultKind.DATABASE_FULL:
            for gate in self.gates:
                gate.bound_files(is_full=True)
            try:
                await SystemClock().sleep(fault.seconds)
            finally:
                for gate in self.gates:
                    gate.bound_files(is_full=False)
        elif fault.kind is FaultKind.DATABASE_CUT:
            await _cut(self.ledger_proxies[fault.gate], fault.seconds)
        elif isinstance(ledger, PostgresDatabase):
            if fault.kind is FaultKind.DATABASE_CROWDED:
                await ledger.crowd(fault.seconds)
            else:
                await ledger.stop(fault.seconds, is_crash=fault.kind is FaultKind.DATABASE_CRASHED)

    async def _break_redis(self, fault: Fault, process: RedisProcess) -> None:
        match fault.kind:
            case FaultKind.REDIS_FLUSHED:
                await asyncio.to_thread(process.flush)
            case FaultKind.REDIS_SNAPSHOT:
                with suppress(redis.RedisError):  # it may be away at that moment
                    await asyncio.to_thread(process.take_snapshot)
            case FaultKind.REDIS_KILLED | FaultKind.REDIS_RESTORED:
                await asyncio.to_thread(process.kill)
                try:
                    await SystemClock().sleep(fault.seconds)
                finally:
                    is_old = fault.kind is FaultKind.REDIS_RESTORED
                    await asyncio.to_thread(process.restart_from_snapshot if is_old else process.restart_empty)
            case FaultKind.REDIS_STALLED:
                process.stall(is_stalled=True)
                try:
                    await SystemClock().sleep(fault.seconds)
                finally:
                    process.stall(is_stalled=False)
            case FaultKind.REDIS_FULL:
                await asyncio.to_thread(process.fill_up, is_full=True)
                try:
                    await SystemClock().sleep(fault.seconds)
                finally:
                    await asyncio.to_thread(process.fill_up, is_full=False)
            case FaultKind.REDIS_CUT:
                await _cut(self.redis_proxies[fault.gate], fault.seconds)
            case _:
                raise AssertionError(fault)


async def _cut(proxy: TcpFaultProxy, seconds: float) -> None:
    """Let what is asked be done, and nobody hear of it."""
    proxy.answers.cut_after(_CUT_BYTES)
    try:
        await SystemClock().sleep(seconds)
    finally:
        proxy.answers.heal()


@dataclass(frozen=True)
class _Changed:
    key: str
    value: float
    from_s: float
    done_s: float
    is_certain: bool


class Operator:
    """Changes limits and prices while the load runs, and knows what may have been in force when."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        gates: list[GateProcess],
        write_settings: Callable[[Limits], None],
        now_s: Callable[[], float],
        token: str,
        limits: Limits,
    ) -> None:
        """Take who writes the settings files of all gates, the token of an admin, and what holds at first."""
        self._token = token
        self._session, self._gates, self._write, self._now_s = session, gates, write_settings, now_s
        self._first = self._limits = limits
        self._changed: list[_Changed] = []
        self.told: list[str] = []

    async def make(self, change: Change) -> None:
        """Make one change, and remember when."""
        limits, from_s, is_certain = deepcopy(self._limits), self._now_s(), True
        match change.kind:
            case ChangeKind.TIER_BY_FILE:
                limits.tiers["tight"] = int(change.value)
                self._by_file(limits)
            case ChangeKind.CUSTOMER_BY_FILE:
                limits.tier_of["umbrella"] = change.value
                self._by_file(limits)
            case ChangeKind.PRICE_BY_FILE:
                limits.usd_per_tib = change.value
                self._by_file(limits)
            case ChangeKind.TIER_BY_API:
                limits.emergency_cents = int(change.value)
                is_certain = await self._by_api("tiers/graced", {"emergency_usd": _usd(change.value)})
            case ChangeKind.BUDGET_BY_API:
                limits.budgets["nightly"] = int(change.value)
                is_certain = await self._by_api("budgets/nightly", {"daily_usd": _usd(change.value)})
            case ChangeKind.PRICE_BY_API:
                limits.usd_per_tib = change.value
                is_certain = await self._by_api("pricing", {"usd_per_tib": change.value})
            case kind:
                assert_never(kind)
        done_s = self._now_s()
        before, now = _values(self._limits), _values(limits)
        self._changed += [
            _Changed(key, value, from_s, done_s, is_certain) for key, value in now.items() if value != before[key]
        ]
        self._limits = limits

    def histories(self, outages: list[tuple[float, float]]) -> tuple[dict[str, History], History]:
        """What was in force when: limits by window, and prices. A gate that learns nothing goes by what it knows."""
        found = {key: History.beginning_with(value) for key, value in _values(self._first).items()}
        for changed in self._changed:
            until_s = changed.done_s + SPREADS_S
            for from_s, to_s in sorted(outages):
                if from_s <= until_s and to_s >= changed.from_s:
                    until_s = max(until_s, to_s + SPREADS_S)
            found[changed.key].change(changed.value, changed.from_s, until_s if changed.is_certain else None)
        prices = found.pop("price")
        return found, prices

    def _by_file(self, limits: Limits) -> None:
        self._write(limits)
        for gate in self._gates:
            gate.reload()
        self.told.append("by file")

    async def _by_api(self, path: str, patch: dict[str, str]) -> bool:
        """Whether it was certainly made. Where nobody says so, it may have been."""
        for gate in (self._gates * _API_TRIES)[:_API_TRIES]:
            headers = {
                "Authorization": f"Bearer {self._token}",
                "If-Match": "*",
                "Content-Type": "application/merge-patch+json",
            }
            timeout = aiohttp.ClientTimeout(total=_API_S)
            url = f"{gate.url}/admin/v1/{path}"
            try:
                async with self._session.patch(url, json=patch, headers=headers, timeout=timeout) as answer:
                    text = await answer.text()
                    self.told.append(f"by API: {answer.status}")
                    if answer.status == 200:
                        return True
                    # 412: a try before this one, of which no answer came, was made only now.
                    if answer.status < 500 and answer.status != 412:
                        raise AssertionError(f"PATCH {path} was refused: {answer.status} {text}")
            except (aiohttp.ClientError, TimeoutError) as error:
                self.told.append(f"by API: {type(error).__name__}")
        return False


def _values(limits: Limits) -> dict[str, float]:
    cents_per_usd = 100
    price = float(limits.usd_per_tib) * NANOS_PER_CENT * cents_per_usd
    return {name: float(nanos) for name, nanos in limits.of_windows().items()} | {"price": float(round(price))}


def _usd(cents: str) -> str:
    return f"{int(cents) // 100}.{int(cents) % 100:02d}"
