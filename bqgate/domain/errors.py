"""List the outside failures and the malformed requests that may cross a port.

    BqgateError
    ├── MalformedRequest          the caller's request cannot be understood (400)
    ├── BodyTooLarge              it is larger than BigQuery itself accepts (413)
    ├── BodyTooSlow               it did not arrive in time (408)
    ├── NoRoomForBody             the gate keeps too many others at the moment (503: send it again)
    ├── UnsupportedRequest        the gate cannot bound what it would cost, or cannot parse it (400, 501)
    ├── Unauthenticated           the caller did not prove who it is (401); says which fault
    ├── AccessDenied              the caller is known and may not have this (403)
    ├── UnknownHost               the caller calls the gate by a name that is not listed (421)
    ├── ForeignPage               a web page of another origin calls an open gate (403)
    ├── TooManyRequests           the caller asks more often than it may (429)
    ├── VersionConflict           what was to be changed is not what it was when it was read (412)
    ├── AttemptEnded              the request repeats one that is just ending (503: send it again)
    ├── AttemptUnderWay           the request repeats one that is running and may be sent once only (503)
    ├── OwnQueriesSpent           the gate's own queries have cost as much as they may today (never a caller's)
    ├── BudgetStoreUnavailable    Redis did not answer
    ├── LedgerUnavailable         the SQL database did not answer
    ├── UpstreamUnavailable       BigQuery did not answer, or answered 5xx
    │   ├── UpstreamTimeout       not in time; whether it did the work is unknown
    │   └── UpstreamNotTried      the gate did not even try: no token, no free connection, BigQuery is left alone
    ├── UpstreamRefused           BigQuery answered 4xx; carries its status and body
    └── JobNotFound               BigQuery knows no such job

A refusal by a budget is no error: it is a value (decision.Reject). A bug is any other exception and ends in a 500.
"""

from enum import StrEnum


class BqgateError(Exception):
    """The root of what a port may raise."""


class MalformedRequest(BqgateError):
    """The request is not what BigQuery's reference describes. `field` names the culprit where one is known."""

    def __init__(self, message: str, *, reason: str = "invalid", field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.field = field


class BodyTooLarge(BqgateError):
    """The body passes a bound; `limit_bytes` says which."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"Request body is larger than {limit_bytes} bytes.")
        self.limit_bytes = limit_bytes


class BodyTooSlow(BqgateError):
    """The body did not arrive in `limit_s` seconds."""

    def __init__(self, limit_s: int) -> None:
        super().__init__(f"Request body has not arrived within {limit_s} seconds.")


class NoRoomForBody(BqgateError):
    """The gate keeps too many bodies to take this one now; it may in `retry_after_s` seconds."""

    def __init__(self, *, retry_after_s: int) -> None:
        super().__init__("too many large requests are under way; retry later.")
        self.retry_after_s = retry_after_s


class UnsupportedRequest(BqgateError):
    """The gate refuses to pass this on: it cannot parse it or cannot bound its cost."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class LoginFault(StrEnum):
    """Why a credential proves nothing; the audit log's word for it."""

    MISSING = "missing"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    UNSIGNED = "unsigned"  # alg: none, or an algorithm that is not allowed for this key
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    LIVES_TOO_LONG = "lives_too_long"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_CLAIMS = "wrong_claims"  # no customer, an unknown role
    UNKNOWN_KEY = "unknown_key"
    REVOKED = "revoked"


class Unauthenticated(BqgateError):
    """The credential proves nothing. `message` is for the caller, and never quotes the credential.

    `claimed` is whom it claims to be, where that could be read: a key id or an issuer, unverified, for the audit log.
    """

    def __init__(self, fault: LoginFault, message: str, *, claimed: str = "") -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.claimed = claimed


class AccessDenied(BqgateError):
    """The caller is known and may not have this. `target` is what was asked for, for the audit log."""

    def __init__(self, message: str, *, target: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.target = target


class UnknownHost(BqgateError):
    """The request names a host that the gate does not know as its own: a web page may have been led here by it."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host
        self.message = (
            f"This gate is not known as {host}. If clients are to call it so, list the name in the setting "
            "server.allowed_hosts."
        )


class ForeignPage(BqgateError):
    """A web page of another origin calls a gate that trusts whoever reaches it. `origin` is "" where none is said."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.origin = origin
        self.message = (
            "A web page of another origin may not call this gate while the setting identity.mode is open, with or "
            "without credentials; set identity.mode: required. If the page is the gate's own, say in "
            "identity.public_url, or by server.trusted_proxies, where browsers reach it."
        )


class TooManyRequests(BqgateError):
    """The caller asks more often than it may; it may again in `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class VersionConflict(BqgateError):
    """What was to be changed is not there, or is not what it was when it was read."""


class AttemptEnded(BqgateError):
    """The request repeats another, whose hold is ending."""


class AttemptUnderWay(BqgateError):
    """The request repeats another, under whose hold nothing may be sent twice."""


class OwnQueriesSpent(BqgateError):
    """The gate's own queries have cost as much today as they may, or might with one more."""


class BudgetStoreUnavailable(BqgateError):
    """The budget store did not answer in time or closed the connection; whether it did the work is unknown."""


class LedgerUnavailable(BqgateError):
    """The ledger's database did not answer; nothing may be forwarded that it cannot record.

    `remedy` is what whoever runs the gate can do about it, where that is known; callers never see either.
    """

    def __init__(self, message: str = "", *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class UpstreamUnavailable(BqgateError):
    """BigQuery could not be reached or answered 5xx. `may_have_worked` is False only where nothing was sent."""

    def __init__(self, message: str, *, may_have_worked: bool = True) -> None:
        super().__init__(message)
        self.may_have_worked = may_have_worked


class UpstreamTimeout(UpstreamUnavailable):
    """BigQuery did not answer in time."""


class UpstreamNotTried(UpstreamUnavailable):
    """Nothing was sent, for a reason on this side. `retry_after_s`: when it may be worth to ask again, where known."""

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message, may_have_worked=False)
        self.retry_after_s = retry_after_s


# What is not the caller's fault, nor the gate's: whose message says which system is away and why.
OUTAGES = (BudgetStoreUnavailable, LedgerUnavailable, UpstreamUnavailable)


class UpstreamRefused(BqgateError):
    """BigQuery answered 4xx. All of it is BigQuery's own and may be shown to the caller.

    `challenge` is the WWW-Authenticate of a 401 (RFC 9110 section 11.6.1).
    """

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json; charset=UTF-8",
        *,
        challenge: str | None = None,
    ) -> None:
        super().__init__(f"BigQuery answered {status}")
        self.status = status
        self.body = body
        self.content_type = content_type
        self.challenge = challenge


class JobNotFound(BqgateError):
    """BigQuery answered 404 for this job."""
