"""Make the tables of holds and entries.

Run by Alembic. Money is nano-dollars, moments are microseconds since 1970 UTC, bytes are bytes. What each index is
for stands in ledger.schema. Triggers keep `entries` append-only, whoever writes: a correction is an adjustment.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_holds()
    _create_entries()
    _create_indexes()
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _create_holds() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("amount_nanos", sa.BigInteger(), nullable=False),
        sa.Column("day_key", sa.Text(), nullable=True),  # "2026-11-24" in the customer's zone
        sa.Column("month_key", sa.Text(), nullable=True),  # "2026-11"
        sa.Column("placed_at", sa.BigInteger(), nullable=False),
        sa.Column("deadline_at", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("job_project_id", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("job_location", sa.Text(), nullable=True),
        sa.Column("workload", sa.Text(), nullable=True),
        sa.Column("maximum_bytes_billed", sa.BigInteger(), nullable=True),
        sa.Column("estimate_bytes", sa.BigInteger(), nullable=True),
        sa.Column("estimate_nanos", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),  # held, captured or voided
        sa.Column("ended_at", sa.BigInteger(), nullable=True),  # NULL while held
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("(state = 'held') = (ended_at IS NULL)", name="ck_holds_ended"),
        sa.CheckConstraint("amount_nanos >= 0", name="ck_holds_amount"),
    )


def _create_entries() -> None:
    op.create_table(
        "entries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),  # charge, refusal or adjustment
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("booked_at", sa.BigInteger(), nullable=False),
        sa.Column("day_key", sa.Text(), nullable=True),
        sa.Column("month_key", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=True),
        sa.Column("hold_nanos", sa.BigInteger(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=True),
        sa.Column("job_project_id", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("job_location", sa.Text(), nullable=True),  # as BigQuery wrote it
        sa.Column("job_region", sa.Text(), nullable=True),  # in small letters, '' for none given
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("estimate_bytes", sa.BigInteger(), nullable=True),
        sa.Column("estimate_nanos", sa.BigInteger(), nullable=False),
        sa.Column("bytes_processed", sa.BigInteger(), nullable=False),
        sa.Column("bytes_billed", sa.BigInteger(), nullable=False),
        sa.Column("slot_ms", sa.BigInteger(), nullable=False),
        sa.Column("statement_type", sa.Text(), nullable=False),
        sa.Column("cache_hit", sa.Boolean(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("kind IN ('charge', 'refusal', 'adjustment')", name="ck_entries_kind"),
    )


def _create_indexes() -> None:
    _partial("ix_holds_open", "holds", ["placed_at", "id"], "ended_at IS NULL")
    op.create_index("uq_entries_hold", "entries", ["hold_id"], unique=True)
    job = ["job_project_id", "job_id"]
    us, eu = "kind = 'charge' AND job_region IN ('', 'us')", "kind = 'charge' AND job_region IN ('', 'eu')"
    elsewhere = "kind = 'charge' AND job_region NOT IN ('', 'us', 'eu')"
    _partial("uq_entries_charge_us", "entries", job, us, unique=True)
    _partial("uq_entries_charge_eu", "entries", job, eu, unique=True)
    _partial("uq_entries_charge_region", "entries", [*job, "job_region"], elsewhere, unique=True)
    op.create_index("ix_entries_day", "entries", ["customer", "day_key", "kind", "cost_nanos"])
    op.create_index("ix_entries_month", "entries", ["customer", "month_key", "kind", "cost_nanos"])
    op.create_index("ix_entries_customer_booked", "entries", ["customer", "booked_at", "id"])
    op.create_index("ix_entries_booked", "entries", ["booked_at", "id"])
    has_usage = "kind = 'charge' AND outcome IN ('done', 'stopped') AND NOT cache_hit"
    _partial("ix_entries_usage", "entries", ["customer", "booked_at", "id"], has_usage)


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _guard_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER entries_no_{change.lower()} BEFORE {change} ON entries "
            "BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION entries_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'entries are append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER entries_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION entries_append_only()"
    )
