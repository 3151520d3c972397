"""Build what authenticates callers, and the token endpoint, as identity.mode says.

Called by root. Open: every caller is let in, and nobody logs in. Required: keys of the gate, tokens of other issuers,
and Google's own tokens where callers send them to BigQuery.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bqgate.admission.estimates.dry_run_places import DryRunPlaces
from bqgate.app.dependencies import Dependencies
from bqgate.identity.access_tokens import AccessTokens
from bqgate.identity.assertions import Assertions
from bqgate.identity.authenticator import CallerAuthenticator
from bqgate.identity.google_callers import DRY_RUNS_MAX, WAITING_MAX, GoogleCallers
from bqgate.identity.keyring import Keyring
from bqgate.identity.logins import Logins
from bqgate.identity.open_access import OpenAuthenticator
from bqgate.ports import Authenticator
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials, IdentityMode

if TYPE_CHECKING:
    from bqgate.identity.oidc import Oidc


@dataclass(frozen=True, slots=True)
class Identities:
    """Who finds out who calls. `logins` None: nobody logs in to a gate that is open."""

    authenticator: Authenticator
    logins: Logins | None


def wire_identities(deps: Dependencies, stack: AsyncExitStack) -> Identities:
    """What identity.mode asks for."""
    settings, clock = deps.settings, deps.clock
    identity = settings.identity
    if identity.mode is IdentityMode.OPEN:
        return Identities(OpenAuthenticator(), None)
    assert identity.token_secret is not None, "the settings were checked: required needs a secret"
    leeway_s = identity.clock_skew_s
    previous = identity.previous_token_secret
    access_tokens = AccessTokens(
        identity.token_secret.reveal(),
        previous_secret=None if previous is None else previous.reveal(),
        ttl_s=identity.token_ttl_s,
        clock=clock,
        leeway_s=leeway_s,
    )
    deps.reload_hooks.append(partial(_follow_secrets, access_tokens))
    keyring = Keyring(deps.policies, clock)
    assertions = Assertions(keyring, clock, audiences=(address_of(deps),), leeway_s=leeway_s)
    oidc = _oidc(deps, stack, leeway_s)
    google = None
    if settings.upstream.credentials is Credentials.CALLER:
        places = DryRunPlaces(clock, deps.telemetry, places=DRY_RUNS_MAX, waiting_max=WAITING_MAX)
        google = GoogleCallers(deps.bigquery, deps.policies, places, clock, deps.telemetry)
    callers = CallerAuthenticator(
        access_tokens=access_tokens, assertions=assertions, keyring=keyring, oidc=oidc, google=google
    )
    return Identities(callers, Logins(access_tokens=access_tokens, assertions=assertions, keyring=keyring, oidc=oidc))


def _follow_secrets(access_tokens: AccessTokens, new: Settings) -> None:
    """Sign with the secret that the settings say now; whether callers log in at all was decided at the start."""
    identity = new.identity
    if identity.mode is IdentityMode.REQUIRED and identity.token_secret is not None:
        previous = identity.previous_token_secret
        access_tokens.rotate(
            identity.token_secret.reveal(),
            previous_secret=None if previous is None else previous.reveal(),
            ttl_s=identity.token_ttl_s,
        )


def address_of(deps: Dependencies) -> str:
    """Where callers reach the gate, as far as the settings say."""
    server = deps.settings.server
    scheme = "http" if server.tls_cert_file is None else "https"
    return deps.settings.identity.public_url or f"{scheme}://{server.host}:{server.port}"


def _oidc(deps: Dependencies, stack: AsyncExitStack, leeway_s: int) -> "Oidc | None":
    sections = deps.settings.issuers
    if not sections:
        return None
    from bqgate.identity.jwks import KeySets  # noqa: PLC0415 - cryptography is 10 MiB; few gates know other issuers
    from bqgate.identity.oidc import Issuer, Oidc  # noqa: PLC0415 - the same

    issuers = [
        Issuer(
            name=name,
            issuer=section.issuer,
            audience=section.audience,
            jwks_url=section.jwks_url,
            customer_claim=section.customer_claim,
            role_claim=section.role_claim,
            roles=frozenset(section.roles),
            token_life_s=section.token_life_s,
        )
        for name, section in sections.items()
    ]
    key_sets = KeySets(deps.clock, deps.telemetry)
    stack.push_async_callback(key_sets.close)
    return Oidc(issuers, key_sets, deps.clock, leeway_s=leeway_s)
