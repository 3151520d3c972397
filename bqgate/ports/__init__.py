"""Say what the use cases need from outside, as Protocols. Adapters implement them; app chooses which.

Every method lists what it may raise; nothing else leaves an adapter (contract tests over every implementation).
Amounts are nano-dollars, moments aware UTC datetimes.

    running.py    Clock, Journal
    money.py      SpendSource, BudgetStore, Ledger
    policy.py     PolicySource, Registry, ChangeFeed
    callers.py    Authenticator, AuditTrail
    bigquery.py   BigQuery, DryRunner, JobCanceller, Upstream
    advice.py     Advisor, TableSource
    foresight.py  ForesightSource
"""

from bqgate.ports.advice import Advisor, TableSource
from bqgate.ports.bigquery import BigQuery, DryRunner, JobCanceller, Upstream
from bqgate.ports.callers import AuditTrail, Authenticator
from bqgate.ports.foresight import ForesightSource
from bqgate.ports.money import BudgetStore, Ledger, SpendSource
from bqgate.ports.policy import ChangeFeed, PolicySource, Registry
from bqgate.ports.running import Clock, Journal

__all__ = [
    "Advisor",
    "AuditTrail",
    "Authenticator",
    "BigQuery",
    "BudgetStore",
    "ChangeFeed",
    "Clock",
    "DryRunner",
    "ForesightSource",
    "JobCanceller",
    "Journal",
    "Ledger",
    "PolicySource",
    "Registry",
    "SpendSource",
    "TableSource",
    "Upstream",
]
