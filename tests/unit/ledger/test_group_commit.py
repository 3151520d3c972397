"""Tests of bqgate.ledger.group_commit: who shares a transaction, and who hears of its failure."""

import asyncio
from collections.abc import Sequence

import pytest

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger.group_commit import GROUP_MAX, GroupCommit


class Table:
    """Stands where the database does: keeps groups, waits while `gate` is shut, fails on what it is told to."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.failures: dict[str, Exception] = {}

    async def transact(self, writes: Sequence[str]) -> list[str]:
        self.begun.set()
        await self.gate.wait()
        for write in writes:
            if write in self.failures:
                raise self.failures[write]
        self.groups.append(list(writes))
        return [write.upper() for write in writes]


def group_commit(table: Table, *, timeout_s: float = 5, waiting_max: int = 1_000) -> GroupCommit[str, str]:
    return GroupCommit(table.transact, timeout_s=timeout_s, waiting_max=waiting_max)


async def shut_behind_first(table: Table, writer: GroupCommit[str, str]) -> asyncio.Task[str]:
    """Have one write under way, so that what follows must wait."""
    table.gate.clear()
    first = asyncio.create_task(writer.submit("first"))
    await table.begun.wait()
    return first


async def let_run() -> None:
    """Give every task that is ready its turn."""
    turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    await turn.wait()


async def test_writes_that_wait_share_one_transaction() -> None:
    """While one group commits the rest gathers; each caller has its own result, in the order of asking."""
    table = Table()
    writer = group_commit(table)
    first = await shut_behind_first(table, writer)
    rest = [asyncio.create_task(writer.submit(f"w{number}")) for number in range(10)]
    await let_run()
    table.gate.set()
    assert await asyncio.gather(first, *rest) == ["FIRST", *(f"W{number}" for number in range(10))]
    assert table.groups == [["first"], [f"w{number}" for number in range(10)]]


async def test_a_group_has_a_largest_size() -> None:
    """A long queue is written in several transactions."""
    table = Table()
    writer = group_commit(table)
    await asyncio.gather(*(writer.submit(str(number)) for number in range(GROUP_MAX + 1)))
    assert [len(group) for group in table.groups] == [GROUP_MAX, 1]


async def test_past_its_bound_the_queue_sheds() -> None:
    """One write too many is refused at once; those before it are done."""
    table = Table()
    writer = group_commit(table, waiting_max=2)
    first = await shut_behind_first(table, writer)
    rest = [asyncio.create_task(writer.submit(write)) for write in "ab"]
    await let_run()
    with pytest.raises(LedgerUnavailable, match="overloaded"):
        await writer.submit("c")
    table.gate.set()
    assert await asyncio.gather(first, *rest) == ["FIRST", "A", "B"]


async def test_a_bad_write_fails_alone() -> None:
    """The group is tried again one by one: the culprit's caller hears of it, whatever was raised."""
    table = Table()
    writer = group_commit(table)
    table.failures = {"b": LedgerUnavailable("b"), "d": AssertionError("a bug")}
    results = await asyncio.gather(*map(writer.submit, "abcde"), return_exceptions=True)
    assert [results[0], results[2], results[4]] == ["A", "C", "E"]
    assert isinstance(results[1], LedgerUnavailable)
    assert isinstance(results[3], AssertionError)
    assert await writer.submit("f") == "F"


async def test_a_stuck_transaction_fails_its_callers_in_time() -> None:
    """Nobody waits longer than the time limit, neither the one under way nor the one behind it."""
    table = Table()
    writer = group_commit(table, timeout_s=0.05)
    first = await shut_behind_first(table, writer)
    results = await asyncio.gather(first, writer.submit("second"), return_exceptions=True)
    assert [type(result) for result in results] == [LedgerUnavailable] * 2
    table.gate.set()
    assert await writer.submit("third") == "THIRD"


async def test_who_gave_up_before_the_start_is_not_written() -> None:
    """A caller that was cancelled, or told that nothing is recorded, leaves the queue."""
    table = Table()
    writer = group_commit(table)
    first = await shut_behind_first(table, writer)
    gone = asyncio.create_task(writer.submit("gone"))
    stays = asyncio.create_task(writer.submit("stays"))
    await let_run()
    gone.cancel()
    await asyncio.wait({gone})
    table.gate.set()
    assert list(await asyncio.gather(first, stays)) == ["FIRST", "STAYS"]
    assert table.groups == [["first"], ["stays"]]


async def test_who_gives_up_during_the_transaction_does_not_stop_it() -> None:
    """The write of a caller that left is done with its group's."""
    table = Table()
    writer = group_commit(table)
    first = await shut_behind_first(table, writer)
    first.cancel()
    await asyncio.wait({first})
    table.gate.set()
    assert await writer.submit("second") == "SECOND"
    assert table.groups == [["first"], ["second"]]


async def test_close_finishes_what_waits_and_refuses_the_rest() -> None:
    """After close every earlier write is done and a later one is refused."""
    table = Table()
    writer = group_commit(table)
    first = await shut_behind_first(table, writer)
    waiting = asyncio.create_task(writer.submit("waiting"))
    await let_run()
    closing = asyncio.create_task(writer.close())
    await let_run()
    with pytest.raises(LedgerUnavailable, match="closed"):
        await writer.submit("late")
    table.gate.set()
    await closing
    assert list(await asyncio.gather(first, waiting)) == ["FIRST", "WAITING"]
