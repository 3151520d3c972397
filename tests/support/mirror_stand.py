"""Give tests a mirror between a real ledger and the sandbox, what the table has, and ways to break it off anywhere.

`MirrorStand` is one ledger with one dataset. `Interrupted` stands in front of the queue or the table and counts calls
over both; at the one it is told, it raises Crash, before or after the call was made, or waits until it may go on.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from bqgate.bigquery.credentials import AnonymousCredentials
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.bigquery.mirror_table import BigQueryMirrorTable
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.exports import Mirror, MirrorPlan
from bqgate.ledger import SqlLedger, SqlMirrorQueue
from bqgate.ports import MirrorQueue, MirrorTable
from bqgate.sandbox import Sandbox
from bqgate.sandbox.warehouse import TableRef
from tests.support.ledgers import make_entry
from tests.support.manual_clock import ManualClock

PROJECT = "acme-mirror"
TABLE = "bqgate_entries"
_numbers = itertools.count()


class Crash(Exception):
    """The process ended here."""


class Notes:
    """Keeps what was counted and logged."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lines: list[tuple[str, dict[str, object]]] = []
        self._has_more = asyncio.Event()

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        self.counts[" ".join([name, *labels.values()])] += amount
        self._has_more.set()

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Not kept."""

    def log(self, event: str, /, **fields: object) -> None:
        self.lines.append((event, fields))
        self._has_more.set()

    def of(self, event: str) -> list[dict[str, object]]:
        """The lines of an event."""
        return [fields for each, fields in self.lines if each == event]

    async def until(self, is_so: Callable[["Notes"], bool]) -> None:
        """Return when the notes are so."""
        async with asyncio.timeout(20):
            while not is_so(self):
                self._has_more.clear()
                await self._has_more.wait()


class HurriedClock(ManualClock):
    """A clock by which every pause is over in a hundredth of its time, and the longest in 150 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.has_slept = asyncio.Event()

    async def sleep(self, delay_s: float) -> None:
        self.advance(delay_s)
        self.has_slept.set()
        await asyncio.sleep(min(delay_s, 15) / 100)  # noqa: TID251 - the sandbox's threads work meanwhile


@dataclass
class Interruption:
    """At which call, counted from 1, what happens: `crash_before`, `crash_after`, or `wait` for `may_go_on`."""

    at: int
    how: str
    calls: int = 0
    has_struck: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def before(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.has_struck.set()
            if self.how == "crash_before":
                raise Crash
            if self.how == "wait":
                await self.may_go_on.wait()

    def after(self) -> None:
        if self.calls == self.at and self.how == "crash_after":
            raise Crash


class Interrupted:
    """What stands behind it, with an interruption in front."""

    def __init__(self, behind: object, interruption: Interruption) -> None:
        self._behind = behind
        self._interruption = interruption

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._behind, name)
        if name == "fetch_batch":
            return lambda batch: self._pages(method(batch))

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._interruption.before()
            result = await method(*args, **kwargs)
            self._interruption.after()
            return result

        return call

    async def _pages(self, pages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        await self._interruption.before()
        async for page in pages:
            yield page
        self._interruption.after()


class MirrorStand:
    """A ledger, a dataset of the sandbox's, and as many mirrors between them as a test asks for."""

    def __init__(self, sandbox: Sandbox, url: str, ledger: SqlLedger, queue: SqlMirrorQueue, way: HttpUpstream) -> None:
        self.sandbox = sandbox
        self.url = url
        self.ledger = ledger
        self.queue = queue
        self.dataset = f"mirror_{next(_numbers)}"
        self.telemetry = Notes()
        self.clock = HurriedClock()
        self.readers: dict[str, list[str]] = {}
        self._way = way
        sandbox.warehouse.create_dataset(PROJECT, self.dataset)

    @property
    def target(self) -> str:
        return f"{PROJECT}.{self.dataset}.{TABLE}"

    def table(self) -> BigQueryMirrorTable:
        """The table as the mirror calls it."""
        calls = JsonCalls(self._way, timeout_s=20)
        return BigQueryMirrorTable(calls, project_id=PROJECT, dataset_id=self.dataset, table_id=TABLE)

    def mirror(
        self, interruption: Interruption | None = None, *, batch: int = 3, admins: Sequence[str] = (), **plan: Any
    ) -> Mirror:
        """Another replica's mirror."""
        queue: object = self.queue
        table: object = self.table()
        if interruption is not None:
            queue, table = Interrupted(queue, interruption), Interrupted(table, interruption)
        return Mirror(
            cast("MirrorQueue", queue),
            cast("MirrorTable", table),
            MirrorPlan(self.target, 120, admins, self._readers, batch_entries_max=batch, **plan),
            clock=self.clock,
            telemetry=self.telemetry,
            new_epoch=lambda: f"epoch{next(_numbers)}",
        )

    async def book(self, *ids: str, **changes: Any) -> None:
        """Book entries without holds."""
        entries = [make_entry(None, id=each, job=None, **changes) for each in ids]
        await asyncio.gather(*map(self.ledger.book, entries))

    def mirrored(self) -> list[str]:
        """The ids of the rows in the table, sorted."""
        return sorted(str(row["entry_id"]) for row in self.rows())

    def rows(self) -> list[Mapping[str, Any]]:
        """The table's rows."""
        return rows_of(self.sandbox, TableRef(PROJECT, self.dataset, TABLE))

    def _readers(self) -> Mapping[str, Sequence[str]]:
        return self.readers


def rows_of(sandbox: Sandbox, ref: TableRef) -> list[Mapping[str, Any]]:
    """All rows of a table of the sandbox's, by the names of its columns, each value as BigQuery's JSON has it."""
    source = sandbox.warehouse.read_rows(ref)
    names = [each.name for each in source.schema]
    page = json.loads(source.page_text(0, len(source)).text)
    return [dict(zip(names, (cell["v"] for cell in row["f"]), strict=True)) for row in page]


@asynccontextmanager
async def mirror_stand(sandbox: Sandbox, url: str) -> AsyncIterator[MirrorStand]:
    """A stand on an empty ledger."""
    ledger, queue = await SqlLedger.open(url, ManualClock()), SqlMirrorQueue.open(url)
    way = HttpUpstream(sandbox.url, AnonymousCredentials())
    try:
        yield MirrorStand(sandbox, url, ledger, queue, way)
    finally:
        await way.close()
        await queue.close()
        await ledger.close()
