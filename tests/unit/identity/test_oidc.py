import hmac
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import Identity, Role
from tests.support.oidc_issuer import (
    AUDIENCE,
    LEEWAY_S,
    PrivateKey,
    TrustStand,
    ec_key,
    ed_key,
    jwk_of,
    rsa_key,
    segment,
    trust_stand,
)


@pytest.fixture
async def stand() -> AsyncIterator[TrustStand]:
    async with trust_stand() as running:
        yield running


async def test_a_token_tells_who_it_is_about(stand: TrustStand) -> None:
    """Customer and role come from the claims; the subject bears issuer and sub and does not change."""
    token = stand.issuer.token(role="analyst")
    expected = Identity("user-1", f"oidc:{stand.issuer.url}#user-1", Role.ANALYST, "acme")
    assert await stand.verify(token) == expected


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        *((rsa_key(), name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (ec_key("P-256"), "ES256"),
        (ec_key("P-384"), "ES384"),
        (ec_key("P-521"), "ES512"),
        (ed_key(), "EdDSA"),
    ],
)
async def test_public_key_algorithms_are_taken(stand: TrustStand, key: PrivateKey, algorithm: str) -> None:
    """Every signature by a public-key algorithm of RFC 7518 and RFC 8037 is verified."""
    stand.issuer.keys = [jwk_of(key, "k")]
    token = stand.issuer.token(key=key, kid="k", algorithm=algorithm)
    assert (await stand.verify(token)).customer == "acme"
    header, claims, signature = token.split(".")
    broken = f"{header}.{claims}.{'A' * len(signature)}"
    assert await stand.fault(broken) is LoginFault.BAD_SIGNATURE


def _hmac_token(claims: dict[str, Any], secret: bytes) -> str:
    """What PyJWT refuses to make: an HMAC whose secret is a public key."""
    signed = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa-1'})}.{segment(claims)}"
    return f"{signed}.{segment(hmac.digest(secret, signed.encode(), sha256))}"


async def test_an_hmac_with_the_public_key_is_refused(stand: TrustStand) -> None:
    """The issuer's public key is no secret, in whichever form it is used as one."""
    public = rsa_key().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, pem.strip(), der, json.dumps(stand.issuer.keys[0]).encode()):
        assert await stand.fault(_hmac_token(stand.issuer.claims(), secret)) is LoginFault.UNSIGNED


async def test_an_hmac_key_in_the_set_verifies_nothing(stand: TrustStand) -> None:
    """A symmetric key that an issuer publishes is everybody's."""
    secret = b"s" * 32
    stand.issuer.keys.append({"kty": "oct", "kid": "oct", "alg": "HS256", "k": segment(secret)})
    token = jwt.encode(stand.issuer.claims(), secret, "HS256", {"kid": "oct"})
    assert await stand.fault(token) is LoginFault.UNSIGNED
    # With an algorithm that is allowed the key is simply not there.
    assert await stand.fault(stand.issuer.token(kid="oct")) is LoginFault.UNKNOWN_KEY


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "HS512", "ES256K", "rs256", None, 7, ["RS256"]]
)
async def test_unsigned_tokens_are_refused(stand: TrustStand, algorithm: object) -> None:
    """No algorithm, an unknown one, or one that is not of public keys proves nothing; nobody is asked for keys."""
    text = f"{segment({'alg': algorithm, 'kid': 'rsa-1'})}.{segment(stand.issuer.claims())}."
    assert await stand.fault(text) is LoginFault.UNSIGNED
    assert await stand.fault(text + segment(b"x" * 256)) is LoginFault.UNSIGNED
    assert stand.issuer.requests == []


async def test_a_key_verifies_its_own_algorithms_only(stand: TrustStand) -> None:
    """A token whose algorithm is not that of the key it names is refused; so is one that the key's `alg` excludes."""
    stand.issuer.keys.append(jwk_of(rsa_key(), "only-256", alg="RS256"))
    assert await stand.fault(stand.issuer.token(kid="ec-1")) is LoginFault.UNSIGNED
    assert await stand.fault(stand.issuer.token(key=ec_key(), kid="rsa-1", algorithm="ES256")) is LoginFault.UNSIGNED
    assert (await stand.verify(stand.issuer.token(kid="only-256"))).name == "user-1"
    assert await stand.fault(stand.issuer.token(kid="only-256", algorithm="PS256")) is LoginFault.UNSIGNED


async def test_another_key_does_not_sign_for_the_issuer(stand: TrustStand) -> None:
    """A stranger's key under the issuer's key id, changed claims, and a key that the token itself brings: refused."""
    assert await stand.fault(stand.issuer.token(key=rsa_key(2))) is LoginFault.BAD_SIGNATURE
    header, _, signature = stand.issuer.token().split(".")
    changed = segment(stand.issuer.claims(customer_id="beta"))
    assert await stand.fault(f"{header}.{changed}.{signature}") is LoginFault.BAD_SIGNATURE
    brought = {"jwk": jwk_of(rsa_key(2), "rsa-1"), "jku": "https://evil.example/keys", "x5u": "https://evil.example/c"}
    assert await stand.fault(stand.issuer.token(key=rsa_key(2), header=brought)) is LoginFault.BAD_SIGNATURE


