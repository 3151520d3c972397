"""Declare the two tables of the mirror to BigQuery, beside the ledger's and in the same METADATA.

`mirror` has one row as long as there is a mirror; `mirror_queue` has the entries that BigQuery is not known to have. A
trigger of migration 0010 fills it with every entry that is booked, in the transaction that books it. Read by
mirror_queue; migrations/ hold the frozen history that leads here.
"""

import sqlalchemy as sa

from bqgate.ledger.schema import METADATA

IS_IN_A_BATCH = sa.text("batch IS NOT NULL")

mirror = sa.Table(
    "mirror",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("epoch", sa.Text, nullable=False),  # a word of this mirror's own, in the ids of its load jobs
    sa.Column("horizon", sa.Text),  # PostgreSQL's transactions that may not know of the mirror; NULL: none
    sa.Column("filled_at", sa.BigInteger),  # how far the entries of before the mirror are in the queue
    sa.Column("filled_id", sa.Text),
    sa.Column("is_filled", sa.Boolean, nullable=False),
    sa.Column("batch", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),  # rows that BigQuery has said it has
    sa.Column("policies", sa.JSON, nullable=False),  # row access policies that were made, and how
    sa.CheckConstraint("id = 1", name="ck_mirror_one_row"),
)

mirror_queue = sa.Table(
    "mirror_queue",
    METADATA,
    sa.Column("entry_id", sa.Text, primary_key=True),
    sa.Column("booked_at", sa.BigInteger, nullable=False),
    sa.Column("batch", sa.BigInteger),  # NULL while it waits for one
    sa.Column("refusal", sa.Text),  # why BigQuery does not take it
)

# The next batch, and the oldest entry that is not mirrored.
sa.Index("ix_mirror_queue_waiting", mirror_queue.c.booked_at, mirror_queue.c.entry_id)
sa.Index("ix_mirror_queue_batch", mirror_queue.c.batch, sqlite_where=IS_IN_A_BATCH, postgresql_where=IS_IN_A_BATCH)
