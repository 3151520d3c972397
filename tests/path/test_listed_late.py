"""Queries that fail and are billed, while the list of jobs, the only way to find their jobs, does not show them yet."""

from pathlib import Path

import pytest

from tests.support.race_scene import Scene, Stores, pass_ms, race_scene
from tests.support.scorekeeper_books import GIB

UNLISTED_MS = 150
USD = 1_000_000_000
LIMIT = {"tiers": {"standard": {"daily_usd": "10", "monthly_usd": "10", "emergency_usd": "10"}}}


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """One gate by itself."""
    return Stores("memory://", f"sqlite:///{tmp_path / 'ledger.db'}", 1)


async def fails(scene: Scene, sql: str) -> None:
    """Send a query that fails, and let its job appear in the list afterwards."""
    scene.keeper.unlisted_ms = UNLISTED_MS
    assert await scene.caller.query(scene.url(0), "p", "mine", sql) == "400"
    await pass_ms(2 * UNLISTED_MS)


async def test_a_script_whose_first_statement_ran(stores: Stores, tmp_path: Path) -> None:
    """It was billed for that one, so its hold stands until its job is seen."""
    async with race_scene(stores, tmp_path, more=LIMIT) as scene:
        await fails(scene, f"/*script*/ /*bytes={GIB} ms=5*/; /*bytes={GIB} fails*/")
        await scene.audit(name="script, listed late", limit_nanos=10 * USD)


async def test_a_statement_that_is_billed_against_the_rule(stores: Stores, tmp_path: Path) -> None:
    """Failed statements are free, so its hold goes at once; the gate looks again later, and books what it finds."""
    async with race_scene(stores, tmp_path, more=LIMIT) as scene:
        await fails(scene, f"/*bytes={GIB} fails billed={GIB}*/")
        for _ in range(14):
            scene.clock.skip(5)
            await pass_ms(30)
        found = await scene.audit(name="statement, listed late", limit_nanos=10 * USD, is_strict=False)
        assert found.billed_nanos == found.booked_nanos > 0
