"""Add up entries by hour and by day, so that costs are read from few rows however many entries there are.

Run by Alembic. What is there is added up now; from then on triggers add each entry in the transaction that books it, so
that gates of the version before do so too. On PostgreSQL writers wait meanwhile, some minutes for ten million entries.
The two indexes that only served sums of windows go.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_SPEND = "kind IN ('charge', 'adjustment')"
_SUMS = "cost_nanos, bytes_billed, slot_ms, job_count"
_HOUR_KEY = "hour, customer, principal, origin"
_DAY_KEY = "booked_on, customer, principal, project_id, workload, origin, day_key, month_key, deployment_day"
_COLUMNS = {"spend_hours": (_HOUR_KEY, _SUMS), "spend_days": (_DAY_KEY, f"{_SUMS}, adjusted_nanos")}
_HOUR_MICROS = 3_600_000_000


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    _create_tables(sa.BigInteger() if dialect == "sqlite" else sa.Numeric(38, 0))
    for index in ("ix_entries_day", "ix_entries_month"):
        op.drop_index(index, "entries")
    if dialect == "postgresql":
        op.execute("SET LOCAL statement_timeout = 0")
        op.execute("SET LOCAL work_mem = '128MB'")
        op.execute("LOCK TABLE entries IN SHARE ROW EXCLUSIVE MODE")
        _fill_on_postgresql()
    else:
        _fill_on_sqlite()
    op.create_index("ix_spend_days_day", "spend_days", ["customer", "day_key"])
    op.create_index("ix_spend_days_month", "spend_days", ["customer", "month_key"])
    op.create_index("ix_spend_days_deployment", "spend_days", ["deployment_day"])


def _create_tables(whole_sum: sa.types.TypeEngine[Any]) -> None:
    def sums() -> tuple[sa.Column[Any], ...]:
        return (
            sa.Column("cost_nanos", whole_sum, nullable=False),
            sa.Column("bytes_billed", whole_sum, nullable=False),
            sa.Column("slot_ms", whole_sum, nullable=False),
            sa.Column("job_count", sa.BigInteger(), nullable=False),
        )

    op.create_table(
        "spend_hours",
        sa.Column("hour", sa.BigInteger(), nullable=False, autoincrement=False),  # microseconds since 1970 UTC
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("customer", "principal", "origin")),
        *sums(),
        sa.PrimaryKeyConstraint("hour", "customer", "principal", "origin"),
    )
    day_key = _DAY_KEY.split(", ")
    op.create_table(
        "spend_days",
        *(sa.Column(name, sa.Text(), nullable=False) for name in day_key),  # '' for none
        *sums(),
        sa.Column("adjusted_nanos", whole_sum, nullable=False),
        sa.PrimaryKeyConstraint(*day_key),
    )


def _rows(utc_day: str, entry: str = "") -> tuple[str, str]:
    """What an entry adds to its hour and to its day.

    Args:
        utc_day: makes a day of a moment.
        entry: what the names of columns begin with.
    """
    booked_on, placed_on = utc_day.format(f"{entry}booked_at"), utc_day.format(f"{entry}placed_at")
    origin = f"COALESCE({entry}origin, 'gate')"
    is_job = f"CASE WHEN {entry}kind = 'charge' THEN 1 ELSE 0 END"
    sums = f"{entry}cost_nanos, {entry}bytes_billed, {entry}slot_ms, {is_job} AS job_count"
    hour = f"{entry}booked_at - {entry}booked_at % {_HOUR_MICROS} AS hour"
    adjusted = f"CASE WHEN {entry}kind = 'adjustment' THEN {entry}cost_nanos ELSE 0 END AS adjusted_nanos"
    deployment_day = (
        f"CASE WHEN {entry}placed_at IS NOT NULL THEN {placed_on} "
        f"WHEN {entry}day_key IS NOT NULL THEN {booked_on} ELSE '' END AS deployment_day"
    )
    own = f"{entry}customer, {entry}principal"
    or_none = ", ".join(f"COALESCE({entry}{name}, '') AS {name}" for name in ("day_key", "month_key"))
    scope = f"{own}, {entry}project_id, COALESCE({entry}workload, '') AS workload, {origin} AS origin"
    return (
        f"{hour}, {own}, {origin} AS origin, {sums}",
        f"{booked_on} AS booked_on, {scope}, {or_none}, {deployment_day}, {sums}, {adjusted}",
    )


def _insert(table: str, rows: str) -> str:
    """Rows of a table of sums."""
    key, sums = _COLUMNS[table]
    return f"INSERT INTO {table} ({key}, {sums}) {rows}"


def _add(table: str, rows: str) -> str:
    """The same, added to those that are there."""
    key, sums = _COLUMNS[table]
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums.split(", "))
    return f"{_insert(table, rows)} ON CONFLICT ({key}) DO UPDATE SET {added}"


def _added_up(source: str, utc_day: str) -> dict[str, str]:
    """What all entries of a table add up to, for each table of sums, in the order of its keys.

    So two gates wait for each other and never in a circle, and the sums of a day lie together.
    """
    found = {}
    for (table, (key, sums)), row in zip(_COLUMNS.items(), _rows(utc_day), strict=True):
        added = ", ".join(f"SUM({name})" for name in sums.split(", "))
        rows = f"SELECT {row} FROM {source} WHERE {_SPEND}"  # noqa: S608 - all of it is written here
        added_up = f"SELECT {key}, {added} FROM ({rows}) AS spend"  # noqa: S608 - the same
        found[table] = f"{added_up} WHERE true GROUP BY {key} ORDER BY {key}"
    return found


def _fill_on_sqlite() -> None:
    utc_day = "strftime('%Y-%m-%d', {} / 1000000, 'unixepoch')"
    for table, rows in _added_up("entries", utc_day).items():
        op.execute(_insert(table, rows))
    # SQLite would take ON CONFLICT for a join's, without a WHERE.
    into = [
        _add(table, f"SELECT {row} WHERE true") for table, row in zip(_COLUMNS, _rows(utc_day, "NEW."), strict=True)
    ]
    op.execute(
        "CREATE TRIGGER entries_roll_up AFTER INSERT ON entries WHEN NEW.kind IN ('charge', 'adjustment') "
        f"BEGIN {'; '.join(into)}; END"
    )


def _fill_on_postgresql() -> None:
    utc_day = "to_char(to_timestamp({} / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    for table, rows in _added_up("entries", utc_day).items():
        op.drop_constraint(f"{table}_pkey", table)  # an index is made faster than it is kept
        op.execute(_insert(table, rows))
        op.create_primary_key(f"{table}_pkey", table, _COLUMNS[table][0].split(", "))
    into = [_add(table, rows) for table, rows in _added_up("added", utc_day).items()]
    op.execute(
        "CREATE FUNCTION entries_roll_up() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {'; '.join(into)}; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER entries_roll_up AFTER INSERT ON entries REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION entries_roll_up()"
    )
    for table in ("spend_hours", "spend_days"):
        # Rows are changed many times a second while their hour or day lasts: leave room beside them.
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")
