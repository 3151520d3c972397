import json
from base64 import urlsafe_b64decode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import Identity, Role
from bqgate.identity.access_tokens import AccessTokens
from bqgate.identity.jwt_reading import read_header
from tests.support.identity_stand import LEEWAY_S, PREVIOUS_SECRET, SECRET, TTL_S, forged, hs256, unsigned
from tests.support.manual_clock import ManualClock

ANN = Identity("ann", "key:00000000000000f1", Role.ANALYST, "acme", "00000000000000f1")
OPS = Identity("ops@example.com", "oidc:https://issuer.example.com#7", Role.ADMIN)


def tokens(
    clock: ManualClock | None = None, secret: str = SECRET, previous: str | None = PREVIOUS_SECRET
) -> AccessTokens:
    return AccessTokens(secret, previous_secret=previous, ttl_s=TTL_S, clock=clock or ManualClock(), leeway_s=LEEWAY_S)


def fault_of(verifier: AccessTokens, text: str) -> LoginFault:
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(text)
    return refused.value.fault


def opened(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token."""
    header, claims = (json.loads(urlsafe_b64decode(part + "==")) for part in text.split(".")[:2])
    return header, claims


def changed(text: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token with other claims (None: without), signed with the gate's own secret all the same."""
    old_header, old_claims = opened(text)
    new = {name: value for name, value in (old_claims | claims).items() if value is not None}
    return forged(old_header | (header or {}), new, hs256(SECRET))


@pytest.mark.parametrize("identity", [ANN, OPS, replace(ANN, name="Zoë ☃", customer="größe")])
def test_a_token_says_who_it_was_issued_to(identity: Identity) -> None:
    """What was issued comes back whole, and is known as the gate's own."""
    issued = tokens().issue(identity)
    assert issued.expires_in_s == TTL_S
    assert tokens().verify(issued.text) == identity
    assert tokens().is_own(read_header(issued.text))


def test_a_token_holds_what_it_must_and_no_more() -> None:
    """The claims are as documented; a token is text for a header."""
    header, claims = opened(tokens().issue(ANN).text)
    assert header.keys() == {"alg", "kid", "typ"}
    assert claims == {
        "iss": "bqgate",
        "aud": "bqgate",
        "sub": ANN.subject,
        "name": "ann",
        "role": "analyst",
        "customer": "acme",
        "key": ANN.key_id,
        "iat": claims["iat"],
        "exp": claims["iat"] + TTL_S,
    }


@pytest.mark.parametrize(("seconds", "is_good"), [(TTL_S + LEEWAY_S - 1, True), (TTL_S + LEEWAY_S, False)])
def test_a_token_ends(seconds: int, is_good: bool) -> None:
    """It is good for its life and the skew between replicas, and not a moment longer."""
    clock = ManualClock()
    text = tokens(clock).issue(ANN).text
    clock.advance(seconds)
    if is_good:
        assert tokens(clock).verify(text) == ANN
    else:
        assert fault_of(tokens(clock), text) is LoginFault.EXPIRED


@pytest.mark.parametrize(("seconds", "is_good"), [(LEEWAY_S, True), (LEEWAY_S + 1, False)])
def test_a_replica_may_be_behind(seconds: int, is_good: bool) -> None:
    """A token from a replica whose clock is ahead is good within the skew."""
    ahead = ManualClock()
    ahead.advance(seconds)
    text = tokens(ahead).issue(ANN).text
    if is_good:
        assert tokens().verify(text) == ANN
    else:
        assert fault_of(tokens(), text) is LoginFault.NOT_YET_VALID


def test_the_secret_can_be_changed() -> None:
    """Tokens of the previous secret stay good, new ones bear the new; those before are refused."""
    old = tokens(secret=PREVIOUS_SECRET, previous=None).issue(ANN).text
    assert tokens().verify(old) == ANN
    assert opened(tokens().issue(ANN).text)[0]["kid"] != opened(old)[0]["kid"]
    assert fault_of(tokens(previous=None), old) is LoginFault.BAD_SIGNATURE
    older = tokens(secret="yet another secret", previous=None).issue(ANN).text
    assert fault_of(tokens(), older) is LoginFault.BAD_SIGNATURE
    assert not tokens().is_own(read_header(older))


def test_another_gate_s_token_is_refused() -> None:
    """A token signed with another secret is refused, even where its header names ours."""
    ours = opened(tokens().issue(ANN).text)[0]
    theirs = forged(ours, opened(tokens().issue(ANN).text)[1], hs256("the secret of another gate"))
    assert fault_of(tokens(), theirs) is LoginFault.BAD_SIGNATURE


@pytest.mark.parametrize("alg", ["none", "NONE", "HS384", "HS512", "RS256", "hs256", ""])
def test_only_hs256_is_taken(alg: str) -> None:
    """Any other algorithm in the header is refused, unsigned or signed."""
    header, claims = opened(tokens().issue(ANN).text)
    for sign in (unsigned, hs256(SECRET)):
        assert fault_of(tokens(), forged(header | {"alg": alg}, claims, sign)) is LoginFault.UNSIGNED


@pytest.mark.parametrize("kid", ["", "ffffffff", "x" * 100])
def test_a_token_names_its_secret(kid: str) -> None:
    """A kid of none of the gate's secrets is refused."""
    text = changed(tokens().issue(ANN).text, header={"kid": kid})
    assert fault_of(tokens(), text) is LoginFault.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"iss": "evil"}, LoginFault.WRONG_ISSUER),
        ({"iss": None}, LoginFault.WRONG_ISSUER),
        ({"iss": ["bqgate"]}, LoginFault.WRONG_ISSUER),
        ({"aud": "evil"}, LoginFault.WRONG_AUDIENCE),
        ({"aud": None}, LoginFault.WRONG_AUDIENCE),
        ({"aud": ["bqgate", "evil"]}, LoginFault.WRONG_AUDIENCE),
        ({"sub": None}, LoginFault.WRONG_CLAIMS),
        ({"sub": 7}, LoginFault.WRONG_CLAIMS),
        ({"name": None}, LoginFault.WRONG_CLAIMS),
        ({"name": {"a": 1}}, LoginFault.WRONG_CLAIMS),
        ({"role": None}, LoginFault.WRONG_CLAIMS),
        ({"role": "root"}, LoginFault.WRONG_CLAIMS),
        ({"role": "open"}, LoginFault.WRONG_CLAIMS),
        ({"role": ["admin"]}, LoginFault.WRONG_CLAIMS),
        ({"customer": ["acme"]}, LoginFault.WRONG_CLAIMS),
        ({"customer": 7}, LoginFault.WRONG_CLAIMS),
        ({"customer": True}, LoginFault.WRONG_CLAIMS),
        ({"key": 7}, LoginFault.WRONG_CLAIMS),
        ({"key": ["00000000000000f1"]}, LoginFault.WRONG_CLAIMS),
        ({"key": None}, LoginFault.WRONG_CLAIMS),
        ({"exp": None}, LoginFault.WRONG_CLAIMS),
        ({"exp": "9999999999"}, LoginFault.WRONG_CLAIMS),
        ({"exp": True}, LoginFault.WRONG_CLAIMS),
        ({"exp": 10**100}, LoginFault.WRONG_CLAIMS),
        ({"exp": 200_000_000_000}, LoginFault.LIVES_TOO_LONG),
        ({"iat": None}, LoginFault.WRONG_CLAIMS),
        ({"iat": "0"}, LoginFault.WRONG_CLAIMS),
        ({"nbf": 200_000_000_000}, LoginFault.NOT_YET_VALID),
    ],
)
def test_wrong_claims_are_refused(claims: dict[str, Any], fault: LoginFault) -> None:
    """Even under the gate's own signature a claim that is missing, foreign or of a wrong type is refused."""
    assert fault_of(tokens(), changed(tokens().issue(ANN).text, **claims)) is fault


