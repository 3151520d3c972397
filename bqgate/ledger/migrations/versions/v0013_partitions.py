"""Part PostgreSQL's entries by the month in which they were booked, so that old months can be dropped in a moment.

Run by Alembic; on SQLite only the table of what was dropped is made. A unique index cannot span partitions, so from now
on the small table `entry_keys` decides what an entry may not share with another: its id, its hold, and for a charge its
job, by the three rules that ledger.schema explains. A trigger takes an entry's key before the entry is inserted, and
leaves out an entry whose key is taken, so that gates of the version before meet the rules too.

All entries are moved, while everybody waits: one to two minutes for ten million entries, and as much room on the disk
as they take. A gate that goes on meanwhile keeps what it has to book, and books it afterwards.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_MONTHS_BACK_MAX = 240  # a moment of long ago is a mistake, and needs no partition of its own
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GUARD = (
    "CREATE TRIGGER entries_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {} "
    "FOR EACH STATEMENT EXECUTE FUNCTION entries_append_only()"
)
_USAGE = "kind = 'charge' AND outcome IN ('done', 'stopped') AND NOT cache_hit"


def upgrade() -> None:
    op.create_table(
        "retention",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kept_since", sa.BigInteger(), nullable=False),  # what was booked before it is dropped
        sa.Column("cleared_since", sa.BigInteger(), nullable=False),  # and its holds and keys are gone before this
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("id = 1", name="ck_retention_one_row"),
    )
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("SET LOCAL statement_timeout = 0")
    op.execute("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE")
    op.execute("ALTER TABLE entries RENAME TO entries_before")
    op.execute(
        "CREATE TABLE entries (LIKE entries_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS) "
        "PARTITION BY RANGE (booked_at)"
    )
    _create_partitions()
    _create_keys()
    op.execute("INSERT INTO entries SELECT * FROM entries_before")
    op.execute("DROP TABLE entries_before")
    _create_indexes()
    _create_triggers()
    op.execute("ANALYZE entries, entry_keys")


def _create_partitions() -> None:
    """A partition for each month of the entries that are there; one for whatever fits none."""
    asked = "SELECT min(booked_at), CAST(extract(epoch FROM now()) AS bigint) FROM entries_before"
    first, now_s = op.get_bind().execute(sa.text(asked)).one()
    now = datetime.fromtimestamp(now_s, UTC)
    began = now if first is None else _EPOCH + timedelta(microseconds=max(first, 0))
    for name, start, end in _months(began, now):
        op.execute(f"CREATE TABLE {name} PARTITION OF entries FOR VALUES FROM ({start}) TO ({end})")
        op.execute(_GUARD.format(name))
    op.execute("CREATE TABLE entries_default PARTITION OF entries DEFAULT")
    op.execute(_GUARD.format("entries_default"))


def _months(began: datetime, now: datetime) -> Iterator[tuple[str, int, int]]:
    """The name of each month's partition, its first moment, and the first of the next, in microseconds since 1970."""
    this_month = now.year * 12 + now.month - 1
    first_month = min(max(began.year * 12 + began.month - 1, this_month - _MONTHS_BACK_MAX), this_month)
    for number in range(first_month, this_month + 1):
        start, end = (datetime(each // 12, each % 12 + 1, 1, tzinfo=UTC) for each in (number, number + 1))
        micros = [int((each - _EPOCH).total_seconds()) * 1_000_000 for each in (start, end)]
        yield f"entries_{start:%Y_%m}", micros[0], micros[1]


def _create_keys() -> None:
    op.create_table(
        "entry_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=True),
        sa.Column("job_project_id", sa.Text(), nullable=True),  # of a charge alone
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("job_region", sa.Text(), nullable=True),
        sa.Column("booked_at", sa.BigInteger(), nullable=False),
    )
    op.execute(
        "INSERT INTO entry_keys SELECT id, hold_id, CASE WHEN kind = 'charge' THEN job_project_id END, "
        "CASE WHEN kind = 'charge' THEN job_id END, CASE WHEN kind = 'charge' THEN job_region END, booked_at "
        "FROM entries_before"
    )
    op.create_primary_key("entry_keys_pkey", "entry_keys", ["id"])
    op.create_index("uq_entry_keys_hold", "entry_keys", ["hold_id"], unique=True)
    job = ["job_project_id", "job_id"]
    for name, columns, where in (
        ("us", job, "job_region IN ('', 'us')"),
        ("eu", job, "job_region IN ('', 'eu')"),
        ("region", [*job, "job_region"], "job_region NOT IN ('', 'us', 'eu')"),
    ):
        op.create_index(f"uq_entry_keys_{name}", "entry_keys", columns, unique=True, postgresql_where=sa.text(where))


def _create_indexes() -> None:
    op.create_index("ix_entries_id", "entries", ["id"])
    op.create_index("ix_entries_hold", "entries", ["hold_id"])
    op.create_index("ix_entries_placed", "entries", ["placed_at", "kind", "cost_nanos"])
    op.create_index("ix_entries_customer_booked", "entries", ["customer", "booked_at", "id"])
    op.create_index("ix_entries_booked", "entries", ["booked_at", "id"])
    op.create_index("ix_entries_job", "entries", ["job_id"])
    op.create_index("ix_entries_adjusts", "entries", ["adjusts"], postgresql_where=sa.text("adjusts IS NOT NULL"))
    usage = ["customer", "booked_at", "id"]
    op.create_index("ix_entries_usage", "entries", usage, postgresql_where=sa.text(_USAGE))


def _create_triggers() -> None:
    """Those that the table had, and the one that takes keys. A month's partition has its guard from its making on."""
    op.execute(_GUARD.format("entries"))
    op.execute(
        "CREATE FUNCTION entries_take_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO entry_keys (id, hold_id, job_project_id, job_id, job_region, booked_at) "
        "VALUES (NEW.id, NEW.hold_id, CASE WHEN NEW.kind = 'charge' THEN NEW.job_project_id END, "
        "CASE WHEN NEW.kind = 'charge' THEN NEW.job_id END, CASE WHEN NEW.kind = 'charge' THEN NEW.job_region END, "
        "NEW.booked_at) ON CONFLICT DO NOTHING; "
        "IF FOUND THEN RETURN NEW; END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER entries_take_key BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION entries_take_key()"
    )
    op.execute(
        "CREATE TRIGGER entries_roll_up AFTER INSERT ON entries REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION entries_roll_up()"
    )
    op.execute(
        "CREATE OR REPLACE FUNCTION entries_to_mirror() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF EXISTS (SELECT 1 FROM mirror) THEN "
        "INSERT INTO mirror_queue (entry_id, booked_at) SELECT id, booked_at FROM added; "
        "END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER entries_to_mirror AFTER INSERT ON entries REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION entries_to_mirror()"
    )
