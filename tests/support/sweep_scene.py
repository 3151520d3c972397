"""Put gates before a sandbox, with people who query BigQuery past them, and a sweep that the test sets going.

Sweeps by themselves come once at the start, and then after an hour: `sweep` makes a round, whoever holds the lease.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bqgate.domain.entry import Entry, EntryFilter, EntryKind
from bqgate.ledger import SqlLedger
from bqgate.sandbox import SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack

GIB = 2**30
# A dollar per TiB-1024: ten GiB cost ten cents.
PRICING = {"model": "on_demand", "usd_per_tib": "10.24"}
CENTS_10 = 100_000_000
EVE = "eve@acme.example"
METHODS = ("jobs_list", "information_schema")


@dataclass
class SweepScene:
    """What is running, and a session for who calls."""

    stack: Stack
    session: aiohttp.ClientSession

    async def query(self, sql: str, *, at: str = "", by: str = "eve", **more: Any) -> dict[str, Any]:
        """A query by jobs.query at an address: the sandbox's unless told otherwise, which is past the gate."""
        return await self._post(f"{at or self.stack.sandbox.url}/bigquery/v2/projects/acme/queries", sql, by, **more)

    async def insert(
        self, sql: str, job_id: str, *, at: str = "", by: str = "eve", labels: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The same by jobs.insert, with an id."""
        url = f"{at or self.stack.sandbox.url}/bigquery/v2/projects/acme/jobs"
        configuration = {"query": {"query": sql, "useLegacySql": False, "useQueryCache": False}, "labels": labels or {}}
        body = {"jobReference": {"projectId": "acme", "jobId": job_id}, "configuration": configuration}
        async with self.session.post(url, json=body, headers={"Authorization": f"Bearer {by}"}) as answer:
            found: dict[str, Any] = await answer.json()
            assert answer.status == 200, found
            return found

    async def sweep(self) -> None:
        """A round."""
        for gate in self.stack.gates:
            assert gate.sweep is not None
            await gate.sweep.sweep()

    async def entries(self, kind: EntryKind | None = None) -> list[Entry]:
        """What is booked, oldest first, but for what the gate asked for itself."""
        page = await self.ledger.fetch_entries(EntryFilter(page_size=100_000, kind=kind))
        return [each for each in reversed(page.entries) if each.customer != "_gate"]

    @property
    def ledger(self) -> SqlLedger:
        return self.stack.gate.ledger

    async def _post(self, url: str, sql: str, by: str, **more: Any) -> dict[str, Any]:
        body = {"query": sql, "useLegacySql": False, "useQueryCache": False, **more}
        async with self.session.post(url, json=body, headers={"Authorization": f"Bearer {by}"}) as answer:
            found: dict[str, Any] = await answer.json()
            assert answer.status == 200, found
            return found


@asynccontextmanager
async def sweep_scene(
    folder: Path, method: str, document: Mapping[str, Any] | None = None, *, gate_count: int = 1, **sandbox: Any
) -> AsyncIterator[SweepScene]:
    """A sandbox in which the table acme.money.ten_gib has ten GiB, and gates of the customer acme before it."""
    base: dict[str, Any] = {
        "upstream": {"credentials": "anonymous"},
        "pricing": PRICING,
        "admission": {"headroom_ratio": "0"},
        "customers": {"acme": {"projects": ["acme"]}},
        "sweep": {"method": method, "interval_s": 3600, "regions": ["us"], "look_back_days": 1},
    }
    for name, section in (document or {}).items():
        base[name] = {**base.get(name, {}), **section}
    users = {"eve": EVE, "ann": "ann@acme.example"}
    settings = SandboxSettings(users=users, **sandbox)
    async with open_stack(folder, base, sandbox=settings, gate_count=gate_count) as stack:
        add_table(stack.sandbox)
        async with aiohttp.ClientSession() as session:
            yield SweepScene(stack, session)


def add_table(sandbox: Any) -> None:
    """A table of ten GiB."""
    sandbox.warehouse.create_dataset("acme", "money")
    table = TableRef("acme", "money", "ten_gib")
    sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=10 * GIB)
