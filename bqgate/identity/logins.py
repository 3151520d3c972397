"""Answer the token endpoint's two grants: an assertion by a key file, and the exchange of another token.

Called by the control plane's POST /oauth2/token with the form as it came. jwt-bearer is RFC 7523, token-exchange
RFC 8693: an external-account file brings a static token or an issuer's JWT. Reading is strict: what stands twice or is
missing is refused, and so is delegation; parameters that are not known are passed over (RFC 6749 section 3.2). What
leaves: a Grant, or LoginRefused with what RFC 6749 section 5.2 wants said and what the audit log wants to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bqgate.domain.errors import BqgateError, LoginFault, Unauthenticated
from bqgate.domain.principal import Identity
from bqgate.identity import static_tokens
from bqgate.identity.access_tokens import AccessTokens
from bqgate.identity.assertions import Assertions
from bqgate.identity.authenticator import Oidc
from bqgate.identity.jwt_reading import is_jwt_shaped, read_jwt
from bqgate.identity.keyring import Keyring, identity_of

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
# The token's own form tells what it is; files in use call the same thing by any of these.
_SUBJECT_TOKEN_TYPES = frozenset(
    {
        ACCESS_TOKEN_TYPE,
        "urn:ietf:params:oauth:token-type:jwt",
        "urn:ietf:params:oauth:token-type:id_token",
        "urn:ietf:params:oauth:token-type:id-token",
    }
)


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token for somebody, and how long it lives, in seconds. `issued_token_type`: only for an exchange."""

    access_token: str = field(repr=False)
    expires_in_s: int
    identity: Identity
    issued_token_type: str | None = None


class LoginRefused(BqgateError):
    """No token for this one.

    `error` is a code of RFC 6749 section 5.2, `description` is for the caller and quotes nothing of the request,
    `status` is HTTP's; `fault` and `claimed` are for the audit log (as in Unauthenticated).
    """

    def __init__(
        self, error: str, description: str, *, fault: LoginFault, claimed: str = "", status: int = 400
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
        self.fault = fault
        self.claimed = claimed


class Logins:
    """The token endpoint without its HTTP."""

    def __init__(
        self, *, access_tokens: AccessTokens, assertions: Assertions, keyring: Keyring, oidc: Oidc | None = None
    ) -> None:
        self._access_tokens = access_tokens
        self._assertions = assertions
        self._keyring = keyring
        self._oidc = oidc

    def claimed(self, form: Mapping[str, str]) -> str:
        """The key or issuer, of those that are known here, by which a login claims to be; "": none. Proves nothing."""
        try:
            if form.get("grant_type") == JWT_BEARER:
                return self._known(read_jwt(form.get("assertion", "")).key_id)
            token = form.get("subject_token", "").strip()
            if token.startswith(static_tokens.PREFIX):
                return self._known(static_tokens.parse(token))
            return self._oidc.issuer_of(token) if self._oidc is not None and is_jwt_shaped(token) else ""
        except Unauthenticated:
            return ""

    def _known(self, key_id: str) -> str:
        return key_id if self._keyring.knows(key_id) else ""

    async def grant(self, form: Mapping[str, str]) -> Grant:
        """A token for whoever the form proves. A form that keeps repeated names (MultiDict) has them refused.

        Raises:
            LoginRefused: invalid_request, unsupported_grant_type, invalid_grant.
            LedgerUnavailable: whether there is such a key is not known now.
        """
        fields = _without_repeats(form)
        grant_type = _required(fields, "grant_type")
        try:
            match grant_type:
                case _ if grant_type == JWT_BEARER:
                    error = "invalid_grant"  # RFC 7523 section 3.1
                    key = await self._assertions.verify_login(_required(fields, "assertion"))
                    return self._issued(identity_of(key), None)
                case _ if grant_type == TOKEN_EXCHANGE:
                    error = "invalid_request"  # RFC 8693 section 2.2.2
                    _check_exchange(fields)
                    # A token that was written to a file often brings the file's last newline along.
                    subject = await self._subject(_required(fields, "subject_token").strip())
                    return self._issued(subject, ACCESS_TOKEN_TYPE)
                case _:
                    message = f"grant_type must be {JWT_BEARER} or {TOKEN_EXCHANGE}."
                    raise LoginRefused("unsupported_grant_type", message, fault=LoginFault.MALFORMED)
        except Unauthenticated as refused:
            raise LoginRefused(error, refused.message, fault=refused.fault, claimed=refused.claimed) from None

    async def _subject(self, token: str) -> Identity:
        if token.startswith(static_tokens.PREFIX):
            return identity_of(await static_tokens.verify(token, self._keyring))
        if not is_jwt_shaped(token):
            raise Unauthenticated(LoginFault.MALFORMED, "subject_token is neither a static token nor a JWT.")
        if self._oidc is None:
            raise Unauthenticated(LoginFault.WRONG_ISSUER, "This gate trusts no other issuer's JWTs.")
        return await self._oidc.verify(token)

    def _issued(self, identity: Identity, issued_token_type: str | None) -> Grant:
        token = self._access_tokens.issue(identity)
        return Grant(token.text, token.expires_in_s, identity, issued_token_type)


def _without_repeats(form: Mapping[str, str]) -> dict[str, str]:
    pairs = list(form.items())
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _invalid("A parameter stands twice in the form.")
    return fields


def _required(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or value == "":
        raise _invalid(f"The parameter {name} is missing.", LoginFault.MISSING)
    return value


def _check_exchange(fields: Mapping[str, str]) -> None:
    if _required(fields, "subject_token_type") not in _SUBJECT_TOKEN_TYPES:
        raise _invalid("subject_token_type must be that of an access token, a JWT or an ID token.")
    if fields.get("requested_token_type", ACCESS_TOKEN_TYPE) != ACCESS_TOKEN_TYPE:
        raise _invalid(f"requested_token_type must be {ACCESS_TOKEN_TYPE}.")
    if "actor_token" in fields:
        raise _invalid("The gate knows no delegation (actor_token).")


def _invalid(message: str, fault: LoginFault = LoginFault.MALFORMED) -> LoginRefused:
    return LoginRefused("invalid_request", message, fault=fault)
