from dataclasses import replace
from typing import Any

import pytest
from multidict import MultiDict

from bqgate.domain.errors import LedgerUnavailable, LoginFault, Unauthenticated
from bqgate.domain.principal import Identity, Role
from bqgate.identity.keyring import identity_of
from bqgate.identity.logins import ACCESS_TOKEN_TYPE, JWT_BEARER, TOKEN_EXCHANGE, LoginRefused
from bqgate.identity.static_tokens import mint
from tests.support.identity_stand import (
    FILE_KEY_ID,
    TOKEN_KEY_ID,
    TTL_S,
    IdentityStand,
    forged,
    refusing_oidc,
    unsigned,
)

JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
ANN = Identity("ann@example.com", "oidc:https://issuer.example.com#7", Role.ANALYST, "acme")


class TrustingOidc:
    """Knows one token."""

    def issuer_of(self, text: str) -> str:
        return "https://issuer.example.com" if text == FOREIGN_JWT else ""

    async def verify(self, text: str) -> Identity:
        if text == FOREIGN_JWT:
            return ANN
        raise Unauthenticated(LoginFault.BAD_SIGNATURE, "not that one", claimed="https://issuer.example.com")


FOREIGN_JWT = forged({"alg": "ES256"}, {"iss": "https://issuer.example.com"}, unsigned)


@pytest.fixture
def stand() -> IdentityStand:
    return IdentityStand()


async def refusal_of(stand: IdentityStand, form: Any) -> LoginRefused:
    with pytest.raises(LoginRefused) as refused:
        await stand.logins.grant(form)
    return refused.value


def exchange(token: str, **changes: str) -> dict[str, str]:
    """The form that an external-account file leads to."""
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "audience": "https://bqgate.example.com",
        "scope": "https://www.googleapis.com/auth/bigquery",
        "requested_token_type": ACCESS_TOKEN_TYPE,
        "subject_token": token,
        "subject_token_type": JWT_TYPE,
    }
    return form | changes


async def test_an_assertion_gets_an_access_token(stand: IdentityStand) -> None:
    """A key file's login leads to a token that says whose key it was."""
    grant = await stand.logins.grant({"grant_type": JWT_BEARER, "assertion": stand.assertion()})
    assert (grant.expires_in_s, grant.issued_token_type) == (TTL_S, None)
    assert stand.access_tokens.verify(grant.access_token) == grant.identity == identity_of(stand.file_key)


@pytest.mark.parametrize("kind", [JWT_TYPE, ACCESS_TOKEN_TYPE, "urn:ietf:params:oauth:token-type:id_token"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
async def test_a_static_token_gets_an_access_token(stand: IdentityStand, kind: str, end: str) -> None:
    """An exchange of a static token works whatever the file calls it, and with the file's last newline."""
    grant = await stand.logins.grant(exchange(stand.static_token + end, subject_token_type=kind))
    assert grant.issued_token_type == ACCESS_TOKEN_TYPE
    assert stand.access_tokens.verify(grant.access_token) == identity_of(stand.token_key)


async def test_an_issuer_s_jwt_gets_an_access_token() -> None:
    """An exchange of another issuer's JWT leads to a token that carries the identity itself."""
    stand = IdentityStand(oidc=TrustingOidc())
    grant = await stand.logins.grant(exchange(FOREIGN_JWT))
    assert stand.access_tokens.verify(grant.access_token) == grant.identity == ANN
    refused = await refusal_of(stand, exchange(f"{FOREIGN_JWT}x"))
    assert (refused.error, refused.fault) == ("invalid_request", LoginFault.BAD_SIGNATURE)
    assert refused.claimed == "https://issuer.example.com"


async def test_what_is_not_known_is_passed_over(stand: IdentityStand) -> None:
    """Parameters beyond the grant's do not matter (RFC 6749 section 3.2)."""
    form = {"grant_type": JWT_BEARER, "assertion": stand.assertion(), "scope": "x", "client_id": "7", "new": ""}
    assert (await stand.logins.grant(form)).identity == identity_of(stand.file_key)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"grant_type": ""},
        {"assertion": "x"},
        {"grant_type": JWT_BEARER},
        {"grant_type": JWT_BEARER, "assertion": ""},
        {"grant_type": JWT_BEARER, "assertion": b"x"},
        {"grant_type": TOKEN_EXCHANGE, "subject_token_type": JWT_TYPE},
        {"grant_type": TOKEN_EXCHANGE, "subject_token": "x"},
    ],
)
async def test_a_form_must_be_whole(stand: IdentityStand, form: dict[str, Any]) -> None:
    """A parameter that is missing, empty or a file is an invalid request."""
    refused = await refusal_of(stand, form)
    assert (refused.error, refused.status, refused.fault) == ("invalid_request", 400, LoginFault.MISSING)


async def test_nothing_may_stand_twice(stand: IdentityStand) -> None:
    """A parameter that stands twice is refused (RFC 6749 section 3.2), be the values alike."""
    assertion = stand.assertion()
    for extra in ({"assertion": assertion}, {"grant_type": JWT_BEARER}, {"x": "1"}):
        form = MultiDict({"grant_type": JWT_BEARER, "assertion": assertion, "x": "1"})
        form.extend(extra)
        refused = await refusal_of(stand, form)
        assert (refused.error, refused.fault) == ("invalid_request", LoginFault.MALFORMED)


