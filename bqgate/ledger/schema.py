"""Declare the ledger's tables, the same on SQLite and PostgreSQL.

`holds` says which money is set aside and how each hold ended; `entries`, `breaker_events` and `price_lists` are
append-only (triggers of the migrations refuse UPDATE and DELETE). Read by queries, writes and rows; migrations/ hold
the frozen history that leads here, and a test compares the two. Money is BIGINT nano-dollars. Moments are BIGINT
microseconds since 1970 UTC: SQLite has no time zones, and one whole number sorts and compares alike in both. Windows
are columns (day_key, month_key), NULL where a job counts against no window of that period.

When are two charges the same job? BigQuery's job ids are unique per project and location
(https://cloud.google.com/bigquery/docs/reference/rest/v2/JobReference). A reference without a location means the US or
the EU multi-region, where BigQuery finds a job by itself. So one job may be seen once as "US" and once as None, and the
rule is: None matches None, US and EU; US and EU are apart from each other; any other region matches only itself. That
is no equivalence, so one index cannot say it; three partial unique indexes do, and they decide races between
processes. Matching None to both errs towards not charging twice (invariant 4).

On PostgreSQL `entries` is parted by the month in which an entry was booked, and a unique index cannot span partitions:
there the rules stand on `entry_keys` (partition_schema), of which each entry takes its own before it is inserted.
"""

import sqlalchemy as sa

METADATA = sa.MetaData()

# Written out in the statements, never bound: a database uses a partial index only where it can see that it applies.
IS_OPEN = sa.text("ended_at IS NULL")
HAS_USAGE = sa.text("kind = 'charge' AND outcome IN ('done', 'stopped') AND NOT cache_hit")
IS_CHARGE_OF_US = sa.text("kind = 'charge' AND job_region IN ('', 'us')")
IS_CHARGE_OF_EU = sa.text("kind = 'charge' AND job_region IN ('', 'eu')")
IS_CHARGE_OF_REGION = sa.text("kind = 'charge' AND job_region NOT IN ('', 'us', 'eu')")

holds = sa.Table(
    "holds",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),
    sa.Column("day_key", sa.Text),
    sa.Column("month_key", sa.Text),
    sa.Column("placed_at", sa.BigInteger, nullable=False),
    sa.Column("deadline_at", sa.BigInteger, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("job_project_id", sa.Text),
    sa.Column("job_id", sa.Text),
    sa.Column("job_location", sa.Text),
    sa.Column("workload", sa.Text),
    sa.Column("maximum_bytes_billed", sa.BigInteger),
    sa.Column("estimate_bytes", sa.BigInteger),
    sa.Column("estimate_nanos", sa.BigInteger, nullable=False),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text),
    sa.Column("state", sa.Text, nullable=False),  # domain.hold.HoldState
    sa.Column("ended_at", sa.BigInteger),  # NULL while it is held
    sa.Column("would_have", sa.Text),  # domain.shadow_decision: what enforcing would have said
    sa.Column("would_wait_ms", sa.BigInteger),
    sa.Column("would_budget", sa.Text),
    sa.Column("labels", sa.JSON),  # the caller's; NULL in holds of before there were budgets of labels
    sa.Column("prices_id", sa.Text),  # price_lists.id; NULL in holds of before there were such lists
    sa.Column("priced_as", sa.Text),  # the most expensive kind of statement that may occur; NULL: any kind
    sa.Column("account", sa.Text),  # in whose name its job is made; "": no account's; NULL in holds of before
    sa.CheckConstraint("(state = 'held') = (ended_at IS NULL)", name="ck_holds_ended"),
    sa.CheckConstraint("amount_nanos >= 0", name="ck_holds_amount"),
)

# Open holds are few and ended ones many; this index holds only the few.
sa.Index(
    "ix_holds_open",
    holds.c.placed_at,
    holds.c.id,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
)

entries = sa.Table(
    "entries",
    METADATA,
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # domain.entry.EntryKind
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("booked_at", sa.BigInteger, nullable=False),
    sa.Column("day_key", sa.Text),
    sa.Column("month_key", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),  # domain.job.Outcome
    sa.Column("cost_nanos", sa.BigInteger, nullable=False),  # negative in an adjustment that gives back
    sa.Column("hold_id", sa.Text),
    sa.Column("hold_nanos", sa.BigInteger, nullable=False),
    sa.Column("workload", sa.Text),
    sa.Column("job_project_id", sa.Text),
    sa.Column("job_id", sa.Text),
    sa.Column("job_location", sa.Text),  # as BigQuery wrote it
    sa.Column("job_region", sa.Text),  # the same in small letters, '' for None; NULL where there is no job
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("estimate_bytes", sa.BigInteger),
    sa.Column("estimate_nanos", sa.BigInteger, nullable=False),
    sa.Column("bytes_processed", sa.BigInteger, nullable=False),
    sa.Column("bytes_billed", sa.BigInteger, nullable=False),
    sa.Column("slot_ms", sa.BigInteger, nullable=False),
    sa.Column("statement_type", sa.Text, nullable=False),
    sa.Column("cache_hit", sa.Boolean, nullable=False),
    sa.Column("fingerprint", sa.Text),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("would_have", sa.Text),  # domain.shadow_decision: what enforcing would have said
    sa.Column("would_wait_ms", sa.BigInteger),
    sa.Column("would_budget", sa.Text),
    sa.Column("placed_at", sa.BigInteger),  # of its hold; NULL in entries of before there was a deployment's budget
    sa.Column("origin", sa.Text),  # domain.entry.Origin; NULL: gate
    sa.Column("adjusts", sa.Text),  # entries.id of the charge that an adjustment corrects
    sa.Column("reservation", sa.Text),  # '' where the job ran on demand; NULL: not told
    sa.Column("edition", sa.Text),
    sa.Column("prices_id", sa.Text),  # price_lists.id; NULL in entries of before
    sa.Column("ended_at", sa.BigInteger),  # when the job ended; NULL: not told
    sa.CheckConstraint("kind IN ('charge', 'refusal', 'adjustment')", name="ck_entries_kind"),
    sa.PrimaryKeyConstraint("id").ddl_if("sqlite"),
    postgresql_partition_by="RANGE (booked_at)",
)

