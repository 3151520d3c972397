"""Keep the price lists that holds were sized by, so that a job is priced as it was held, whatever holds when it ends.

Run by Alembic. A list is written once, with the first hold that names it. Holds of before name none. Triggers keep the
lists as they are, whoever writes. Adding columns that may be empty touches no row, so gates of the version before still
write.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "price_lists",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("first_used_at", sa.BigInteger(), nullable=False),  # microseconds since 1970 UTC
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("holds", sa.Column("prices_id", sa.Text(), nullable=True))
    op.add_column("holds", sa.Column("priced_as", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER price_lists_no_{change.lower()} BEFORE {change} ON price_lists "
            "BEGIN SELECT RAISE(ABORT, 'price lists are append-only'); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION price_lists_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'price lists are append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER price_lists_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON price_lists "
        "FOR EACH STATEMENT EXECUTE FUNCTION price_lists_append_only()"
    )
