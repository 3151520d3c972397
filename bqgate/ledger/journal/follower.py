"""Follow journals into the database, in a thread of its own: this process's, and those of processes that are gone.

Started by journal.Journal, which is told of every group in the event loop. A group is what has come since the last one,
at most once in GROUP_EVERY_S unless somebody waits. While the database is away the same group is tried again, with
longer and longer pauses, and what is in the file is synced to the disk, so that a lost host loses little. Files of
processes that are gone are looked for at the start, before anything else, and every LOOK_EVERY_S.
"""

import threading
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from bqgate.ledger.causes import cause_of
from bqgate.ledger.connections import open_engine
from bqgate.ledger.group_statements import GroupStatements
from bqgate.ledger.journal.followed_file import FollowedFile, Outcomes, Refused
from bqgate.ledger.journal.journal_file import JournalFile, files_in
from bqgate.ledger.lost_races import drawn_pause_s, has_lost_race
from bqgate.ledger.schema import journal_positions, ledger_identity

# A transaction takes a millisecond of the processor by itself, so that many should share it; who waits hurries it.
GROUP_EVERY_S = 0.05
LOOK_EVERY_S = 10.0
# What is told while the database is away.
WAITS = "journal_waits"
_NAME_LEDGER = "INSERT INTO ledger_identity (seq, id) VALUES (:seq, :id) ON CONFLICT DO NOTHING"
_PAUSE_S = 0.05
_PAUSE_S_MAX = 2.0


class Follower:
    """The thread, and the files that it follows.

    Args:
        folder: where journals are.
        url: the database.
        timeout_s: the longest that it may take.
        tell_written: told, in the thread, what became of each record of this process's next ones.
        tell_fault: told in the thread what went wrong, and with which record or file.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        timeout_s: float,
        tell_written: Callable[[Outcomes], None],
        tell_fault: Callable[[str, str], None],
    ) -> None:
        self._folder = folder
        self._engine = open_engine(url, timeout_s=timeout_s)
        self._statements = GroupStatements(self._engine.dialect.name)
        self._tell_written = tell_written
        self._tell_fault = tell_fault
        self._own: deque[FollowedFile] = deque()
        self._left_behind: deque[FollowedFile] = deque()
        self._ledger_id: str | None = None
        self._steps_since_look = 0
        self._is_away = False
        self._is_stopping = False
        self._hurry = threading.Event()
        self._has_more = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @property
    def left_bytes(self) -> int:
        """How much of this process's own journal the database does not have yet."""
        return sum(followed.left_bytes for followed in tuple(self._own))

    def start(self) -> None:
        """Follow files in a thread from now on."""
        self._thread.start()

    def add(self, file: JournalFile) -> FollowedFile:
        """Follow one more file of this process's, after those before it."""
        followed = FollowedFile(file, self._statements)
        self._own.append(followed)
        return followed

    def note_appended(self) -> None:
        """There is more to write. What is set already is looked at after whoever rests has cleared it."""
        if not self._has_more.is_set():  # setting takes a lock, and ten times as long as a look
            self._has_more.set()

    def hurry(self) -> None:
        """Somebody waits for what has been appended."""
        self._hurry.set()
        self._has_more.set()

    def stop(self, *, timeout_s: float) -> None:
        """Write what is left, as far as the database answers, and end the thread. What stays is taken over later."""
        self._is_stopping = True
        self.hurry()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._engine.dispose()

    def take_over(self) -> None:
        """Write what processes that are gone have left behind. For the start, in a thread.

        Raises:
            SQLAlchemyError: the database is away.
        """
        self._look_for_files()
        while self._left_behind:
            self._follow(self._left_behind, is_own=False)

    def _run(self) -> None:
        pause_s = _PAUSE_S
        while not (self._is_stopping and (self._is_away or self._is_idle)):
            try:
                if self._is_idle:
                    self._rest()
                self._step()
                self._is_away, pause_s = False, _PAUSE_S
            except (SQLAlchemyError, OSError) as error:
                if has_lost_race(error):
                    self._hurry.wait(drawn_pause_s(1))
                    continue
                self._is_away = True
                self._tell_fault(WAITS, cause_of(error))
                self._sync()
                self._hurry.clear()
                self._hurry.wait(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)
        self._give_up()

    @property
    def _is_idle(self) -> bool:
        return not self._left_behind and len(self._own) == 1 and self._own[0].is_done

    def _rest(self) -> None:
        """Wait until there is something to write, or it is time to look for files."""
        if not self._has_more.wait(LOOK_EVERY_S):
            self._look_for_files()
        self._has_more.clear()

    def _step(self) -> None:
        """Write a group of this process's, and one of another's if there is any."""
        self._steps_since_look += 1
        if self._steps_since_look > LOOK_EVERY_S / GROUP_EVERY_S:  # without a rest
            self._look_for_files()
        if self._own:
            self._follow(self._own, is_own=True)
        if self._left_behind:
            self._follow(self._left_behind, is_own=False)
        if not self._is_stopping:
            self._hurry.wait(GROUP_EVERY_S)  # let more come, unless somebody waits
        self._hurry.clear()

    def _follow(self, files: deque[FollowedFile], *, is_own: bool) -> None:
        followed = files[0]
        if not followed.is_done:
            outcomes, refused = followed.write_group(self._engine)
            if is_own:
                self._tell_written(outcomes)
            self._report(refused, followed)
        elif len(files) > 1 or not is_own:  # the last of this process's is the one that grows
            followed.finish(self._engine)
            files.popleft()

    def _look_for_files(self) -> None:
        self._steps_since_look = 0
        for path in files_in(self._folder):
            file = JournalFile.take_over(path, self.fetch_ledger_id())
            if file is not None:
                self._left_behind.append(FollowedFile(file, self._statements, self._position_of(file)))

    def fetch_ledger_id(self) -> str:
        """The ledger's own name, which its first journal gives it.

        Raises:
            SQLAlchemyError: the database is away.
        """
        if self._ledger_id is None:
            name = {"seq": 1, "id": uuid.uuid4().hex}
            with self._engine.begin() as connection:
                connection.execute(sa.text(_NAME_LEDGER), name)
                self._ledger_id = connection.execute(sa.select(ledger_identity.c.id)).scalar_one()
        return self._ledger_id

    def _position_of(self, file: JournalFile) -> int:
        with self._engine.begin() as connection:
            wanted = sa.select(journal_positions.c.position).where(journal_positions.c.journal_id == file.id)
            return connection.execute(wanted).scalar() or 0

    def _report(self, refused: list[Refused], followed: FollowedFile) -> None:
        for each in refused:
            self._tell_fault("journal_record_refused", f"{each.write.kind} {each.write.row.get('id')}: {each.cause}")
        if followed.is_damaged:
            self._tell_fault("journal_damaged", str(followed.file.path))

    def _sync(self) -> None:
        for followed in tuple(self._own):
            followed.file.sync()

    def _give_up(self) -> None:
        """Delete what is done, and leave the rest to whoever comes next."""
        for followed in (*self._own, *self._left_behind):
            try:
                if followed.is_done:
                    followed.finish(self._engine)
                else:
                    followed.file.close()
            except (SQLAlchemyError, OSError) as error:
                self._tell_fault(WAITS, cause_of(error))
