"""Look whether holds, charges, adjustments and their sums agree, and triggers guard them, for `bqgate ledger verify`.

Called by cli, reads only. The ledger's own transactions and unique indexes keep all of this true; what is found here
was written by somebody else, or after an index was dropped. Each question reads the tables once, by their indexes where
they are there, and gives a count and a few examples, so that memory stays flat on any number of rows. What BigQuery ran
is not asked here: the ledger is compared with itself.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.entry import EntryKind, Origin
from bqgate.domain.hold import HoldState
from bqgate.ledger.connections import Connections
from bqgate.ledger.partition_schema import entry_keys
from bqgate.ledger.queries import HAS_ITS_CHARGE, KEPT_SINCE, ORIGIN
from bqgate.ledger.rollup_checks import days_that_differ, hours_that_differ
from bqgate.ledger.schema import IS_ADJUSTMENT, IS_CHARGE_OF_EU, IS_CHARGE_OF_REGION, IS_CHARGE_OF_US, entries, holds

# Whole tables are read; the limits of a query's path are not for this.
PATIENCE_S = 600.0
_EXAMPLES_MAX = 5
_APPEND_ONLY = ("audit", "breaker_events", "entries", "price_lists")
_GUARDS_OF_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
# Tables that this connection means by their names, and partitions of them, whose guard is not on: for everybody ("O"),
# or for replication too ("A").
_UNGUARDED_IN_POSTGRESQL = sa.text(
    "SELECT found.relname FROM pg_class AS found LEFT JOIN pg_inherits ON inhrelid = found.oid "
    "LEFT JOIN pg_class AS parent ON parent.oid = inhparent "
    "WHERE found.relkind IN ('r', 'p') AND COALESCE(parent.relname, found.relname) = ANY (:names) "
    "AND pg_table_is_visible(found.oid) AND NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = found.oid "
    "AND tgenabled IN ('O', 'A') AND tgname = COALESCE(parent.relname, found.relname) || '_no_change') "
    "ORDER BY found.relname"
)


@dataclass(frozen=True, slots=True)
class BooksFault:
    """What does not agree, how often, and the ids of the first few."""

    what: str
    count: int
    examples: tuple[str, ...]


async def check_books(url: str, *, timeout_s: float = PATIENCE_S) -> tuple[BooksFault, ...]:
    """Everything in which holds, charges and adjustments do not agree; empty where they do.

    Args:
        url: of a ledger whose tables are of this version.
        timeout_s: the longest that one question may take.

    Raises:
        LedgerUnavailable: the database did not answer.
        ValueError: the URL is not one of SQLite or PostgreSQL.
    """
    connections = Connections(url, timeout_s=timeout_s)
    try:
        faults = [await connections.read(_find_unguarded)]
        questions = _QUESTIONS + (_QUESTIONS_OF_POSTGRESQL if connections.dialect == "postgresql" else ())
        faults += [await _ask(connections, what, question) for what, question in questions]
    finally:
        await connections.close()
    return tuple(fault for fault in faults if fault.count)


async def _find_unguarded(connection: AsyncConnection) -> BooksFault:
    """Tables that are append-only by triggers, and have lost one."""
    if connection.dialect.name == "postgresql":
        without = tuple((await connection.execute(_UNGUARDED_IN_POSTGRESQL, {"names": list(_APPEND_ONLY)})).scalars())
    else:
        there = set((await connection.execute(sa.text(_GUARDS_OF_SQLITE))).scalars())
        guards = {name: {f"{name}_no_{change}" for change in ("update", "delete")} for name in _APPEND_ONLY}
        without = tuple(name for name in _APPEND_ONLY if not there.issuperset(guards[name]))
    return BooksFault("tables whose rows anybody can change, for a trigger is gone or off", len(without), without)


async def _ask(connections: Connections, what: str, question: sa.Select[Any]) -> BooksFault:
    culprits = question.subquery()
    count = sa.select(sa.func.count()).select_from(culprits)
    examples = sa.select(culprits).limit(_EXAMPLES_MAX)

    async def ask(connection: AsyncConnection) -> BooksFault:
        found = (await connection.execute(count)).scalar_one()
        rows = (await connection.execute(examples)).all() if found else []
        return BooksFault(what, int(found), tuple(" ".join(str(part) for part in row) for row in rows))

    return await connections.read(ask)


def _captured_without_charge() -> sa.Select[Any]:
    its_charge = sa.and_(entries.c.hold_id == holds.c.id, entries.c.kind == EntryKind.CHARGE.value)
    return (
        sa.select(holds.c.id)
        .outerjoin(entries, its_charge)
        .where(holds.c.state == HoldState.CAPTURED.value, entries.c.id.is_(None), holds.c.placed_at >= KEPT_SINCE)
    )


def _booked_but_open() -> sa.Select[Any]:
    return sa.select(holds.c.id).join(entries, entries.c.hold_id == holds.c.id).where(holds.c.ended_at.is_(None))


# What a charge has from its hold, so that it counts where the money was set aside, and for whom.
_HELD = ("customer", "principal", "project_id", "workload", "day_key", "month_key")


def _of_holds() -> sa.Select[Any]:
    """Charges that name a hold, joined to it."""
    return (
        sa.select(entries.c.id)
        .outerjoin(holds, holds.c.id == entries.c.hold_id)
        .where(entries.c.kind == EntryKind.CHARGE.value, entries.c.hold_id.is_not(None))
    )


def _charge_without_hold() -> sa.Select[Any]:
    return _of_holds().where(holds.c.id.is_(None))


def _charge_of_another() -> sa.Select[Any]:
    differ = [holds.c[name].is_distinct_from(entries.c[name]) for name in _HELD]
    return _of_holds().where(holds.c.id.is_not(None), sa.or_(*differ, holds.c.amount_nanos != entries.c.hold_nanos))


def _impossible_cost() -> sa.Select[Any]:
    is_charge_below = sa.and_(entries.c.kind == EntryKind.CHARGE.value, entries.c.cost_nanos < 0)
    is_refusal_that_cost = sa.and_(entries.c.kind == EntryKind.REFUSAL.value, entries.c.cost_nanos != 0)
    return sa.select(entries.c.id).where(sa.or_(is_charge_below, is_refusal_that_cost))


def _booked_twice(where: sa.TextClause, *more: sa.Column[Any]) -> sa.Select[Any]:
    job = (entries.c.job_project_id, entries.c.job_id, *more)
    return sa.select(*job).where(where).group_by(*job).having(sa.func.count() > 1)


def _hold_booked_twice() -> sa.Select[Any]:
    of_a_hold = sa.select(entries.c.hold_id).where(entries.c.hold_id.is_not(None))
    return of_a_hold.group_by(entries.c.hold_id).having(sa.func.count() > 1)


# What an adjustment has from its charge, so that it counts where that counts. A job may be learnt of later.
_SHARED = ("customer", "principal", "project_id", "workload", "day_key", "month_key", "placed_at")


def _adjustments() -> tuple[sa.FromClause, sa.Select[Any]]:
    """Charges under a name of their own, and the adjustments that are joined to them."""
    charges = entries.alias("charges")
    its_charge = sa.and_(charges.c.id == entries.c.adjusts, charges.c.kind == EntryKind.CHARGE.value)
    of_kind = entries.c.kind == EntryKind.ADJUSTMENT.value
    return charges, sa.select(entries.c.id).outerjoin(charges, its_charge).where(of_kind)


def _adjustment_of_nothing() -> sa.Select[Any]:
    charges, adjustments = _adjustments()
    return adjustments.where(charges.c.id.is_(None), HAS_ITS_CHARGE)


def _adjustment_of_another() -> sa.Select[Any]:
    charges, adjustments = _adjustments()
    differ = [charges.c[name].is_distinct_from(entries.c[name]) for name in _SHARED]
    differ += [charges.c[name] != entries.c[name] for name in ("job_project_id", "job_id")]
    return adjustments.where(charges.c.id.is_not(None), sa.or_(*differ))


def _corrected_below_zero() -> sa.Select[Any]:
    corrected = (
        sa.select(entries.c.adjusts.label("id"), sa.func.sum(entries.c.cost_nanos).label("cost_nanos"))
        .where(IS_ADJUSTMENT)
        .group_by(entries.c.adjusts)
        .subquery()
    )
    charges = entries.alias("charges")
    total_nanos = charges.c.cost_nanos + corrected.c.cost_nanos
    return sa.select(charges.c.id).join(corrected, corrected.c.id == charges.c.id).where(total_nanos < 0)


def _both_ways() -> sa.Select[Any]:
    """Charges of one job id that ended at one moment: a project's id and its number are one project, for instance."""
    past = entries.alias("past")
    is_one = sa.and_(
        past.c.job_id == entries.c.job_id, past.c.ended_at == entries.c.ended_at, past.c.id != entries.c.id
    )
    return (
        sa.select(entries.c.job_id)
        .join(past, is_one)
        .where(
            past.c.kind == EntryKind.CHARGE.value,
            past.c.origin == Origin.BYPASS.value,
            entries.c.kind == EntryKind.CHARGE.value,
            ORIGIN != Origin.BYPASS.value,
        )
        .distinct()
    )


