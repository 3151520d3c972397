"""Prove the ledger against BigQuery: every job is booked once, at its cost, and nothing else is. Nothing is changed.

ledger_check.py   goes through projects and time: BigQuery's jobs first, then charges that were not among them
judging.py        what a job that BigQuery lists says about the ledger                                     pure
unlisted.py       what a charge says whose job was not listed
report.py         differences with their causes, sums of both sides, and what nobody could look at
"""

from bqgate.settlement.proof.ledger_check import CheckSpan, LedgerCheck
from bqgate.settlement.proof.report import Cause, CheckReport, Difference, NotLooked

__all__ = ["Cause", "CheckReport", "CheckSpan", "Difference", "LedgerCheck", "NotLooked"]
