"""What is special about Redis: a network between, other gates beside, and data that outlives the process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis as blocking_redis
from redis.asyncio import Redis

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.domain.hold import Hold, PlacementOutcome, VoidOutcome
from bqgate.domain.money import parse_usd
from tests.support.budget_scene import hold_on, stands, usd, windows_of
from tests.support.manual_clock import ManualClock
from tests.support.redis_server import running_redis
from tests.support.spend_book import SpendBook
from tests.support.tcp_fault_proxy import TcpFaultProxy

TIMEOUT_S = 0.2
# For its turn, to connect, for the answers to the handshake and the call; and a slow machine.
BOUND_S = 10 * TIMEOUT_S

PROJECT = Path(__file__).parents[3]

Step = Callable[[RedisBudgetStore, Hold], Awaitable[object]]

STEPS: dict[str, Step] = {
    "place_hold": lambda store, hold: store.place_hold(hold, windows_of()),
    "capture": lambda store, hold: store.capture(hold, parse_usd("1")),
    "void": lambda store, hold: store.void(hold),
    "void_attempts": lambda store, hold: store.void(hold, attempts=1),
    "restore_hold": lambda store, hold: store.restore_hold(hold),
    "keep_holds": lambda store, hold: store.keep_holds([hold]),
    "fetch_attempts": lambda store, hold: store.fetch_attempts(hold),
    "fetch_balances": lambda store, hold: store.fetch_balances(windows_of()),
    "fetch_hold_ids": lambda store, hold: store.fetch_hold_ids("acme"),
    "fetch_customers": lambda store, hold: store.fetch_customers(),
    "check": lambda store, hold: store.check(),
}

FAULTS: dict[str, Callable[[TcpFaultProxy], None]] = {
    "refuses": lambda proxy: proxy.refuse(),
    "hangs": lambda proxy: proxy.answers.stall(),
    "is slow": lambda proxy: proxy.answers.delay(3 * TIMEOUT_S),
    "hears nothing and is cut": lambda proxy: proxy.requests.cut_after(0),
    "is cut within the request": lambda proxy: proxy.requests.cut_after(20),
    "works and is cut": lambda proxy: proxy.answers.cut_after(0),
    "is cut within the answer": lambda proxy: proxy.answers.cut_after(2),
}


def _port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[TcpFaultProxy]:
    """A network to Redis that can be broken."""
    port = _port_of(redis_url)
    async with TcpFaultProxy("127.0.0.1", port) as budget_status:
        yield budget_status


@pytest.fixture
async def store(proxy: TcpFaultProxy) -> AsyncIterator[RedisBudgetStore]:
    """A store behind that network."""
    url = f"redis://127.0.0.1:{proxy.port}/0"
    opened = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=TIMEOUT_S)
    yield opened
    await opened.close()


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "not yet connected"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_broken_network_is_told_in_bounded_time(
    store: RedisBudgetStore,
    proxy: TcpFaultProxy,
    fault: Callable[[TcpFaultProxy], None],
    step: Step,
    *,
    is_connected: bool,
) -> None:
    """Whatever breaks, whenever: BudgetStoreUnavailable, soon; and the next call after the repair works."""
    hold = hold_on(windows_of())
    if is_connected:
        await store.place_hold(hold, windows_of())
    fault(proxy)
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(BudgetStoreUnavailable):
            await step(store, hold)
    await proxy.heal()
    await step(store, hold)


@pytest.mark.parametrize("step", ["capture", "void", "void_attempts", "restore_hold", "keep_holds", "place_hold"])
async def test_a_call_that_worked_unheard_is_made_again_and_changes_nothing(
    store: RedisBudgetStore, proxy: TcpFaultProxy, step: str
) -> None:
    """Each script is idempotent: the answer is lost after the work, the caller calls again, all stands as after one."""
    windows, hold = windows_of(), hold_on(windows_of(), "2")
    if step in {"capture", "void", "void_attempts"}:
        await store.place_hold(hold, windows)
    await store.fetch_balances(windows)
    await store.void(hold_on(windows))  # loads scripts, so that the cut call is the one that works
    await store.place_hold(ending := hold_on(windows, "0"), windows)
    await store.void(ending)
    await store.restore_hold(lost := hold_on(windows, "0"))
    await store.void(lost)
    proxy.answers.cut_after(0)
    with pytest.raises(BudgetStoreUnavailable):
        await STEPS[step](store, hold)
    await proxy.heal()
    once = stands(await store.fetch_balances(windows))
    await STEPS[step](store, hold)
    assert stands(await store.fetch_balances(windows)) == once
    nothing = usd("0", "0")
    expected = {"capture": usd("1", "0"), "void": nothing, "void_attempts": nothing}.get(step, usd("0", "2"))
    assert once == [expected] * 2


async def test_a_placement_that_nobody_heard_of_is_found_and_can_be_voided(
    store: RedisBudgetStore, proxy: TcpFaultProxy
) -> None:
    """After an unanswered place_hold the same call says replayed, with the id that was asked for."""
    windows = windows_of()
    await store.place_hold(hold_on(windows), windows)
    hold = hold_on(windows)
    proxy.answers.cut_after(0)
    with pytest.raises(BudgetStoreUnavailable):
        await store.place_hold(hold, windows)
    await proxy.heal()
    again = await store.place_hold(hold, windows)
    assert (again.outcome, again.hold_id) == (PlacementOutcome.REPLAYED, hold.id)
    assert await store.void(hold) is VoidOutcome.VOIDED


async def test_a_call_is_not_repeated_on_its_own(store: RedisBudgetStore, proxy: TcpFaultProxy) -> None:
    """One call is one attempt: a cut connection is not tried again behind the caller's back."""
    await store.check()
    before = proxy.connection_count
    proxy.requests.cut_after(0)
    with pytest.raises(BudgetStoreUnavailable):
        await store.check()
    assert proxy.connection_count == before


