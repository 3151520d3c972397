"""What tests of budgets in Redis share."""

from collections.abc import Iterator

import pytest
import redis as blocking_redis


@pytest.fixture
def raw(redis_url: str) -> Iterator[blocking_redis.Redis]:
    """A client that looks at what lies in Redis."""
    with blocking_redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client
