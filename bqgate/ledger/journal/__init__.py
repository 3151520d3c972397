"""Keep what the ledger is told in a local file first, and bring it into the database from there.

A query waits for one append to a file of its process's, not for a database: the file outlives the process, and Redis
and the job's label know of the hold besides (docs/journal.md tells what each pair of failures can lose). A thread
follows the file into the database, in groups, each with how far the file is done in its own transaction. While the
database is away the file grows, up to a bound, and nobody is refused.

    journal.py          what sql_ledger posts to, and who waits until it is written
    journal_file.py     the file: append, read, whose it is
    waits.py            waiting for an outcome, not for ever
    record.py           a write as bytes and back                                            pure
    follower.py         the thread: file to database, group by group; files of processes that are gone
    followed_file.py    one file on its way: how far it is, and what to do with a record that no database takes
"""

from bqgate.ledger.journal.journal import Journal, JournalPlace, journal_folder

__all__ = ["Journal", "JournalPlace", "journal_folder"]
