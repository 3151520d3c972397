"""A Redis that went back in time lets no money be spent twice: started from an old file, demoted, promoted."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget import Window
from bqgate.domain.entry import CustomerSpend
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.hold import Hold, PlacementOutcome
from bqgate.domain.money import parse_usd
from tests.support.budget_scene import hold_on, stands, usd, windows_of
from tests.support.manual_clock import ManualClock
from tests.support.redis_server import RedisServer, redis_servers
from tests.support.spend_book import SpendBook

WINDOWS = windows_of(day_usd="10")


class OldFile:
    """A store and its ledger on a server of its own, and the file that the server once wrote."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.book = SpendBook()
        self.store = self._open()

    async def place(self, amount: str) -> Hold:
        """Place a hold and record it."""
        hold = hold_on(WINDOWS, amount, idempotency_key=f"job:p:{amount}")
        assert (await self.store.place_hold(hold, WINDOWS)).outcome is PlacementOutcome.PLACED
        self.book.open_hold(hold)
        return hold

    async def spend(self, amount: str, cost: str) -> None:
        """Run a query from its hold to its capture."""
        hold = await self.place(amount)
        self.book.book(hold, parse_usd(cost))
        assert await self.store.capture(hold, parse_usd(cost))

    def save(self) -> None:
        """Write the file."""
        with self.server.client() as client:
            client.save()

    async def go_back(self) -> None:
        """Kill the server and start it from the file, as after a crash or from a backup."""
        self.server.kill()
        self.server.start()
        with suppress(BudgetStoreUnavailable):  # a connection from before
            await self.store.check()

    @asynccontextmanager
    async def other_gate(self) -> AsyncIterator[RedisBudgetStore]:
        """A store of another gate."""
        store = self._open()
        yield store
        await store.close()

    def _open(self) -> RedisBudgetStore:
        return RedisBudgetStore.open(f"redis://127.0.0.1:{self.server.port}/0", self.book, ManualClock(), timeout_s=5)


@pytest.fixture
async def old_file() -> AsyncIterator[OldFile]:
    """A server of its own."""
    with redis_servers() as make:
        made = OldFile(make())
        yield made
        await made.store.close()


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A master and its replica."""
    with redis_servers() as make:
        master = make("--repl-diskless-sync-delay", "0")
        yield master, make("--replicaof", "127.0.0.1", str(master.port))


async def test_what_was_spent_after_a_snapshot_stays_spent(old_file: OldFile) -> None:
    """Invariant 2 and 7: $3, a snapshot, $6 more, a crash: the store says 9 and refuses 2, though its file says 3."""
    await old_file.spend("4", "3")
    old_file.save()
    await old_file.spend("6", "6")
    await old_file.go_back()
    refused = await old_file.store.place_hold(hold_on(WINDOWS, "2"), WINDOWS)
    assert (refused.outcome, stands(refused.balances)) == (PlacementOutcome.REFUSED, [usd("9", "0")] * 2)
    assert (await old_file.store.place_hold(hold_on(WINDOWS, "1"), WINDOWS)).outcome is PlacementOutcome.PLACED


async def test_holds_that_the_file_lacks_count_at_once(old_file: OldFile) -> None:
    """Placed and recorded after the snapshot: it is held again before the next decision, and its repeat finds it."""
    await old_file.store.fetch_balances(WINDOWS)
    old_file.save()
    hold = await old_file.place("8")
    await old_file.go_back()
    assert (await old_file.store.place_hold(hold_on(WINDOWS, "3"), WINDOWS)).outcome is PlacementOutcome.REFUSED
    repeat = await old_file.store.place_hold(hold_on(WINDOWS, "8", idempotency_key="job:p:8"), WINDOWS)
    assert (repeat.outcome, repeat.hold_id) == (PlacementOutcome.REPLAYED, hold.id)
    assert await old_file.store.capture(hold, parse_usd("5"))
    assert stands(await old_file.store.fetch_balances(WINDOWS)) == [usd("5", "0")] * 2


async def test_a_hold_that_ended_after_the_snapshot_refuses_too_early_until_it_is_ended_again(
    old_file: OldFile,
) -> None:
    """The file has a hold that was captured since: it counts beside its cost, never too little, until it is ended."""
    hold = await old_file.place("4")
    old_file.save()
    old_file.book.book(hold, parse_usd("4"))
    assert await old_file.store.capture(hold, parse_usd("4"))
    await old_file.go_back()
    assert stands(await old_file.store.fetch_balances(WINDOWS)) == [usd("4", "4")] * 2
    assert await old_file.store.capture(hold, parse_usd("4"), is_late=True)
    assert stands(await old_file.store.fetch_balances(WINDOWS)) == [usd("4", "0")] * 2


async def test_what_was_read_before_a_restart_does_not_fill_after_it(old_file: OldFile) -> None:
    """A gate reads the ledger, another runs a query, the store goes back: what was read lacks that query's cost."""
    old_file.save()
    fetch_spend = old_file.book.fetch_spend

    async def slow(windows: Sequence[Window]) -> CustomerSpend:
        old_file.book.fetch_spend = fetch_spend  # type: ignore[method-assign]  # once
        read = await fetch_spend(windows)
        async with old_file.other_gate() as other:
            hold = hold_on(WINDOWS, "6")
            await other.place_hold(hold, WINDOWS)
            old_file.book.book(hold, parse_usd("6"))
            assert await other.capture(hold, parse_usd("6"))
        await old_file.go_back()
        return read

    old_file.book.fetch_spend = slow  # type: ignore[method-assign]  # to choose the moment
    assert stands(await old_file.store.fetch_balances(WINDOWS)) == [usd("6", "0")] * 2


