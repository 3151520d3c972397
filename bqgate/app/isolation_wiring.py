"""Build the isolation of customers, as far as BigQuery's IAM does not provide it.

Called where the request path is put together. With identity.mode open every caller is trusted; where callers use their
own credentials BigQuery's IAM separates them; where all share the gate's account, the gate must.
"""

from bqgate.gate.isolation import Isolation, IsolationMode
from bqgate.ports import AuditLog, Clock, DryRunner, PolicySource, Upstream
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials, IdentityMode, UnknownTables


def wire_isolation(
    settings: Settings,
    *,
    policies: PolicySource,
    bigquery: DryRunner,
    upstream: Upstream,
    audit_log: AuditLog,
    clock: Clock,
) -> Isolation:
    """The isolation that identity.mode and upstream.credentials ask for."""
    return Isolation(
        isolation_mode=_isolation_mode(settings),
        allows_unknown=settings.isolation.unknown_tables is UnknownTables.ALLOW,
        policies=policies,
        bigquery=bigquery,
        upstream=upstream,
        audit_log=audit_log,
        clock=clock,
    )


def _isolation_mode(settings: Settings) -> IsolationMode:
    if settings.identity.mode is IdentityMode.OPEN:
        return IsolationMode.NOTHING
    return IsolationMode.DATA if settings.upstream.credentials is Credentials.CALLER else IsolationMode.ALL
