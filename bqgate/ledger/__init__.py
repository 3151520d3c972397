"""Keep the truth about money in SQL: which holds are open, and what was booked.

Named by app and cli alone. `SqlLedger` implements ports.Ledger on SQLite (one machine, nothing to install) and on
PostgreSQL (many replicas); `migrate` brings a database to this version's tables. Where to look:

    sql_ledger.py    the port, method by method
    schema.py        the two tables and why each index is there
    writes.py        what one transaction does: open, attach, book, close
    writer.py        how many callers share one transaction
    queries.py       what is read, and page_token.py where a reader left off
    rows.py          Hold and Entry as rows and back
    connections.py   SQLite's and PostgreSQL's settings, time limits, errors
    migrate.py       versions of the tables, in migrations/
"""

from bqgate.ledger.migrate import migrate
from bqgate.ledger.sql_ledger import SqlLedger

__all__ = ["SqlLedger", "migrate"]