async def test_dropped_idle_connections_are_replaced_unnoticed(store: RedisBudgetStore, proxy: TcpFaultProxy) -> None:
    """A Redis that restarted, or a balancer that drops idle connections, costs no caller an error."""
    await store.check()
    await store.fetch_hold_ids("acme")
    proxy.drop_connections()
    assert isinstance(store._client, Redis)
    (idle,) = store._client.connection_pool._available_connections
    assert store._line is not None
    assert store._line._wire is not None
    async with asyncio.timeout(BOUND_S):
        while not (store._line._wire.is_closed and await idle.can_read()):  # the resets have to arrive first
            await ManualClock().sleep(0)
    await store.fetch_hold_ids("acme")
    await asyncio.gather(*(store.check() for _ in range(3)))


async def test_a_cancelled_caller_leaves_no_foreign_answer_behind(
    store: RedisBudgetStore, proxy: TcpFaultProxy
) -> None:
    """A caller that goes while it waits does not leave its answer for the next one on the same connection."""
    windows = windows_of()
    await store.fetch_balances(windows)
    proxy.answers.stall()
    seen = proxy.requests.chunk_count
    waiting = asyncio.create_task(store.fetch_hold_ids("acme"))
    async with asyncio.timeout(BOUND_S):
        while proxy.requests.chunk_count == seen:
            await ManualClock().sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await proxy.heal()
    assert stands(await store.fetch_balances(windows)) == [usd("0", "0")] * 2


async def test_more_callers_than_connections_wait_their_turn(redis_url: str) -> None:
    """100 callers on 2 connections are all answered; on a Redis that hangs all are told within the bound."""
    port = _port_of(redis_url)
    async with TcpFaultProxy("127.0.0.1", port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=1, connections_max=2)
        await asyncio.gather(*(store.check() for _ in range(100)))
        assert proxy.connection_count <= 2
        proxy.answers.stall()
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(store.check() for _ in range(100)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {BudgetStoreUnavailable}
        await proxy.heal()
        await store.close()


async def test_two_gates_in_two_processes_never_pass_the_limit(redis_url: str) -> None:
    """Invariant 2 over replicas: 2 x 100 holds of 0.10 at 5.00 on a Redis that knows nothing: exactly 50 are placed."""
    gates = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.place_burst", redis_url, "100", "0.10", "5.00", name),
            cwd=PROJECT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("first", "second")
    ]
    for gate in gates:
        assert gate.stdout is not None
        assert await gate.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(gate.communicate(b"go\n") for gate in gates))
    placed = [int(out) for out, _ in answers]
    assert sum(placed) == 50
    store = RedisBudgetStore.open(redis_url, SpendBook(), ManualClock())
    assert stands(await store.fetch_balances(windows_of())) == [usd("0", "5")] * 2
    await store.close()


async def test_two_stores_that_fill_at_once_fill_once(redis_url: str) -> None:
    """Both read the ledger, both write: spend and open holds are there once."""
    windows, book = windows_of(), SpendBook()
    book.book(hold_on(windows), parse_usd("5"))
    book.open_hold(hold_on(windows, "2"))
    both_are_reading = asyncio.Barrier(2)

    async def meet() -> None:
        async with asyncio.timeout(5):
            await both_are_reading.wait()

    book.before_spend = meet
    stores = [RedisBudgetStore.open(redis_url, book, ManualClock()) for _ in range(2)]
    answers = await asyncio.gather(*(store.fetch_balances(windows) for store in stores))
    assert [stands(answer) for answer in answers] == [[usd("5", "2")] * 2] * 2
    for store in stores:
        await store.close()


async def test_a_redis_that_cannot_be_written_does_not_pass_its_check() -> None:
    """A full memory shows in check, and in every step that writes; nothing is half done."""
    with running_redis("--maxmemory-policy", "noeviction") as port:
        store = RedisBudgetStore.open(f"redis://127.0.0.1:{port}", SpendBook(), ManualClock(), timeout_s=5)
        windows = windows_of()
        hold = hold_on(windows, "2")
        await store.place_hold(hold, windows)
        with blocking_redis.Redis(port=port) as raw:
            raw.config_set("maxmemory", "1")
            for step, on in (("check", hold), ("place_hold", hold_on(windows)), ("capture", hold)):
                with pytest.raises(BudgetStoreUnavailable, match="maxmemory"):
                    await STEPS[step](store, on)
            raw.config_set("maxmemory", "0")
        assert stands(await store.fetch_balances(windows)) == [usd("0", "2")] * 2
        await store.close()


async def test_a_wipe_between_the_deployment_and_the_customer_loses_no_hold_above(
    redis_url: str, raw: blocking_redis.Redis
) -> None:
    """A hold placed above, and wiped there before it was placed below, stands above again before anything is sent."""
    book, below, above = SpendBook(), windows_of(), windows_of(DEPLOYMENT_ACCOUNT)
    store = RedisBudgetStore.open(redis_url, book, ManualClock(), has_deployment_budget=lambda: True)
    hold = hold_on((*below, *above), customer="acme")
    reads = 0

    async def wipe() -> None:
        nonlocal reads
        reads += 1
        if reads == 2:  # the deployment's windows are filled and the hold is in them; the customer's are being filled
            raw.flushall()

    book.before_spend = wipe
    try:
        placement = await store.place_hold(hold, (*below, *above))
        assert placement.outcome is PlacementOutcome.PLACED
        assert stands(await store.fetch_balances(above)) == [(0, hold.amount_nanos)] * 2
        assert stands(await store.fetch_balances(below)) == [(0, hold.amount_nanos)] * 2
    finally:
        await store.close()
