"""Make room for what budgets of labels and of the deployment need: a hold's labels, and when an entry's was placed.

Run by Alembic. Empty in rows that were there before, so no row is touched, and gates of the version before still write.
The index is built while PostgreSQL's writers wait: some seconds for some million entries.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("holds", sa.Column("labels", sa.JSON(), nullable=True))
    op.add_column("entries", sa.Column("placed_at", sa.BigInteger(), nullable=True))  # microseconds since 1970 UTC
    op.create_index("ix_entries_placed", "entries", ["placed_at", "kind", "cost_nanos"])
