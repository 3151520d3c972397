"""Compare what an upstream billed with what the gate's ledger says, by SQL of its own.

`audit` looks at the tables of the ledger as anybody with a database client would; it knows neither the gate's queries
nor its types. What it finds is a list of differences, the worst kinds first, and the sums.
"""

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.support.scorekeeper import Scorekeeper
from tests.support.scorekeeper_books import Prices, Ran

NANOS_PER_USD = 1_000_000_000
_SHOWN = 5
_PAUSE_S = 0.02


@dataclass(frozen=True)
class Audit:
    """What was compared, in nano-dollars, and what differs. `past_the_limit` counts projects that were billed more."""

    jobs: int
    billed_nanos: int
    booked_nanos: int
    past_the_limit: int
    open_holds: int
    differences: tuple[str, ...]

    def __str__(self) -> str:
        sums = (
            f"{self.jobs} jobs, billed ${_usd(self.billed_nanos)}, booked ${_usd(self.booked_nanos)}, "
            f"{self.past_the_limit} budgets passed, {self.open_holds} holds left open, "
            f"{len(self.differences)} differences"
        )
        return "\n  ".join((sums, *self.differences[:_SHOWN]))


class LedgerTables:
    """The tables of a ledger, read as anybody may who has its address: one connection, kept open.

    Gates keep their journals where they do unless they are told otherwise.
    """

    def __init__(self, ledger_url: str) -> None:
        is_file = ledger_url.startswith("sqlite:///")
        self._journals = Path(f"{ledger_url.removeprefix('sqlite:///')}.journal" if is_file else "bqgate.journal")
        self._session: sqlite3.Connection | psycopg.Connection[Any]
        if ledger_url.startswith("sqlite:///"):
            self._session = sqlite3.connect(
                ledger_url.removeprefix("sqlite:///"), timeout=10, isolation_level=None, check_same_thread=False
            )
        else:
            self._session = psycopg.connect(ledger_url, autocommit=True)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement selects."""
        if isinstance(self._session, sqlite3.Connection):
            return self._session.execute(statement).fetchall()
        return self._session.execute(statement.encode()).fetchall()

    def are_written(self) -> bool:
        """Whether the tables have all that the journals of this ledger's gates hold."""
        heads = [f"bqgate journal 1 {each[0]}\n".encode() for each in self.rows("SELECT id FROM ledger_identity")]
        done = dict(self.rows("SELECT journal_id, position FROM journal_positions"))
        for path in self._journals.glob("*.journal"):
            with suppress(FileNotFoundError):
                data = path.read_bytes()
                of_ours = next((head for head in heads if data.startswith(head)), None)
                if of_ours is not None and len(data) > max(len(of_ours), done.get(path.stem, 0)):
                    return False
        return True

    def close(self) -> None:
        self._session.close()


def audit(keeper: Scorekeeper, tables: LedgerTables, prices: Prices, *, limit_nanos: int | None = None) -> Audit:
    """Compare job by job, hold by hold, and the sum of each project over time with its limit.

    Args:
        keeper: what ran; nothing may be running any more.
        tables: the ledger's.
        prices: what a job costs.
        limit_nanos: what each project may be billed in all; None: any sum.
    """
    entries = tables.rows("SELECT hold_id, job_project_id, job_id, cost_nanos, project_id, kind FROM entries")
    holds = tables.rows("SELECT id, project_id, state, ended_at FROM holds")
    passed = tuple(_passings(keeper, prices, limit_nanos))
    left_open = [str(each[0]) for each in holds if each[3] is None]
    differences = (
        *_job_differences(keeper, entries, prices),
        *passed,
        *(f"hold {hold_id} is open" for hold_id in left_open),
        *_hold_differences(entries, holds),
    )
    booked = sum(int(entry[3]) for entry in entries)
    return Audit(len(keeper.books), keeper.billed_nanos(prices), booked, len(passed), len(left_open), differences)


async def without_open_holds(tables: LedgerTables, between: Callable[[], None], *, timeout_s: float) -> bool:
    """Whether the ledger has no open hold before the time is over, nor one on its way there.

    `between` two looks a test may move its clock.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout_s
    while not tables.are_written() or tables.rows("SELECT id FROM holds WHERE ended_at IS NULL"):
        if loop.time() > give_up_at:
            return False
        between()
        passed = asyncio.Event()
        loop.call_later(_PAUSE_S, passed.set)
        await passed.wait()
    return True


def _job_differences(keeper: Scorekeeper, entries: list[tuple[Any, ...]], prices: Prices) -> Iterable[str]:
    """Each job that ran has one charge, of its bill; what is booked beside that did not run."""
    booked: dict[tuple[str, str], int] = defaultdict(int)
    charges: Counter[tuple[str, str]] = Counter()
    for _, job_project, job_id, cost, project, kind in entries:
        key = (str(job_project or project), str(job_id or ""))
        booked[key] += int(cost)
        charges[key] += kind == "charge"
    nameless: dict[str, int] = defaultdict(int)
    for ran in keeper.books:
        bill = prices.cost_nanos(ran)
        if ran.job_id is None:
            nameless[ran.project_id] += bill
            continue
        key = (ran.project_id, ran.job_id)
        paid = booked.pop(key, 0)
        if paid != bill:
            yield f"job {_name(ran)} was billed ${_usd(bill)} and booked ${_usd(paid)}"
        if charges[key] > 1:
            yield f"job {_name(ran)} has {charges[key]} charges"
    for (project, job_id), cost in booked.items():
        if cost != nameless.pop(project, 0):
            yield f"${_usd(cost)} is booked in {project} for {job_id or 'no job'}, which did not run"
    yield from (
        f"${_usd(bill)} was billed in {project} without a job, and not booked"
        for project, bill in nameless.items()
        if bill
    )


def _hold_differences(entries: list[tuple[Any, ...]], holds: list[tuple[Any, ...]]) -> Iterable[str]:
    """Each hold ended once: captured with the one charge that bears its id, or voided without any."""
    by_hold: Counter[str] = Counter(str(entry[0]) for entry in entries if entry[0] is not None and entry[5] == "charge")
    for hold_id, _, state, ended_at in holds:
        if by_hold[hold_id] > 1:
            yield f"hold {hold_id} has {by_hold[hold_id]} charges"
        if ended_at is not None and state == "captured" and not by_hold[hold_id]:
            yield f"hold {hold_id} was captured without a charge"
        if state == "voided" and any(entry[0] == hold_id and entry[3] for entry in entries):
            yield f"hold {hold_id} was voided and has a charge"


def _passings(keeper: Scorekeeper, prices: Prices, limit_nanos: int | None) -> Iterable[str]:
    """The projects whose bills, added up as their jobs ended, passed the limit at some moment."""
    sums: dict[str, int] = defaultdict(int)
    told: set[str] = set()
    for ran in sorted(keeper.books, key=lambda each: each.ended_ms or 0):
        sums[ran.project_id] += prices.cost_nanos(ran)
        if limit_nanos is not None and sums[ran.project_id] > limit_nanos and ran.project_id not in told:
            told.add(ran.project_id)
            yield f"{ran.project_id} was billed ${_usd(sums[ran.project_id])} at a limit of ${_usd(limit_nanos)}"


def _name(ran: Ran) -> str:
    return f"{ran.project_id}.{ran.job_id}"


def _usd(nanos: int) -> str:
    whole, rest = divmod(abs(nanos), NANOS_PER_USD)
    return f"{'-' if nanos < 0 else ''}{whole}.{rest:09d}"
