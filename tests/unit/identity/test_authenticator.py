import timeit
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.identity.jwt_reading import read_jwt
from bqgate.identity.keyring import identity_of
from bqgate.identity.static_tokens import mint
from bqgate.ports import Authenticator
from tests.support.identity_stand import (
    FILE_KEY_ID,
    PREVIOUS_SECRET,
    SECRET,
    IdentityStand,
    forged,
    hs256,
    public_pem,
    refusing_oidc,
    rs256,
    rsa_key,
    unsigned,
)
from tests.support.manual_clock import ManualClock

ISSUER = "https://issuer.example.com"
ANN = Identity("ann@example.com", f"oidc:{ISSUER}#7", Role.ANALYST, "acme")
GOOGLE_ANN = Identity("ann@example.com", "google:ann@example.com", Role.USER)


class OneIssuer:
    """Takes every token of one issuer, by its claims; what proves them is another's test."""

    def issuer_of(self, text: str) -> str:
        return ISSUER if text else ""

    async def verify(self, text: str) -> Identity:
        if text == forged({"alg": "ES256"}, {"iss": ISSUER}, unsigned):
            return ANN
        raise Unauthenticated(LoginFault.WRONG_ISSUER, "another issuer")


class AnyGoogle:
    """Takes everything, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None]] = []

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        self.asked.append((credential.authorization, project_id))
        return GOOGLE_ANN


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def stand(clock: ManualClock) -> IdentityStand:
    return IdentityStand(clock)


async def whose(stand: IdentityStand, authorization: str | None) -> Identity:
    return await stand.callers.authenticate(Credential(authorization), project_id="p")


async def refusal_of(stand: IdentityStand, authorization: str | None) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as refused:
        await whose(stand, authorization)
    return refused.value


async def test_each_credential_of_the_gate_proves_its_key(stand: IdentityStand) -> None:
    """An access token, a static token and a self-signed JWT say whose they are, however Bearer is spelt."""
    access_token = stand.access_tokens.issue(identity_of(stand.file_key)).text
    bearer = stand.assertion(stand.bearer_claims())
    for scheme in ("Bearer ", "bearer ", "BEARER  "):
        assert await whose(stand, scheme + access_token) == identity_of(stand.file_key)
        assert await whose(stand, scheme + bearer) == identity_of(stand.file_key)
        assert await whose(stand, scheme + stand.static_token) == identity_of(stand.token_key)


@pytest.mark.parametrize("authorization", [None, "", " "])
async def test_nobody_comes_in_without_a_credential(stand: IdentityStand, authorization: str | None) -> None:
    """No header, or an empty one, is told how to log in."""
    refused = await refusal_of(stand, authorization)
    assert refused.fault is LoginFault.MISSING
    assert "key file" in refused.message


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic YW5uOnNlY3JldA==",
        "Bearer",
        "Bearer ",
        "Bearer\ttoken",
        "Bearer a b",
        "Bearer a, Bearer b",
        "Bearer a,b",
        "Bearer é",
        "Bearer \udcff",
        "Bearer a\x00b",
        "Bearer =",
        "bearerer a",
        "token",
        "Digest username=x",
        "Bearer ya29.a0AfH6SMBx",
        "Bearer ya29.d.b0Aaekm1K",
        "Bearer bqg_x",
        "Bearer eyJ.x.y",
        "Bearer e..",
    ],
)
async def test_what_is_no_token_of_the_gate_is_malformed(stand: IdentityStand, authorization: str) -> None:
    """Other schemes, two tokens, foreign characters and foreign tokens are refused, and never quoted."""
    refused = await refusal_of(stand, authorization)
    assert refused.fault is LoginFault.MALFORMED
    for word in ("YW5u", "ya29", "b0Aaekm1K", "username"):
        assert word not in f"{refused!r}{refused.claimed}"


async def test_an_oversized_credential_is_not_parsed(stand: IdentityStand) -> None:
    """A JWT past 8 KiB, and any header past 16 KiB, is refused unread."""
    bearer = stand.assertion(stand.bearer_claims(padding="x" * 7000))
    assert (await refusal_of(stand, f"Bearer {bearer}")).fault is LoginFault.OVERSIZED
    assert (await refusal_of(stand, "Bearer " + "x" * 16_384)).fault is LoginFault.OVERSIZED
    assert (await refusal_of(stand, "Bearer e" + "x" * 9_000 + "..")).fault is LoginFault.OVERSIZED


async def test_the_key_is_asked_at_every_use(stand: IdentityStand, clock: ManualClock) -> None:
    """What the key says now is what counts: role, customer, name; its end ends every token of it at once."""
    text = f"Bearer {stand.access_tokens.issue(identity_of(stand.file_key)).text}"
    stand.shelf.put(replace(stand.file_key, role=Role.ANALYST, customer="globex", principal="new"))
    found = await whose(stand, text)
    assert (found.role, found.customer, found.name) == (Role.ANALYST, "globex", "new")
    stand.shelf.put(replace(stand.file_key, ends_at=clock.now() + timedelta(seconds=1)))
    assert (await whose(stand, text)).key_id == FILE_KEY_ID
    clock.advance(1)
    assert (await refusal_of(stand, text)).fault is LoginFault.EXPIRED
    stand.shelf.put(stand.file_key.ended(clock.now(), is_revoked=True))
    assert (await refusal_of(stand, text)).fault is LoginFault.REVOKED
    del stand.shelf.keys[FILE_KEY_ID]
    assert (await refusal_of(stand, text)).fault is LoginFault.UNKNOWN_KEY


async def test_a_token_for_an_issuer_s_subject_needs_no_key(stand: IdentityStand) -> None:
    """A token that an issuer's JWT was exchanged for says itself who it is."""
    assert await whose(stand, f"Bearer {stand.access_tokens.issue(ANN).text}") == ANN


