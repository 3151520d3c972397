from bqgate.domain.principal import Credential, Identity, Role
from bqgate.identity.open_access import OpenAuthenticator


async def test_everybody_is_let_in() -> None:
    """With a token, with a bad one or with none: everybody has a name, and the role that changes nothing."""
    token = Credential("Bearer ya29.secret")
    found = await OpenAuthenticator().authenticate(token, project_id=None)
    assert found == Identity(token.fingerprint, f"open:{token.fingerprint}", Role.OPEN)
    assert "secret" not in repr(found)
    nobody = await OpenAuthenticator().authenticate(Credential(), project_id="p")
    assert (nobody.name, nobody.role) == ("anonymous", Role.OPEN)


async def test_two_callers_have_two_names() -> None:
    """Callers with different tokens can be told apart."""
    one, other = [
        await OpenAuthenticator().authenticate(Credential(f"Bearer {each}"), project_id=None) for each in "ab"
    ]
    assert one.name != other.name
    assert one.subject != other.subject
