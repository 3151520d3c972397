"""Make the tables that say how far the journals of processes are written, and whose journals they are.

Run by Alembic. A position is written in the transaction of the records before it, and goes with its file.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "journal_positions",
        sa.Column("journal_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("journal_id"),
    )
    op.create_table(
        "ledger_identity",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.CheckConstraint("seq = 1", name="ck_ledger_identity_one_row"),
    )
