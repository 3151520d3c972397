import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.principal import Role
from bqgate.identity.jwks import KeySets
from bqgate.identity.oidc import Issuer, Oidc
from tests.support.oidc_issuer import (
    AUDIENCE,
    DISCOVERY,
    KEYS,
    KeySetStand,
    jwk_of,
    key_set_stand,
    oidc_issuer,
    rsa_key,
)

DAY_S = 24 * 3600


@pytest.fixture
async def stand() -> AsyncIterator[KeySetStand]:
    async with key_set_stand() as running:
        yield running


async def test_keys_are_fetched_once_and_kept_ten_minutes(stand: KeySetStand) -> None:
    """Discovery and key set are asked for at the first use, then not until ten minutes have passed."""
    for _ in range(5):
        assert await stand.kids() == {"rsa-1", "ec-1"}
    stand.clock.advance(599)
    assert await stand.kids("rsa-1") == {"rsa-1"}
    assert stand.issuer.requests == [DISCOVERY, KEYS]
    stand.clock.advance(1)
    await stand.kids()
    assert stand.issuer.requests == [DISCOVERY, KEYS] * 2


async def test_a_configured_url_needs_no_discovery(stand: KeySetStand) -> None:
    """Where the settings say where the keys are nobody else is asked."""
    assert await stand.kids(jwks_url=stand.issuer.url + KEYS) == {"rsa-1", "ec-1"}
    assert stand.issuer.requests == [KEYS]


async def test_a_removed_key_is_gone_after_ten_minutes(stand: KeySetStand) -> None:
    """A key that the issuer withdraws verifies nothing any more once the set is fetched again."""
    assert await stand.kids("ec-1") == {"ec-1"}
    stand.issuer.keys = [jwk_of(rsa_key(), "rsa-1")]
    stand.clock.advance(600)
    assert await stand.kids("ec-1") == set()


async def test_a_rotation_is_seen_without_a_refused_login(stand: KeySetStand) -> None:
    """While an issuer goes from key to key every token of the old and the new one is taken."""
    oidc = Oidc(
        [Issuer("main", stand.issuer.url, AUDIENCE, None, "customer_id", "role", frozenset({Role.USER}))],
        stand.key_sets,
        stand.clock,
        leeway_s=0,
    )
    for number in range(2, 6):
        old, new = f"rsa-{number - 1}", f"rsa-{number}"
        await oidc.verify(stand.issuer.token(key=rsa_key(number - 1), kid=old))
        stand.issuer.keys = [jwk_of(rsa_key(number - 1), old), jwk_of(rsa_key(number), new)]
        stand.clock.advance(30)
        for _ in range(3):
            assert (await oidc.verify(stand.issuer.token(key=rsa_key(number), kid=new))).name == "user-1"
            assert (await oidc.verify(stand.issuer.token(key=rsa_key(number - 1), kid=old))).name == "user-1"
    assert stand.issuer.key_requests == 5


async def test_made_up_key_ids_cost_the_issuer_nothing(stand: KeySetStand) -> None:
    """However many unknown key ids come, the set is fetched once in thirty seconds."""
    for number in range(50):
        assert await stand.kids(f"made-up-{number}") == set()
    assert stand.issuer.key_requests == 1
    stand.clock.advance(29)
    await stand.kids("made-up")
    assert stand.issuer.key_requests == 1
    stand.clock.advance(1)
    for number in range(50):
        await stand.kids(f"made-up-{number}")
    assert stand.issuer.key_requests == 2


async def test_callers_share_one_fetch(stand: KeySetStand) -> None:
    """Those who want a set, or a new key of it, at the same time wait for one answer; one may leave meanwhile."""
    for wanted in (None, "new"):
        stand.issuer.may_answer.clear()
        stand.issuer.has_been_asked.clear()
        callers = [asyncio.create_task(stand.kids(wanted)) for _ in range(20)]
        await stand.issuer.has_been_asked.wait()
        callers[0].cancel()
        stand.issuer.may_answer.set()
        found = await asyncio.gather(*callers[1:])
        assert all(kids == found[0] and kids for kids in found)
        stand.issuer.keys.append(jwk_of(rsa_key(2), "new"))
        stand.clock.advance(30)
    assert stand.issuer.key_requests == 2


async def test_issuers_do_not_mix(stand: KeySetStand) -> None:
    """A key of one issuer is no key of another."""
    async with oidc_issuer(stand.clock) as other:
        other.keys = [jwk_of(rsa_key(2), "theirs")]
        assert await stand.kids("theirs") == set()
        assert await stand.key_sets.find(other.url, None, "rsa-1") == ()
        assert [key.kid for key in await stand.key_sets.find(other.url, None, None)] == ["theirs"]


async def test_the_last_good_set_stands_for_a_day(stand: KeySetStand) -> None:
    """While the issuer is away logins go on, asking it every thirty seconds; after a day they wait for it."""
    await stand.kids()
    stand.issuer.is_down = True
    stand.clock.advance(600)
    for _ in range(5):
        assert await stand.kids("rsa-1") == {"rsa-1"}
    assert stand.issuer.requests == [DISCOVERY, KEYS, DISCOVERY]
    stand.clock.advance(DAY_S - 601)
    assert await stand.kids("rsa-1") == {"rsa-1"}
    stand.clock.advance(1)
    assert await stand.is_away()
    assert set(stand.errors) == {"status 503"}
    stand.issuer.is_down = False
    stand.clock.advance(30)
    assert await stand.kids("rsa-1") == {"rsa-1"}


async def test_an_issuer_that_was_never_there_is_an_outage(stand: KeySetStand) -> None:
    """Without any set a login can be neither right nor wrong; the issuer is asked again after five seconds."""
    stand.issuer.is_down = True
    for _ in range(5):
        assert await stand.is_away()
    assert len(stand.issuer.requests) == 1
    stand.issuer.is_down = False
    stand.clock.advance(5)
    assert await stand.kids("rsa-1") == {"rsa-1"}


async def test_a_closed_port_is_an_outage(stand: KeySetStand) -> None:
    """Nobody listens: an outage like any other."""
    with pytest.raises(UpstreamUnavailable):
        await stand.key_sets.find("http://127.0.0.1:1", None, "rsa-1")
    assert stand.telemetry.notes[0][1]["error"] == "connection refused"


async def test_a_slow_issuer_is_not_waited_for(stand: KeySetStand) -> None:
    """An answer that does not come in time is an outage."""
    key_sets = KeySets(stand.clock, stand.telemetry, timeout_s=0.05)
    stand.issuer.may_answer.clear()
    with pytest.raises(UpstreamUnavailable):
        await key_sets.find(stand.issuer.url, None, None)
    assert stand.errors == ["no answer in time"]
    await key_sets.close()


async def test_closing_ends_a_fetch_under_way(stand: KeySetStand) -> None:
    """A gate that stops does not wait for an issuer."""
    stand.issuer.may_answer.clear()
    waiting = asyncio.create_task(stand.kids())
    await stand.issuer.has_been_asked.wait()
    await stand.key_sets.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_session_that_was_given_stays_open(stand: KeySetStand) -> None:
    """Who opened a session closes it."""
    async with aiohttp.ClientSession() as session:
        key_sets = KeySets(stand.clock, stand.telemetry, session=session)
        assert await key_sets.find(stand.issuer.url, None, "rsa-1")
        await key_sets.close()
        assert not session.closed
