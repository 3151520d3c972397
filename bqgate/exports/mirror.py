"""Mirror the ledger's entries into a table at BigQuery, each exactly once.

Run by app under a lease, far from any request. A round sees to the table (table_changes) and to who may read it
(row_policies), puts what was booked before into the queue, and sends what waits, a batch at a time:

    open_batch     which entries go together is written down before anything is sent
    load           a job whose id is made of the batch and its attempt: BigQuery makes one of it, however often it is
                   asked; it appends all of its rows or none
    fetch_load     until the job has ended
    close_batch    it succeeded: the entries leave the queue
    retry_batch    it failed, so nothing was appended: the next attempt has another id

A crash anywhere is followed by the same calls with the same ids. A batch that BigQuery does not take (`invalid`) is
halved until the entry that is at fault is alone; that one is set aside, told, and tried again at the next start. The
table may never have more rows than the ledger knows of: a ledger that was put back to an older state, or two that write
into one table, are noticed before they write.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from bqgate.domain.errors import BqgateError, JobNotFound, LedgerUnavailable, UpstreamRefused, UpstreamUnavailable
from bqgate.exports.columns import CLUSTERED_BY, COLUMNS, PARTITIONED_BY, JsonLines
from bqgate.exports.mirror_faults import LoadFailed, MirrorRefused, cause_of, remedy_of, said_of
from bqgate.exports.row_policies import ADMINS_POLICY, drop_policy, wanted_policies
from bqgate.exports.table_changes import added_fields, differences
from bqgate.ports import Clock, LoadResult, MirrorBatch, MirrorQueue, MirrorState, MirrorTable, TableShape, Telemetry

BATCH_ENTRIES_MAX = 10_000
_FILL_ENTRIES = 5_000
_FILL_PAUSE_S = 0.1
# How long a load job is waited for, ten minutes in all; then the next round goes on with it.
_POLLS_S = (0.5, 1.0, 2.0, 4.0, 8.0, *(15.0,) * 39)
_AGAIN_S = 15.0
_AGAIN_S_MAX = 900.0
_WATCH_S = 15.0
# BigQuery allows five changes of a table's metadata in ten seconds (https://cloud.google.com/bigquery/quotas).
_STATEMENT_PAUSE_S = 2.0
# BigQuery's reason where the fault is in the rows, and not where they go.
_FAULT_OF_ROWS = "invalid"
# What stands for the statement of a policy that was refused, and is not there.
_NOT_THERE = "refused"
_START_ANEW = "Drop the table, and all entries are written anew; or name another dataset in ledger.mirror."


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """What is mirrored where, how often, and who may read it.

    `target` is project.dataset.table. `admins` are IAM members who see all rows; none: no row access policies.
    `readers` tells each customer's addresses and domains.
    """

    target: str
    interval_s: float
    admins: Sequence[str]
    readers: Callable[[], Mapping[str, Sequence[str]]]
    batch_entries_max: int = BATCH_ENTRIES_MAX


class Mirror:
    """The mirror as one replica sees it. `run` it while the lease is held, `watch` it always."""

    def __init__(
        self,
        queue: MirrorQueue,
        table: MirrorTable,
        plan: MirrorPlan,
        *,
        clock: Clock,
        telemetry: Telemetry,
        new_epoch: Callable[[], str],
    ) -> None:
        """Do nothing yet. `new_epoch` makes a word of letters and digits that nobody has made before."""
        self._queue = queue
        self._table = table
        self._plan = plan
        self._clock = clock
        self._telemetry = telemetry
        self._new_epoch = new_epoch
        self._oldest_at: datetime | None = None

    @property
    def oldest_age_s(self) -> float:
        """Age of the oldest entry that BigQuery is not known to have; 0 where there is none."""
        return 0.0 if self._oldest_at is None else max(0.0, (self._clock.now() - self._oldest_at).total_seconds())

    async def run(self) -> None:
        """Mirror until cancelled; what fails is told, and tried again, less and less often."""
        failure_count = 0
        with suppress(LedgerUnavailable):
            await self._queue.retry_refused()
        while True:
            try:
                await self.mirror()
            except BqgateError as error:
                pause_s = min(_AGAIN_S * 2**failure_count, _AGAIN_S_MAX)
                failure_count = min(failure_count + 1, 10)
                self._telemetry.count("mirror_failures_total", cause=cause_of(error))
                self._telemetry.log(
                    "mirror_failed", error=said_of(error), remedy=remedy_of(error), again_in_s=round(pause_s)
                )
            else:
                failure_count, pause_s = 0, self._plan.interval_s
            await self._clock.sleep(pause_s)

    async def watch(self) -> None:
        """Look, until cancelled, how old the oldest entry is that is not mirrored: every replica, whoever mirrors."""
        while True:
            with suppress(LedgerUnavailable):
                self._oldest_at = (await self._queue.fetch_backlog()).oldest_at
            await self._clock.sleep(_WATCH_S)

    async def mirror(self) -> None:
        """Mirror what waits now.

        Raises:
            MirrorRefused: the table is not one to write into.
            LoadFailed: a load job failed; its batch is tried again.
            UpstreamRefused, UpstreamUnavailable, LedgerUnavailable: as the ports say.
        """
        state = await self._prepared()
        await self._see_to_policies(state)
        while not await self._queue.fill(_FILL_ENTRIES):
            await self._clock.sleep(_FILL_PAUSE_S)
        while (batch := await self._queue.open_batch(self._plan.batch_entries_max)) is not None:
            if not await self._deliver(batch):
                return  # the next round looks at the table again

    async def _prepared(self) -> MirrorState:
        """See that the table is there and as declared, and that its rows are those that this ledger wrote."""
        seen = await self._queue.fetch_state()
        table = await self._table.describe()
        if table is None:
            await self._await_last_load(seen)
            # First the state, then the table: a crash in between finds no table, and begins anew once more.
            await self._begin(seen)
            fields = [column.field for column in COLUMNS]
            await self._table.create(fields, partitioned_by=PARTITIONED_BY, clustered_by=CLUSTERED_BY)
        else:
            await self._changed(table)
            if seen is None or seen.target != self._plan.target:
                if table.row_count is None:
                    raise MirrorRefused(f"{self._plan.target} does not say whether it is empty.", remedy=_START_ANEW)
                self._refuse_rows(table, 0)
                await self._begin(seen)
        state = await self._queue.fetch_state()
        if state is None:
            raise LedgerUnavailable("The mirror's state is gone.")
        if table is not None:
            self._refuse_rows(table, state.row_count + (state.last.entry_count if state.is_open else 0))
        return state

    async def _begin(self, seen: MirrorState | None) -> None:
        if not await self._queue.begin(self._plan.target, self._new_epoch(), seen=seen):
            raise LedgerUnavailable("Another replica has just changed the mirror's state.")
        self._telemetry.log("mirror_begun", table=self._plan.target)

    async def _await_last_load(self, state: MirrorState | None) -> None:
        """Raise while a load job of a mirror that is to begin anew may still write into the new table."""
        if state is None or not state.is_open:
            return
        with suppress(JobNotFound):
            if not (await self._table.fetch_load(state.last.job_id)).is_done:
                raise UpstreamUnavailable("A load job into the table that is gone has not ended.")

    async def _changed(self, table: TableShape) -> None:
        """Add what may be added."""
        if found := differences(table):
            raise MirrorRefused(
                f"{self._plan.target} is not as declared: {'; '.join(found)}.",
                remedy=f"Change it back. Or: {_START_ANEW}",
            )
        wanted = added_fields(table)
        if len(wanted) != len(table.fields):
            await self._table.set_fields(wanted)
            self._telemetry.log("mirror_columns_added", table=self._plan.target, count=len(wanted) - len(table.fields))

    def _refuse_rows(self, table: TableShape, known_count: int) -> None:
        """Refuse a table with rows that this ledger's mirror has not written. Fewer may be: somebody deleted some."""
        if table.row_count is not None and table.row_count > known_count:
            raise MirrorRefused(
                f"{self._plan.target} has {table.row_count} rows, and this ledger knows of {known_count}: the ledger "
                "was restored, or somebody else writes into the table.",
                remedy=_START_ANEW,
            )

    async def _see_to_policies(self, state: MirrorState) -> None:
        """Make the admins' policy, drop those that nobody wants any more, then make those that are wanted."""
        if not self._plan.admins:
            return
        wanted = wanted_policies(self._plan.target, self._plan.admins, self._plan.readers())
        made = dict(state.policies)
        await self._make_policy(ADMINS_POLICY, wanted.pop(ADMINS_POLICY), made)
        for name in sorted(set(made) - set(wanted) - {ADMINS_POLICY}):
            await self._table.run_statement(drop_policy(self._plan.target, name))
            del made[name]
            await self._queue.keep_policies(made)
        for name, statement in wanted.items():
            try:
                await self._make_policy(name, statement, made)
            except UpstreamRefused as refusal:
                self._telemetry.count("mirror_failures_total", cause="policy")
                self._telemetry.log("mirror_policy_refused", policy=name, error=said_of(refusal))
                if made.get(name, _NOT_THERE) != _NOT_THERE:  # that of before may let in who is not wanted any more
                    await self._table.run_statement(drop_policy(self._plan.target, name))
                made[name] = _NOT_THERE
                await self._queue.keep_policies(made)

    async def _make_policy(self, name: str, statement: str, made: dict[str, str]) -> None:
        """Make or replace a policy, unless it is `made` just so."""
        digest = sha256(statement.encode()).hexdigest()
        if made.get(name) == digest:
            return
        await self._queue.keep_policies(made | {name: ""})  # so that it is not forgotten, should this end here
        await self._table.run_statement(statement)
        made[name] = digest
        await self._queue.keep_policies(made)
        await self._clock.sleep(_STATEMENT_PAUSE_S)

    async def _deliver(self, batch: MirrorBatch) -> bool:
        """Have BigQuery append a batch. False: it does not take one of its entries, which was set aside."""
        lines, first_id = JsonLines(), ""
        async for entries in self._queue.fetch_batch(batch):
            first_id = first_id or entries[0].id
            await asyncio.to_thread(lines.add, entries)
        await self._table.load(batch.job_id, await asyncio.to_thread(lines.finish))
        result = await self._ended(batch)
        if not result.fault:
            if await self._queue.close_batch(batch):
                self._telemetry.count("mirror_rows_total", batch.entry_count)
            return True
        if result.fault != _FAULT_OF_ROWS:
            await self._queue.retry_batch(batch)
            raise LoadFailed(result.fault, result.message)
        if batch.entry_count > 1:
            await self._queue.retry_batch(batch, keep=batch.entry_count // 2)
            return True
        await self._queue.retry_batch(batch, refusal=result.message or result.fault)
        self._telemetry.count("mirror_failures_total", cause="entry")
        self._telemetry.log("mirror_entry_refused", entry=first_id, error=result.message)
        return False

    async def _ended(self, batch: MirrorBatch) -> LoadResult:
        """How a batch's load job ended."""
        for pause_s in _POLLS_S:
            with suppress(JobNotFound):  # its making was answered for; BigQuery's lists may be a moment behind
                result = await self._table.fetch_load(batch.job_id)
                if result.is_done:
                    return result
            await self._clock.sleep(pause_s)
        raise UpstreamUnavailable("A load job has not ended yet.")