def _entry_without_key() -> sa.Select[Any]:
    its_key = sa.and_(entry_keys.c.id == entries.c.id, entry_keys.c.hold_id.is_not_distinct_from(entries.c.hold_id))
    return sa.select(entries.c.id).outerjoin(entry_keys, its_key).where(entry_keys.c.id.is_(None))


_QUESTIONS_OF_POSTGRESQL = (("entries whose key is gone, so that they may be booked again", _entry_without_key()),)
_QUESTIONS: tuple[tuple[str, sa.Select[Any]], ...] = (
    ("captured holds without a charge", _captured_without_charge()),
    ("holds that are open though they were booked", _booked_but_open()),
    ("holds with more than one entry", _hold_booked_twice()),
    ("charges of a hold that is not there", _charge_without_hold()),
    ("charges that count elsewhere than their hold, or are of another amount held", _charge_of_another()),
    ("charges below nothing, or refusals that cost", _impossible_cost()),
    ("jobs charged twice (US, or no location)", _booked_twice(IS_CHARGE_OF_US)),
    ("jobs charged twice (EU, or no location)", _booked_twice(IS_CHARGE_OF_EU)),
    ("jobs charged twice (another region)", _booked_twice(IS_CHARGE_OF_REGION, entries.c.job_region)),
    ("jobs charged both as through the gate and as past it", _both_ways()),
    ("adjustments of a charge that is not there", _adjustment_of_nothing()),
    ("adjustments that count elsewhere than their charge", _adjustment_of_another()),
    ("charges that were adjusted below nothing", _corrected_below_zero()),
    ("sums of hours that are not those of their entries", hours_that_differ()),
    ("sums of days that are not those of their entries", days_that_differ()),
)
