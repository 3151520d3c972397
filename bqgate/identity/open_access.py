"""Let everybody in: identity.mode open, for trials on loopback and networks that are trusted.

Used as the ports.Authenticator of such a gate. What leaves: an Identity of Role.OPEN, which reads everything and
changes nothing; its name is a hash of what the caller sent, so that two callers can be told apart.
"""

from bqgate.domain.principal import Credential, Identity, Role


class OpenAuthenticator:
    """Asks nobody for anything."""

    async def authenticate(
        self,
        credential: Credential,
        *,
        project_id: str | None,  # noqa: ARG002 - the port has it
        source: str = "",  # noqa: ARG002 - the same
    ) -> Identity:
        """Whoever it is."""
        fingerprint = credential.fingerprint
        return Identity(fingerprint, f"open:{fingerprint}", Role.OPEN)
