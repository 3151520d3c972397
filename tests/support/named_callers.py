"""Let callers prove who they are by a word, for tests of what they may do then."""

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import Credential, Identity, Role

CALLERS = {
    each.name: each
    for each in (
        Identity("open", "open:anonymous", Role.OPEN),
        Identity("user", "key:user", Role.USER, "acme"),
        Identity("analyst", "key:analyst", Role.ANALYST, "acme"),
        Identity("nobodys-user", "key:nobodys-user", Role.USER),
        Identity("admin", "key:admin", Role.ADMIN),
        Identity("acmes-admin", "oidc:acmes-admin", Role.ADMIN, "acme"),
        Identity("super_admin", "key:super_admin", Role.SUPER_ADMIN),
    )
}


class NamedCallers:
    """An Authenticator for which a token is the name of one of CALLERS."""

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        """The caller of that name; nobody else is known."""
        assert project_id is None
        if credential.authorization is None:
            raise Unauthenticated(LoginFault.MISSING, "Send a token.")
        name = credential.authorization.removeprefix("Bearer ")
        if name not in CALLERS:
            raise Unauthenticated(LoginFault.UNKNOWN_KEY, "This token is not known.", claimed="somebody")
        return CALLERS[name]


def bearing(name: str) -> dict[str, str]:
    """The header of a caller; none for ""."""
    return {"Authorization": f"Bearer {name}"} if name else {}