@pytest.mark.parametrize(
    "grant_type", ["password", "refresh_token", "client_credentials", JWT_BEARER.upper(), f" {JWT_BEARER}", "x" * 10**6]
)
async def test_other_grants_are_not_known(stand: IdentityStand, grant_type: str) -> None:
    """Any other grant type is refused with the code for that, and not repeated to the caller."""
    refused = await refusal_of(stand, {"grant_type": grant_type, "assertion": stand.assertion()})
    assert (refused.error, refused.status) == ("unsupported_grant_type", 400)
    assert len(refused.description) < 300


@pytest.mark.parametrize(
    "changes",
    [
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token": "x"},
    ],
)
async def test_an_exchange_of_another_kind_is_refused(stand: IdentityStand, changes: dict[str, str]) -> None:
    """Other token types, and an actor beside the subject, are refused."""
    refused = await refusal_of(stand, exchange(stand.static_token, **changes))
    assert (refused.error, refused.status) == ("invalid_request", 400)


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        ("ya29.a0AfH6SMBx", LoginFault.MALFORMED),
        ("x", LoginFault.MALFORMED),
        (" ", LoginFault.MALFORMED),
        ("bqg_x", LoginFault.MALFORMED),
        pytest.param(mint(TOKEN_KEY_ID), LoginFault.BAD_SIGNATURE, id="another token of a known key"),
        pytest.param(mint("f" * 16), LoginFault.UNKNOWN_KEY, id="a token of no key"),
        (FOREIGN_JWT, LoginFault.WRONG_ISSUER),
    ],
)
async def test_a_subject_that_proves_nothing_gets_nothing(stand: IdentityStand, token: str, fault: LoginFault) -> None:
    """A subject token that is foreign, unknown or wrong is refused with its fault."""
    refused = await refusal_of(stand, exchange(token))
    assert (refused.error, refused.status, refused.fault) == ("invalid_request", 400, fault)


async def test_an_access_token_cannot_be_made_to_live_longer() -> None:
    """The gate's own access tokens are no subject of an exchange: whoever stole one cannot renew it."""
    stand = IdentityStand(oidc=refusing_oidc(LoginFault.WRONG_ISSUER))
    grant = await stand.logins.grant({"grant_type": JWT_BEARER, "assertion": stand.assertion()})
    refused = await refusal_of(stand, exchange(grant.access_token))
    assert refused.fault is LoginFault.WRONG_ISSUER
    refused = await refusal_of(stand, {"grant_type": JWT_BEARER, "assertion": grant.access_token})
    assert (refused.error, refused.fault) == ("invalid_grant", LoginFault.UNSIGNED)


async def test_a_refused_assertion_is_an_invalid_grant(stand: IdentityStand) -> None:
    """The caller hears invalid_grant (RFC 7523), the audit log the fault and the claimed key."""
    for claims, fault in (({"aud": "x"}, LoginFault.WRONG_AUDIENCE), ({"exp": 1}, LoginFault.EXPIRED)):
        form = {"grant_type": JWT_BEARER, "assertion": stand.assertion(stand.claims(**claims))}
        refused = await refusal_of(stand, form)
        assert (refused.error, refused.status, refused.fault) == ("invalid_grant", 400, fault)
        assert refused.claimed == FILE_KEY_ID
    refused = await refusal_of(stand, {"grant_type": JWT_BEARER, "assertion": "x" * 10**6})
    assert (refused.error, refused.fault) == ("invalid_grant", LoginFault.OVERSIZED)


async def test_an_ended_key_gets_no_token(stand: IdentityStand) -> None:
    """After its revocation a key logs in no more, by either grant."""
    for key in (stand.file_key, stand.token_key):
        stand.shelf.put(replace(key, is_revoked=True))
    refused = await refusal_of(stand, {"grant_type": JWT_BEARER, "assertion": stand.assertion()})
    assert refused.fault is LoginFault.REVOKED
    assert (await refusal_of(stand, exchange(stand.static_token))).fault is LoginFault.REVOKED


async def test_a_registry_that_is_away_refuses_nobody(stand: IdentityStand) -> None:
    """Where it cannot be known whether there is such a key, the failure leaves as it is: the client may try again."""
    stand.shelf.failure = LedgerUnavailable("away")
    with pytest.raises(LedgerUnavailable):
        await stand.logins.grant(exchange(mint("f" * 16)))


def test_a_login_claims_to_be_by_what_is_known_or_by_nothing() -> None:
    """A key of this gate, in either form, or an issuer that it trusts; whether that is true is another question."""
    stand = IdentityStand(oidc=TrustingOidc())
    known = stand.assertion()
    other = forged({"alg": "RS256", "kid": "0123456789abcdef"}, {"iss": "x"}, unsigned)
    claimed = stand.logins.claimed
    assert claimed({"grant_type": JWT_BEARER, "assertion": known}) == FILE_KEY_ID
    assert claimed({"grant_type": JWT_BEARER, "assertion": other}) == ""
    assert claimed({"grant_type": JWT_BEARER, "assertion": "a.b"}) == ""
    assert claimed({"grant_type": JWT_BEARER}) == ""
    assert claimed(exchange(mint(TOKEN_KEY_ID))) == TOKEN_KEY_ID
    assert claimed(exchange(mint("0123456789abcdef"))) == ""
    assert claimed(exchange("bqg_")) == ""
    assert claimed(exchange(FOREIGN_JWT)) == "https://issuer.example.com"
    assert claimed(exchange("opaque")) == ""
    assert claimed({}) == ""
    assert IdentityStand().logins.claimed(exchange(FOREIGN_JWT)) == ""
