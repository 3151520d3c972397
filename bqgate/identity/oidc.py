"""Verify the JWTs of other issuers (OpenID Connect, RFC 7519) and read who they are about.

Called by the authenticator for every JWT that is not the gate's own, and by the token endpoint. Only public-key
signatures count: never `none`, never an HMAC, whose secret could be a public key that everybody has (RFC 8725 section
3.1). Nothing that a token says is believed before its signature is verified, but for its issuer and key id, which
choose the key; a URL in a token is never followed. What leaves: an Identity, Unauthenticated with the one fault that
was found first (size, form, algorithm, issuer, key, signature, time, audience, claims), or UpstreamUnavailable while an
issuer's keys are out of reach.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.api_jws import PyJWS

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import ISSUED_TOKEN_LIFE_S, Identity, Role
from bqgate.domain.tier import RESERVED_CUSTOMERS
from bqgate.identity.jwks import ALGORITHMS, KeySets, VerifyingKey
from bqgate.identity.jwt_reading import MOMENT_S_MAX
from bqgate.ports import Clock

TOKEN_CHARS_MAX = 8 * 1024
# RFC 5321 allows an address 254 characters, OpenID Connect a sub 255.
_TEXT_CHARS_MAX = 255
_CLAIMED_CHARS_MAX = 200
_WITHOUT_CUSTOMER = frozenset({Role.ADMIN, Role.SUPER_ADMIN})


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer that the settings trust, and what of its tokens means what.

    `issuer` and `audience` must equal `iss` and one `aud`. `jwks_url` None: the discovery document says where the keys
    are. A claim's name with dots is looked up whole, then as a path. `roles` are those that it may give, `token_life_s`
    is how long a token of it may live: who steals one that never ends has it for ever.
    """

    name: str
    issuer: str
    audience: str
    jwks_url: str | None
    customer_claim: str
    role_claim: str
    roles: frozenset[Role]
    token_life_s: int = ISSUED_TOKEN_LIFE_S


@dataclass(frozen=True, slots=True)
class _Unverified:
    """What a token says of itself."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def issuer(self) -> str:
        """Its `iss`; empty where it has none that can be shown."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) and issuer.isprintable() else ""


