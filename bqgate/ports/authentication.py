"""Say who finds out who calls, and where a refusal of a caller is told."""

from typing import Protocol

from bqgate.domain.audit import AuditEvent
from bqgate.domain.principal import Credential, Identity


class Authenticator(Protocol):
    """Who stands behind a credential."""

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        """The identity that a credential proves.

        Args:
            credential: as the caller brought it.
            project_id: the request's, where it has one.
            source: the address from which the caller calls.

        Raises:
            Unauthenticated: it proves nothing.
            UpstreamRefused: Google refuses the token, or the caller may not even dry-run in the project.
            UpstreamUnavailable: whoever must be asked does not answer.
            TooManyRequests: too many unknown tokens are being asked about.
        """


class AuditLog(Protocol):
    """Where refused logins and refused accesses are told. Bounded, and never waits: no caller is slowed by it."""

    def record(self, event: AuditEvent) -> None:
        """Take an event for the audit log; past the bound it is counted instead of written."""
