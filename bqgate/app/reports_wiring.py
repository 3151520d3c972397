"""Choose where reports are read: at the ledger, or at its replica while that answers.

Used by dependencies.
"""

from contextlib import AsyncExitStack

from bqgate.app.breakers_wiring import Breakers
from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.breakers.guarded import guarded
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.units import MS_PER_S
from bqgate.ledger import SqlLedger, SqlReports
from bqgate.ledger.connections import Connections
from bqgate.ledger.reports import ReplicaFirst
from bqgate.ports import Telemetry
from bqgate.settings import Settings
from bqgate.settings.fields import SecretUrl


def open_reports(
    settings: Settings, ledger: SqlLedger, breakers: Breakers, telemetry: Telemetry, stack: AsyncExitStack
) -> SqlReports:
    """The ledger's own reports, or those of its replica, each behind the breaker of its system."""
    section = settings.ledger
    if section.replica_url is None:
        return ledger

    def opened(url: SecretUrl, breaker: CircuitBreaker) -> Connections:
        connections = Connections(url.reveal(), timeout_s=section.timeout_ms / MS_PER_S)
        stack.push_async_callback(connections.close)
        return guarded(connections, breaker, LedgerUnavailable)

    replica = opened(section.replica_url, breakers.ledger_replica)
    itself = opened(section.url, breakers.ledger)
    return SqlReports(ReplicaFirst(replica.fetch_rows, itself.fetch_rows, telemetry))
