"""Write the file that new ledgers of SQLite's are made from; after each migration: python -m tests.support.new_sqlite.

It is what the migrations come to, statement by statement: what SQLite keeps of each table, index and trigger, and the
rows that are there from the start.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bqgate.ledger.migrate import NEW_SQLITE, upgrade
from bqgate.ledger.one_transaction import one_transaction


def statements_of(file: Path) -> Iterator[str]:
    """What makes a file of the same tables, indexes, triggers and rows."""
    connection = sqlite3.connect(file)
    yield from (line for line in connection.iterdump() if line not in {"BEGIN TRANSACTION;", "COMMIT;"})
    connection.close()


def written() -> str:
    """The file, from a database that all migrations have run on."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        with one_transaction(f"sqlite:///{file}", timeout_s=60) as connection:
            upgrade(connection)
        return "\n\n".join(statements_of(file)) + "\n"


if __name__ == "__main__":
    NEW_SQLITE.write_text(written(), encoding="utf-8")
