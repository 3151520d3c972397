"""Take the ledger's writes into a local file, and say when the database has them.

Made by SqlLedger.open. `post` appends and returns: some ten microseconds, no task, no thread. `submit` waits for what
became of the write, `written` for all that was posted before. The follower's thread does the rest. Runs in one event
loop. What leaves: outcomes, and LedgerUnavailable: the journal is full or its disk is, or the time is up.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sqlalchemy.exc import SQLAlchemyError

from bqgate.domain.entry import Booking
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.units import MIB
from bqgate.ledger.causes import cause_of
from bqgate.ledger.connections import read_url
from bqgate.ledger.journal.followed_file import FollowedFile, Outcomes
from bqgate.ledger.journal.follower import WAITS, Follower
from bqgate.ledger.journal.journal_file import JournalFile
from bqgate.ledger.journal.record import record_of
from bqgate.ledger.journal.waits import Waits
from bqgate.ledger.price_lists import PriceLists
from bqgate.ledger.sqlite_files import sqlite_file
from bqgate.ledger.writes import Write, WriteKind
from bqgate.ports import Clock, Telemetry

# A file that is done is deleted, and a new one is begun when one has grown to this.
SEGMENT_BYTES = 64 * MIB
# Bookings whose callers gave up waiting, and come again: the oldest are forgotten, and are found booked.
_BOOKINGS_MAX = 100_000
_MARK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where journals are kept, and how much of one may wait for the database."""

    folder: Path
    bytes_max: int
    telemetry: Telemetry


def journal_folder(url: str, named: Path | None) -> Path:
    """Where the journals of a ledger are: where somebody says, or beside SQLite's file, or in the working directory."""
    if named is not None:
        return named
    file = sqlite_file(read_url(url, is_async=False))
    return Path("bqgate.journal") if file is None else file.with_name(f"{file.name}.journal")


