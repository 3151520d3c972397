"""Queries that no dry run tells of: what they bill is booked, and no limit is passed by what the gate cannot bound.

A dry run may be refused for a query that runs, and the gate may go on while BigQuery answers none.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.support.race_scene import CENT, Stores, race_scene
from tests.support.scorekeeper_books import GIB
from tests.support.scorekeeper_faults import Fault, FaultKind

USD = 1_000_000_000
NO_DRY_RUNS = Fault(FaultKind.UNAVAILABLE, method="jobs.insert", is_dry_run=True, count=None)


def limit(usd: str) -> dict[str, Any]:
    """Another limit than that of five cents."""
    return {"tiers": {"standard": {"daily_usd": usd, "monthly_usd": usd, "emergency_usd": usd}}}


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """One gate by itself."""
    return Stores("memory://", f"sqlite:///{tmp_path / 'ledger.db'}", 1)


@pytest.mark.parametrize("method", ["jobs.insert", "jobs.query"])
async def test_a_script_that_ends_at_the_gates_cap(stores: Stores, tmp_path: Path, method: str) -> None:
    """Its first statement is billed although the second would have been too much, and the answer says only that."""
    sql = f"/*script*/ /*bytes={60 * GIB} ms=5*/; /*bytes={60 * GIB} ms=5*/"
    async with race_scene(stores, tmp_path, more=limit("5") | {"degraded": {"dry_run": "open"}}) as scene:
        scene.keeper.faults.add(NO_DRY_RUNS)
        if method == "jobs.insert":
            await scene.caller.insert(scene.url(0), "p", "mine", sql)
        else:
            await scene.caller.query(scene.url(0), "p", "mine", sql)
        found = await scene.audit(name=f"cut short, {method}", limit_nanos=5 * USD)
        assert found.billed_nanos == 60 * CENT


@pytest.mark.parametrize("text", ['SELECT * FROM EXTERNAL_QUERY("c", "q")', "CALL d.p()", "EXECUTE IMMEDIATE s"])
async def test_what_no_cap_bounds_has_no_small_hold(stores: Stores, tmp_path: Path, text: str) -> None:
    """What a dry run refuses most likely fails and may run on little money, but not where it can bill past its cap."""
    sql = f"{text} /*unseen bytes={100 * GIB} ms=50 external*/"
    async with race_scene(stores, tmp_path, more=limit("1.5")) as scene:
        for number in range(4):
            await scene.caller.insert(scene.url(0), "p", f"job-{number}", sql)
        await scene.audit(name="uncapped, without a dry run", limit_nanos=3 * USD // 2)
        assert len(scene.keeper.books) <= 1
