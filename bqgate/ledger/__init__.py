"""Keep the truth in SQL: which holds are open, what was booked, what admins decided, and who did what.

Named by app and cli alone. `SqlLedger` implements ports.Ledger and `SqlRegistry` ports.Registry, both on SQLite (one
machine, nothing to install) and on PostgreSQL (many replicas), in one database; `migrate` brings it to this version's
tables, `check_books` and SqlRegistry.verify_audit look whether anybody tampered with it. Where to look:

    sql_ledger.py       ports.Ledger, method by method
    schema.py           its tables and why each index is there
    rollup_schema.py    sums of entries by hour and by day
    partition_schema.py what PostgreSQL has instead of unique indexes
    writes.py           what is written, as rows of plain JSON
    journal/            a local file that writes go to first, and how they get into the database
    writer.py           what takes writes: the journal, or
    database_writer.py  the database itself, while the caller waits
    group_commit.py     how many callers share one transaction there
    lost_races.py       transactions that are done again
    write_group.py      what the writes of one transaction come to
    group_statements.py the statements that do them
    price_lists.py      which lists of prices are still to be written
    reports.py          ports.LedgerReports, from a replica too
    queries.py          what is read, and page_token.py where a reader left off
    cost_queries.py     what was booked since a moment
    spend_queries.py    spend by day, week and month
    window_queries.py   spend in budgets' windows
    account_spend.py    what an account has spent in its windows
    bookings.py         what is booked for many jobs at once
    leases.py           ports.LeaseStore
    sweep_state.py      ports.SweepStore
    proofs.py           ports.ProofSource
    rows.py             Hold and Entry as rows and back
    check_books.py      do holds, charges and adjustments agree
    rollup_checks.py    and sums with entries

    partitions.py       PostgreSQL's entries by month: made, moved, dropped
    upkeep.py           when that is done

    registry.py         ports.Registry, method by method
    registry_schema.py  its four tables
    registry_rows.py    policies, keys and audit records as rows and back
    audit_chain.py      how the audit log grows, and where it was broken

    connections.py      SQLite's and PostgreSQL's settings, time limits
    sqlite_files.py     where a SQLite ledger's file is
    causes.py           why a database cannot be used, and what to do
    migrate.py          versions of the tables, in migrations/
    one_transaction.py  a snapshot or a change of the whole database

    mirror_queue.py     ports.MirrorQueue
    mirror_schema.py    its two tables

    backup.py           everything into a file, while gates go on
    restore.py          and back, into either database
    backup_file.py      the file's format
    entry_stream.py     entries of a span of time, for files of Parquet

What a gate needs is named here; commands import what only they need (check_books, backup, restore, entry_stream).
"""

from bqgate.ledger.audit_chain import AuditHead, AuditVerdict
from bqgate.ledger.journal import JournalPlace, journal_folder
from bqgate.ledger.leases import SqlLeases
from bqgate.ledger.migrate import check_revision, check_revision_now, migrate
from bqgate.ledger.mirror_queue import SqlMirrorQueue
from bqgate.ledger.proofs import SqlProofs
from bqgate.ledger.registry import SqlRegistry
from bqgate.ledger.reports import SqlReports
from bqgate.ledger.sql_ledger import SqlLedger
from bqgate.ledger.sweep_state import SqlSweepState
from bqgate.ledger.upkeep import LedgerUpkeep

__all__ = [
    "AuditHead",
    "AuditVerdict",
    "JournalPlace",
    "LedgerUpkeep",
    "SqlLeases",
    "SqlLedger",
    "SqlMirrorQueue",
    "SqlProofs",
    "SqlRegistry",
    "SqlReports",
    "SqlSweepState",
    "check_revision",
    "check_revision_now",
    "journal_folder",
    "migrate",
]
