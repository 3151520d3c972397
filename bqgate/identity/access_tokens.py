"""Issue and verify the gate's own access tokens: JWTs (RFC 7519), HS256 with the gate's secret.

Issued by logins, verified by the authenticator with every request, so it is cheap: tens of microseconds, no I/O. The
header's kid says which secret signed it, the one in use or the one before, which lets the secret be changed while old
tokens live out. The key behind a token may end before the token does: whoever verifies must look it up
(authenticator). What leaves: an IssuedToken, an Identity as it was when the token was issued, or Unauthenticated.
"""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import Identity, Role
from bqgate.identity.jwt_reading import UnverifiedJwt, audiences_of, check_moments, read_jwt, shown, text_of
from bqgate.ports import Clock

ISSUER = "bqgate"
_ALGORITHM = "HS256"
# Nobody logs in to a gate that is open, so no token is for that role.
_ROLES = frozenset(each.value for each in Role if each is not Role.OPEN)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new access token and how long it lives, in seconds."""

    text: str = field(repr=False)
    expires_in_s: int


class AccessTokens:
    """The gate's own tokens. `ttl_s` is how long they live, `leeway_s` how far two replicas' clocks may differ."""

    def __init__(self, secret: str, *, previous_secret: str | None, ttl_s: int, clock: Clock, leeway_s: int) -> None:
        self._clock = clock
        self._leeway_s = leeway_s
        self.rotate(secret, previous_secret=previous_secret, ttl_s=ttl_s)

    def rotate(self, secret: str, *, previous_secret: str | None, ttl_s: int) -> None:
        """Sign with this secret from now on, and take tokens that it or the previous one signed, and no others."""
        self._kid = _kid_of(secret)
        self._secrets = {_kid_of(each): each.encode() for each in (previous_secret, secret) if each is not None}
        self._ttl_s = ttl_s

    def issue(self, identity: Identity) -> IssuedToken:
        """A token for somebody who has proven who it is."""
        issued_s = int(self._clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": ISSUER,
            "sub": identity.subject,
            "name": identity.name,
            "role": identity.role.value,
            "iat": issued_s,
            "exp": issued_s + self._ttl_s,
        }
        if identity.customer is not None:
            claims["customer"] = identity.customer
        if identity.key_id is not None:
            claims["key"] = identity.key_id
        signed = f"{_encoded({'alg': _ALGORITHM, 'kid': self._kid, 'typ': 'JWT'})}.{_encoded(claims)}"
        signature = _hs256(self._secrets[self._kid], signed.encode())
        return IssuedToken(f"{signed}.{_base64url(signature)}", self._ttl_s)

    def is_own(self, header: Mapping[str, Any]) -> bool:
        """Whether a JWT's header names one of our secrets. Proves nothing."""
        return text_of(header, "kid") in self._secrets

    def verify(self, text: str) -> Identity:
        """Whom a token was issued to; `key_id` names the key that must still be valid, None for an issuer's subject.

        Raises:
            Unauthenticated: OVERSIZED, MALFORMED, UNSIGNED, BAD_SIGNATURE, EXPIRED, NOT_YET_VALID, LIVES_TOO_LONG,
                WRONG_ISSUER, WRONG_AUDIENCE, WRONG_CLAIMS.
        """
        jwt = read_jwt(text)
        if jwt.algorithm != _ALGORITHM:
            raise _refusal(jwt, LoginFault.UNSIGNED, "An access token of this gate is signed with HS256.")
        secret = self._secrets.get(jwt.key_id)
        if secret is None or not hmac.compare_digest(jwt.signature, _hs256(secret, jwt.signed)):
            raise _refusal(jwt, LoginFault.BAD_SIGNATURE, "This access token was not signed by this gate.")
        if jwt.issuer != ISSUER:
            raise _refusal(jwt, LoginFault.WRONG_ISSUER, "This access token is not from a gate.")
        if audiences_of(jwt) != (ISSUER,):
            raise _refusal(jwt, LoginFault.WRONG_AUDIENCE, "This access token is not for a gate.")
        check_moments(jwt, now=self._clock.now(), leeway_s=self._leeway_s)
        return _identity(jwt)


def _identity(jwt: UnverifiedJwt) -> Identity:
    claims = jwt.claims
    subject, name, role = (text_of(claims, each) for each in ("sub", "name", "role"))
    customer, key_id = claims.get("customer"), claims.get("key")
    is_whole = (
        subject != ""
        and name != ""
        and role in _ROLES
        and (customer is None or isinstance(customer, str))
        and (key_id is None or isinstance(key_id, str))
    )
    # A token without a key is used as it is: it must not be able to pass for a key's.
    if not is_whole or (key_id is None and subject.startswith("key:")):
        raise _refusal(jwt, LoginFault.WRONG_CLAIMS, "This access token does not say whose it is.")
    return Identity(name, subject, Role(role), customer, key_id)


def _refusal(jwt: UnverifiedJwt, fault: LoginFault, message: str) -> Unauthenticated:
    return Unauthenticated(fault, message, claimed=shown(text_of(jwt.claims, "key") or jwt.issuer))


def _hs256(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, signed, "sha256")


def _kid_of(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()[:8]


def _encoded(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