def rewritten(stand: IdentityStand, **claims: Any) -> str:
    """An access token of the file key with other claims (None: without), under the gate's own secret."""
    jwt = read_jwt(stand.access_tokens.issue(identity_of(stand.file_key)).text)
    changed = {name: value for name, value in (dict(jwt.claims) | claims).items() if value is not None}
    return forged(jwt.header, changed, hs256(SECRET))


async def test_a_token_cannot_say_more_than_its_key(stand: IdentityStand) -> None:
    """Role, customer and name in a token do not count beside its key, even under the gate's own secret."""
    token = rewritten(stand, role="super_admin", customer="globex", name="eve", sub="key:ffff")
    assert await whose(stand, f"Bearer {token}") == identity_of(stand.file_key)


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"key": None}, LoginFault.WRONG_CLAIMS),
        ({"key": ""}, LoginFault.UNKNOWN_KEY),
        ({"key": "ffffffffffffffff"}, LoginFault.UNKNOWN_KEY),
    ],
)
async def test_a_token_of_a_key_cannot_lose_it(stand: IdentityStand, claims: dict[str, Any], fault: LoginFault) -> None:
    """A token whose subject is a key, and which names none that is known, is refused."""
    assert (await refusal_of(stand, f"Bearer {rewritten(stand, **claims)}")).fault is fault


@pytest.mark.parametrize("alg", ["none", "HS256", "HS512", "RS256"])
@pytest.mark.parametrize("iss", ["bqgate", f"{FILE_KEY_ID}@keys.bqgate", ISSUER, "", None, 7])
@pytest.mark.parametrize("kid", [FILE_KEY_ID, "ffffffff", None])
async def test_no_stranger_s_jwt_comes_in(stand: IdentityStand, alg: str, iss: Any, kid: str | None) -> None:
    """Whatever a stranger writes into a JWT, and whichever key it signs with, is refused."""
    header = {name: value for name, value in {"alg": alg, "kid": kid}.items() if value is not None}
    claims = stand.bearer_claims(iss=iss, role="super_admin", name="eve", key=FILE_KEY_ID, customer="acme")
    signs = (unsigned, hs256(public_pem(rsa_key())), hs256(""), rs256(rsa_key("a stranger's")))
    for sign in signs:
        assert isinstance(await refusal_of(stand, f"Bearer {forged(header, claims, sign)}"), Unauthenticated)


async def test_other_issuers_are_asked_about_their_own(clock: ManualClock) -> None:
    """An issuer's JWT is its verifier's business; a gate's own never gets there."""
    stand = IdentityStand(clock, oidc=OneIssuer())
    assert await whose(stand, f"Bearer {forged({'alg': 'ES256'}, {'iss': ISSUER}, unsigned)}") == ANN
    other = await refusal_of(stand, f"Bearer {forged({'alg': 'ES256'}, {'iss': 'other'}, unsigned)}")
    assert other.fault is LoginFault.WRONG_ISSUER
    own = await refusal_of(stand, f"Bearer {forged({'alg': 'none'}, {'iss': 'bqgate'}, unsigned)}")
    assert own.fault is LoginFault.UNSIGNED
    alone = await refusal_of(IdentityStand(clock), f"Bearer {forged({'alg': 'ES256'}, {'iss': ISSUER}, unsigned)}")
    assert alone.fault is LoginFault.WRONG_ISSUER


