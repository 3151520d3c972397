"""Bound how often each principal may ask the control plane, by class of operation, over one minute that moves along.

Called by routes between the guard's two questions (who, and may they). Counted by the package `limits`, in memory or in
Redis; where Redis does not answer, the call is counted in memory and the failure in failures_total. What leaves: a
Quota, which writes the headers, or a Problem 429.

Headers: RateLimit-Limit, RateLimit-Remaining and RateLimit-Reset as draft-ietf-httpapi-ratelimit-headers-06 has them.

Time: `limits` reads the machine's clock itself, so what is left until a reset is taken from that clock, too, and not
from ports.Clock.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from aiohttp import hdrs
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError

from bqgate.admin.operation import RateClass
from bqgate.admin.problem import Problem
from bqgate.ports import Telemetry

_NAMESPACE = "control"

HEADER_MEANINGS: Mapping[str, str] = {
    "RateLimit-Limit": "How many requests of this kind a minute has room for.",
    "RateLimit-Remaining": "How many of them are left.",
    "RateLimit-Reset": "Seconds until there is room for one more than now.",
}


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How many requests of each class a principal may make in a minute."""

    costs_per_minute: int = 10
    budget_checks_per_minute: int = 20
    analytics_per_minute: int = 5
    reports_per_minute: int = 5
    other_per_minute: int = 120

    def per_minute(self, rate: RateClass) -> int | None:
        """The number of a class; None: there is no bound."""
        if rate is RateClass.UNLIMITED:
            return None
        limits: Mapping[RateClass, int] = {
            RateClass.COSTS: self.costs_per_minute,
            RateClass.BUDGET_CHECKS: self.budget_checks_per_minute,
            RateClass.ANALYTICS: self.analytics_per_minute,
            RateClass.REPORTS: self.reports_per_minute,
            RateClass.OTHER: self.other_per_minute,
        }
        return limits[rate]


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of an allowance. `reset_s`: until the oldest request of the last minute is forgotten."""

    limit: int
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The fields of HEADER_MEANINGS."""
        numbers = (self.limit, self.remaining, self.reset_s)
        return {name: str(number) for name, number in zip(HEADER_MEANINGS, numbers, strict=True)}


class RateLimiter:
    """Counts requests. `limits` may be set at any time; a number that changes begins to count anew."""

    def __init__(self, limits: RateLimits, storage: Storage, telemetry: Telemetry) -> None:
        """Count in a storage.

        Args:
            limits: the numbers.
            storage: of `limits`, made with wrap_exceptions=True: budgets.rate_storage.open_storage, or MemoryStorage.
            telemetry: is told when the storage does not answer.
        """
        self.limits = limits
        self._limiter = MovingWindowRateLimiter(storage)
        self._spare = MovingWindowRateLimiter(MemoryStorage())
        self._telemetry = telemetry

    async def take(self, caller: str, rate: RateClass) -> Quota | None:
        """Count one request of a caller; None where its class has no bound.

        Raises:
            Problem: 429, there were too many in the last minute.
        """
        per_minute = self.limits.per_minute(rate)
        if per_minute is None:
            return None
        item = RateLimitItemPerMinute(per_minute, namespace=_NAMESPACE)
        # Hashed: keys stay short, and no name lies about in Redis.
        who = sha256(caller.encode("utf-8", "backslashreplace")).hexdigest()
        try:
            return await _taken(self._limiter, item, rate, who)
        except StorageError:
            self._telemetry.count("failures_total", system="budgets", step="rate_limit")
            return await _taken(self._spare, item, rate, who)


async def _taken(limiter: MovingWindowRateLimiter, item: RateLimitItem, rate: RateClass, who: str) -> Quota:
    is_allowed = await limiter.hit(item, rate.value, who)
    window = await limiter.get_window_stats(item, rate.value, who)
    left_s = window.reset_time - time.time()  # noqa: TID251 - the clock that `limits` counts by
    quota = Quota(item.amount, max(0, window.remaining), max(0, math.ceil(left_s)))
    if is_allowed:
        return quota
    detail = f"At most {item.amount} requests of this kind ({rate.value}) a minute; try again in {quota.reset_s} s."
    headers = quota.headers | {hdrs.RETRY_AFTER: str(max(1, quota.reset_s))}
    raise Problem(429, detail, headers=headers)