class Oidc:
    """The issuers that are trusted, and the check of their tokens."""

    def __init__(self, issuers: Iterable[Issuer], key_sets: KeySets, clock: Clock, *, leeway_s: int) -> None:
        """Trust `issuers`; their clocks may differ from ours by `leeway_s` seconds."""
        self._issuers = tuple(issuers)
        self._key_sets = key_sets
        self._clock = clock
        self._leeway_s = leeway_s
        self._jws = PyJWS(algorithms=sorted(ALGORITHMS))

    def issuer_of(self, text: str) -> str:
        """The trusted issuer that a token claims to be of; "" where it claims none. Proves nothing."""
        try:
            claimed = self._read(text).issuer
        except Unauthenticated:
            return ""
        return claimed if any(each.issuer == claimed for each in self._issuers) else ""

    async def verify(self, text: str) -> Identity:
        """Whom a token is about.

        Raises:
            Unauthenticated: it proves nothing.
            UpstreamUnavailable: the issuer's keys are out of reach.
        """
        token = self._read(text)
        claimed = token.issuer[:_CLAIMED_CHARS_MAX]
        try:
            issuer, key = await self._key_for(token)
            self._check_signature(text, key, token.header["alg"])
            self._check_times(token.claims, issuer)
            _check_audience(token.claims, issuer)
            return _identity(token.claims, issuer)
        except Unauthenticated as refusal:
            raise Unauthenticated(refusal.fault, refusal.message, claimed=claimed) from None

    def _read(self, text: str) -> _Unverified:
        if len(text) > TOKEN_CHARS_MAX:
            raise Unauthenticated(LoginFault.OVERSIZED, f"The token is longer than {TOKEN_CHARS_MAX} characters.")
        malformed = Unauthenticated(LoginFault.MALFORMED, "The token is not a JWT.")
        try:
            parts = self._jws.decode_complete(text, options={"verify_signature": False})
            claims = json.loads(parts["payload"])
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise malformed from None
        if not isinstance(claims, dict):
            raise malformed
        return _Unverified(parts["header"], claims)

    async def _key_for(self, token: _Unverified) -> tuple[Issuer, VerifyingKey]:
        algorithm = token.header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise Unauthenticated(LoginFault.UNSIGNED, "The token is not signed by a public-key algorithm.")
        trusted = [each for each in self._issuers if each.issuer == token.issuer]
        if not trusted:
            raise Unauthenticated(LoginFault.WRONG_ISSUER, "The token is of an issuer that bqgate does not know.")
        # One issuer may be configured for several audiences.
        issuer = next((each for each in trusted if each.audience in _audiences(token.claims)), trusted[0])
        kid = token.header.get("kid")
        keys = await self._key_sets.find(issuer.issuer, issuer.jwks_url, kid)
        fitting = [key for key in keys if algorithm in key.algorithms]
        if keys and not fitting:
            raise Unauthenticated(LoginFault.UNSIGNED, "The token's algorithm is not that of its key.")
        if len(fitting) != 1:
            raise Unauthenticated(LoginFault.UNKNOWN_KEY, "The token does not name one of its issuer's keys.")
        return issuer, fitting[0]

    def _check_signature(self, text: str, key: VerifyingKey, algorithm: str) -> None:
        try:
            self._jws.decode_complete(text, key.key, algorithms=[algorithm])
        except jwt.PyJWTError:
            raise Unauthenticated(LoginFault.BAD_SIGNATURE, "The token's signature is not its issuer's.") from None

    def _check_times(self, claims: Mapping[str, Any], issuer: Issuer) -> None:
        now_s = self._clock.now().timestamp()
        ends_s, issued_s, starts_s = (_seconds(claims, name) for name in ("exp", "iat", "nbf"))
        if ends_s is None:
            raise Unauthenticated(LoginFault.WRONG_CLAIMS, "The token has no end (claim exp).")
        if ends_s + self._leeway_s <= now_s:
            raise Unauthenticated(LoginFault.EXPIRED, "The token has expired.")
        for name, begins_s in (("nbf", starts_s), ("iat", issued_s)):
            if begins_s is not None and begins_s - self._leeway_s > now_s:
                raise Unauthenticated(LoginFault.NOT_YET_VALID, f"The token is not valid yet (claim {name}).")
        begun_s = now_s if issued_s is None else min(issued_s, now_s)
        if ends_s - begun_s > issuer.token_life_s + self._leeway_s:
            message = f"The token lives longer than {issuer.token_life_s} seconds (claim exp)."
            raise Unauthenticated(LoginFault.LIVES_TOO_LONG, message)


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2), None where the claim is missing."""
    value = claims.get(name)
    if value is None:
        return None
    # 1e999 reads as infinity, and a whole number may have thousands of digits; the comparison refuses both, and NaN.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOMENT_S_MAX:
        raise Unauthenticated(LoginFault.WRONG_CLAIMS, f"The token's claim {name} is not a number of seconds.")
    return value


def _audiences(claims: Mapping[str, Any]) -> tuple[object, ...]:
    audience = claims.get("aud")
    return tuple(audience) if isinstance(audience, list) else (audience,)


def _check_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    if issuer.audience not in _audiences(claims):
        raise Unauthenticated(LoginFault.WRONG_AUDIENCE, "The token is meant for somebody else (claim aud).")


def _identity(claims: Mapping[str, Any], issuer: Issuer) -> Identity:
    subject = _text(claims, "sub")
    if subject is None:
        raise Unauthenticated(LoginFault.WRONG_CLAIMS, "The token does not say whom it is about (claim sub).")
    role = _role(claims, issuer)
    customer = _text(claims, issuer.customer_claim)
    if customer is None and role not in _WITHOUT_CUSTOMER:
        raise Unauthenticated(
            LoginFault.WRONG_CLAIMS, f"The token does not name a customer (claim {issuer.customer_claim})."
        )
    if customer in RESERVED_CUSTOMERS:
        message = f"The token names a customer that nobody can be (claim {issuer.customer_claim})."
        raise Unauthenticated(LoginFault.WRONG_CLAIMS, message)
    return Identity(
        name=_verified_email(claims) or subject,
        subject=f"oidc:{issuer.issuer}#{subject}",
        role=role,
        customer=customer,
    )


def _role(claims: Mapping[str, Any], issuer: Issuer) -> Role:
    """The role that the issuer gives; a token without one is a user's."""
    text = _text(claims, issuer.role_claim)
    try:
        role = Role.USER if text is None else Role(text)
    except ValueError:
        role = Role.OPEN
    # OPEN is nobody's role: it is what everybody has before an open gate.
    if role is Role.OPEN or role not in issuer.roles:
        raise Unauthenticated(
            LoginFault.WRONG_CLAIMS,
            f"The token's role is not one that its issuer may give (claim {issuer.role_claim}).",
        )
    return role


def _verified_email(claims: Mapping[str, Any]) -> str | None:
    """The e-mail address, where the issuer says that it has verified it; some issuers say so by a text."""
    email, verified = claims.get("email"), claims.get("email_verified")
    is_verified = verified is True or verified == "true"
    return email if is_verified and isinstance(email, str) and _is_plain(email) else None


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = _claim(claims, name)
    if value is None:
        return None
    if isinstance(value, str) and _is_plain(value):
        return value
    raise Unauthenticated(LoginFault.WRONG_CLAIMS, f"The token's claim {name} is not a short text.")


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """A claim by its name, else by its path: "realm_access.role" is role in the object realm_access."""
    if name in claims:
        return claims[name]
    value: object = claims
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _is_plain(text: str) -> bool:
    """Nothing that a database or a log line can not hold: no control characters, no halves of surrogate pairs."""
    return 0 < len(text) <= _TEXT_CHARS_MAX and text.isprintable()