class Journal:
    """The journal of one process. `open` makes it."""

    def __init__(self, place: JournalPlace, url: str, clock: Clock, *, timeout_s: float) -> None:
        self._place = place
        self._clock = clock
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._follower = Follower(
            place.folder,
            url,
            timeout_s=timeout_s,
            tell_written=lambda outcomes: self._call(self._note_written, outcomes),
            tell_fault=lambda event, said: self._call(self._note_fault, event, said),
        )
        self._ledger_id = ""
        self._growing: FollowedFile | None = None
        self.price_lists = PriceLists(clock)
        self._appended = 0  # records of this process's, counted
        self._written = 0
        self._left_bytes_max = 0  # no less than `left_bytes`, which is reckoned only where this is too much
        self._marks: deque[tuple[int, float]] = deque()  # when some of those that are not written were appended
        self._is_waiting_for_database = False
        self._expected: OrderedDict[int, _Expected] = OrderedDict()  # by the record's number
        self._bookings: OrderedDict[str, _Expected] = OrderedDict()  # by _key_of
        self._waits = Waits(timeout_s)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @classmethod
    async def open(cls, place: JournalPlace, url: str, clock: Clock, *, timeout_s: float) -> Self:
        """Bring into the database what processes that are gone have left, then begin a journal.

        Raises:
            LedgerUnavailable: the database is away, or the folder is none to write in.
        """
        journal = cls(place, url, clock, timeout_s=timeout_s)
        await asyncio.to_thread(journal._begin)
        return journal

    @property
    def left_bytes(self) -> int:
        """How much the database does not have yet."""
        return self._follower.left_bytes

    @property
    def lag_s(self) -> float:
        """For how long, within a second, the oldest record waits that the database does not have; 0: there is none."""
        return max(0.0, self._clock.monotonic_s() - self._marks[0][1]) if self._marks else 0.0

    @property
    def taken(self) -> int:
        """How many records this process has appended."""
        return self._appended

    @property
    def written_count(self) -> int:
        """How many of them, in order, the database has."""
        return self._written

    async def post(self, write: Write) -> Booking | None:
        """Append a write.

        Raises:
            LedgerUnavailable: the journal is full, or its disk failed.
        """
        self._append(write)
        return None

    async def submit(self, write: Write) -> Booking | None:
        """Append a write and wait for what becomes of it. A booking on its way already is not appended again.

        Raises:
            LedgerUnavailable: the journal is full or failed, or the database did not write in time: submit it again.
        """
        key = _key_of(write) if write.kind is WriteKind.BOOK else None
        expected = self._bookings.get(key) if key is not None else None
        if expected is None:
            expected = self._expect(self._append(write), write, key)
        if not expected.is_written:
            told = self._waits.begin()
            expected.waiting.append(told)
            await told
        booking = expected.outcome
        is_first = self._expected.pop(expected.number, None) is not None
        if key is None:
            return booking
        self._bookings.pop(key, None)
        if booking is None:
            raise LedgerUnavailable("No database takes this entry; it is kept beside the journal.")
        is_it = is_first and (write is expected.write or _cost_of(write) == _cost_of(expected.write))
        if booking is Booking.BOOKED and not is_it:
            return Booking.HOLD_ALREADY_BOOKED  # the entry that is written is another one
        return booking

    async def written(self, *, at_most_s: float | None = None) -> None:
        """Return when the database has all that was appended before.

        Raises:
            LedgerUnavailable: it has not in time.
        """
        if self._written >= self._appended:
            return
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((self._appended, done))
        self._follower.hurry()
        try:
            async with asyncio.timeout(self._timeout_s if at_most_s is None else at_most_s):
                await done
        except TimeoutError:
            raise LedgerUnavailable("The ledger's database has not caught up with the journal.") from None

    async def close(self) -> None:
        """Write what is left, as far as the database answers; the next process takes over the rest."""
        await asyncio.to_thread(self._follower.stop, timeout_s=self._timeout_s)

    def _expect(self, number: int, write: Write, key: str | None) -> "_Expected":
        """Keep what becomes of a record for whoever submitted it, or submits it again."""
        expected = self._expected[number] = _Expected(number, write)
        if key is not None:
            self._bookings[key] = expected
            if len(self._bookings) > _BOOKINGS_MAX:
                _, oldest = self._bookings.popitem(last=False)
                self._expected.pop(oldest.number, None)
        return expected

    def _begin(self) -> None:
        try:
            self._place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._follower.take_over()
            self._ledger_id = self._follower.fetch_ledger_id()
            self._growing = self._follower.add(JournalFile.create(self._place.folder, self._ledger_id))
        except SQLAlchemyError as error:
            raise LedgerUnavailable(f"The ledger's database failed: {cause_of(error)}.") from error
        except OSError as error:
            remedy = "Name a folder that can be written in ledger.journal_folder, or set ledger.sync: before_forward."
            raise LedgerUnavailable(
                f"No journal can be kept in {self._place.folder}: {cause_of(error)}.", remedy=remedy
            ) from error
        self._follower.start()

    def _append(self, write: Write) -> int:
        """Append a write, and before it the price list that it names, once; returns its number."""
        if not self.price_lists.has_list_of(write):
            for prices in self.price_lists.unwritten([write]):
                self._append(prices)
                self.price_lists.note_written([prices])
        record = record_of(write)
        try:
            self._make_room(len(record)).append(record)
        except OSError as error:
            raise LedgerUnavailable(f"The ledger's journal failed: {cause_of(error)}.") from error
        self._appended += 1
        now_s = self._clock.monotonic_s()
        if not self._marks or now_s - self._marks[-1][1] >= _MARK_EVERY_S:
            self._marks.append((self._appended, now_s))
        self._follower.note_appended()
        return self._appended

    def _make_room(self, record_bytes: int) -> JournalFile:
        growing = self._growing
        assert growing is not None, "it is opened before it is used"
        if growing.file.end + record_bytes > SEGMENT_BYTES or growing.is_damaged:
            growing = self._growing = self._follower.add(JournalFile.create(self._place.folder, self._ledger_id))
        self._left_bytes_max += record_bytes
        if self._left_bytes_max > self._place.bytes_max:
            self._left_bytes_max = self.left_bytes + record_bytes
            if self._appended > self._written and self._left_bytes_max > self._place.bytes_max:
                raise LedgerUnavailable("The ledger's journal is full: its database has been away for too long.")
        return growing.file

    def _note_written(self, outcomes: Outcomes) -> None:
        """A group of this process's records is in the database."""
        for outcome in outcomes:
            self._written += 1
            expected = self._expected.get(self._written)
            if expected is not None:
                expected.tell(outcome)
        while self._waiting and self._waiting[0][0] <= self._written:
            done = self._waiting.popleft()[1]
            if not done.done():
                done.set_result(None)
        while len(self._marks) > 1 and self._marks[1][0] <= self._written + 1:
            self._marks.popleft()
        if self._written == self._appended:
            self._marks.clear()
            self._is_waiting_for_database = False

    def _note_fault(self, event: str, said: str) -> None:
        if event == WAITS and self._is_waiting_for_database:
            return  # once is enough until it has caught up
        self._is_waiting_for_database = event == WAITS
        self._place.telemetry.count("failures_total", system="ledger", step="journal")
        self._place.telemetry.log(event, said=said)

    def _call(self, note: Callable[..., None], *told: object) -> None:
        """Have the event loop note what the thread tells; once the loop is gone nobody has to know."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(note, *told)


@dataclass(slots=True)
class _Expected:
    """What becomes of a record, and who waits for it: mostly one, any number where it is submitted again."""

    number: int
    write: Write
    outcome: Booking | None = None
    is_written: bool = False
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def tell(self, outcome: Booking | None) -> None:
        """It is written."""
        self.outcome, self.is_written = outcome, True
        for told in self.waiting:
            if not told.done():  # else nobody waits any more
                told.set_result(None)


def _key_of(write: Write) -> str:
    """What a booking is unique by: its hold, or without one its own id."""
    return str(write.row.get("hold_id") or write.row["id"])


def _cost_of(write: Write) -> tuple[Any, ...]:
    """What a caller does with its booking depends on these."""
    return write.row["cost_nanos"], write.row["outcome"]
