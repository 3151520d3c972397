from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.identity.static_tokens import hash_of, mint, parse, prefix_of, verify
from tests.support.identity_stand import FILE_KEY_ID, TOKEN_KEY_ID, IdentityStand
from tests.support.manual_clock import ManualClock


async def fault_of(stand: IdentityStand, token: str) -> LoginFault:
    with pytest.raises(Unauthenticated) as refused:
        await verify(token, stand.keyring)
    return refused.value.fault


def test_a_token_names_its_key() -> None:
    """A token begins with bqg_ and the key's id, and no two have the same secret."""
    tokens = {mint(TOKEN_KEY_ID) for _ in range(100)}
    assert len(tokens) == 100
    assert {parse(token) for token in tokens} == {TOKEN_KEY_ID}
    assert all(token.startswith(f"{prefix_of(TOKEN_KEY_ID)}_") and len(token) == 64 for token in tokens)


async def test_a_token_proves_its_key() -> None:
    """The whole token proves the key; what is kept of it is a hash that shows nothing."""
    stand = IdentityStand()
    assert await verify(stand.static_token, stand.keyring) == stand.token_key
    assert stand.static_token not in repr(stand.token_key)
    assert stand.token_key.token_hash == hash_of(stand.static_token)


@pytest.mark.parametrize(
    "token",
    ["", "bqg_", "bqg_x", prefix_of(TOKEN_KEY_ID), f"bqg_{'A' * 16}_{'a' * 43}", f"bqg_{'é' * 16}_{'a' * 43}"],
)
async def test_a_broken_token_is_refused(token: str) -> None:
    """What has not the whole form of a token is refused without a look at any key."""
    stand = IdentityStand()
    assert await fault_of(stand, token) is LoginFault.MALFORMED
    assert stand.shelf.refresh_count == 0


async def test_a_token_with_anything_more_is_refused() -> None:
    """A good token with a character before, behind or cut off is no token."""
    stand = IdentityStand()
    token = stand.static_token
    for wrong in (f"{token}a", f"{token}\n", f" {token}", token[:-1], token.upper()):
        assert await fault_of(stand, wrong) is LoginFault.MALFORMED


async def test_another_secret_is_refused() -> None:
    """The right key with a wrong secret is refused, be it one character."""
    stand = IdentityStand()
    assert await fault_of(stand, mint(TOKEN_KEY_ID)) is LoginFault.BAD_SIGNATURE
    last = "A" if stand.static_token[-1] != "A" else "B"
    assert await fault_of(stand, stand.static_token[:-1] + last) is LoginFault.BAD_SIGNATURE


async def test_a_token_of_no_key_is_refused() -> None:
    """An unknown key, and a key file's key, have no token."""
    stand = IdentityStand()
    assert await fault_of(stand, mint("f" * 16)) is LoginFault.UNKNOWN_KEY
    assert await fault_of(stand, mint(FILE_KEY_ID)) is LoginFault.UNKNOWN_KEY


async def test_an_ended_token_is_refused() -> None:
    """A revoked token is refused at once, one with an end from that moment on."""
    clock = ManualClock()
    stand = IdentityStand(clock)
    stand.shelf.put(replace(stand.token_key, ends_at=clock.now() + timedelta(seconds=5)))
    assert (await verify(stand.static_token, stand.keyring)).id == TOKEN_KEY_ID
    clock.advance(5)
    assert await fault_of(stand, stand.static_token) is LoginFault.EXPIRED
    stand.shelf.put(stand.token_key.ended(clock.now(), is_revoked=True))
    assert await fault_of(stand, stand.static_token) is LoginFault.REVOKED
