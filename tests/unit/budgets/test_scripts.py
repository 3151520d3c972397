"""The typed door: one round trip, scripts that Redis forgot, and sums past 2**53."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources

import pytest
import redis as blocking_redis

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.hold import LEASE_S, RESTORED_ATTEMPTS, Attempts, PlacementOutcome, VoidOutcome
from bqgate.domain.money import MAX_NANOS
from tests.support.budget_scene import hold_on, stands, usd, windows_of
from tests.support.manual_clock import START, ManualClock
from tests.support.spend_book import SpendBook

# What the scripts call inside; INFO counts these too.
_INSIDE = {"hmget", "hexists", "hget", "exists", "get", "hset", "hsetnx", "hincrby", "hdel", "set", "expire"}


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisBudgetStore]:
    """A store over an empty ledger."""
    opened = RedisBudgetStore.open(redis_url, SpendBook(), ManualClock(), timeout_s=5)
    yield opened
    await opened.close()


def _calls(raw: blocking_redis.Redis) -> dict[str, int]:
    """How often each command came over the wire since CONFIG RESETSTAT."""
    counts = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in raw.info("commandstats").items()}
    return {
        name: count for name, count in counts.items() if name not in _INSIDE | {"config|resetstat", "config", "info"}
    }


async def test_every_step_is_one_round_trip(store: RedisBudgetStore, raw: blocking_redis.Redis) -> None:
    """On known windows placing, capturing, voiding, restoring and reading balances are one EVALSHA each."""
    windows = windows_of()
    first = hold_on(windows)
    await store.place_hold(first, windows)
    await store.void(hold_on(windows))
    await store.restore_hold(hold_on(windows))
    await store.fetch_balances(windows)
    raw.config_resetstat()
    second = hold_on(windows, idempotency_key="job:p:j")
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: store.place_hold(second, windows),
        lambda: store.place_hold(second, windows),
        lambda: store.place_hold(hold_on(windows, "1000"), windows),
        lambda: store.capture(second, 1),
        lambda: store.void(first),
        lambda: store.restore_hold(hold_on(windows)),
        lambda: store.void(hold_on(windows), attempts=1),
        lambda: store.keep_holds([hold_on(windows), hold_on(windows)]),
        lambda: store.fetch_balances(windows),
    ]
    for number, step in enumerate(steps, start=1):
        await step()
        assert _calls(raw) == {"evalsha": number}


async def test_a_first_sight_costs_two_more(store: RedisBudgetStore, raw: blocking_redis.Redis) -> None:
    """An unknown window: one trip to learn it, one to fill, one to place."""
    windows = windows_of()
    await store.fetch_balances(windows)
    await store.place_hold(hold_on(windows), windows)
    raw.config_resetstat()
    others = windows_of("zenith")
    await store.place_hold(hold_on(others), others)
    assert _calls(raw)["evalsha"] == 3


async def test_forgotten_scripts_are_sent_again(store: RedisBudgetStore, raw: blocking_redis.Redis) -> None:
    """After SCRIPT FLUSH, or on a new primary, the next call brings the script's text along."""
    windows = windows_of()
    hold = hold_on(windows)
    await store.place_hold(hold, windows)
    raw.script_flush()
    again = await store.place_hold(hold, windows)
    assert again.outcome is PlacementOutcome.REPLAYED
    raw.script_flush()
    assert await store.void(hold) is VoidOutcome.VOIDED
    raw.config_resetstat()
    await store.void(hold)
    assert _calls(raw) == {"evalsha": 1}


async def test_sums_past_two_to_the_53_are_exact(store: RedisBudgetStore) -> None:
    """Without a limit sums may leave the doubles' range: no digit is lost, and a limit set later refuses."""
    windows = tuple(replace(window, limit_nanos=None) for window in windows_of())
    for _ in range(3):
        placement = await store.place_hold(replace(hold_on(windows), amount_nanos=MAX_NANOS), windows)
    assert stands(placement.balances) == [(0, 3 * MAX_NANOS)] * 2
    limited = tuple(replace(window, limit_nanos=MAX_NANOS) for window in windows)
    assert (await store.place_hold(hold_on(windows, "0"), limited)).outcome is PlacementOutcome.REFUSED


async def test_what_is_not_ours_in_redis_is_an_unusable_store(
    store: RedisBudgetStore, raw: blocking_redis.Redis
) -> None:
    """A key of another type where a budget should be: the port's error, not redis'."""
    raw.set("bqgate:{acme}:holds", "something else")
    with pytest.raises(BudgetStoreUnavailable, match="WRONGTYPE"):
        await store.place_hold(hold_on(windows_of()), windows_of())


def test_each_script_says_what_it_takes_and_costs() -> None:
    """Every .lua file opens with KEYS, what it returns and its cost; history.lua is a part of the others."""
    folder = resources.files("bqgate.budgets")
    scripts = [file for file in folder.iterdir() if file.name.endswith(".lua") and file.name != "history.lua"]
    assert len(scripts) == 6
    for script in scripts:
        head = script.read_text("utf-8").split("\n\n")[0]
        assert all(word in head for word in ("KEYS[", "Returns", "Cost:")), script.name


async def test_a_hold_that_an_older_revision_placed_counts_beyond_any_gate(
    store: RedisBudgetStore, raw: blocking_redis.Redis
) -> None:
    """It has no record of attempts: its lease is over, no count of a gate's is right, joins and keeping go on."""
    windows = windows_of()
    hold = hold_on(windows, "4")
    await store.place_hold(hold, windows)
    raw.delete("bqgate:{acme}:attempts")
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    assert await store.fetch_attempts(hold) == Attempts(RESTORED_ATTEMPTS, long_ago)
    assert await store.void(hold, attempts=1) is VoidOutcome.JOINED
    leased_until = START + timedelta(seconds=LEASE_S)
    assert await store.keep_holds([hold]) == ()
    assert await store.fetch_attempts(hold) == Attempts(RESTORED_ATTEMPTS, leased_until)
    raw.delete("bqgate:{acme}:attempts")
    assert (await store.place_hold(hold, windows)).attempts == RESTORED_ATTEMPTS + 1
    assert await store.fetch_attempts(hold) == Attempts(RESTORED_ATTEMPTS + 1, leased_until)
    raw.delete("bqgate:{acme}:attempts")
    assert await store.void(hold, attempts=RESTORED_ATTEMPTS) is VoidOutcome.VOIDED


async def test_a_hold_that_an_older_revision_ended_has_no_attempts(
    store: RedisBudgetStore, raw: blocking_redis.Redis
) -> None:
    """That revision leaves the record of its attempts behind, which says nothing without the hold."""
    windows = windows_of()
    hold = hold_on(windows, "4")
    await store.place_hold(hold, windows)
    raw.hdel("bqgate:{acme}:holds", hold.id)
    assert await store.fetch_attempts(hold) is None


async def test_holds_of_zero_are_ended_like_others(store: RedisBudgetStore) -> None:
    """Zero is not sent as "-0", which HINCRBY refuses."""
    windows = windows_of()
    hold = hold_on(windows, "0")
    await store.place_hold(hold, windows)
    assert await store.capture(hold, 1_000_000_000)
    assert stands(await store.fetch_balances(windows)) == [usd("1", "0")] * 2
