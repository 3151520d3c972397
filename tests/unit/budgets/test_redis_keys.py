"""Whatever the gate does in Redis, each key is one of the table's, and none lives for ever."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import redis as blocking_redis

from bqgate.admin.operation import RateClass
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.budgets.keys import HOLDS_TTL_S, ROWS, Row
from bqgate.budgets.rate_storage import close_storage, open_storage
from bqgate.budgets.redis_breaker_state import RedisBreakerState
from bqgate.budgets.redis_change_feed import RedisChangeFeed
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget import Window
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.cost_breaker import GracePolicy
from bqgate.domain.hold import Hold
from bqgate.domain.money import parse_usd
from bqgate.domain.touched import EVERYTHING, Writes
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.settings import sections
from tests.support.budget_scene import hold_on, windows_of
from tests.support.manual_clock import START, ManualClock
from tests.support.spend_book import SpendBook

OWN = windows_of()
NIGHTLY = tuple(replace(window, scope=BudgetScope(ScopeKind.WORKLOAD, "nightly"), limit_nanos=None) for window in OWN)
ABOVE = windows_of(DEPLOYMENT_ACCOUNT, day_usd=None, month_usd=None)
GRACE = GracePolicy(grace_s=60, emergency_nanos=parse_usd("400"), cooldown_s=1)

# What a key has whose pattern ends so; beside it, a window in grace when that began.
FIELDS = {
    ":window:<period>:<key>": {"captured_nanos", "held_nanos", "history"},
    "/<value>:<period>:<key>": {"captured_nanos", "held_nanos", "history"},
    ":breaker": {"opened_at_us", "until_us", "trial", "emergency_nanos"},
}


@pytest.fixture
def raw(redis_url: str) -> Iterator[blocking_redis.Redis]:
    """A client that looks at what lies in Redis."""
    with blocking_redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


async def use_every_call(url: str, book: SpendBook) -> None:
    """Place, join, refuse, trip, probe, keep, restore, end, fill: whatever writes, for several customers."""
    clock = ManualClock(START)
    store = RedisBudgetStore.open(url, book, clock, timeout_s=5, has_deployment_budget=lambda: True)

    async def place(hold: Hold, windows: tuple[Window, ...]) -> Hold:
        await store.place_hold(hold, windows, GRACE)
        return hold

    await place(hold_on(OWN, "301", idempotency_key="job:p:j"), (*OWN, *ABOVE))
    await place(hold_on(OWN, idempotency_key="job:p:j"), OWN)
    await place(hold_on(OWN, "301"), OWN)
    clock.advance(2)
    await place(hold_on(OWN, "0", placed_at=clock.now()), OWN)
    await place(ended := hold_on((*OWN, *NIGHTLY)), (*OWN, *NIGHTLY, *ABOVE))
    await store.capture(ended, 1)
    await store.void(hold_on(OWN))
    await store.void(await place(hold_on(OWN), OWN), attempts=1)
    other = windows_of("globex")
    await place(kept := hold_on(other), other)
    await store.keep_holds([kept, hold_on(other)])
    await store.restore_hold(hold_on(windows_of("initech")))
    book.open_hold(hold_on(windows_of("umbrella"), idempotency_key="job:p:u"))
    await store.fetch_status(windows_of("umbrella"))
    await store.forget_windows("umbrella")
    await store.fetch_balances(windows_of("umbrella", now=START - timedelta(days=400)))
    await store.check()
    await store.close()


async def use_the_rest(url: str) -> None:
    """The feed, the breakers, the rates."""
    clock = ManualClock(START)
    telemetry = PrometheusTelemetry(Metrics(), make_logger(io.StringIO(), clock))
    feed = RedisChangeFeed.open(url, clock, telemetry, timeout_s=5)
    await feed.announce()
    await feed.announce_writes(Writes(EVERYTHING))
    await feed.close()
    breakers = RedisBreakerState.open(url, timeout_s=5)
    await breakers.write("bigquery.googleapis.com", is_open=True, for_s=30)
    await breakers.close()
    storage = open_storage(url, timeout_s=5, connections_max=2)
    limiter = RateLimiter(RateLimits(3, 3, 3), storage, telemetry)
    for rate_class in RateClass:
        await limiter.take("key:a b", rate_class)
    await close_storage(storage)


def pattern_of(row: Row) -> str:
    """A row's pattern as a regular expression."""
    return re.sub(r"<[^>]+>", "[^{}:/]+", re.escape(row.pattern).replace("<customer>", "/?[a-z]+"))


async def test_every_key_is_in_the_table_and_goes_by_itself(redis_url: str, raw: blocking_redis.Redis) -> None:
    """Each key matches one row: its type, its fields, and a TTL."""
    await use_every_call(redis_url, SpendBook())
    await use_the_rest(redis_url)
    rows = {re.compile(pattern_of(row)): row for row in ROWS}
    seen = set()
    for key in raw.scan_iter():
        found = [row for pattern, row in rows.items() if pattern.fullmatch(key)]
        assert len(found) == 1, key
        (row,) = found
        seen.add(row.pattern)
        assert raw.type(key) == row.type, key
        assert raw.ttl(key) > 0, key
        for end, fields in FIELDS.items():
            if row.pattern.endswith(end):
                assert set(raw.hgetall(key)) - {"grace_started_us"} == fields
    assert seen == {row.pattern for row in ROWS}
    assert raw.ttl("bqgate:{acme}:window:day:2026-11-24") > 3 * 86400


async def test_each_write_gives_holds_their_whole_life_again(redis_url: str, raw: blocking_redis.Redis) -> None:
    """Placing, joining, keeping and filling renew it; keys that an older revision left without a TTL get one."""
    book = SpendBook()
    store = RedisBudgetStore.open(redis_url, book, ManualClock(START), timeout_s=5)
    keys = [f"bqgate:{{acme}}:{kind}" for kind in ("holds", "attempts", "idempotency")]
    first = hold_on(OWN, idempotency_key="job:p:a")

    async def refill() -> None:
        book.open_hold(first)
        await store.forget_windows("acme")
        await store.fetch_balances(OWN)

    steps = {
        "place": lambda: store.place_hold(first, OWN),
        "place another": lambda: store.place_hold(hold_on(OWN, idempotency_key="job:p:b"), OWN),
        "keep": lambda: store.keep_holds([first]),
        "fill": refill,
    }
    for name, step in steps.items():
        for key in keys:
            raw.persist(key)
        await step()
        assert [raw.ttl(key) > HOLDS_TTL_S - 5 for key in keys] == [True] * 3, name
    await store.close()


def test_what_is_known_of_holds_outlives_them_and_the_windows_in_which_they_count(raw: blocking_redis.Redis) -> None:
    """Else a window would go on counting a hold of which nothing is known any more."""
    (bound,) = (each.le for each in sections.AdmissionSection.model_fields["hold_ttl_s"].metadata if hasattr(each, "le"))
    assert bound + 86400 <= HOLDS_TTL_S
    assert timedelta(seconds=HOLDS_TTL_S) > timedelta(days=31 + 40)
