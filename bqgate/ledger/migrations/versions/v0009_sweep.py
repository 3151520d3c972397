"""Make room for costs that did not come through the gate, for corrections, and for who looks after them.

Run by Alembic. Entries say how a cost came about, what they correct, by which prices, and what the job ran on; empty
in rows that were there before. Adding columns that may be empty touches no row, so it takes a moment at any size, and
gates of the version before still write.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_IS_CORRECTION = sa.text("adjusts IS NOT NULL")


def upgrade() -> None:
    for name in ("origin", "adjusts", "reservation", "edition", "prices_id"):
        op.add_column("entries", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("entries", sa.Column("ended_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_entries_adjusts",
        "entries",
        ["adjusts"],
        sqlite_where=_IS_CORRECTION,
        postgresql_where=_IS_CORRECTION,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "sweep_marks",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column("region", sa.Text(), primary_key=True),
        sa.Column("swept_until", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "sweep_pending",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column("region", sa.Text(), primary_key=True),
        sa.Column("job_id", sa.Text(), primary_key=True),
        sa.Column("job_location", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
