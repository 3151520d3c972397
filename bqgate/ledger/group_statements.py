"""Do a group of writes in one transaction: six statements at most, each with all of its rows as one JSON text.

Run by the writer and by the journal's follower, inside one transaction of theirs. The database takes the text apart
(json_populate_recordset on PostgreSQL, json_each on SQLite), outside Python, whose time every query shares. Unique
indexes decide every race (on PostgreSQL those of entry_keys, by a trigger), never a look before a write: an INSERT that
meets a conflict does nothing, and only then is it asked which conflict it was. Any group may be done twice without
harm.

On PostgreSQL this rests on READ COMMITTED: an INSERT waits for the other transaction, and the question after it sees
what that one committed (https://www.postgresql.org/docs/current/transaction-iso.html).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from bqgate.domain.entry import Booking
from bqgate.domain.hold import HoldState
from bqgate.ledger.partition_schema import entry_keys
from bqgate.ledger.schema import breaker_events, entries, holds, price_lists
from bqgate.ledger.write_group import PlacedEntry, WriteGroup, group_writes
from bqgate.ledger.writes import Write

_JOB = ("job_project_id", "job_id", "job_location")
_END = "ON CONFLICT (id) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at WHERE "
_IF_OPEN = f"{_END} holds.ended_at IS NULL AND excluded.ended_at IS NOT NULL"
_IF_NEW = "ON CONFLICT DO NOTHING"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement over rows that have these columns."""

    text: sa.TextClause
    encode: Callable[[Sequence[Row]], bytes]

    def execute(self, connection: sa.Connection, rows: Sequence[Row]) -> sa.CursorResult[Any] | None:
        """Run it, unless there are no rows."""
        return connection.execute(self.text, {"rows": self.encode(rows).decode()}) if rows else None


class GroupStatements:
    """The statements of one dialect, built once."""

    def __init__(self, dialect: str) -> None:
        over = _over_postgresql_rows if dialect == "postgresql" else _over_sqlite_rows
        self._keep_prices = over(price_lists, _names(price_lists), _insert(price_lists, _IF_NEW))
        self._keep_holds = over(holds, _names(holds), _insert(holds, _IF_OPEN))
        self._book = over(entries, _names(entries), _insert(entries, f"{_IF_NEW} RETURNING id"))
        numbered = _names(breaker_events)[1:]  # all but the number, which the database gives
        self._record_events = over(breaker_events, numbered, _insert(breaker_events, "", numbered))
        jobs = ", ".join(f"{name} = found.{name}" for name in _JOB)
        of_open = "FROM found WHERE holds.id = found.id AND holds.ended_at IS NULL"
        self._attach = over(holds, ("id", *_JOB), f"UPDATE holds SET {jobs} {of_open}")  # noqa: S608 - constants
        void = f"state = '{HoldState.VOIDED.value}', ended_at = found.ended_at"
        self._close = over(holds, ("id", "ended_at"), f"UPDATE holds SET {void} {of_open}")  # noqa: S608 - constants
        # What decided: PostgreSQL's keys outlive dropped entries for a while.
        keys = (entry_keys if dialect == "postgresql" else entries).name
        self._conflicts = over(
            entries,
            ("id", "hold_id"),
            f"SELECT {keys}.id, {keys}.hold_id FROM {keys} JOIN found USING (hold_id) "  # noqa: S608 - names of tables
            f"UNION SELECT {keys}.id, {keys}.hold_id FROM {keys} JOIN found USING (id)",
        )
        self._keep_position = sa.text(
            "INSERT INTO journal_positions (journal_id, position) VALUES (:journal_id, :position) "
            "ON CONFLICT (journal_id) DO UPDATE SET position = excluded.position"
        )

    def do(self, connection: sa.Connection, writes: Sequence[Write]) -> list[Booking | None]:
        """Do the writes; a Booking for each that books, None for the rest."""
        group = group_writes(writes)
        self._keep_prices.execute(connection, group.price_lists)
        self._attach.execute(connection, _sorted(group.attached))
        self._close.execute(connection, _sorted(group.closed))
        outcomes = self._book_all(connection, group)
        self._keep_holds.execute(connection, group.hold_rows(outcomes))
        self._record_events.execute(connection, group.breaker_events)
        return [outcomes.get(place) for place in range(len(writes))]

    def keep_position(self, connection: sa.Connection, journal_id: str, position: int) -> None:
        """Note how far a journal is written, in the transaction that writes it."""
        connection.execute(self._keep_position, {"journal_id": journal_id, "position": position})

    def _book_all(self, connection: sa.Connection, group: WriteGroup) -> dict[int, Booking]:
        inserted = self._book.execute(connection, [entry.row for entry in group.entries])
        new: set[str] = set() if inserted is None else set(inserted.scalars())
        outcomes: dict[int, Booking] = {}
        in_the_way: list[PlacedEntry] = []
        for entry in group.entries:
            if entry.row["id"] in new:
                new.discard(entry.row["id"])  # the same once more would be in its own way
                outcomes[entry.place] = Booking.BOOKED
            else:
                in_the_way.append(entry)
        return outcomes | self._explain(connection, in_the_way)

    def _explain(self, connection: sa.Connection, in_the_way: Sequence[PlacedEntry]) -> dict[int, Booking]:
        """Which conflict kept each entry from being written."""
        keys = [{"id": entry.row["id"], "hold_id": entry.hold_id} for entry in in_the_way]
        rows = self._conflicts.execute(connection, keys)
        found: dict[str, str | None] = {} if rows is None else {row.id: row.hold_id for row in rows}
        booked_holds = set(found.values()) - {None}
        outcomes: dict[int, Booking] = {}
        for entry in in_the_way:
            entry_id = entry.row["id"]
            # An id that stands for two holds would lose the second one's money; ids are made at random.
            assert found.get(entry_id, entry.hold_id) == entry.hold_id, f"entry id {entry_id} is used for two holds"
            is_same = entry_id in found or entry.hold_id in booked_holds
            # The only other unique indexes are those of the job.
            outcomes[entry.place] = Booking.HOLD_ALREADY_BOOKED if is_same else Booking.JOB_ALREADY_BOOKED
        return outcomes


def _sorted(rows: Mapping[str, Row]) -> list[Row]:
    """In the order in which every process locks them."""
    return [rows[each] for each in sorted(rows)]


def _names(table: sa.Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns)


def _insert(table: sa.Table, then: str, names: tuple[str, ...] | None = None) -> str:
    # "WHERE true": else SQLite would take ON CONFLICT for the condition of a join.
    columns = ", ".join(names or _names(table))
    return f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM found WHERE true {then}"  # noqa: S608 - names of columns


def _over_postgresql_rows(table: sa.Table, names: tuple[str, ...], statement: str) -> _Statement:
    """Objects by the names of columns, whose types the table tells."""
    rows = f"json_populate_recordset(CAST(NULL AS {table.name}), CAST(:rows AS json))"
    return _Statement(sa.text(f"WITH found AS (SELECT {', '.join(names)} FROM {rows}) {statement}"), orjson.dumps)  # noqa: S608 - names of columns


def _over_sqlite_rows(_table: sa.Table, names: tuple[str, ...], statement: str) -> _Statement:
    """Lists in the order of the columns: SQLite would look through an object for each of them."""
    columns = ", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(names))

    def encode(rows: Sequence[Row]) -> bytes:
        return orjson.dumps([[row.get(name) for name in names] for row in rows])

    return _Statement(sa.text(f"WITH found AS (SELECT {columns} FROM json_each(:rows)) {statement}"), encode)  # noqa: S608 - names of columns
