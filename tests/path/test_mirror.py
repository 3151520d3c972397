"""The mirror in running gates: queries go through, and their entries are at BigQuery once, whichever gate wrote."""

import asyncio
import io
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from bqgate.app import open_gate
from bqgate.domain.entry import EntryFilter
from bqgate.sandbox import Sandbox
from bqgate.sandbox.warehouse import NotFound, TableRef
from tests.support.gate_stack import settings_for
from tests.support.mirror_stand import rows_of
from tests.support.skipping_clock import SkippingClock

REF = TableRef("books", "ledger", "bqgate_entries")


async def test_two_gates_mirror_what_both_book(tmp_path: Path) -> None:
    """Entries of both gates are in the table once, before and after the gate that mirrors has gone; metrics say so."""
    clock, log = SkippingClock(), io.StringIO()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start())
        sandbox.warehouse.create_dataset("books", "ledger")
        document = {
            "upstream": {"credentials": "anonymous"},
            "ledger": {"mirror": "books.ledger", "mirror_admins": ["group:finops@example.com"]},
            "customers": {"acme": {"projects": ["acme"], "principals": ["acme.example"]}},
        }
        settings = settings_for(tmp_path, sandbox.url, document)
        first = AsyncExitStack()
        gates = [
            await first.enter_async_context(open_gate(settings, clock=clock, log_stream=log)),
            await stack.enter_async_context(open_gate(settings, clock=clock, log_stream=log)),
        ]

        async def query(url: str) -> None:
            body = {"query": "SELECT carrier FROM nycflights13.airlines", "useLegacySql": False, "useQueryCache": False}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{url}/bigquery/v2/projects/acme/queries", json=body) as answer,
            ):
                assert answer.status == 200, await answer.text()

        async def mirrored(count: int) -> list[str]:
            async with asyncio.timeout(60):
                while True:
                    try:
                        ids = sorted(str(row["entry_id"]) for row in rows_of(sandbox, REF))
                    except NotFound:
                        ids = []
                    if len(ids) >= count:
                        return ids
                    clock.skip(5)
                    await asyncio.sleep(0.02)  # noqa: TID251 - the gates work meanwhile

        for gate in gates:
            await query(gate.url)
        assert len(set(await mirrored(2))) == 2
        await first.aclose()
        await query(gates[1].url)
        ids = await mirrored(3)
        page = await gates[1].ledger.fetch_entries(EntryFilter())
        assert ids == sorted(entry.id for entry in page.entries)
        assert "bqgate_admins" in sandbox.warehouse.get_table(REF).row_policies
        async with aiohttp.ClientSession() as session, session.get(f"{gates[1].url}/metrics") as answer:
            text = await answer.text()
        assert "bqgate_mirror_rows_total" in text
        assert "bqgate_mirror_oldest_age_seconds" in text
        await stack.aclose()
    assert "background_task_failed" not in log.getvalue()
