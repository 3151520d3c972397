"""Declare what only PostgreSQL has: the keys of entries, because a unique index cannot span the partitions of a table.

A trigger of migration 0013 takes each entry's key before the entry is inserted, and leaves the entry out where its key
is taken; ledger.schema says which entries are one. Written by that trigger and cleared by partitions, read by writes.
"""

import sqlalchemy as sa

POSTGRESQL_METADATA = sa.MetaData()

# One row for each entry. The job is that of a charge; other entries have none here.
entry_keys = sa.Table(
    "entry_keys",
    POSTGRESQL_METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hold_id", sa.Text),
    sa.Column("job_project_id", sa.Text),
    sa.Column("job_id", sa.Text),
    sa.Column("job_region", sa.Text),
    sa.Column("booked_at", sa.BigInteger, nullable=False),  # of its entry, with which it goes
)

sa.Index("uq_entry_keys_hold", entry_keys.c.hold_id, unique=True)
for _name, _columns, _where in (
    ("us", (entry_keys.c.job_project_id, entry_keys.c.job_id), "job_region IN ('', 'us')"),
    ("eu", (entry_keys.c.job_project_id, entry_keys.c.job_id), "job_region IN ('', 'eu')"),
    (
        "region",
        (entry_keys.c.job_project_id, entry_keys.c.job_id, entry_keys.c.job_region),
        "job_region NOT IN ('', 'us', 'eu')",
    ),
):
    sa.Index(f"uq_entry_keys_{_name}", *_columns, unique=True, postgresql_where=sa.text(_where))
