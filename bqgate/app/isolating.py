"""Wire what keeps customers apart, as far as nobody else does.

Called where the request path is put together. Callers that nobody knows are trusted with everything; where each goes
up with its own credentials BigQuery's IAM keeps them apart; where all go up with the gate's, the gate must.
"""

from bqgate.gate.isolation import Extent, Isolation
from bqgate.ports import AuditTrail, Clock, DryRunner, PolicySource, Upstream
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials, IdentityMode, UnknownTables


def wire_isolation(
    settings: Settings,
    *,
    policies: PolicySource,
    bigquery: DryRunner,
    upstream: Upstream,
    trail: AuditTrail,
    clock: Clock,
) -> Isolation:
    """The isolation that identity.mode and upstream.credentials ask for."""
    return Isolation(
        extent=_extent(settings),
        allows_unknown=settings.isolation.unknown_tables is UnknownTables.ALLOW,
        policies=policies,
        bigquery=bigquery,
        upstream=upstream,
        trail=trail,
        clock=clock,
    )


def _extent(settings: Settings) -> Extent:
    if settings.identity.mode is IdentityMode.OPEN:
        return Extent.NOTHING
    return Extent.DATA if settings.upstream.credentials is Credentials.CALLER else Extent.ALL
