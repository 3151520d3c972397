"""Say who asks and who pays (step 1), before anything of the body is read.

Called by the dispatch step with the call's head and its route; asks the Authenticator. The customer is the one that the
credential proves; where it names none (open mode, Google's callers whose address nobody listed, admins) payers.py says
it. What leaves: a Principal, or Unauthenticated, which is told to the audit log on its way out.

Where callers' own credentials go to BigQuery (`submissions_only`), BigQuery itself authenticates every call; the gate
asks who it is only where somebody has to pay.
"""

from bqgate.domain.audit import AuditEvent
from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import Credential, Identity, Principal, Role
from bqgate.gate.credential import credential_of
from bqgate.gate.payers import Payers
from bqgate.gate.routes import SUBMISSIONS, Route
from bqgate.ports import AuditLog, Authenticator, Clock
from bqgate.wire.http_message import HttpRequest

# How the subject of whoever Google knows begins (identity.google_callers).
GOOGLE = "google:"
_NOT_GOOGLES = (
    "This gate passes callers' own Google credentials on to BigQuery; a credential of the gate's opens its control "
    "plane only. Log in at Google."
)


class Identification:
    """The first step of every call.

    Args:
        payers: who pays.
        submissions_only: ask only about calls that submit a job.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        payers: Payers,
        audit_log: AuditLog,
        clock: Clock,
        submissions_only: bool,
    ) -> None:
        self._authenticator = authenticator
        self._payers = payers
        self._audit_log = audit_log
        self._clock = clock
        self._submissions_only = submissions_only

    async def identify(self, call: HttpRequest, route: Route) -> Principal:
        """The principal of a call.

        Raises:
            Unauthenticated: the credential proves nothing.
            UpstreamRefused: Google refuses the caller's token.
            UpstreamUnavailable: whoever must be asked does not answer.
            TooManyRequests: too many unknown tokens are being asked about.
        """
        credential = credential_of(call)
        try:
            if self._submissions_only and route.kind not in SUBMISSIONS:
                return self._unasked(credential, route)
            identity = await self._authenticated(credential, route, call.peer)
        except Unauthenticated as refused:
            self._audit_log.record(self._refused_login(refused, call))
            raise
        return self._payers.principal_of(identity, credential, route)

    async def _authenticated(self, credential: Credential, route: Route, source: str) -> Identity:
        identity = await self._authenticator.authenticate(credential, project_id=route.project_id, source=source)
        if self._submissions_only and not identity.subject.startswith(GOOGLE):
            raise Unauthenticated(LoginFault.WRONG_ISSUER, _NOT_GOOGLES, claimed=identity.name)
        return identity

    def _unasked(self, credential: Credential, route: Route) -> Principal:
        """A call that BigQuery authenticates and nobody pays for."""
        if credential.authorization is None:
            raise Unauthenticated(LoginFault.MISSING, "Request is missing required authentication credential.")
        identity = Identity(credential.fingerprint, f"unasked:{credential.fingerprint}", Role.USER)
        return self._payers.principal_of(identity, credential, route)

    def _refused_login(self, refused: Unauthenticated, call: HttpRequest) -> AuditEvent:
        return AuditEvent(
            at=self._clock.now(),
            action="login.refused",
            actor=refused.claimed or "unknown",
            target="data plane",
            source=call.peer,
            request_id=call.request_id,
            detail=refused.fault.value,
        )
