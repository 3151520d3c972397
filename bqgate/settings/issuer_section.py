"""List the keys of a section below issuers: an OpenID Connect provider, and what of its tokens means what.

Listed by sections.py; read by app.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from bqgate.domain.principal import ISSUED_TOKEN_LIFE_S, Role
from bqgate.policies.values import Whole
from bqgate.settings.fields import IssuerUrl
from bqgate.settings.section import Section


def _is_somebodys(role: Role) -> Role:
    if role is Role.OPEN:
        raise ValueError("open is the role of callers that nobody knows; write user, analyst, admin or super_admin")
    return role


class IssuerSection(Section):
    """Whose tokens are taken, beside the gate's own keys: an OpenID Connect provider."""

    issuer: IssuerUrl = Field(description="The provider's name as its tokens bear it (iss), letter by letter.")
    audience: str = Field(min_length=1, max_length=1000, description="What its tokens must be for (aud).")
    jwks_url: IssuerUrl | None = Field(
        None, description="Where its public keys are; without it, what its /.well-known/openid-configuration says."
    )
    customer_claim: str = Field(
        "customer_id", min_length=1, max_length=200, description="Claim that names the customer."
    )
    role_claim: str = Field("role", min_length=1, max_length=200, description="Claim that names the role.")
    roles: tuple[Annotated[Role, AfterValidator(_is_somebodys)], ...] = Field(
        (Role.USER, Role.ANALYST, Role.ADMIN),
        max_length=len(Role),
        description="Roles that it may give; a token with another is refused.",
    )
    token_life_s: Whole = Field(
        ISSUED_TOKEN_LIFE_S,
        ge=300,
        le=31_536_000,
        description="How long one of its tokens may live; a longer one is refused.",
    )
