"""Let through who may: ask who calls, look up the table, bind own-customer roles to their customer.

Called by routes before every view, and before a body is read. What leaves: an Identity; or a Problem, recorded in
the audit log: 401 with the challenge of RFC 6750 section 3 ("login.refused"), 403 ("access.refused").
"""

from collections.abc import Collection
from typing import NoReturn

from aiohttp import hdrs, web

from bqgate.admin.events import EventMaker
from bqgate.admin.operation import Operation, Place
from bqgate.admin.permissions import Reach, reach_of
from bqgate.admin.problem import Problem
from bqgate.domain.errors import LoginFault, TooManyRequests, Unauthenticated, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.observe.request_fields import note_caller, note_cause
from bqgate.ports import AuditLog, Authenticator

# The one customer that a request's answer may speak of, where its caller is bound to one.
OWN_CUSTOMER = web.RequestKey("OWN_CUSTOMER", str)
# The one principal of it, where its caller is bound to itself.
OWN_PRINCIPAL = web.RequestKey("OWN_PRINCIPAL", str)

# Who asks for what is public.
ANYBODY = Identity("anybody", "anybody", Role.OPEN)

# The token in the URL (RFC 6750 section 2.3); no parameter of any operation.
URL_TOKENS = ("access_token", "oauth_token")

_REALM = 'Bearer realm="bqgate"'
_IDENTITY_IS_OPEN = (
    "Nobody may do this while identity.mode is open, because nobody proves who they are; set identity.mode: required."
)


class Guard:
    """Decides who comes to a view."""

    def __init__(
        self, *, authenticator: Authenticator, audit_log: AuditLog, events: EventMaker, public: Collection[str]
    ) -> None:
        self._authenticator = authenticator
        self._audit_log = audit_log
        self._events = events
        self._public = frozenset(public)

    def is_public(self, operation: Operation) -> bool:
        """Whether an operation is answered without asking who calls."""
        return operation.id in self._public

    async def identify(self, request: web.Request) -> Identity:
        """Who calls.

        Raises:
            Problem: 401 they prove nothing, 429 they tried too often, 503 nobody can tell.
        """
        try:
            identity = await self._authenticator.authenticate(credential_of(request), project_id=None)
        except Unauthenticated as refused:
            self._record_refused_login(request, refused.fault, refused.claimed)
            # RFC 6750 section 3.1: who brought nothing is told no error code.
            challenged = challenge() if refused.fault is LoginFault.MISSING else challenge("invalid_token")
            raise Problem(401, refused.message, headers=challenged) from None
        except UpstreamRefused:
            self._record_refused_login(request, LoginFault.BAD_SIGNATURE, "google")
            raise Problem(401, "Google does not accept this token.", headers=challenge("invalid_token")) from None
        except TooManyRequests as refused:
            raise Problem(429, refused.message, headers={"Retry-After": str(refused.retry_after_s)}) from None
        except UpstreamUnavailable as error:
            note_cause(error)
            raise Problem(503, "Nobody can tell now who you are; try again.") from None
        note_caller(identity.customer, identity.name)
        return identity

    def permit(self, request: web.Request, operation: Operation, identity: Identity) -> None:
        """Look up the table, and bind the request to the caller's customer where the table says so.

        Raises:
            Problem: 403.
        """
        reach = reach_of(operation.id, identity.role)
        if reach is Reach.ALL:
            return
        if reach is None:
            detail = f"The role {identity.role.value} may not do this ({operation.id})."
            self._refuse(request, identity, _IDENTITY_IS_OPEN if identity.role is Role.OPEN else detail)
        if identity.customer is None:
            self._refuse(request, identity, f"The role {identity.role.value} needs a customer, and you have none.")
        place = operation.customer_place
        if place is None:
            self._refuse(request, identity, "This is not told by customer.")
        strangers = [each for each in _asked_customers(request, place) if each != identity.customer]
        if strangers:
            self._refuse(request, identity, "You may ask for your own customer only.", customer=strangers[0])
        request[OWN_CUSTOMER] = identity.customer
        if reach is Reach.SELF:
            self._bind_to_self(request, identity)

    def _bind_to_self(self, request: web.Request, identity: Identity) -> None:
        """Let a caller see what it spends itself, by the name that the ledger knows."""
        if any(each != identity.name for each in request.query.getall("principal", [])):
            said = f"The role {identity.role.value} may ask for what it spends itself only, as {identity.name}."
            self._refuse(request, identity, said)
        request[OWN_PRINCIPAL] = identity.name

    def _record_refused_login(self, request: web.Request, fault: LoginFault, claimed: str) -> None:
        event = self._events.event(
            request, None, "login.refused", _target(request), claimed=claimed, detail=fault.value
        )
        self._audit_log.record(event)

    def _refuse(
        self, request: web.Request, identity: Identity, detail: str, *, customer: str | None = None
    ) -> NoReturn:
        said = detail if customer is None else f"{detail} Asked for: {customer[:128]}"
        event = self._events.event(
            request, identity, "access.refused", _target(request), customer=identity.customer, detail=said
        )
        self._audit_log.record(event)
        raise Problem(403, detail, headers=challenge("insufficient_scope"))


def credential_of(request: web.Request) -> Credential:
    """What the caller sent to prove who it is: the header, else a token in the URL."""
    authorization = request.headers.get(hdrs.AUTHORIZATION)
    if authorization is None:
        tokens = [request.query[name] for name in URL_TOKENS if name in request.query]
        authorization = f"Bearer {tokens[0]}" if tokens else None
    return Credential(authorization)


def _asked_customers(request: web.Request, place: Place) -> list[str]:
    if place is Place.PATH:
        return [request.match_info["customer"]]
    return list(request.query.getall("customer", []))


def _target(request: web.Request) -> str:
    # The path alone: the query may bear a token.
    return f"{request.method[:20]} {request.path[:200]}"


def challenge(error: str | None = None) -> dict[str, str]:
    """What a refused caller is told in the header (RFC 6750 section 3)."""
    return {"WWW-Authenticate": _REALM if error is None else f'{_REALM}, error="{error}"'}
