"""Find out who calls, where identity.mode is required: see which kind of credential it is, and have it verified.

The gate's dispatch step and the control plane's guard call it with every request. The kind is seen by the credential's
form, which proves nothing: each verifier believes only what it can prove. Whatever names a key of the gate is looked
up in the keyring at every use, and whose it is, is what the key says now. Google's own tokens are known here only where
they go upstream (upstream.credentials: caller). What leaves: an Identity, or Unauthenticated, which quotes no token.
"""

import re
from typing import Protocol

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import Credential, Identity
from bqgate.identity import static_tokens
from bqgate.identity.access_tokens import ISSUER, AccessTokens
from bqgate.identity.assertions import Assertions
from bqgate.identity.jwt_reading import is_jwt_shaped, read_header, read_jwt
from bqgate.identity.keyring import Keyring, identity_of
from bqgate.ports import Authenticator

# RFC 6750 section 2.1, with RFC 9110's rule that a scheme's case does not matter.
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)
# Google's longest tokens have 12,288 bytes (https://developers.google.com/identity/protocols/oauth2#size).
_HEADER_CHARS_MAX = 16 * 1024
_HOW = "Log in with a key file, a static token or an external-account file of this gate."


class Oidc(Protocol):
    """The JWTs of other issuers."""

    def issuer_of(self, text: str) -> str:
        """The issuer of those in the settings that a JWT claims to be of; "" where it claims none. Proves nothing."""

    async def verify(self, text: str) -> Identity:
        """Whom an issuer's JWT proves.

        Raises:
            Unauthenticated: it proves nothing; WRONG_ISSUER where its issuer is none of those in the settings.
            UpstreamUnavailable: the issuer's keys are not known and cannot be fetched.
        """


class CallerAuthenticator:
    """ports.Authenticator of a gate that wants to know everybody.

    `oidc` None: no other issuer is trusted. `google` None: Google's tokens are not taken.
    """

    def __init__(
        self,
        *,
        access_tokens: AccessTokens,
        assertions: Assertions,
        keyring: Keyring,
        oidc: Oidc | None = None,
        google: Authenticator | None = None,
    ) -> None:
        self._access_tokens = access_tokens
        self._assertions = assertions
        self._keyring = keyring
        self._oidc = oidc
        self._google = google

    @property
    def accepts_google(self) -> bool:
        """Whether callers' own Google tokens go upstream; the gate's own tokens are of no use there then."""
        return self._google is not None

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        """The identity that a bearer token proves.

        Raises:
            Unauthenticated: it proves nothing.
            LedgerUnavailable: it names a key that is new here, and whether there is one is not known now.
            UpstreamRefused: Google refuses its own token.
            UpstreamUnavailable: Google or an issuer does not answer.
            TooManyRequests: too many of Google's tokens are being asked about.
        """
        token = _bearer(credential.authorization)
        if token.startswith(static_tokens.PREFIX):
            return identity_of(await static_tokens.verify(token, self._keyring))
        if is_jwt_shaped(token):
            return await self._authenticate_jwt(token, credential, project_id, source)
        if self._google is not None:
            return await self._google.authenticate(credential, project_id=project_id, source=source)
        raise Unauthenticated(LoginFault.MALFORMED, f"This bearer token is not one of this gate's. {_HOW}")

    async def _authenticate_jwt(
        self, token: str, credential: Credential, project_id: str | None, source: str
    ) -> Identity:
        if self._access_tokens.is_own(read_header(token)):
            return await self._by_access_token(token)
        jwt = read_jwt(token)
        if jwt.issuer == ISSUER:
            return await self._by_access_token(token)
        if self._assertions.is_by_key(jwt):
            return identity_of(await self._assertions.verify_bearer(token))
        if self._oidc is not None:
            try:
                return await self._oidc.verify(token)
            except Unauthenticated as refused:
                if self._google is None or refused.fault is not LoginFault.WRONG_ISSUER:
                    raise
        if self._google is not None:
            # A Google service account may sign its own bearer tokens too; Google knows whether they are good.
            return await self._google.authenticate(credential, project_id=project_id, source=source)
        message = f"This gate does not trust the issuer of this JWT. {_HOW}"
        raise Unauthenticated(LoginFault.WRONG_ISSUER, message, claimed=jwt.claimed)

    async def _by_access_token(self, token: str) -> Identity:
        identity = self._access_tokens.verify(token)
        if identity.key_id is None:
            return identity
        return identity_of(await self._keyring.find(identity.key_id))


def _bearer(authorization: str | None) -> str:
    """The token of an Authorization header.

    Raises:
        Unauthenticated: MISSING, OVERSIZED, MALFORMED.
    """
    if authorization is None or authorization.strip() == "":
        raise Unauthenticated(LoginFault.MISSING, f"This gate wants to know who calls. {_HOW}")
    if len(authorization) > _HEADER_CHARS_MAX:
        message = f"The Authorization header is longer than {_HEADER_CHARS_MAX} characters."
        raise Unauthenticated(LoginFault.OVERSIZED, message)
    found = _BEARER.fullmatch(authorization.strip())
    if found is None:
        message = f'The Authorization header must be "Bearer" and one token. {_HOW}'
        raise Unauthenticated(LoginFault.MALFORMED, message)
    return found[1]