async def test_a_key_that_the_issuer_does_not_have_is_unknown(stand: TrustStand) -> None:
    """A key id outside the set, or none where the set has several keys for the algorithm."""
    assert await stand.fault(stand.issuer.token(kid="other")) is LoginFault.UNKNOWN_KEY
    assert await stand.fault(stand.issuer.token(kid="")) is LoginFault.UNKNOWN_KEY


@pytest.mark.parametrize("count", [1, 2])
async def test_without_a_key_id_the_only_key_is_meant(stand: TrustStand, count: int) -> None:
    """OpenID Connect Core 10.1: a token may leave the key id out where one key is possible."""
    stand.issuer.keys = [jwk_of(ec_key(), "ec-1"), *(jwk_of(rsa_key(number + 1), None) for number in range(count))]
    token = stand.issuer.token(kid=None)
    if count == 1:
        assert (await stand.verify(token)).name == "user-1"
    else:
        assert await stand.fault(token) is LoginFault.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("claim", "seconds", "fault"),
    [
        ("exp", -LEEWAY_S + 1, None),
        ("exp", -LEEWAY_S, LoginFault.EXPIRED),
        ("exp", -86_400, LoginFault.EXPIRED),
        ("nbf", LEEWAY_S, None),
        ("nbf", LEEWAY_S + 1, LoginFault.NOT_YET_VALID),
        ("nbf", -86_400, None),
        ("iat", LEEWAY_S, None),
        ("iat", LEEWAY_S + 1, LoginFault.NOT_YET_VALID),
        ("iat", LEEWAY_S + 0.5, LoginFault.NOT_YET_VALID),
    ],
)
async def test_times_are_honoured_with_leeway(
    stand: TrustStand, claim: str, seconds: float, fault: LoginFault | None
) -> None:
    """Clocks may differ by the leeway and not by a second more, whatever the machine's own clock says."""
    changes: dict[str, Any] = {claim: int(stand.clock.now().timestamp()) + seconds}
    token = stand.issuer.token(**changes)
    if fault is None:
        assert (await stand.verify(token)).name == "user-1"
    else:
        assert await stand.fault(token) is fault


async def test_a_token_ends_while_the_gate_runs(stand: TrustStand) -> None:
    """What was good is expired once its time is over."""
    token = stand.issuer.token()
    assert (await stand.verify(token)).name == "user-1"
    stand.clock.advance(600 + LEEWAY_S)
    assert await stand.fault(token) is LoginFault.EXPIRED


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE]])
async def test_the_audience_may_be_a_text_or_a_list(stand: TrustStand, audience: object) -> None:
    """RFC 7519 allows both; one of a list suffices."""
    assert (await stand.verify(stand.issuer.token(aud=audience))).name == "user-1"


@pytest.mark.parametrize("audience", [None, "other", "", [], ["other"], [[AUDIENCE]], {AUDIENCE: 1}, 7, f"{AUDIENCE}x"])
async def test_a_token_for_somebody_else_is_refused(stand: TrustStand, audience: object) -> None:
    """A token that the issuer made for another service is no login here."""
    assert await stand.fault(stand.issuer.token(aud=audience)) is LoginFault.WRONG_AUDIENCE


@pytest.mark.parametrize("ending", ["/", "x", None])
async def test_the_issuer_must_be_a_trusted_one(stand: TrustStand, ending: str | None) -> None:
    """Another issuer is refused without asking anybody for its keys, even one that differs by a slash."""
    text = stand.issuer.token(iss=None if ending is None else stand.issuer.url + ending)
    assert await stand.fault(text) is LoginFault.WRONG_ISSUER
    assert stand.issuer.requests == []


async def test_one_issuer_may_serve_several_audiences(stand: TrustStand) -> None:
    """Two entries of the settings for one issuer: each token is judged by the one that it is meant for."""
    oidc = stand.oidc(audiences=("first", "second"))
    for audience in ("first", "second"):
        assert (await oidc.verify(stand.issuer.token(aud=audience))).name == "user-1"
    with pytest.raises(Unauthenticated) as caught:
        await oidc.verify(stand.issuer.token(aud="third"))
    assert caught.value.fault is LoginFault.WRONG_AUDIENCE


async def test_a_refusal_says_who_was_claimed(stand: TrustStand) -> None:
    """The audit log learns the issuer that a refused token names, cut to a bound."""
    with pytest.raises(Unauthenticated) as caught:
        await stand.verify(stand.issuer.token(key=rsa_key(2)))
    assert caught.value.claimed == stand.issuer.url
    with pytest.raises(Unauthenticated) as caught:
        await stand.verify(stand.issuer.token(iss="https://" + "x" * 1000))
    assert len(caught.value.claimed) == 200
