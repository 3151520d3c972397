"""Stand up a gate with two customers, acme and globex, behind one upstream account, and call it as either.

Both have a project of their own (acme-prod, globex-prod), and a dataset in the project hub, where both run jobs. Each
table has one row that names its owner.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bqgate.clock import SystemClock
from bqgate.domain.audit import AuditEvent, AuditFilter
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.principal import Role
from bqgate.identity.static_tokens import hash_of, mint
from bqgate.sandbox.warehouse import Field, TableRef, Warehouse
from tests.support.gate_stack import Stack, open_stack

SETTINGS: dict[str, Any] = {
    "identity": {"mode": "required", "token_secret": "q3Zt0Yk1v7wJm4uXeR9sPb2nLd8hGf6cTaUoWiSxKzEy"},
    "upstream": {"credentials": "anonymous"},
    "isolation": {"shared_projects": ["hub"]},
    "customers": {
        "acme": {"projects": ["acme-prod"], "data": ["hub.acme", "gs://acme-files"]},
        "globex": {"projects": ["globex-prod"], "data": ["hub.globex"]},
    },
}
TABLES = (("acme-prod", "own"), ("globex-prod", "secrets"), ("hub", "acme"), ("hub", "globex"))


@dataclass(frozen=True)
class Reply:
    """What a call was answered. `text` is the body as it came."""

    status: int
    text: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.text)
        return document

    @property
    def reason(self) -> str:
        return str(self.json["error"]["errors"][0]["reason"])

    @property
    def message(self) -> str:
        return str(self.json["error"]["message"])


@dataclass
class TwoCustomers:
    """The running gate. `as_acme`, `as_globex` and `as_root` call it with their tokens."""

    stack: Stack
    session: aiohttp.ClientSession
    tokens: dict[str, str] = field(default_factory=dict)

    async def call(
        self, who: str, verb: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One call. A body of bytes goes as it is, anything else as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.tokens[who]}", "Content-Type": "application/json", **(headers or {})}
        url = path if path.startswith("/") else f"/bigquery/v2/{path}"
        async with self.session.request(verb, f"{self.stack.url}{url}", data=data, headers=given) as answer:
            return Reply(answer.status, await answer.text())

    async def query(self, who: str, sql: str, *, project: str = "hub", **more: Any) -> Reply:
        """jobs.query."""
        return await self.call(
            who, "POST", f"projects/{project}/queries", {"query": sql, "useLegacySql": False, **more}
        )

    async def insert(self, who: str, sql: str, *, project: str = "hub", **query: Any) -> Reply:
        """jobs.insert."""
        configuration = {"query": {"query": sql, "useLegacySql": False, **query}}
        return await self.call(who, "POST", f"projects/{project}/jobs", {"configuration": configuration})

    async def start(self, who: str, sql: str = "SELECT 1", *, project: str = "hub") -> str:
        """The id of a job that runs under a name."""
        reply = await self.insert(who, sql, project=project)
        assert reply.status == 200, reply.text
        return str(reply.json["jobReference"]["jobId"])

    async def audited(self, action: str) -> list[AuditEvent]:
        """What the audit log has of an action, once it has any."""
        async with asyncio.timeout(20):
            while True:
                page = await self.stack.gate.registry.fetch_audit(AuditFilter(action=action))
                if page.records:
                    return [record.event for record in page.records]
                await SystemClock().sleep(0.02)


@asynccontextmanager
async def two_customers(folder: Path, document: Mapping[str, Any] | None = None) -> AsyncIterator[TwoCustomers]:
    """A running gate, with tables and keys."""
    async with open_stack(folder, {**SETTINGS, **(document or {})}) as stack, aiohttp.ClientSession() as session:
        warehouse = stack.sandbox.warehouse
        make_tables(warehouse)
        stand = TwoCustomers(stack, session)
        await hand_out_keys(stand)
        yield stand


def make_tables(warehouse: Warehouse) -> None:
    """The customers' tables."""
    for project, dataset in TABLES:
        warehouse.create_dataset(project, dataset)
        table = TableRef(project, dataset, "t")
        warehouse.create_table(table, (Field("owner", "STRING"),))
        warehouse.insert_rows(table, [{"owner": f"row of {project}:{dataset}"}])


async def hand_out_keys(stand: TwoCustomers) -> None:
    """A token for each customer's tool, and for root."""
    for number, (name, role) in enumerate((("acme", Role.USER), ("globex", Role.USER), ("root", Role.SUPER_ADMIN))):
        await _hand_out(stand, name, role, f"{number:016x}")


async def _hand_out(stand: TwoCustomers, name: str, role: Role, key_id: str) -> None:
    now = SystemClock().now()
    token = mint(key_id)
    key = Key(
        id=key_id,
        kind=KeyKind.TOKEN,
        principal=f"{name}-tool",
        role=role,
        customer=None if role is Role.SUPER_ADMIN else name,
        created_at=now,
        created_by="test",
        token_hash=hash_of(token),
    )
    event = AuditEvent(at=now, action="key.created", actor="test", target=f"keys/{key_id}")
    await stand.stack.gate.registry.add_key(key, event)
    stand.tokens[name] = token
