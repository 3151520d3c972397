import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.identity.jwt_reading import JWT_CHARS_MAX
from bqgate.identity.keyring import email_of
from tests.support.identity_stand import (
    FILE_KEY_ID,
    LEEWAY_S,
    PUBLIC_URL,
    TOKEN_KEY_ID,
    IdentityStand,
    base64url,
    forged,
    hs256,
    public_pem,
    rs256,
    rsa_key,
    unsigned,
)
from tests.support.manual_clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def stand(clock: ManualClock) -> IdentityStand:
    return IdentityStand(clock)


async def fault_of_login(stand: IdentityStand, text: str) -> LoginFault:
    with pytest.raises(Unauthenticated) as refused:
        await stand.assertions.verify_login(text)
    return refused.value.fault


async def fault_of_bearer(stand: IdentityStand, text: str) -> LoginFault:
    with pytest.raises(Unauthenticated) as refused:
        await stand.assertions.verify_bearer(text)
    return refused.value.fault


@pytest.mark.parametrize(
    "aud",
    [
        "https://oauth2.googleapis.com/token",
        f"{PUBLIC_URL}/oauth2/token",
        f"{PUBLIC_URL}/token",
        f"{PUBLIC_URL}/v1/token",
        PUBLIC_URL,
        ["https://elsewhere.example.com", f"{PUBLIC_URL}/oauth2/token"],
    ],
)
async def test_a_login_may_name_google_or_the_gate(stand: IdentityStand, aud: Any) -> None:
    """Python and Java say that their login is for Google's token endpoint, Go names the file's: both prove the key."""
    assert await stand.assertions.verify_login(stand.assertion(stand.claims(aud=aud))) == stand.file_key


@pytest.mark.parametrize(
    "aud",
    [
        None,
        "https://accounts.google.com/o/oauth2/token",
        "https://bigquery.googleapis.com/",
        f"{PUBLIC_URL}/oauth2/token/",
        f"{PUBLIC_URL}.evil.example.com/oauth2/token",
        "",
        [],
        ["https://elsewhere.example.com"],
        ["https://oauth2.googleapis.com/token", 1],
        [["https://oauth2.googleapis.com/token"]],
        {"https://oauth2.googleapis.com/token": 1},
        True,
        1,
    ],
)
async def test_a_login_for_somebody_else_is_refused(stand: IdentityStand, aud: Any) -> None:
    """An aud that is missing, foreign, or not text refuses a login."""
    fault = await fault_of_login(stand, stand.assertion(stand.claims(aud=aud)))
    assert fault is LoginFault.WRONG_AUDIENCE


async def test_a_repeated_login_proves_the_key_again(stand: IdentityStand) -> None:
    """An assertion may be used twice: clients retry, and it only gets another token of the same key."""
    text = stand.assertion()
    assert await stand.assertions.verify_login(text) == await stand.assertions.verify_login(text)


async def test_nobody_asks_for_a_scope_at_login(stand: IdentityStand) -> None:
    """A login without a scope is good."""
    assert await stand.assertions.verify_login(stand.assertion(stand.claims(scope=None))) == stand.file_key


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
async def test_an_unsigned_assertion_is_refused(stand: IdentityStand, alg: str) -> None:
    """The algorithm "none" proves nothing, however it is spelt and whether or not a signature follows."""
    header = {"alg": alg, "kid": FILE_KEY_ID}
    assert await fault_of_login(stand, forged(header, stand.claims(), unsigned)) is LoginFault.UNSIGNED
    assert await fault_of_bearer(stand, forged(header, stand.bearer_claims(), unsigned)) is LoginFault.UNSIGNED
    assert await fault_of_login(stand, forged(header, stand.claims(), rs256(rsa_key()))) is LoginFault.UNSIGNED


@pytest.mark.parametrize("alg", ["HS256", "hs256", "HS384", "HS512"])
async def test_the_public_key_is_no_hmac_secret(stand: IdentityStand, alg: str) -> None:
    """A JWT that is signed by HMAC with the public key, which anybody may have, is refused."""
    sign = hs256(public_pem(rsa_key()))
    text = forged({"alg": alg, "kid": FILE_KEY_ID}, stand.claims(), sign)
    assert await fault_of_login(stand, text) is LoginFault.UNSIGNED
    lying = forged({"alg": "RS256", "kid": FILE_KEY_ID}, stand.claims(), sign)
    assert await fault_of_login(stand, lying) is LoginFault.BAD_SIGNATURE


