"""Make the table that remembers when a grace began and when a cost breaker opened and closed.

Run by Alembic. Moments are microseconds since 1970 UTC. Triggers keep it append-only, whoever writes. Tables that were
there are left as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breaker_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),  # day or month
        sa.Column("window_key", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),  # grace_started, tripped, closed or reset
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_breaker_events_window", "breaker_events", ["customer", "window_key"])
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER breaker_events_no_{change.lower()} BEFORE {change} ON breaker_events "
            "BEGIN SELECT RAISE(ABORT, 'breaker events are append-only'); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION breaker_events_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'breaker events are append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER breaker_events_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON breaker_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION breaker_events_append_only()"
    )
