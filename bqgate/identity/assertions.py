"""Verify JWTs that a client signed with its key file: logins (RFC 7523), and bearer tokens without a login.

Called by logins and the authenticator. The kid of the header names the key, the key's own public half proves the
signature, RS256 and nothing else: a public key must never serve as an HMAC secret. A login is for the token endpoint:
Python and Java always name Google's, Go that of the file. A bearer token has iss = sub = client_email and a scope, or
is for BigQuery or for this gate (https://developers.google.com/identity/protocols/oauth2/service-account#jwt-auth).
A repeat of an assertion only gets another token of the same key, so nothing is kept of it. What leaves: the Key.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.key import Key
from bqgate.identity.jwt_reading import UnverifiedJwt, audiences_of, check_moments, read_jwt, text_of
from bqgate.identity.keyring import EMAIL_DOMAIN, Keyring, email_of
from bqgate.ports import Clock

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

TOKEN_PATHS = ("/oauth2/token", "/token", "/v1/token")
_GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_GOOGLE_BIGQUERY_URL = "https://bigquery.googleapis.com/"
_ALGORITHM = "RS256"
_LOADED_KEYS_MAX = 1_024


class Assertions:
    """JWTs by key files. `audiences` are the gate's own addresses ("https://bqgate.example.com"), without paths."""

    def __init__(self, keyring: Keyring, clock: Clock, *, audiences: Collection[str], leeway_s: int) -> None:
        from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415 - cryptography is 10 MiB; a gate that is open has no use for it

        self._rs256 = RSAAlgorithm(RSAAlgorithm.SHA256)
        self._keyring = keyring
        self._clock = clock
        self._leeway_s = leeway_s
        roots = {each.rstrip("/") for each in audiences}
        own = roots | {f"{root}/" for root in roots}
        self._login_audiences = {_GOOGLE_TOKEN_URL, *own, *(root + path for root in roots for path in TOKEN_PATHS)}
        self._bearer_audiences = {_GOOGLE_BIGQUERY_URL, *own}

    def is_by_key(self, jwt: UnverifiedJwt) -> bool:
        """Whether a JWT claims to be by a key of this gate. Proves nothing."""
        return jwt.issuer.endswith(f"@{EMAIL_DOMAIN}")

    async def verify_login(self, jwt_text: str) -> Key:
        """The key that an assertion at the token endpoint proves.

        Raises:
            Unauthenticated: OVERSIZED, MALFORMED, UNSIGNED, UNKNOWN_KEY, REVOKED, EXPIRED, BAD_SIGNATURE, WRONG_ISSUER,
                NOT_YET_VALID, LIVES_TOO_LONG, WRONG_AUDIENCE, WRONG_CLAIMS.
            LedgerUnavailable: as Keyring.find.
        """
        jwt, key = await self._verified(jwt_text)
        if self._login_audiences.isdisjoint(audiences_of(jwt)):
            raise _refusal(jwt, LoginFault.WRONG_AUDIENCE, "aud is not this gate's token endpoint.")
        if jwt.claims.get("sub", jwt.issuer) != jwt.issuer:
            raise _refusal(jwt, LoginFault.WRONG_CLAIMS, "sub is somebody else; the gate knows no delegation.")
        return key

    async def verify_bearer(self, jwt_text: str) -> Key:
        """The key that a self-signed JWT in place of an access token proves.

        Raises:
            Unauthenticated: as verify_login.
            LedgerUnavailable: as Keyring.find.
        """
        jwt, key = await self._verified(jwt_text)
        if text_of(jwt.claims, "sub") != jwt.issuer:
            raise _refusal(jwt, LoginFault.WRONG_CLAIMS, "A self-signed JWT needs sub and iss to be client_email.")
        audiences = audiences_of(jwt)
        has_scope = text_of(jwt.claims, "scope") != ""
        if (audiences or not has_scope) and self._bearer_audiences.isdisjoint(audiences):
            message = f"A self-signed JWT needs a scope, or aud {_GOOGLE_BIGQUERY_URL} or the address of this gate."
            raise _refusal(jwt, LoginFault.WRONG_AUDIENCE, message)
        return key

    async def _verified(self, jwt_text: str) -> tuple[UnverifiedJwt, Key]:
        """The JWT, proven to be by the key that it names, and to be valid now."""
        jwt = read_jwt(jwt_text)
        if jwt.algorithm != _ALGORITHM:
            raise _refusal(jwt, LoginFault.UNSIGNED, "A JWT by a key file is signed with RS256.")
        key = await self._keyring.find(jwt.key_id)
        if key.public_key is None:
            raise _refusal(jwt, LoginFault.UNKNOWN_KEY, "This key is no key file.")
        if not self._rs256.verify(jwt.signed, _loaded(key.public_key), jwt.signature):
            raise _refusal(jwt, LoginFault.BAD_SIGNATURE, "The JWT was not signed with the key that it names.")
        if jwt.issuer != email_of(key.id):
            raise _refusal(jwt, LoginFault.WRONG_ISSUER, "iss is not the client_email of the key that signed.")
        check_moments(jwt, now=self._clock.now(), leeway_s=self._leeway_s)
        return jwt, key


@lru_cache(maxsize=_LOADED_KEYS_MAX)
def _loaded(pem: str) -> "RSAPublicKey":
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415 - as above

    key = load_pem_public_key(pem.encode())
    if not isinstance(key, RSAPublicKey):
        raise TypeError("a key file's public key is not RSA")
    return key


def _refusal(jwt: UnverifiedJwt, fault: LoginFault, message: str) -> Unauthenticated:
    return Unauthenticated(fault, message, claimed=jwt.claimed)