sa.Index("uq_entries_hold", entries.c.hold_id, unique=True).ddl_if("sqlite")
for _name, _columns, _where in (
    ("uq_entries_charge_us", (entries.c.job_project_id, entries.c.job_id), IS_CHARGE_OF_US),
    ("uq_entries_charge_eu", (entries.c.job_project_id, entries.c.job_id), IS_CHARGE_OF_EU),
    (
        "uq_entries_charge_region",
        (entries.c.job_project_id, entries.c.job_id, entries.c.job_region),
        IS_CHARGE_OF_REGION,
    ),
):
    sa.Index(_name, *_columns, unique=True, sqlite_where=_where).ddl_if("sqlite")
sa.Index("ix_entries_id", entries.c.id).ddl_if("postgresql")
sa.Index("ix_entries_hold", entries.c.hold_id).ddl_if("postgresql")

# What was held in a span of time, for proofs against BigQuery.
sa.Index("ix_entries_placed", entries.c.placed_at, entries.c.kind, entries.c.cost_nanos)
# Pages of one customer's entries, and of everybody's.
sa.Index("ix_entries_customer_booked", entries.c.customer, entries.c.booked_at, entries.c.id)
sa.Index("ix_entries_booked", entries.c.booked_at, entries.c.id)
# One job by the id that BigQuery prints, whichever project and location it is in.
sa.Index("ix_entries_job", entries.c.job_id)
# What corrects a charge.
IS_ADJUSTMENT = sa.text("adjusts IS NOT NULL")
sa.Index("ix_entries_adjusts", entries.c.adjusts, sqlite_where=IS_ADJUSTMENT, postgresql_where=IS_ADJUSTMENT)
# The last jobs that tell how many slots a customer's bytes take, however many refusals and cached ones lie between.
sa.Index(
    "ix_entries_usage",
    entries.c.customer,
    entries.c.booked_at,
    entries.c.id,
    sqlite_where=HAS_USAGE,
    postgresql_where=HAS_USAGE,
)

# When a grace began and a cost breaker opened and closed: all that tells a store which lost it.
breaker_events = sa.Table(
    "breaker_events",
    METADATA,
    # SQLite numbers rows by itself only where the type is INTEGER.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("period", sa.Text, nullable=False),  # domain.budget.Period
    sa.Column("window_key", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # domain.cost_breaker.BreakerEventKind
    sa.Column("actor", sa.Text, nullable=False),
)

sa.Index("ix_breaker_events_window", breaker_events.c.customer, breaker_events.c.window_key)

# The prices that holds were sized by, each once; a job is priced as it was held.
price_lists = sa.Table(
    "price_lists",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),  # domain.pricing.PriceList.id
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("first_used_at", sa.BigInteger, nullable=False),
)

# How far the journals of processes are written (ledger.journal), in bytes of each one's file.
journal_positions = sa.Table(
    "journal_positions",
    METADATA,
    sa.Column("journal_id", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)

# The ledger's own name, by which a journal knows that it belongs to it. One row, once there has been a journal.
ledger_identity = sa.Table(
    "ledger_identity",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.CheckConstraint("seq = 1", name="ck_ledger_identity_one_row"),
)

# Which replica does what only one of them should do (leases.Lease); the highest beat is the latest.
leases = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
)

# Up to which moment of their making all jobs of a project have been looked at. `region` is "" for all.
sweep_marks = sa.Table(
    "sweep_marks",
    METADATA,
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("swept_until", sa.BigInteger, nullable=False),
)

# Jobs that ran when they were looked at: made before the mark, and to be looked at again.
sweep_pending = sa.Table(
    "sweep_pending",
    METADATA,
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("job_location", sa.Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

# From when on everything is kept, and how far what goes with the entries before is gone too: keys and ended holds. No
# row: nothing was ever dropped.
retention = sa.Table(
    "retention",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kept_since", sa.BigInteger, nullable=False),
    sa.Column("cleared_since", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="ck_retention_one_row"),
)