def test_an_oversized_token_is_refused() -> None:
    """Past 8 KiB nothing is read."""
    assert fault_of(tokens(), changed(tokens().issue(ANN).text, padding="x" * 9000)) is LoginFault.OVERSIZED


def test_a_refusal_names_the_key() -> None:
    """The audit log is told which key a refused token was issued to."""
    with pytest.raises(Unauthenticated) as refused:
        tokens().verify(changed(tokens().issue(ANN).text, role="root"))
    assert refused.value.claimed == ANN.key_id


VALID = tokens().issue(ANN).text


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.characters(codec="utf-8"))
def test_no_mutation_of_a_token_is_good(place: int, character: str) -> None:
    """Any one character of a good token replaced by another: refused, and nothing but Unauthenticated is raised."""
    mutant = VALID[:place] + character + VALID[place + 1 :]
    if mutant != VALID:
        fault_of(tokens(), mutant)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["iss", "aud", "sub", "name", "role", "customer", "key", "iat", "exp", "nbf", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=5,
        ),
        min_size=1,
    )
)
def test_any_claims_lead_to_an_identity_or_a_refusal(claims: dict[str, Any]) -> None:
    """Claims of any type under the gate's own signature raise nothing but Unauthenticated."""
    header, valid = opened(VALID)
    try:
        identity = tokens().verify(forged(header, valid | claims, hs256(SECRET)))
    except Unauthenticated:
        return
    assert isinstance(identity.name, str)
    assert isinstance(identity.role, Role)


def test_a_secret_is_rotated_while_the_gate_runs() -> None:
    """New tokens bear the new secret and lifetime; old ones live on as long as theirs is the previous secret."""
    rotated = tokens(secret=SECRET, previous=None)
    old = rotated.issue(ANN).text
    rotated.rotate(PREVIOUS_SECRET, previous_secret=SECRET, ttl_s=300)
    issued = rotated.issue(ANN)
    assert issued.expires_in_s == 300
    assert tokens(secret=PREVIOUS_SECRET, previous=None).verify(issued.text) == ANN
    assert rotated.verify(old) == ANN
    rotated.rotate(PREVIOUS_SECRET, previous_secret=None, ttl_s=300)
    assert fault_of(rotated, old) is LoginFault.BAD_SIGNATURE
