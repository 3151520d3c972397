"""Make the tables by which entries are mirrored to BigQuery: how far the mirror is, and what waits for it.

Run by Alembic. A trigger puts each new entry into the queue, in the transaction that books it, so that gates of the
version before do so too; as long as there is no mirror (no row in `mirror`) it does nothing. No entry is touched.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mirror",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("target", sa.Text(), nullable=False),  # project.dataset.table
        sa.Column("epoch", sa.Text(), nullable=False),  # a word of this mirror's own, in the ids of its load jobs
        sa.Column("horizon", sa.Text(), nullable=True),  # PostgreSQL's transactions that may not know of the mirror
        sa.Column("filled_at", sa.BigInteger(), nullable=True),  # booked_at and id of the last entry that was there
        sa.Column("filled_id", sa.Text(), nullable=True),  # before the mirror and is in the queue
        sa.Column("is_filled", sa.Boolean(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),  # rows that BigQuery has said it has
        sa.Column("policies", sa.JSON(), nullable=False),  # row access policies that were made, and how
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("id = 1", name="ck_mirror_one_row"),
    )
    op.create_table(
        "mirror_queue",
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("booked_at", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=True),  # NULL while it waits for one
        sa.Column("refusal", sa.Text(), nullable=True),  # why BigQuery does not take it
        sa.PrimaryKeyConstraint("entry_id"),
    )
    op.create_index("ix_mirror_queue_waiting", "mirror_queue", ["booked_at", "entry_id"])
    in_a_batch = sa.text("batch IS NOT NULL")
    op.create_index(
        "ix_mirror_queue_batch", "mirror_queue", ["batch"], sqlite_where=in_a_batch, postgresql_where=in_a_batch
    )
    if op.get_bind().dialect.name == "postgresql":
        _fill_on_postgresql()
    else:
        _fill_on_sqlite()


def _fill_on_sqlite() -> None:
    op.execute(
        "CREATE TRIGGER entries_to_mirror AFTER INSERT ON entries WHEN EXISTS (SELECT 1 FROM mirror) "
        "BEGIN INSERT INTO mirror_queue (entry_id, booked_at) VALUES (NEW.id, NEW.booked_at); END"
    )


def _fill_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION entries_to_mirror() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF EXISTS (SELECT 1 FROM mirror) THEN "
        "INSERT INTO mirror_queue (entry_id, booked_at) VALUES (NEW.id, NEW.booked_at); "
        "END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER entries_to_mirror AFTER INSERT ON entries FOR EACH ROW EXECUTE FUNCTION entries_to_mirror()"
    )
