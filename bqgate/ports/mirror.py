"""Say what the mirror of the ledger needs: a queue of entries that is never wrong, and a table at BigQuery."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from bqgate.domain.entry import Entry


@dataclass(frozen=True, slots=True)
class MirrorBatch:
    """Entries that go to BigQuery in one load job, and which of its attempts is under way."""

    epoch: str
    number: int
    attempt: int
    entry_count: int

    @property
    def job_id(self) -> str:
        """The same for the same attempt at the same batch, whoever makes it, so that BigQuery makes one job of it."""
        return f"bqgate_mirror_{self.epoch}_{self.number}_{self.attempt}"


@dataclass(frozen=True, slots=True)
class MirrorState:
    """How far a mirror is.

    `epoch` is a word of its own, made when it began; `last` is its last batch (number 0 before the first), which
    `is_open` while it is on its way; `row_count` is what BigQuery is known to have; `policies` has a digest of the
    statement by which each row access policy was made, by its name.
    """

    target: str
    epoch: str
    last: MirrorBatch
    is_open: bool
    row_count: int
    policies: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MirrorBacklog:
    """What is not mirrored: when the oldest of it was booked, and how many entries BigQuery does not take."""

    oldest_at: datetime | None
    refused_count: int


class MirrorQueue(Protocol):
    """Which entries BigQuery is not known to have. One batch at a time is on its way.

    Every change of a batch names the attempt that it is about and does nothing when that is over, so replicas that
    both believe to be the only one do no harm.
    """

    async def fetch_state(self) -> MirrorState | None:
        """None: there is no mirror yet.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def begin(self, target: str, epoch: str, *, seen: MirrorState | None) -> bool:
        """Begin a mirror in place of the one that was seen. From here on every new entry comes into the queue.

        False: somebody else has begun one since, or opened a batch.

        Raises:
            LedgerUnavailable: not begun, or unknown.
        """

    async def fill(self, count_max: int) -> bool:
        """Put some of the entries that were there before the mirror into the queue. True: all of them are.

        False with nothing done where transactions are under way that may not have heard of the mirror.

        Raises:
            LedgerUnavailable: not done, or unknown; call again.
        """

    async def open_batch(self, count_max: int) -> MirrorBatch | None:
        """The batch that is on its way, else a new one of the oldest entries. None: nothing waits.

        Only once `fill` has said True.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    def fetch_batch(self, batch: MirrorBatch) -> AsyncIterator[tuple[Entry, ...]]:
        """The entries of a batch in pages, in an order that is always the same.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def close_batch(self, batch: MirrorBatch) -> bool:
        """Its load job has succeeded: its entries leave the queue. False: that was known.

        Raises:
            LedgerUnavailable: not done, or unknown; call again.
        """

    async def retry_batch(self, batch: MirrorBatch, *, keep: int | None = None, refusal: str = "") -> None:
        """Its load job has failed: the next attempt has another job.

        Args:
            batch: with the attempt that failed.
            keep: how many of its entries, the oldest, stay in it; the others wait for another batch.
            refusal: its entries are not taken for this reason: they are set aside, and the batch is over.

        Raises:
            LedgerUnavailable: not done, or unknown; call again.
        """

    async def retry_refused(self) -> None:
        """Let entries that were set aside be tried again.

        Raises:
            LedgerUnavailable: not done, or unknown.
        """

    async def keep_policies(self, policies: Mapping[str, str]) -> None:
        """Remember which row access policies were made, and how.

        Raises:
            LedgerUnavailable: not done, or unknown; call again.
        """

    async def fetch_backlog(self) -> MirrorBacklog:
        """What is not mirrored.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def close(self) -> None:
        """Give back connections."""


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table as BigQuery describes it. `row_count` None: it does not say."""

    fields: tuple[Mapping[str, Any], ...]
    partitioned_by: str  # "DAY booked_at"
    clustered_by: tuple[str, ...]
    row_count: int | None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """How a load job stands. `fault` is BigQuery's reason where it failed."""

    is_done: bool
    row_count: int = 0
    fault: str = ""
    message: str = ""


class MirrorTable(Protocol):
    """The table at BigQuery, called in the gate's own name.

    Every method raises:
        UpstreamRefused: BigQuery refuses it; bears BigQuery's answer.
        UpstreamUnavailable: no answer, or 5xx; whether it was done is unknown.
    """

    async def describe(self) -> TableShape | None:
        """None: its dataset is there, and it is not."""

    async def create(self, fields: Sequence[Mapping[str, Any]], *, partitioned_by: str, clustered_by: str) -> None:
        """Make it, partitioned by the day of a column. There already: nothing happens."""

    async def set_fields(self, fields: Sequence[Mapping[str, Any]]) -> None:
        """Give it these columns, which are those that it has and more."""

    async def load(self, job_id: str, rows: bytes) -> None:
        """Start a load job that appends rows (JSON lines in gzip), all or none. There already: nothing happens."""

    async def fetch_load(self, job_id: str) -> LoadResult:
        """How a load job stands.

        Raises:
            JobNotFound: there is none.
        """

    async def run_statement(self, sql: str) -> None:
        """Run DDL to its end. It costs nothing."""
