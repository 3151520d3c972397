"""Whatever the gate does in Redis, each key is one of the table's, and none lives for ever."""

import re
from datetime import timedelta

import redis as blocking_redis

from bqgate.budgets.keys import HOLDS_TTL_S, ROWS, Row
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.settings import sections
from tests.support.budget_scene import hold_on
from tests.support.manual_clock import START, ManualClock
from tests.support.redis_usage import OWN, use_everything
from tests.support.spend_book import SpendBook

# What a key has whose pattern ends so; beside it, a window in grace when that began.
FIELDS = {
    ":window:<period>:<key>": {"captured_nanos", "held_nanos", "history"},
    "/<value>:<period>:<key>": {"captured_nanos", "held_nanos", "history"},
    ":breaker": {"opened_at_us", "until_us", "trial", "emergency_nanos"},
}


def pattern_of(row: Row) -> str:
    """A row's pattern as a regular expression."""
    return re.sub(r"<[^>]+>", "[^{}:/]+", re.escape(row.pattern).replace("<customer>", "/?[a-z]+"))


async def test_every_key_is_in_the_table_and_goes_by_itself(redis_url: str, raw: blocking_redis.Redis) -> None:
    """Each key matches one row: its type, its fields, and a TTL."""
    await use_everything(redis_url)
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
    (bound,) = (
        each.le for each in sections.AdmissionSection.model_fields["hold_ttl_s"].metadata if hasattr(each, "le")
    )
    assert bound + 86400 <= HOLDS_TTL_S
    assert timedelta(seconds=HOLDS_TTL_S) > timedelta(days=31 + 40)
