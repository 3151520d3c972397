"""Answer logins: the token endpoint, to which clients take what they hold and get a short-lived access token.

Mounted without a guard, on the data plane (where a key file's `token_uri` points) and on the control plane. Calls
identity's Logins. What leaves: RFC 6749 section 5.1 answers and section 5.2 refusals as JSON, never to be cached, never
with CORS headers: no page of another origin may read a token. Neither logs nor errors have anything that was sent,
but for whom the caller claims to be, in the audit log.

Bounded: the body, and failed logins in a minute per source address (an IPv4 address, an IPv6 /64) and key. Those that
claim to be by no key and no issuer known here count as one; beyond the bound they get 429 without another look. Whoever
claims to be by one that is known is always looked at, and gets 429 only where that fails too often: so nobody is kept
out by neighbours behind the same address. Failures are counted in this process alone, so a gate of N replicas lets N
times as many pass. The address is the peer's: behind a proxy all callers are one source. Refusals go to the audit log;
logins that succeed are counted in logins_total and not audited one by one.
"""

from typing import NoReturn
from urllib.parse import parse_qsl

from aiohttp import hdrs, web
from limits import RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from bqgate.admin.body import read_whole
from bqgate.admin.events import EventMaker
from bqgate.admin.guard import ANYBODY
from bqgate.admin.operation import Answered, Operation
from bqgate.admin.problem import Problem
from bqgate.admin.schemas_keys import TokenAnswer, TokenForm, TokenRefusal
from bqgate.domain.errors import LedgerUnavailable, LoginFault, UpstreamUnavailable
from bqgate.domain.principal import Identity
from bqgate.identity.assertions import TOKEN_PATHS
from bqgate.identity.logins import Grant, LoginRefused, Logins
from bqgate.ports import AuditLog, Clock, Telemetry
from bqgate.wire.source_address import source_of

# The first is what key files name, the others what STS clients and hand-written files expect.
_OPERATION_IDS = ("tokens.issue", "tokens.issue_alias", "tokens.issue_alias_v1")
FORM = "application/x-www-form-urlencoded"
BODY_BYTES_MAX = 16 * 1024

_PARAMETERS_MAX = 32
_SOURCES_MAX = 10_000
_RETRY_LATER_S = 5


