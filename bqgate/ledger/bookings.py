"""Read what is booked for many jobs at once, with what has corrected it.

Called by sql_ledger; asks through the function that it is given. Questions are cut into pieces that both databases
take: SQLite allows 32,766 parameters (https://www.sqlite.org/limits.html), and a plan stays short.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from bqgate.domain.entry import BookedCharge, Entry
from bqgate.domain.hold import HoldState, RecordedHold
from bqgate.domain.job import JobRef
from bqgate.ledger import queries
from bqgate.ledger.rows import entry_of, hold_of

ItemT = TypeVar("ItemT")
Ask = Callable[[sa.Select[Any]], Awaitable[Sequence[sa.Row[Any]]]]

_ASKED_AT_ONCE = 500


async def find_booked(
    ask: Ask, jobs: Sequence[JobRef], hold_ids: Sequence[str], charge_ids: Sequence[str]
) -> tuple[BookedCharge, ...]:
    """Charges of these jobs, holds and ids, each once; see ports.Ledger."""
    refs = defaultdict[str, list[JobRef]](list)
    for job in jobs:
        refs[job.job_id].append(job)
    charges: dict[str, Entry] = {}
    for some in _pieces(jobs):
        found = [entry_of(row) for row in await ask(queries.charges_of_jobs(some))]
        charges |= {
            each.id: each
            for each in found
            if each.job is not None and any(each.job.may_be(ref) for ref in refs[each.job.job_id])
        }
    for ids in _pieces(hold_ids):
        charges |= {row.id: entry_of(row) for row in await ask(queries.charges_of_holds(ids))}
    for ids in _pieces(charge_ids):
        charges |= {row.id: entry_of(row) for row in await ask(queries.charges_of_ids(ids))}
    adjustments = defaultdict[str, list[Entry]](list)
    for found_ids in _pieces(tuple(charges)):
        for row in await ask(queries.adjustments_of(found_ids)):
            adjustments[row.adjusts].append(entry_of(row))
    return tuple(BookedCharge(charge, tuple(adjustments[charge.id])) for charge in charges.values())


async def fetch_holds(ask: Ask, hold_ids: Sequence[str]) -> tuple[RecordedHold, ...]:
    """Holds by their ids, ended or not, as far as they are known."""
    found: list[RecordedHold] = []
    for ids in _pieces(hold_ids):
        found += [RecordedHold(hold_of(row), HoldState(row.state)) for row in await ask(queries.holds_of(ids))]
    return tuple(found)


def _pieces(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    for start in range(0, len(items), _ASKED_AT_ONCE):
        yield items[start : start + _ASKED_AT_ONCE]