async def test_the_same_server_fills_once(old_file: OldFile) -> None:
    """As long as a server loses nothing, its windows are read from the ledger once."""
    await old_file.spend("4", "3")
    reads = old_file.book.read_count
    await old_file.spend("4", "3")
    await old_file.store.fetch_balances(WINDOWS)
    assert old_file.book.read_count == reads


async def test_a_demoted_server_decides_nothing(pair: tuple[RedisServer, RedisServer]) -> None:
    """A gate that is left with a replica is told so, where it would decide or be told what stands."""
    _, replica = pair
    store = RedisBudgetStore.open(f"redis://127.0.0.1:{replica.port}/0", SpendBook(), ManualClock(), timeout_s=5)
    for step in (
        lambda: store.place_hold(hold_on(WINDOWS), WINDOWS),
        lambda: store.fetch_balances(WINDOWS),
        lambda: store.keep_holds([hold_on(WINDOWS)]),
        lambda: store.capture(hold_on(WINDOWS), 1),
        store.check,
    ):
        with pytest.raises(BudgetStoreUnavailable, match=r"(?i)replica"):
            await step()
    await store.close()


async def test_a_promoted_replica_that_missed_the_last_writes_is_filled(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """What the master confirmed and did not hand on in time is not lost to the budgets: the ledger has it."""
    master, replica = pair
    book = SpendBook()
    first = RedisBudgetStore.open(f"redis://127.0.0.1:{master.port}/0", book, ManualClock(), timeout_s=5)
    await first.fetch_balances(WINDOWS)
    with master.client() as at_master, replica.client() as at_replica:
        at_master.set("mark", 1)  # WAIT waits for what its own connection has written, and all before it
        assert at_master.wait(1, 5000) == 1
        assert at_replica.hget("bqgate:{acme}:window:day:2026-11-24", "captured_nanos") == "0"
        at_replica.replicaof("no", "one")
    late = hold_on(WINDOWS, "7")
    await first.place_hold(late, WINDOWS)
    book.book(late, parse_usd("7"))
    await first.capture(late, parse_usd("7"))
    second = RedisBudgetStore.open(f"redis://127.0.0.1:{replica.port}/0", book, ManualClock(), timeout_s=5)
    assert (await second.place_hold(hold_on(WINDOWS, "4"), WINDOWS)).outcome is PlacementOutcome.REFUSED
    for store in (first, second):
        await store.close()
