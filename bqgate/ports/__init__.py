"""Say what the use cases need from outside, as Protocols. Adapters implement them; app chooses which.

Every method lists what it may raise; nothing else leaves an adapter (contract tests over every implementation).
Amounts are nano-dollars, moments aware UTC datetimes.

    running.py    Clock, Telemetry
    budgets.py    SpendSource, BudgetStore
    ledger.py     Ledger, LedgerReports
    policy.py     PolicySource, Registry, ChangeFeed
    authentication.py  Authenticator, AuditLog
    bigquery.py   BigQuery, DryRunner, JobCanceller, OwnQueries, QueryRunner, Upstream
    leases.py     LeaseStore
    proof.py      ProofSource
    sweep.py      JobReader, RegionSource, SweepStore
    cost_metrics.py  CostMetric and what plug-ins need beside it
    mirror.py     MirrorQueue, MirrorTable
    advice.py     Advisor, TableSource
    shadow_decisions.py  ShadowDecisionSource

turns.py and ids.py are no ports: the one lets others run while something large is read, the other makes ids.
"""

from bqgate.ports.advice import Advisor, TableSource
from bqgate.ports.authentication import AuditLog, Authenticator
from bqgate.ports.bigquery import BigQuery, DryRunner, JobCanceller, OwnQueries, QueryAnswer, QueryRunner, Upstream
from bqgate.ports.budgets import BudgetStore, SpendSource
from bqgate.ports.leases import LeaseRecord, LeaseStore
from bqgate.ports.ledger import Ledger, LedgerReports
from bqgate.ports.mirror import (
    LoadResult,
    MirrorBacklog,
    MirrorBatch,
    MirrorQueue,
    MirrorState,
    MirrorTable,
    TableShape,
)
from bqgate.ports.policy import ChangeFeed, PolicySource, Registry
from bqgate.ports.proof import ProofSource
from bqgate.ports.running import Clock, Telemetry
from bqgate.ports.shadow_decisions import ShadowDecisionSource
from bqgate.ports.sweep import JobReader, JobsRead, PendingJob, RegionSource, SweepStore

__all__ = [
    "Advisor",
    "AuditLog",
    "Authenticator",
    "BigQuery",
    "BudgetStore",
    "ChangeFeed",
    "Clock",
    "DryRunner",
    "JobCanceller",
    "JobReader",
    "JobsRead",
    "LeaseRecord",
    "LeaseStore",
    "Ledger",
    "LedgerReports",
    "LoadResult",
    "MirrorBacklog",
    "MirrorBatch",
    "MirrorQueue",
    "MirrorState",
    "MirrorTable",
    "OwnQueries",
    "PendingJob",
    "PolicySource",
    "ProofSource",
    "QueryAnswer",
    "QueryRunner",
    "RegionSource",
    "Registry",
    "ShadowDecisionSource",
    "SpendSource",
    "SweepStore",
    "TableShape",
    "TableSource",
    "Telemetry",
    "Upstream",
]
