"""How often: each principal and class by itself, in memory and in Redis, and with Redis away."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from limits.aio.storage import MemoryStorage, Storage
from redis.asyncio import Redis

from bqgate.admin.operation import RateClass
from bqgate.admin.problem import Problem
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.budgets.rate_storage import close_storage, open_storage
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.control_stand import control_stand
from tests.support.manual_clock import ManualClock
from tests.support.yes_redis import yes_redis

THREE = RateLimits(costs_per_minute=3, budget_checks_per_minute=3, other_per_minute=3)


def limiter_over(storage: Storage, metrics: Metrics | None = None) -> RateLimiter:
    """A limiter of three a minute."""
    telemetry = PrometheusTelemetry(metrics or Metrics(), make_logger(io.StringIO(), ManualClock()))
    return RateLimiter(THREE, storage, telemetry)


@pytest.fixture(params=["memory", "redis_url", "redis_cluster_url", "redis_sentinel_url"])
async def storage(request: pytest.FixtureRequest) -> AsyncIterator[Storage]:
    """Each place where requests are counted."""
    if request.param == "memory":
        yield MemoryStorage()
        return
    opened = open_storage(request.getfixturevalue(request.param), timeout_s=5, connections_max=5)
    yield opened
    await close_storage(opened)


async def test_the_fourth_request_of_a_minute_is_one_too_many(storage: Storage) -> None:
    """What is left counts down to nothing; then 429 says when to come again."""
    limiter = limiter_over(storage)
    for left in (2, 1, 0):
        quota = await limiter.take("key:a", RateClass.COSTS)
        assert quota is not None
        assert (quota.limit, quota.remaining) == (3, left)
        assert 0 < quota.reset_s <= 60
    with pytest.raises(Problem) as caught:
        await limiter.take("key:a", RateClass.COSTS)
    assert caught.value.status == 429
    assert 0 < int(caught.value.headers["Retry-After"]) <= 60
    assert caught.value.headers["RateLimit-Remaining"] == "0"


async def test_principals_and_classes_do_not_count_for_one_another(storage: Storage) -> None:
    """Who has used up one class may use another; so may somebody else."""
    limiter = limiter_over(storage)
    for _ in range(3):
        await limiter.take("key:a", RateClass.COSTS)
    assert await limiter.take("key:a", RateClass.OTHER) is not None
    assert await limiter.take("key:b", RateClass.COSTS) is not None
    with pytest.raises(Problem):
        await limiter.take("key:a", RateClass.COSTS)


async def test_replicas_count_together_in_redis(redis_url: str) -> None:
    """Three a minute are three, whichever replica is asked."""
    storages = [open_storage(redis_url, timeout_s=5, connections_max=5) for _ in range(2)]
    one, other = (limiter_over(each) for each in storages)
    for limiter in (one, other, one):
        await limiter.take("key:a", RateClass.COSTS)
    with pytest.raises(Problem):
        await other.take("key:a", RateClass.COSTS)
    for each in storages:
        await close_storage(each)


async def test_no_name_lies_about_in_redis(redis_url: str) -> None:
    """Principals are hashed, and what is counted is forgotten by itself."""
    opened = open_storage(redis_url, timeout_s=5, connections_max=5)
    await limiter_over(opened).take("oidc:https://issuer.example#ann", RateClass.COSTS)
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        (key,) = await client.keys("*")
        assert str(key).startswith("bqgate:rates:")
        assert "ann" not in str(key)
        assert 0 < await client.ttl(key) <= 60
    await close_storage(opened)


async def test_without_redis_it_counts_in_memory_and_says_so() -> None:
    """The bound holds in this process; nobody is turned away because of an outage, and nobody waits for it long."""
    metrics = Metrics()
    opened = open_storage("redis://127.0.0.1:1/0", timeout_s=1, connections_max=5)
    limiter = limiter_over(opened, metrics)
    begun = time.perf_counter()
    for _ in range(3):
        assert await limiter.take("key:a", RateClass.COSTS) is not None
    with pytest.raises(Problem):
        await limiter.take("key:a", RateClass.COSTS)
    assert time.perf_counter() - begun < 4
    assert metrics.value("bqgate_failures_total", system="budgets", step="rate_limit") == 4
    await close_storage(opened)


async def test_a_gate_can_leave_a_redis_that_has_fallen_silent(tmp_path: Path) -> None:
    """Closing ends in time and raises nothing, also where the other end does not say goodbye."""
    async with yes_redis(tmp_path) as (url, wire):
        opened = open_storage(url, timeout_s=1, connections_max=5)
        await opened.check()
        wire.requests.stall()
        wire.answers.stall()
        async with asyncio.timeout(5):
            await close_storage(opened)


async def test_what_has_no_bound_is_not_counted() -> None:
    """Health and metrics may be asked for as often as anybody likes."""
    limiter = limiter_over(MemoryStorage())
    for _ in range(10):
        assert await limiter.take("key:a", RateClass.UNLIMITED) is None


def test_each_class_has_the_number_of_its_setting() -> None:
    """The promised ones."""
    numbers = {rate: RateLimits().per_minute(rate) for rate in RateClass}
    assert numbers == {
        RateClass.COSTS: 10,
        RateClass.BUDGET_CHECKS: 20,
        RateClass.ANALYTICS: 5,
        RateClass.REPORTS: 5,
        RateClass.OTHER: 120,
        RateClass.UNLIMITED: None,
    }


async def test_every_counted_answer_says_what_is_left(tmp_path: Path) -> None:
    """Refusals, too; health is not counted."""
    async with control_stand(tmp_path, limits=THREE) as control:
        seen = [await control.call("GET", "/v1/costs", "analyst") for _ in range(4)]
        assert [each.status for each in seen] == [200, 200, 200, 429]
        assert [each.headers["RateLimit-Remaining"] for each in seen] == ["2", "1", "0", "0"]
        assert seen[3].headers["Content-Type"] == "application/problem+json"
        refused = await control.call("GET", "/v1/jobs?customer=globex", "analyst")
        assert (refused.status, refused.headers["RateLimit-Limit"]) == (403, "3")
        assert "RateLimit-Limit" not in (await control.call("GET", "/healthz")).headers
        assert (await control.call("GET", "/v1/costs", "admin")).status == 200


async def test_before_an_open_gate_the_address_counts(tmp_path: Path) -> None:
    """There anybody may write any token, so it is no way to more."""
    async with control_stand(tmp_path, limits=THREE) as control:
        statuses = [(await control.call("GET", "/v1/costs", "open")).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]


@pytest.mark.parametrize("url", ["http://localhost", "memory://", "localhost:6379"])
def test_a_url_of_no_redis_is_refused(url: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ValueError, match="redis"):
        open_storage(url, timeout_s=1, connections_max=1)


async def test_other_numbers_hold_from_the_next_request_on(storage: Storage) -> None:
    """Who has used up the old number may go on under a larger one, and its headers tell the new one."""
    limiter = limiter_over(storage)
    for _ in range(3):
        await limiter.take("key:a", RateClass.COSTS)
    limiter.limits = RateLimits(costs_per_minute=5)
    quota = await limiter.take("key:a", RateClass.COSTS)
    assert quota is not None
    assert (quota.limit, quota.remaining) == (5, 4)
