"""Bring one journal's file into the database: read on, do a group, note how far it is, in one transaction.

Used by follower. A group that the database refuses for what is in it is halved until the record is found; that one goes
into a file beside the journal and is told loudly, so that nothing is lost and nothing stands in the way. Any other
failure says that the database is away: the same group is tried again later. Every record may be done twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError

from bqgate.domain.entry import Booking
from bqgate.ledger.group_statements import GroupStatements
from bqgate.ledger.journal.journal_file import JournalFile
from bqgate.ledger.journal.record import RECORD_BYTES_MAX, read_record, record_of
from bqgate.ledger.schema import journal_positions
from bqgate.ledger.writes import Write

GROUP_MAX = 2_000
_READ_BYTES = 2 * 1024 * 1024
_REFUSED = ".refused"
_DAMAGED = ".damaged"
# Of a record's own making, whatever state the database is in. A wrong privilege or a missing table is not.
_OWN_FAULTS = (DataError, IntegrityError, AssertionError, LookupError, TypeError, ValueError)

Outcomes = list[Booking | None]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that no database takes, and why."""

    write: Write
    cause: str


class FollowedFile:
    """A journal's file on its way into the database. `is_damaged`: it goes on with something that is no record."""

    def __init__(self, file: JournalFile, statements: GroupStatements, position: int = 0) -> None:
        self.file = file
        self._statements = statements
        self._position = max(position, file.begin)
        self.is_damaged = False

    @property
    def is_done(self) -> bool:
        """Whether the database has all that is in the file so far."""
        return self._position >= self.file.end or self.is_damaged

    @property
    def left_bytes(self) -> int:
        """How much the database does not have yet."""
        return 0 if self.is_damaged else self.file.end - self._position

    def write_group(self, engine: sa.Engine) -> tuple[Outcomes, list[Refused]]:
        """Write what comes next. Returns what became of each record, and what was set aside.

        Raises:
            SQLAlchemyError: the database is away; nothing has changed.
        """
        writes, end = self._next()
        refused: list[Refused] = []
        outcomes = self._write(engine, writes, end, refused)
        self._position = end
        self.is_damaged = not writes  # or cut off, where its process died while it wrote
        return outcomes, refused

    def finish(self, engine: sa.Engine) -> None:
        """Delete the file, of which the database has everything; what is damaged is kept under another name."""
        if self.is_damaged:
            self.file.rename(_DAMAGED)
        else:
            self.file.remove()
        with engine.begin() as connection:
            connection.execute(sa.delete(journal_positions).where(journal_positions.c.journal_id == self.file.id))

    def _next(self) -> tuple[list[Write], int]:
        data, writes, offset = self.file.read(self._position, _READ_BYTES), list[Write](), 0
        if len(data) == _READ_BYTES and read_record(data, 0) is None:
            data = self.file.read(self._position, RECORD_BYTES_MAX + _READ_BYTES)
        while len(writes) < GROUP_MAX and (found := read_record(data, offset)) is not None:
            write, offset = found
            writes.append(write)
        return writes, self._position + offset

    def _write(self, engine: sa.Engine, writes: Sequence[Write], end: int, refused: list[Refused]) -> Outcomes:
        """Do writes, all of them or in halves. The last half to be done takes the position along."""
        try:
            with engine.begin() as connection:
                outcomes = self._statements.do(connection, writes)
                self._statements.keep_position(connection, self.file.id, end)
                return outcomes
        except _OWN_FAULTS as error:
            if not writes:
                raise
            if len(writes) == 1:
                self._set_aside(writes[0])
                refused.append(Refused(writes[0], type(error).__name__))
                return [None]
        half = len(writes) // 2
        first = self._write(engine, writes[:half], self._position, refused)
        return first + self._write(engine, writes[half:], end, refused)

    def _set_aside(self, write: Write) -> None:
        with self.file.path.with_suffix(_REFUSED).open("ab") as beside:
            beside.write(record_of(write))