async def test_only_rs256_is_taken(stand: IdentityStand) -> None:
    """Other algorithms with the right key are refused, named or not."""
    private = rsa_key()
    header = {"alg": "RS512", "kid": FILE_KEY_ID}
    text = forged(header, stand.claims(), lambda signed: private.sign(signed, PKCS1v15(), SHA512()))
    assert await fault_of_login(stand, text) is LoginFault.UNSIGNED
    lying = {"alg": "RS256", "kid": FILE_KEY_ID}
    text = forged(lying, stand.claims(), lambda signed: private.sign(signed, PKCS1v15(), SHA512()))
    assert await fault_of_login(stand, text) is LoginFault.BAD_SIGNATURE
    text = forged(lying, stand.claims(), lambda signed: private.sign(signed, PSS(MGF1(SHA256()), 32), SHA256()))
    assert await fault_of_login(stand, text) is LoginFault.BAD_SIGNATURE
    curve = ec.generate_private_key(ec.SECP256R1())
    text = forged(lying, stand.claims(), lambda signed: ECAlgorithm(ECAlgorithm.SHA256).sign(signed, curve))
    assert await fault_of_login(stand, text) is LoginFault.BAD_SIGNATURE


async def test_a_key_that_the_jwt_brings_along_is_not_used(stand: IdentityStand) -> None:
    """The headers jwk, jku, x5u and x5c are passed over: they neither help a stranger nor harm the holder."""
    own: dict[str, Any] = {
        "jwk": {"kty": "oct", "k": base64url(b"secret")},
        "jku": "https://evil.example.com/keys",
        "x5u": "https://evil.example.com/cert",
        "x5c": ["MIIB"],
    }
    header = {"alg": "RS256", "kid": FILE_KEY_ID} | own
    stranger = forged(header, stand.claims(), rs256(rsa_key("a stranger's")))
    assert await fault_of_login(stand, stranger) is LoginFault.BAD_SIGNATURE
    assert await stand.assertions.verify_login(stand.assertion(**own)) == stand.file_key


@pytest.mark.parametrize(
    ("seconds", "is_good"),
    [(3600 + LEEWAY_S - 1, True), (3600 + LEEWAY_S, False), (3600 - 1, True), (86_400 * 365, False)],
)
async def test_a_jwt_ends(stand: IdentityStand, clock: ManualClock, seconds: int, is_good: bool) -> None:
    """It is good until exp and the skew that clocks may have, and not a moment longer."""
    text, bearer = stand.assertion(), stand.assertion(stand.bearer_claims())
    clock.advance(seconds)
    if is_good:
        assert await stand.assertions.verify_login(text) == stand.file_key
        assert await stand.assertions.verify_bearer(bearer) == stand.file_key
    else:
        assert await fault_of_login(stand, text) is LoginFault.EXPIRED
        assert await fault_of_bearer(stand, bearer) is LoginFault.EXPIRED


@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_a_jwt_begins(stand: IdentityStand, claim: str) -> None:
    """It is good from iat and nbf on, less the skew that clocks may have, and not a second sooner."""
    now_s = int(stand.clock.now().timestamp())
    at_the_edge = stand.claims(**{claim: now_s + LEEWAY_S})
    assert await stand.assertions.verify_login(stand.assertion(at_the_edge)) == stand.file_key
    too_soon = stand.claims(**{claim: now_s + LEEWAY_S + 1})
    assert await fault_of_login(stand, stand.assertion(too_soon)) is LoginFault.NOT_YET_VALID
    other = "nbf" if claim == "iat" else "iat"
    one_is_past = too_soon | {other: now_s - 1}
    assert await fault_of_login(stand, stand.assertion(one_is_past)) is LoginFault.NOT_YET_VALID


async def test_a_jwt_lives_for_an_hour_at_most(stand: IdentityStand) -> None:
    """Between iat and exp may be an hour and the skew; more is refused even while it would still be good."""
    now_s = int(stand.clock.now().timestamp())
    longest = stand.claims(iat=now_s, exp=now_s + 3600 + LEEWAY_S)
    assert await stand.assertions.verify_login(stand.assertion(longest)) == stand.file_key
    longer = stand.claims(iat=now_s, exp=now_s + 3600 + LEEWAY_S + 1)
    assert await fault_of_login(stand, stand.assertion(longer)) is LoginFault.LIVES_TOO_LONG
    backdated = stand.claims(iat=0, exp=now_s + 60)
    assert await fault_of_login(stand, stand.assertion(backdated)) is LoginFault.LIVES_TOO_LONG


ODD_MOMENTS = [
    "null",
    '"1"',
    "true",
    "false",
    "[]",
    "[1]",
    "{}",
    "1e999",
    "-1e999",
    "-1",
    "1e300",
    "9" * 400,
    "9" * 4000,
]


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ODD_MOMENTS)
async def test_moments_are_numbers(stand: IdentityStand, claim: str, value: str) -> None:
    """A moment that is no number, or no moment, refuses the JWT."""
    claims = json.dumps(stand.claims(**{claim: "MARK"})).replace('"MARK"', value)
    assert await fault_of_login(stand, stand.assertion(claims)) is LoginFault.WRONG_CLAIMS


