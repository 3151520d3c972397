"""A gate with a replica of its ledger: what people look at comes from there, what decides about money does not."""

from pathlib import Path

import aiohttp

from bqgate.app.root import open_gate
from bqgate.ledger import SqlLedger
from bqgate.settings import load_settings
from tests.support.ledgers import make_entry, make_hold
from tests.support.skipping_clock import SkippingClock


async def test_reports_come_from_the_replica_and_holds_from_the_ledger(
    postgres_url: str, other_postgres_url: str, tmp_path: Path
) -> None:
    """Another database plays a replica that is behind."""
    clock = SkippingClock()
    ledger = await SqlLedger.open(postgres_url, clock)
    await ledger.open_hold(make_hold("open"))
    await ledger.book(make_entry("in the ledger alone"))
    await ledger.close()
    given = {
        "BQGATE_LEDGER__URL": postgres_url,
        "BQGATE_LEDGER__REPLICA_URL": other_postgres_url,
        "BQGATE_LEDGER__JOURNAL_FOLDER": str(tmp_path),
        "BQGATE_UPSTREAM__URL": "http://127.0.0.1:9",
        "BQGATE_SERVER__PORT": "0",
    }
    async with open_gate(load_settings(None, given), clock=clock) as gate, aiohttp.ClientSession() as session:

        async def told(path: str, name: str) -> list[object]:
            async with session.get(f"{gate.control_url}{path}") as answer:
                assert answer.status == 200
                found: list[object] = (await answer.json())[name]
                return found

        assert await told("/v1/jobs", "jobs") == []
        assert await told("/v1/costs?lookback_hours=8784", "by_principal") == []
        assert await told("/v1/spend?since=2026-01-01", "rows") == []
        assert len(await told("/v1/holds", "holds")) == 1