class FailedLogins:
    """How many logins of each source address and each key failed in the last minute, in this process."""

    def __init__(self, clock: Clock, *, per_minute: int, sources_max: int = _SOURCES_MAX) -> None:
        """Count from nothing. Past `sources_max` addresses and keys the one that is counted longest is forgotten."""
        self._clock = clock
        self._item = RateLimitItemPerMinute(per_minute, namespace="failed_logins")
        self._limiter = FixedWindowRateLimiter(_Counts(clock, sources_max))

    def wait_s(self, source: str, claimed: str = "") -> int:
        """How many seconds an address must wait before it may try again as `claimed`; 0: it may now."""
        if self._limiter.test(self._item, source, claimed):
            return 0
        left_s = self._limiter.get_window_stats(self._item, source, claimed).reset_time - self._clock.monotonic_s()
        return max(1, -int(-left_s // 1))

    def add(self, source: str, claimed: str = "") -> bool:
        """Count one. False: it is one too many."""
        return self._limiter.hit(self._item, source, claimed)


class LoginViews:
    """The token endpoint's views."""

    def __init__(
        self,
        *,
        logins: Logins,
        failures: FailedLogins,
        audit_log: AuditLog,
        events: EventMaker,
        telemetry: Telemetry,
    ) -> None:
        self._logins = logins
        self._failures = failures
        self._audit_log = audit_log
        self._events = events
        self._telemetry = telemetry

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        return tuple(
            Operation(
                id=operation_id,
                method=hdrs.METH_POST,
                path=path,
                summary="Log in: a key file's assertion, a static token or an OIDC token for an access token",
                tag="logins",
                view=self.issue,
                body=TokenForm,
                body_types=(FORM,),
                answers={
                    200: Answered("An access token.", TokenAnswer),
                    400: Answered("What was sent proves nothing, or is no login.", TokenRefusal),
                    401: Answered("The client is not known.", TokenRefusal),
                    408: Answered("The body came too slowly.", TokenRefusal),
                    413: Answered("The body is too large.", TokenRefusal),
                    415: Answered("The body is no form.", TokenRefusal),
                    429: Answered("Too many logins from this address failed.", TokenRefusal),
                    503: Answered("Nobody can tell now; try again.", TokenRefusal),
                },
            )
            for operation_id, path in zip(_OPERATION_IDS, TOKEN_PATHS, strict=True)
        )

    async def issue(self, request: web.Request, _identity: Identity) -> web.Response:
        """POST /oauth2/token."""
        source, claimed = source_of(request.remote or ""), ""
        try:
            form = await _read_form(request)
            claimed = self._logins.claimed(form)
            if not claimed and self._failures.wait_s(source):
                return self._limited(source, claimed)
            grant = await self._logins.grant(form)
        except LoginRefused as refused:
            if not self._failures.add(source, claimed):
                return self._limited(source, claimed)
            self._telemetry.count("logins_total", result="refused", reason=refused.fault.value)
            self._audit_log.record(
                self._events.event(
                    request,
                    None,
                    "login.refused",
                    f"POST {request.path[:100]}",
                    claimed=refused.claimed,
                    detail=refused.fault.value,
                )
            )
            return _refused(refused.status, refused.error, refused.description)
        except (LedgerUnavailable, UpstreamUnavailable):
            self._telemetry.count("logins_total", result="failed", reason="unavailable")
            detail = "Nobody can tell now who you are; try again."
            return _refused(503, "temporarily_unavailable", detail, retry_after_s=_RETRY_LATER_S)
        self._telemetry.count("logins_total", result="granted", reason="")
        return _granted(grant)

    def _limited(self, source: str, claimed: str) -> web.Response:
        self._telemetry.count("logins_total", result="limited", reason="too_many")
        wait_s = self._failures.wait_s(source, claimed)
        detail = f"Too many logins from this address failed; try again in {wait_s} s."
        return _refused(429, "temporarily_unavailable", detail, retry_after_s=wait_s)


def add_token_endpoint(app: web.Application, views: LoginViews) -> None:
    """Mount the token endpoint on an application that has no guard: before the data plane's catch-all."""

    async def issue(request: web.Request) -> web.Response:
        return await views.issue(request, ANYBODY)

    for path in TOKEN_PATHS:
        resource = app.router.add_resource(path)
        resource.add_route(hdrs.METH_POST, issue, expect_handler=_expect_later)
        resource.add_route(hdrs.METH_ANY, _refuse_method, expect_handler=_expect_later)


def _granted(grant: Grant) -> web.Response:
    answer = TokenAnswer(
        access_token=grant.access_token, expires_in=grant.expires_in_s, issued_token_type=grant.issued_token_type
    )
    return _written(answer, 200)


def _refused(status: int, error: str, description: str, *, retry_after_s: int | None = None) -> web.Response:
    response = _written(TokenRefusal(error=error, error_description=description), status)
    if status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="bqgate"'
    if retry_after_s is not None:
        response.headers[hdrs.RETRY_AFTER] = str(retry_after_s)
    return response


def _written(document: TokenAnswer | TokenRefusal, status: int) -> web.Response:
    """RFC 6749 section 5: JSON that no cache keeps; members that do not apply are left out, not null."""
    return web.Response(
        status=status,
        body=document.model_dump_json(exclude_none=True).encode(),
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store", hdrs.PRAGMA: "no-cache"},
    )


async def _read_form(request: web.Request) -> dict[str, str]:
    """The form, each parameter once; those without a value count as left out (RFC 6749 section 3.2).

    Raises:
        LoginRefused: invalid_request, with 408, 413 or 415 where the body is too slow, too large or no form.
    """
    if request.content_type != FORM:
        _refuse(f"Send {FORM}.", status=415)
    try:
        body = await read_whole(request, bytes_max=BODY_BYTES_MAX)
    except Problem as problem:
        fault = LoginFault.OVERSIZED if problem.status == 413 else LoginFault.MALFORMED
        _refuse(problem.detail, status=problem.status, fault=fault)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_PARAMETERS_MAX, errors="strict")
    except ValueError:
        _refuse(f"The body is not a form of at most {_PARAMETERS_MAX} parameters in UTF-8.")
    form = dict(pairs)
    if len(form) != len(pairs):
        _refuse("A parameter stands twice in the form.")
    return {name: value for name, value in form.items() if value}


def _refuse(description: str, *, status: int = 400, fault: LoginFault = LoginFault.MALFORMED) -> NoReturn:
    raise LoginRefused("invalid_request", description, status=status, fault=fault)


async def _refuse_method(_request: web.Request) -> web.Response:
    response = _refused(405, "invalid_request", "Logins are sent by POST.")
    response.headers[hdrs.ALLOW] = hdrs.METH_POST
    return response


async def _expect_later(_request: web.Request) -> None:
    """Leave 100-continue to whoever reads the form."""


class _Counts(Storage):
    """Where `limits` counts: in memory, by the gate's clock, for a bounded number of keys."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock, keys_max: int) -> None:
        super().__init__()
        self._clock = clock
        self._keys_max = keys_max
        self._counts: dict[str, tuple[int, float]] = {}  # how many, and until when; the oldest first

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now_s = self._clock.monotonic_s()
        count, ends_s = self._counts.get(key, (0, 0.0))
        if ends_s <= now_s:
            self._counts.pop(key, None)
            count, ends_s = 0, now_s + expiry
            if len(self._counts) >= self._keys_max:
                del self._counts[next(iter(self._counts))]
        self._counts[key] = (count + amount, ends_s)
        return count + amount

    def get(self, key: str) -> int:
        count, ends_s = self._counts.get(key, (0, 0.0))
        return count if self._clock.monotonic_s() < ends_s else 0

    def get_expiry(self, key: str) -> float:
        return self._counts.get(key, (0, 0.0))[1]

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        self._counts.pop(key, None)
