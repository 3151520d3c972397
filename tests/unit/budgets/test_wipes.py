"""Let other gates put back what they hold before windows are filled that Redis has lost."""

import asyncio

import redis as blocking_redis

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.budgets.wipes import PUT_BACK_S, Wipes
from bqgate.domain.hold import PlacementOutcome
from tests.support.budget_scene import hold_on, windows_of
from tests.support.manual_clock import ManualClock
from tests.support.spend_book import SpendBook


async def test_a_hold_that_only_another_gate_knows_makes_no_room_for_others_after_a_wipe(
    redis_url: str, raw: blocking_redis.Redis
) -> None:
    """It was placed and is not in the ledger yet: its gate puts it back before this one fills the window."""
    clock, windows = ManualClock(), windows_of(day_usd="5")
    this, other = (RedisBudgetStore.open(redis_url, SpendBook(), clock, put_back_s=PUT_BACK_S) for _ in range(2))
    await this.place_hold(hold_on(windows, "0"), windows)
    unrecorded = hold_on(windows, "3")
    assert (await other.place_hold(unrecorded, windows)).outcome is PlacementOutcome.PLACED
    raw.flushall()
    placing = asyncio.ensure_future(this.place_hold(hold_on(windows, "3"), windows))
    await clock.wait_for_sleepers()
    await other.keep_holds([unrecorded])
    clock.advance(PUT_BACK_S)
    assert (await placing).outcome is PlacementOutcome.REFUSED
    for store in (this, other):
        await store.close()


async def test_windows_that_an_admin_dropped_are_filled_at_once(redis_url: str) -> None:
    """Nothing is lost then; nor is it in the first window of an account."""
    windows = windows_of()
    store = RedisBudgetStore.open(redis_url, SpendBook(), ManualClock(), put_back_s=PUT_BACK_S)
    async with asyncio.timeout(5):
        for _ in range(2):
            assert (await store.place_hold(hold_on(windows), windows)).outcome is PlacementOutcome.PLACED
            await store.forget_windows(windows[0].customer)
        await store.fetch_balances(windows)
    await store.close()


def test_a_gate_waits_once_for_each_loss() -> None:
    """From when it notices, whatever it fills of the account, and again after another loss; not for a drop."""
    wipes = Wipes(2.0)
    assert wipes.meet("acme", "a/first:1", 100.0) == 0
    assert wipes.meet("acme", "a/first:2", 101.0) == 2.0
    assert wipes.meet("acme", "a/first:2", 102.5) == 0.5
    assert wipes.meet("acme", "a/first:2", 104.0) == 0
    assert wipes.meet("acme", "a/dropped", 104.0) == 0
    assert wipes.meet("acme", "b/dropped", 105.0) == 2.0
    assert wipes.meet("beta", "b/first:3", 105.0) == 0


def test_what_is_remembered_of_accounts_is_bounded() -> None:
    """The account that was not met for longest is forgotten, and the one that was met last is known."""
    wipes = Wipes(2.0)
    for number in range(10_001):
        wipes.meet(f"c{number}", "a/first:1", 0.0)
    assert wipes.meet("c0", "b/", 0.0) == 0
    assert wipes.meet("c10000", "b/", 0.0) == 2.0
