"""Make room for what enforcing would have done to an observed query, in its hold and in its entry.

Run by Alembic. Empty where a budget was enforced, and in rows that were there before. Adding a column that may be empty
touches no row, so it takes a moment at any size, and gates of the version before still write.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("holds", "entries"):
        op.add_column(table, sa.Column("would_have", sa.Text(), nullable=True))  # domain.decision.RejectReason
        op.add_column(table, sa.Column("would_wait_ms", sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column("would_budget", sa.Text(), nullable=True))
