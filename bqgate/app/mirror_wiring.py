"""Start the mirror of the ledger at BigQuery, where the settings name a dataset for it.

Used by root. Every replica starts it; a lease in the ledger has one of them write.
"""

import secrets
from collections.abc import Mapping, Sequence
from functools import partial

from bqgate.app.dependencies import Dependencies
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.bigquery.mirror_table import BigQueryMirrorTable
from bqgate.exports import Mirror, MirrorPlan

TABLE = "bqgate_entries"
_EPOCH_BYTES = 8


def wire_mirror(deps: Dependencies) -> None:
    """Mirror in the background, if that is wanted."""
    section = deps.settings.ledger
    if section.mirror is None or deps.own_upstream is None:
        return
    project_id, _, dataset_id = section.mirror.rpartition(".")
    calls = JsonCalls(deps.own_upstream, timeout_s=deps.settings.upstream.upload_timeout_s)
    table = BigQueryMirrorTable(calls, project_id=project_id, dataset_id=dataset_id, table_id=TABLE)
    plan = MirrorPlan(
        target=f"{section.mirror}.{TABLE}",
        interval_s=section.mirror_interval_s,
        admins=section.mirror_admins,
        readers=partial(_readers, deps),
    )
    mirror = Mirror(
        deps.mirror_queue,
        table,
        plan,
        clock=deps.clock,
        telemetry=deps.telemetry,
        new_epoch=lambda: secrets.token_hex(_EPOCH_BYTES),
    )
    deps.metrics.read_gauge_from("mirror_oldest_age_seconds", lambda: mirror.oldest_age_s)
    deps.start_at_one_replica("mirror", mirror.run)
    deps.background.start("mirror backlog", mirror.watch)


def _readers(deps: Dependencies) -> Mapping[str, Sequence[str]]:
    """Each customer's addresses and domains, as they are now."""
    registry = deps.policies.customer_registry
    found: dict[str, list[str]] = {name: [] for name in registry.customers}
    for principal, customer in registry.customer_by_email.items():
        found.setdefault(customer, []).append(principal)
    return {name: sorted(principals) for name, principals in found.items()}