@pytest.mark.parametrize("claim", ["exp", "iat"])
async def test_a_jwt_says_when_it_begins_and_ends(stand: IdentityStand, claim: str) -> None:
    """Without exp or iat there is no telling how long it lives."""
    fault = await fault_of_login(stand, stand.assertion(stand.claims(**{claim: None})))
    assert fault is LoginFault.WRONG_CLAIMS


async def test_moments_may_have_fractions(stand: IdentityStand) -> None:
    """Some clients write seconds with a fraction (RFC 7519 section 2, NumericDate)."""
    now_s = stand.clock.now().timestamp()
    text = stand.assertion(stand.claims(iat=now_s - 0.5, exp=now_s + 3599.5))
    assert await stand.assertions.verify_login(text) == stand.file_key


@pytest.mark.parametrize("iss", [None, "", email_of(TOKEN_KEY_ID), f"{FILE_KEY_ID}@evil.example.com", ["x"], 1, True])
async def test_the_issuer_is_the_key_itself(stand: IdentityStand, iss: Any) -> None:
    """An iss that is not the client_email of the key that signed is refused."""
    assert await fault_of_login(stand, stand.assertion(stand.claims(iss=iss))) is LoginFault.WRONG_ISSUER


@pytest.mark.parametrize("kid", [None, "", "ffffffffffffffff", FILE_KEY_ID.upper(), "../../etc/passwd", "0" * 4000])
async def test_an_unknown_key_is_refused(stand: IdentityStand, kid: str | None) -> None:
    """A kid that names no key of this gate, or is missing, refuses the JWT."""
    assert await fault_of_login(stand, stand.assertion(kid=kid)) is LoginFault.UNKNOWN_KEY


async def test_a_kid_of_another_key_is_refused(stand: IdentityStand) -> None:
    """Who has one key cannot speak as another by naming it."""
    other = stand.key("00000000000000f2", public_key=public_pem(rsa_key("another")))
    stand.shelf.put(other)
    text = stand.assertion(stand.claims(iss=email_of(other.id)), kid=other.id)
    assert await fault_of_login(stand, text) is LoginFault.BAD_SIGNATURE
    text = stand.assertion(stand.claims(iss=email_of(other.id)))
    assert await fault_of_login(stand, text) is LoginFault.WRONG_ISSUER


async def test_a_static_tokens_key_signs_nothing(stand: IdentityStand) -> None:
    """A kid that names a key without a public half is refused."""
    text = stand.assertion(stand.claims(iss=email_of(TOKEN_KEY_ID)), kid=TOKEN_KEY_ID)
    assert await fault_of_login(stand, text) is LoginFault.UNKNOWN_KEY


async def test_a_revoked_key_is_refused_at_once(stand: IdentityStand) -> None:
    """What was good a moment ago is refused as soon as the key is revoked."""
    text = stand.assertion()
    assert await stand.assertions.verify_login(text) == stand.file_key
    stand.shelf.put(stand.file_key.ended(stand.clock.now(), is_revoked=True))
    assert await fault_of_login(stand, text) is LoginFault.REVOKED


async def test_a_rotated_key_works_until_its_overlap_ends(stand: IdentityStand, clock: ManualClock) -> None:
    """The old key is good through the overlap, and refused from the moment at which that ends."""
    text = stand.assertion()
    stand.shelf.put(stand.file_key.ended(clock.now() + timedelta(minutes=10), is_revoked=False))
    clock.advance(599)
    assert (await stand.assertions.verify_login(text)).id == FILE_KEY_ID
    clock.advance(1)
    assert await fault_of_login(stand, text) is LoginFault.EXPIRED


@pytest.mark.parametrize("sub", ["ann@example.com", "", 1, ["x"], True])
async def test_nobody_speaks_for_others(stand: IdentityStand, sub: Any) -> None:
    """A sub that is not the key itself, which is Google's domain-wide delegation, is refused."""
    assert await fault_of_login(stand, stand.assertion(stand.claims(sub=sub))) is LoginFault.WRONG_CLAIMS
    assert await fault_of_bearer(stand, stand.assertion(stand.bearer_claims(sub=sub))) is LoginFault.WRONG_CLAIMS


