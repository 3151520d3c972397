from __future__ import annotations

import pytest

from bqgate.sandbox.replies import ApiError
from bqgate.sandbox.settings import SandboxSettings
from bqgate.sandbox.users import user_of

OPEN = SandboxSettings(users={"t": "ann@example.com", "t2": "ann@example.com"})
STRICT = SandboxSettings(users={"t": "ann@example.com"}, require_token=True)


def test_tokens_of_one_user_share_a_cache() -> None:
    """Two tokens of Ann are one cache user; unknown tokens are one each, with the default address."""
    ann, ann_again = (user_of(OPEN, {"Authorization": f"Bearer {token}"}, {}) for token in ("t", "t2"))
    assert ann == ann_again
    one, two = (user_of(OPEN, {"Authorization": f"Bearer {token}"}, {}) for token in ("x", "y"))
    assert one.email == two.email == "sandbox@example.com"
    assert one.cache_key != two.cache_key


@pytest.mark.parametrize(
    ("headers", "query", "reason"),
    [
        ({}, {}, "required"),
        ({"Authorization": "Basic dDp0"}, {}, "required"),
        ({"Authorization": "Bearer unknown"}, {}, "authError"),
        ({}, {"access_token": "unknown"}, "authError"),
    ],
)
def test_required_token_must_be_known(headers: dict[str, str], query: dict[str, str], reason: str) -> None:
    """With require_token a missing and an unknown token are 401s with a challenge."""
    with pytest.raises(ApiError) as refusal:
        user_of(STRICT, headers, query)
    assert (refusal.value.status, refusal.value.reason) == (401, reason)
    assert refusal.value.headers["WWW-Authenticate"].startswith("Bearer ")


def test_required_token_may_come_in_the_url() -> None:
    """`access_token=` and `oauth_token=` are as good as the header."""
    for name in ("access_token", "oauth_token"):
        assert user_of(STRICT, {}, {name: "t"}).email == "ann@example.com"