async def test_google_is_asked_about_what_is_not_the_gate_s(clock: ManualClock) -> None:
    """Where Google's tokens go upstream, opaque ones and JWTs of unknown issuers are Google's to judge."""
    google = AnyGoogle()
    stand = IdentityStand(clock, oidc=OneIssuer(), google=google)
    foreign = forged({"alg": "RS256"}, {"iss": "sa@p.iam.gserviceaccount.com"}, unsigned)
    for token in ("ya29.a0AfH6SMBx", "ya29.d.b0Aaekm1K", "x", "y" * 12_288, foreign):
        assert await whose(stand, f"Bearer {token}") == GOOGLE_ANN
        assert google.asked.pop() == (f"Bearer {token}", "p")
    without_issuers = IdentityStand(clock, google=google)
    assert await whose(without_issuers, f"Bearer {foreign}") == GOOGLE_ANN


async def test_google_is_not_asked_about_what_is_refused(clock: ManualClock) -> None:
    """The gate's own tokens, broken ones and an issuer's bad ones never get to Google."""
    google = AnyGoogle()
    stand = IdentityStand(clock, oidc=refusing_oidc(LoginFault.BAD_SIGNATURE), google=google)
    foreign = forged({"alg": "RS256"}, {"iss": ISSUER}, unsigned)
    by_key = stand.assertion(stand.bearer_claims(exp=1))
    own = forged({"alg": "none"}, {"iss": "bqgate"}, unsigned)
    for token in (mint(FILE_KEY_ID), "bqg_x", own, by_key, foreign, "eyJ.x.y", "a b"):
        await refusal_of(stand, f"Bearer {token}")
    await refusal_of(stand, None)
    await refusal_of(stand, "Basic YW5uOnNlY3JldA==")
    assert google.asked == []
    assert await whose(stand, f"Bearer {stand.static_token}") == identity_of(stand.token_key)


def test_a_gate_says_whether_it_takes_google_s_tokens(stand: IdentityStand) -> None:
    """The data plane can tell a caller with the gate's own token that it needs Google's."""
    google: Authenticator = AnyGoogle()
    assert not stand.callers.accepts_google
    assert IdentityStand(google=google).callers.accepts_google


def test_an_access_token_is_cheap(stand: IdentityStand) -> None:
    """Its verification is no burden on a request: far below a millisecond on any machine."""
    text = stand.access_tokens.issue(identity_of(stand.file_key)).text
    seconds = min(timeit.repeat(lambda: stand.access_tokens.verify(text), number=100, repeat=5)) / 100
    assert seconds < 0.001


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60) | st.sampled_from(["Bearer ", "Basic "]).flatmap(lambda s: st.text(max_size=99).map(s.__add__))
)
async def test_no_header_breaks_the_door(authorization: str) -> None:
    """Whatever text a header holds, the answer is a refusal."""
    await refusal_of(IdentityStand(), authorization)


async def test_no_object_and_no_refusal_shows_a_secret(stand: IdentityStand) -> None:
    """Neither repr nor str of what lives in this room, or is raised by it, holds a token or a secret."""
    issued = stand.access_tokens.issue(identity_of(stand.file_key))
    grant = await stand.logins.grant(
        {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": stand.assertion()}
    )
    seen = [stand, stand.callers, stand.access_tokens, stand.assertions, stand.logins, stand.keyring, issued, grant]
    signature_cut = [issued.text[:-2], stand.static_token[:-2] + "AA", stand.assertion(stand.bearer_claims(exp=1))]
    told = [f"{each!r} {each!s}" for each in seen]
    for token in signature_cut:
        refused = await refusal_of(stand, f"Bearer {token}")
        told.append(f"{refused!r} {refused!s} {refused.message} {refused.claimed} {refused.__cause__!r}")
    secrets = [SECRET, PREVIOUS_SECRET, issued.text, grant.access_token, stand.static_token, *signature_cut]
    for text in told:
        for secret in secrets:
            assert secret not in text
            assert secret[len(secret) // 2 :] not in text
