"""Keep PostgreSQL's ledger in monthly partitions, and drop those past retention, at one replica.

Used by root. A ledger in SQLite has no partitions.
"""

from contextlib import AsyncExitStack

from bqgate.app.dependencies import Dependencies
from bqgate.domain.units import MS_PER_S
from bqgate.ledger import LedgerUpkeep


def wire_upkeep(deps: Dependencies, stack: AsyncExitStack) -> None:
    """Make months ahead and drop those past retention, at one replica."""
    section = deps.settings.ledger
    if section.url.scheme != "postgresql":
        return
    upkeep = LedgerUpkeep.open(
        section.url.reveal(),
        deps.clock,
        deps.telemetry,
        retention_months=section.retention_months,
        timeout_s=section.timeout_ms / MS_PER_S,
    )
    stack.push_async_callback(upkeep.close)
    deps.start_at_one_replica("ledger upkeep", upkeep.run)
