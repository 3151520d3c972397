"""Build the ledger's questions as SQL.

Called by sql_ledger, which runs them; pure. Each statement is answered from one index (schema says which). Sums are
exact whole numbers in both databases; PostgreSQL returns them as Decimal. What was spent is in window_queries,
cost_queries and spend_queries.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bqgate.domain.budget import Window
from bqgate.domain.entry import EntryFilter, EntryKind, EntryLookup, Origin
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef
from bqgate.ledger.page_token import read_page_token
from bqgate.ledger.rows import to_micros
from bqgate.ledger.schema import (
    HAS_USAGE,
    IS_ADJUSTMENT,
    IS_OPEN,
    breaker_events,
    entries,
    holds,
    price_lists,
    retention,
    sweep_marks,
)

# Spend is charges and adjustments; refusals cost nothing.
SPENDING_KINDS = (EntryKind.CHARGE.value, EntryKind.ADJUSTMENT.value)
# Enough jobs to know a customer's habits, few enough to be read while a query waits.
_HISTORY_MAX = 1_000
# A job has one charge and few adjustments; more are different jobs of one name.
_LOOKED_UP_MAX = 100
# Entries of before there were origins are of jobs that came through the gate.
ORIGIN = sa.func.coalesce(entries.c.origin, sa.literal_column(f"'{Origin.GATE}'"))

# From when on everything is kept; what was booked before was dropped.
KEPT_SINCE = sa.select(sa.func.coalesce(sa.func.max(retention.c.kept_since), 0)).scalar_subquery()
# Whether the charge that an adjustment corrects must be there. It was booked after its hold was placed.
HAS_ITS_CHARGE = sa.or_(KEPT_SINCE == 0, entries.c.placed_at >= KEPT_SINCE)


def breaker_events_of(windows: Sequence[Window]) -> sa.Select[Any]:
    """What is remembered of the windows of one customer, in the order in which it happened."""
    return (
        sa.select(breaker_events)
        .where(
            breaker_events.c.customer == windows[0].customer,
            breaker_events.c.window_key.in_([window.key for window in windows]),
        )
        .order_by(breaker_events.c.at, breaker_events.c.seq)
    )


def open_holds(customer: str | None) -> sa.Select[Any]:
    wanted = sa.select(holds).where(IS_OPEN).order_by(holds.c.placed_at, holds.c.id)
    return wanted if customer is None else wanted.where(holds.c.customer == customer)


def open_hold(hold_id: str) -> sa.Select[Any]:
    return sa.select(holds).where(IS_OPEN, holds.c.id == hold_id)


def open_holds_of_job(job: JobRef) -> sa.Select[Any]:
    """Open holds that name the job, in whatever case its place is written; of several the youngest first."""
    named = sa.select(holds).where(IS_OPEN, holds.c.job_project_id == job.project_id, holds.c.job_id == job.job_id)
    if job.location is not None:
        place = sa.func.lower(holds.c.job_location)
        named = named.where(sa.or_(place.is_(None), place == job.location.lower()))
    return named.order_by(holds.c.placed_at.desc()).limit(1)


def charges_of_repeats(hold: Hold, key_prefix: str, since: datetime) -> sa.Select[Any]:
    """Charges of other holds of the same query, found by the index of a customer's entries."""
    return (
        sa.select(entries.c.id)
        .join(holds, holds.c.id == entries.c.hold_id)
        .where(
            entries.c.customer == hold.customer,
            entries.c.booked_at >= to_micros(since),
            entries.c.fingerprint == hold.fingerprint,
            entries.c.hold_id != hold.id,
            holds.c.idempotency_key.startswith(key_prefix, autoescape=True),
        )
        .limit(1)
    )


def price_list(prices_id: str) -> sa.Select[Any]:
    """The document of a price list."""
    return sa.select(price_lists.c.document).where(price_lists.c.id == prices_id)


def entry_of_hold(hold_id: str) -> sa.Select[Any]:
    return sa.select(entries).where(entries.c.hold_id == hold_id)


def charges_of_jobs(jobs: Sequence[JobRef]) -> sa.Select[Any]:
    """Charges whose jobs have these ids, in whatever project and place."""
    return sa.select(entries).where(
        entries.c.job_id.in_(sorted({job.job_id for job in jobs})), entries.c.kind == EntryKind.CHARGE.value
    )


