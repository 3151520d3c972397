"""Build the isolation of customers, as far as BigQuery's IAM does not provide it.

Called where the request path is put together. With identity.mode open every caller is trusted; where callers use their
own credentials BigQuery's IAM separates them; where all share the gate's account, the gate must.
"""

import secrets
from collections.abc import Callable
from functools import partial

from bqgate.gate.isolation import Isolation, IsolationMode
from bqgate.gate.isolation.upload_sessions import UploadSessions
from bqgate.gate.long_texts import LongTexts
from bqgate.ports import AuditLog, Clock, DryRunner, PolicySource, Upstream
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials, IdentityMode, UnknownTables


def wire_isolation(
    settings: Settings,
    *,
    policies: PolicySource,
    bigquery: DryRunner,
    long_texts: LongTexts,
    upstream: Upstream,
    audit_log: AuditLog,
    clock: Clock,
    reload_hooks: list[Callable[[Settings], None]],
) -> Isolation:
    """The isolation that identity.mode and upstream.credentials ask for."""
    # A gate that is open marks no upload, so that a secret of its own will do.
    uploads = UploadSessions(secrets.token_hex())
    _follow_secrets(uploads, settings)
    reload_hooks.append(partial(_follow_secrets, uploads))
    return Isolation(
        isolation_mode=_isolation_mode(settings),
        allows_unknown=settings.isolation.unknown_tables is UnknownTables.ALLOW,
        policies=policies,
        bigquery=bigquery,
        long_texts=long_texts,
        upstream=upstream,
        audit_log=audit_log,
        clock=clock,
        uploads=uploads,
    )


def _follow_secrets(uploads: UploadSessions, settings: Settings) -> None:
    """Mark by the secret that the settings say now; all replicas have the same."""
    secret, previous = settings.identity.token_secret, settings.identity.previous_token_secret
    if secret is not None:
        uploads.rotate(secret.reveal(), previous_secret=None if previous is None else previous.reveal())


def _isolation_mode(settings: Settings) -> IsolationMode:
    if settings.identity.mode is IdentityMode.OPEN:
        return IsolationMode.NOTHING
    return IsolationMode.DATA if settings.upstream.credentials is Credentials.CALLER else IsolationMode.ALL
