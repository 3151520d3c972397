"""Run work at one replica at a time, and at another within half a minute when that one dies.

Used by app around background work; asks a LeaseStore. Whoever holds a lease writes a new beat every BEAT_S; the others
look, and take it when they have seen the same beat for STALE_S by their own clocks, which may say what they like. A
holder that cannot write its beat stops its work before anybody else can begin, as far as its own event loop runs: one
that was stalled may overlap with the next for a moment. So the work must be safe to do twice; a lease only keeps it
from being done twice all day.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ports import Clock, LeaseRecord, LeaseStore, Telemetry

BEAT_S = 5.0
STALE_S = 17.0


class Lease:
    """One lease, as one replica sees it. `run` it in one task."""

    def __init__(self, store: LeaseStore, name: str, *, holder: str, clock: Clock, telemetry: Telemetry) -> None:
        """Hold nothing yet. `holder` is this replica's name, which no other one has."""
        self._store = store
        self._name = name
        self._holder = holder
        self._clock = clock
        self._telemetry = telemetry
        self._is_held = False

    @property
    def is_held(self) -> bool:
        """Whether the work runs here."""
        return self._is_held

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work whenever the lease is held here, until cancelled; then let go of it, so that another goes on.

        Work that returns is begun again at the next beat. What it raises is raised.
        """
        while True:
            await self._contend()
            await self._work(work)
            await self._clock.sleep(BEAT_S)

    async def _contend(self) -> None:
        """Return when the lease was taken."""
        seen: LeaseRecord | None = None
        seen_since_s = 0.0
        while True:
            try:
                record = await self._store.fetch_lease(self._name)
                if record != seen:
                    seen, seen_since_s = record, self._clock.monotonic_s()
                is_stale = self._clock.monotonic_s() - seen_since_s >= STALE_S
                is_free = is_stale or record.holder in {"", self._holder}
                if is_free and await self._store.take_lease(self._name, holder=self._holder, seen=record):
                    return
            except LedgerUnavailable:
                self._telemetry.count("failures_total", system="ledger", step="lease")
            await self._clock.sleep(BEAT_S)

    async def _work(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Work as long as the beats can be written."""
        self._is_held = True
        self._telemetry.log("lease_taken", lease=self._name)
        tasks = asyncio.create_task(work()), asyncio.create_task(self._beat())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._is_held = False
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await self._let_go()
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end

    async def _beat(self) -> None:
        """Keep the lease; return when another has it, or when nobody has been able to say for too long."""
        written_at_s = self._clock.monotonic_s()
        while self._clock.monotonic_s() - written_at_s < STALE_S - 2 * BEAT_S:
            await self._clock.sleep(BEAT_S)
            begun_at_s = self._clock.monotonic_s()
            try:
                record = await self._store.fetch_lease(self._name)
                if record.holder != self._holder:
                    break
                if await self._store.take_lease(self._name, holder=self._holder, seen=record):
                    written_at_s = begun_at_s
            except LedgerUnavailable:
                self._telemetry.count("failures_total", system="ledger", step="lease")
        self._telemetry.log(
            "lease_lost", lease=self._name, error="another replica has it, or the ledger does not answer"
        )

    async def _let_go(self) -> None:
        """Let another replica take it at once, where it is still held here."""
        with suppress(LedgerUnavailable):
            record = await self._store.fetch_lease(self._name)
            if record.holder == self._holder:
                await self._store.take_lease(self._name, holder="", seen=record)