def charges_of_holds(hold_ids: Sequence[str]) -> sa.Select[Any]:
    """Charges that ended these holds."""
    return sa.select(entries).where(entries.c.hold_id.in_(hold_ids), entries.c.kind == EntryKind.CHARGE.value)


def charges_of_ids(charge_ids: Sequence[str]) -> sa.Select[Any]:
    """Charges of these ids."""
    return sa.select(entries).where(entries.c.id.in_(charge_ids), entries.c.kind == EntryKind.CHARGE.value)


def adjustments_of(charge_ids: Sequence[str]) -> sa.Select[Any]:
    """What corrects these charges, oldest first. Their index is a partial one, which says what it is about."""
    return (
        sa.select(entries)
        .where(entries.c.adjusts.in_(charge_ids), IS_ADJUSTMENT)
        .order_by(entries.c.booked_at, entries.c.id)
    )


def holds_of(hold_ids: Sequence[str]) -> sa.Select[Any]:
    """These holds, ended or not."""
    return sa.select(holds).where(holds.c.id.in_(hold_ids))


def entries_page(wanted: EntryFilter) -> sa.Select[Any]:
    """One entry more than the page, which tells whether there is a next one.

    Raises:
        MalformedRequest: the page token is not one of ours.
    """
    page = sa.select(entries).order_by(entries.c.booked_at.desc(), entries.c.id.desc()).limit(wanted.page_size + 1)
    if wanted.customer is not None:
        page = page.where(entries.c.customer == wanted.customer)
    if wanted.principal is not None:
        page = page.where(entries.c.principal == wanted.principal)
    if wanted.project_id is not None:
        page = page.where(entries.c.project_id == wanted.project_id)
    if wanted.workload is not None:
        page = page.where(entries.c.workload == wanted.workload)
    if wanted.kind is not None:
        page = page.where(entries.c.kind == wanted.kind.value)
    if wanted.origin is not None:
        page = page.where(ORIGIN == wanted.origin.value)
    if wanted.since is not None:
        page = page.where(entries.c.booked_at >= to_micros(wanted.since))
    if wanted.until is not None:
        page = page.where(entries.c.booked_at < to_micros(wanted.until))
    if wanted.page_token is not None:
        micros, entry_id = read_page_token(wanted.page_token)
        # Written out beside the pair, because SQLite seeks in its index by the first column alone.
        page = page.where(
            entries.c.booked_at <= micros,
            sa.tuple_(entries.c.booked_at, entries.c.id) < sa.tuple_(sa.literal(micros), sa.literal(entry_id)),
        )
    return page


def entries_of(wanted: EntryLookup) -> sa.Select[Any]:
    """Entries of a job or a decision, in no order. A job that was seen without a location is in any."""
    job = [entries.c.job_id == wanted.job_id]
    if wanted.project_id is not None:
        job.append(entries.c.job_project_id == wanted.project_id)
    if wanted.location is not None:
        job.append(entries.c.job_region.in_((wanted.location.lower(), "")))
    named = [sa.and_(*job)]
    if wanted.decision_id is not None:
        named += [entries.c.id == wanted.decision_id, entries.c.hold_id == wanted.decision_id]
    found = sa.select(entries).where(sa.or_(*named)).limit(_LOOKED_UP_MAX)
    if wanted.customer is not None:
        # Not the bare column: SQLite would walk all of the customer's entries by another index.
        found = found.where(sa.func.coalesce(entries.c.customer, sa.literal_column("''")) == wanted.customer)
    if wanted.principal is not None:
        found = found.where(entries.c.principal == wanted.principal)
    return found


def oldest_sweep_mark() -> sa.Select[Any]:
    """One row: up to when every project has been swept; NULL where none was."""
    return sa.select(sa.func.min(sweep_marks.c.swept_until).label("swept_until"))


def slot_history_of(customer: str) -> sa.Select[Any]:
    """Slots and bytes of the last charges that tell something: done or stopped, and not from the cache."""
    last = (
        sa.select(entries.c.slot_ms, entries.c.bytes_processed)
        .where(entries.c.customer == customer, HAS_USAGE)
        .order_by(entries.c.booked_at.desc(), entries.c.id.desc())
        .limit(_HISTORY_MAX)
        .subquery()
    )
    return sa.select(
        sa.func.coalesce(sa.func.sum(last.c.slot_ms), 0).label("slot_ms"),
        sa.func.coalesce(sa.func.sum(last.c.bytes_processed), 0).label("bytes_processed"),
    )