async def test_a_self_signed_jwt_says_whom_it_is_about(stand: IdentityStand) -> None:
    """As a bearer token a JWT needs a sub; a login's assertion is none."""
    text = stand.assertion(stand.bearer_claims(sub=None))
    assert await fault_of_bearer(stand, text) is LoginFault.WRONG_CLAIMS


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "https://www.googleapis.com/auth/bigquery"},
        {"scope": None, "aud": "https://bigquery.googleapis.com/"},
        {"scope": None, "aud": PUBLIC_URL},
        {"scope": None, "aud": f"{PUBLIC_URL}/"},
        {"scope": "x", "aud": f"{PUBLIC_URL}/"},
    ],
)
async def test_a_self_signed_jwt_stands_for_a_token(stand: IdentityStand, claims: dict[str, Any]) -> None:
    """With a scope, or made out to BigQuery or to the gate, a JWT proves its key without a login."""
    text = stand.assertion(stand.bearer_claims(**claims))
    assert await stand.assertions.verify_bearer(text) == stand.file_key


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": None},
        {"scope": ""},
        {"scope": ["https://www.googleapis.com/auth/bigquery"]},
        {"scope": None, "aud": "https://storage.googleapis.com/"},
        {"aud": "https://storage.googleapis.com/"},
        {"aud": "https://oauth2.googleapis.com/token"},
        {"aud": f"{PUBLIC_URL}/oauth2/token"},
    ],
)
async def test_a_jwt_for_something_else_is_no_bearer_token(stand: IdentityStand, claims: dict[str, Any]) -> None:
    """With neither scope nor aud, or made out to another service or to the token endpoint, it is refused."""
    text = stand.assertion(stand.bearer_claims(**claims))
    assert await fault_of_bearer(stand, text) is LoginFault.WRONG_AUDIENCE


async def test_a_gate_without_an_address_takes_what_is_made_out_to_google(clock: ManualClock) -> None:
    """Where no public URL is set, Google's audiences work and no other does."""
    stand = IdentityStand(clock, audiences=())
    assert await stand.assertions.verify_login(stand.assertion()) == stand.file_key
    text = stand.assertion(stand.claims(aud="/oauth2/token"))
    assert await fault_of_login(stand, text) is LoginFault.WRONG_AUDIENCE


async def test_an_oversized_jwt_is_not_even_parsed(stand: IdentityStand) -> None:
    """Past 8 KiB nothing is read, be the rest as good as it may."""
    text = stand.assertion(stand.claims(padding="x" * JWT_CHARS_MAX))
    assert await fault_of_login(stand, text) is LoginFault.OVERSIZED
    assert await fault_of_login(stand, "x" * 10_000_000) is LoginFault.OVERSIZED


async def test_a_refusal_says_who_was_claimed(stand: IdentityStand) -> None:
    """The audit log is told which key a refused JWT named, in printable characters."""
    with pytest.raises(Unauthenticated) as refused:
        await stand.assertions.verify_login(stand.assertion(stand.claims(aud="x")))
    assert refused.value.claimed == FILE_KEY_ID
    with pytest.raises(Unauthenticated) as refused:
        await stand.assertions.verify_login(stand.assertion(kid="eve\n\x1b[31m" + "é" * 900))
    assert refused.value.claimed.startswith("eve??[31m??")
    assert len(refused.value.claimed) == 200


VALID = IdentityStand().assertion()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.characters(codec="utf-8"))
async def test_no_mutation_of_a_login_is_good(place: int, character: str) -> None:
    """Any one character of a good assertion replaced by another: refused, and nothing but Unauthenticated is raised."""
    stand = IdentityStand()
    mutant = VALID[:place] + character + VALID[place + 1 :]
    if mutant == VALID:
        assert await stand.assertions.verify_login(mutant) == stand.file_key
    else:
        await fault_of_login(stand, mutant)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.lists(st.binary(max_size=80).map(base64url), max_size=5).map(".".join))
async def test_no_text_at_all_breaks_the_reading(text: str) -> None:
    """Whatever text comes, the answer is a refusal."""
    await fault_of_login(IdentityStand(), text)


@pytest.mark.parametrize("extra", ["", ".", "=", "A", " ", "\n", "\0"])
async def test_nothing_may_hang_on_to_a_jwt(stand: IdentityStand, extra: str) -> None:
    """A good assertion with something before or after it is another text, and refused."""
    for text in (f"{VALID}{extra}", f"{extra}{VALID}"):
        if extra:
            await fault_of_login(stand, text)
        else:
            assert await stand.assertions.verify_login(text) == stand.file_key


async def test_a_keys_end_is_read_at_every_use(stand: IdentityStand, clock: ManualClock) -> None:
    """A planned end counts from its very moment, without any skew."""
    text = stand.assertion(stand.bearer_claims())
    stand.shelf.put(replace(stand.file_key, ends_at=clock.now() + timedelta(seconds=1)))
    assert (await stand.assertions.verify_bearer(text)).id == FILE_KEY_ID
    clock.advance(1)
    assert await fault_of_bearer(stand, text) is LoginFault.EXPIRED
