"""The same query, sent more than once: at once, one after the other, at one gate and at several.

Clients repeat what was not answered. BigQuery runs a job id once, and so it must be billed once, booked once, and held
until its end is known. Each race is run many times, with an upstream that keeps books of its own.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import redis.asyncio
import yaml

from tests.support.auditor import LedgerTables, audit, without_open_holds
from tests.support.race_scene import (
    LIMIT_NANOS,
    PRICES,
    Caller,
    Scene,
    Stores,
    document_for,
    pass_ms,
    query_of,
    race_scene,
    repetitions,
)
from tests.support.scorekeeper import Scorekeeper
from tests.support.scorekeeper_books import GIB
from tests.support.scorekeeper_faults import Fault, FaultKind
from tests.support.served_gate import served_gate
from tests.support.tcp_fault_proxy import TcpFaultProxy

# Two gates on one SQLite are for a trial on one machine; every day the other two pairs are enough.
STORES = ["memory and SQLite", "Redis and PostgreSQL", pytest.param("Redis and SQLite", marks=pytest.mark.long)]
THROTTLED = {
    "tiers": {"standard": {"throttle_wait_ms": 30, "thresholds": [{"used_ratio": "0.01", "action": "throttle"}]}}
}
ONE_AT_A_TIME = {
    "admission": {"waiting_deadline_s": 2},
    "tiers": {"standard": {"customer_concurrency_max": 1}},
}


def stores_for(request: pytest.FixtureRequest, folder: Path) -> Stores:
    """The stores that the parameter names; one gate where the budgets are in its memory, else two."""
    budgets, _, ledger = str(request.param).split()
    sqlite_url = f"sqlite:///{folder / 'ledger.db'}"
    return Stores(
        "memory://" if budgets == "memory" else str(request.getfixturevalue("redis_url")),
        sqlite_url if ledger == "SQLite" else str(request.getfixturevalue("postgres_url")),
        1 if budgets == "memory" else 2,
    )


@pytest.fixture(params=STORES)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """Each kind of stores in turn."""
    return stores_for(request, tmp_path)


@pytest.fixture(params=STORES[1:])
def shared_stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """Those that several gates can share."""
    return stores_for(request, tmp_path)


async def test_a_job_sent_twice_at_once_at_one_gate(stores: Stores, tmp_path: Path) -> None:
    """One of the two runs it, it is billed and booked once, and its hold outlives the other's 409."""

    async def run(scene: Scene, project: str, number: int) -> None:
        url, sql = scene.url(number), query_of(3, number)
        await asyncio.gather(*(scene.caller.insert(url, project, f"job-{number}", sql) for _ in range(2)))

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(24), run, name="twice at one gate")


async def test_thirty_jobs_of_one_customer_sent_twice_at_once(stores: Stores, tmp_path: Path) -> None:
    """Of thirty jobs of half a cent that run for seconds, each sent twice at once, ten run and twenty are refused."""
    async with race_scene(stores, tmp_path) as scene:
        for number in range(30):
            url, sql = scene.url(number), f"/*bytes={GIB // 2} ms=2000*/"
            await asyncio.gather(*(scene.caller.insert(url, "thirty", f"job-{number}", sql) for _ in range(2)))
        await scene.audit(name="thirty jobs twice, one customer")
        assert len(scene.keeper.books) == 10


async def test_a_job_sent_twice_at_once_at_two_gates(shared_stores: Stores, tmp_path: Path) -> None:
    """The same where each gate gets one of the two."""

    async def run(scene: Scene, project: str, number: int) -> None:
        sql = query_of(3, number)
        await asyncio.gather(
            *(scene.caller.insert(scene.url(gate), project, f"job-{number}", sql) for gate in range(2))
        )

    async with race_scene(shared_stores, tmp_path) as scene:
        await scene.race(repetitions(24), run, name="twice at two gates")


async def test_a_job_sent_three_times(stores: Stores, tmp_path: Path) -> None:
    """The same with three attempts within milliseconds, at whichever gate."""

    async def run(scene: Scene, project: str, number: int) -> None:
        chance, sql = random.Random(number), query_of(3, number)

        async def attempt(delay_ms: float, gate: int) -> None:
            await pass_ms(delay_ms)
            await scene.caller.insert(scene.url(gate), project, f"job-{number}", sql)

        await asyncio.gather(*(attempt(chance.uniform(0, 8), chance.randrange(2)) for _ in range(3)))

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(24), run, name="three attempts")


async def test_a_caller_leaves_and_sends_its_job_again(stores: Stores, tmp_path: Path) -> None:
    """The first attempt is given up within milliseconds, and repeated at once at the next gate."""

    async def run(scene: Scene, project: str, number: int) -> None:
        job_id, sql = f"job-{number}", query_of(3, number)
        leaves_after_ms = 1 + number % 8 if number % 2 else 8 + number % 40
        await scene.caller.insert(scene.url(number), project, job_id, sql, leaves_after_ms=leaves_after_ms)
        await scene.caller.insert(scene.url(number + 1), project, job_id, sql)

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(24), run, name="left and repeated", at_once=2)


async def test_a_job_sent_twice_with_other_text(stores: Stores, tmp_path: Path) -> None:
    """BigQuery runs one of the two texts under the id, and what it billed for that one is booked."""

    async def run(scene: Scene, project: str, number: int) -> None:
        texts = [query_of(3, number), query_of(2, number + 1)]
        chance = random.Random(number)
        chance.shuffle(texts)

        async def attempt(gate: int, sql: str) -> None:
            await pass_ms(gate * chance.uniform(0, 10))
            await scene.caller.insert(scene.url(gate), project, f"job-{number}", sql)

        await asyncio.gather(*(attempt(gate, sql) for gate, sql in enumerate(texts)))

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(24), run, name="one id, two texts")


async def test_a_throttled_job_sent_twice_at_once(stores: Stores, tmp_path: Path) -> None:
    """Both attempts wait for their turn, neither for ever, and one of them runs."""

    async def run(scene: Scene, project: str, number: int) -> None:
        await scene.caller.insert(scene.url(0), project, f"before-{number}", f"/*bytes={GIB}*/")
        await scene.ended(project)
        job_id, sql, apart = f"job-{number}", query_of(3, number), number % 2
        await asyncio.gather(
            *(scene.caller.insert(scene.url(number + apart * gate), project, job_id, sql) for gate in range(2))
        )

    async with race_scene(stores, tmp_path, more=THROTTLED) as scene:
        await scene.race(repetitions(16), run, name="throttled twice")


async def test_a_query_whose_gate_stood_still_for_longer_than_a_lease_is_not_sent(
    stores: Stores, tmp_path: Path
) -> None:
    """While it waited others may have given its hold back; its caller is told to send it again, and nothing is held."""
    waits = {"tiers": {"standard": {**THROTTLED["tiers"]["standard"], "throttle_wait_ms": 30_000}}}
    async with race_scene(stores, tmp_path, more=waits) as scene:
        waiting = asyncio.ensure_future(scene.caller.insert(scene.url(0), "race-0", "job"))
        await scene.recorded("race-0", 1)
        while not waiting.done():
            scene.clock.skip(20)
            await pass_ms(20)
        assert await waiting == "503"
        await scene.audit(name="stood still")
        assert not scene.keeper.books


async def wait_behind_another(scene: Scene, project: str, number: int, sql: str) -> "asyncio.Task[str]":
    """Have a job wait at the first gate behind a query of a cent that runs for longer than anybody waits."""
    await scene.caller.insert(scene.gates[0].url, project, f"before-{number}", f"/*bytes={GIB} ms=4000*/")
    first = asyncio.ensure_future(scene.caller.insert(scene.gates[0].url, project, f"job-{number}", sql))
    await scene.recorded(project, 2)
    await pass_ms(10)
    return first


async def test_the_first_attempt_is_sent_away_after_the_second_was_forwarded(
    shared_stores: Stores, tmp_path: Path
) -> None:
    """One gate has it wait until its deadline, the other has forwarded it: its hold stays."""

    async def run(scene: Scene, project: str, number: int) -> None:
        sql = f"/*bytes={3 * GIB} ms={(0, 250, 4000)[number % 3]}*/"
        first = await wait_behind_another(scene, project, number, sql)
        await scene.caller.insert(scene.url(1), project, f"job-{number}", sql)
        await first

    async with race_scene(shared_stores, tmp_path, more=ONE_AT_A_TIME) as scene:
        await scene.race(repetitions(6), run, name="first sent away", at_once=6)


async def test_the_first_attempt_leaves_after_the_second_was_forwarded(shared_stores: Stores, tmp_path: Path) -> None:
    """The same where the caller of the first has gone meanwhile."""

    async def run(scene: Scene, project: str, number: int) -> None:
        sql = query_of(3, number)
        first = await wait_behind_another(scene, project, number, sql)
        await scene.caller.insert(scene.url(1), project, f"job-{number}", sql)
        first.cancel()
        await asyncio.wait([first])
        await pass_ms(5)

    async with race_scene(shared_stores, tmp_path, more=ONE_AT_A_TIME) as scene:
        await scene.race(repetitions(12), run, name="first leaves", at_once=6)


async def test_the_gate_of_the_first_attempt_stops_after_the_second_was_forwarded(
    shared_stores: Stores, tmp_path: Path
) -> None:
    """The same where the gate of the first is told to stop, and another one takes its place."""

    async def run(scene: Scene, project: str, number: int) -> None:
        sql = f"/*bytes={3 * GIB} ms=3000*/"
        first = await wait_behind_another(scene, project, number, sql)
        await scene.caller.insert(scene.url(1), project, f"job-{number}", sql)
        stopping = asyncio.ensure_future(scene.gates[0].stop())
        await first
        await scene.caller.insert(scene.url(1), project, f"soon-{number}", query_of(3, 0))
        await stopping
        scene.gates[0] = await scene.open_one()

    async with race_scene(shared_stores, tmp_path, more=ONE_AT_A_TIME) as scene:
        await scene.race(repetitions(2, at_most=200), run, name="gate of the first stops", at_once=1)


async def test_a_repeat_of_a_job_that_waits_at_the_same_gate(stores: Stores, tmp_path: Path) -> None:
    """Neither attempt hangs, whatever the second is told, and the job runs once or not at all."""

    async def run(scene: Scene, project: str, number: int) -> None:
        sql = query_of(3, number)
        first = await wait_behind_another(scene, project, number, sql)
        await scene.caller.insert(scene.gates[0].url, project, f"job-{number}", sql)
        await first

    async with race_scene(stores, tmp_path, more=ONE_AT_A_TIME) as scene:
        await scene.race(repetitions(6), run, name="repeat of what waits", at_once=6)


@pytest.mark.parametrize("statement_type", ["SELECT", "INSERT"])
async def test_a_request_id_sent_twice_at_once(stores: Stores, tmp_path: Path, statement_type: str) -> None:
    """BigQuery may run a SELECT twice and a DML statement once; what it runs is held and booked."""
    lost = (None, FaultKind.CUT_BEFORE_REFERENCE, FaultKind.LOST)

    async def run(scene: Scene, project: str, number: int) -> None:
        sql, kind = query_of(2, number, statement_type), lost[number % 3]
        if kind is not None:
            scene.keeper.faults.add(Fault(kind, method="jobs.query", project_id=project))
        await asyncio.gather(
            *(scene.caller.query(scene.url(number + gate), project, f"request-{number}", sql) for gate in range(2))
        )

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(24), run, name=f"{statement_type} by requestId, at once")


@pytest.mark.parametrize("statement_type", ["SELECT", "INSERT"])
async def test_a_request_id_repeated_after_its_job_was_booked(
    stores: Stores, tmp_path: Path, statement_type: str
) -> None:
    """The repeat's answer breaks off before its jobReference, or does not: each run is booked once."""
    lost = (FaultKind.CUT_BEFORE_REFERENCE, FaultKind.CUT_AFTER, FaultKind.CUT_BEHIND_REFERENCE, None)

    async def run(scene: Scene, project: str, number: int) -> None:
        sql, kind = query_of(2, 1, statement_type), lost[number % 4]
        await scene.caller.query(scene.url(number), project, f"request-{number}", sql)
        await scene.ended(project)
        if kind is not None:
            scene.keeper.faults.add(Fault(kind, method="jobs.query", project_id=project))
        await scene.caller.query(scene.url(number + 1), project, f"request-{number}", sql)

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(24), run, name=f"{statement_type} by requestId, after the end")


async def test_a_job_is_deleted_before_the_gate_knows_what_it_cost(stores: Stores, tmp_path: Path) -> None:
    """Its answer was lost, it has ended, and its caller deletes it: it is booked first."""
    lost = (FaultKind.CUT_AFTER, FaultKind.LOST, FaultKind.CUT_BEFORE_REFERENCE, FaultKind.CUT_BEHIND_REFERENCE)

    async def run(scene: Scene, project: str, number: int) -> None:
        job_id = f"job-{number}"
        scene.keeper.faults.add(Fault(lost[number % 4], method="jobs.insert", project_id=project))
        scene.keeper.faults.add(Fault(FaultKind.UNAVAILABLE, method="jobs.get", project_id=project, count=number % 3))
        await scene.caller.insert(scene.url(number), project, job_id, query_of(3, 0))
        for _ in range(3):
            await scene.caller.delete(scene.url(number + 1), project, job_id)

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(24), run, name="deleted")


async def test_a_deletion_that_is_sent_before_its_job(stores: Stores, tmp_path: Path) -> None:
    """It must not lie in wait at BigQuery, and take the job away before anybody has seen it."""

    async def run(scene: Scene, project: str, number: int) -> None:
        job_id, faults = f"job-{number}", scene.keeper.faults
        faults.add(Fault(FaultKind.CUT_AFTER, method="jobs.insert", project_id=project))
        lies_in_wait = faults.add(Fault(FaultKind.STALL, method="jobs.delete", project_id=project))
        deleting = asyncio.ensure_future(scene.caller.delete(scene.url(number + 1), project, job_id))
        reaching = asyncio.ensure_future(lies_in_wait.reached.wait())
        await asyncio.wait((deleting, reaching), return_when=asyncio.FIRST_COMPLETED)
        faults.add(Fault(FaultKind.UNAVAILABLE, method="jobs.get", project_id=project, count=5))
        await scene.caller.insert(scene.url(number), project, job_id, query_of(3, 0))
        lies_in_wait.released.set()
        await deleting
        reaching.cancel()

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(16), run, name="deletion before its job")


def trickling(job_id: str, reached: asyncio.Event, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    """A query in front of media, of which the rest waits until the test says so."""

    async def parts() -> AsyncIterator[bytes]:
        job = f'{{"jobReference":{{"jobId":"{job_id}"}},"configuration":{{"query":{{"query":"{query_of(3, 1)}"}}}}}}'
        yield f"--b\r\nContent-Type: application/json\r\n\r\n{job}\r\n--b\r\n".encode()
        yield b"Content-Type: text/csv\r\n\r\n"
        reached.set()
        await go_on.wait()
        yield b"1,2\r\n--b--\r\n"

    return parts()


async def test_an_upload_that_trickles_keeps_its_hold(stores: Stores, tmp_path: Path) -> None:
    """A query in front of media that takes minutes to arrive is held until it has run."""

    async def run(scene: Scene, project: str, number: int) -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()
        sending = asyncio.ensure_future(
            scene.caller.upload(scene.url(number), project, trickling(f"job-{number}", reached, go_on), "b")
        )
        await reached.wait()
        await scene.recorded(project, 1)
        for _ in range(60):
            scene.clock.skip(5)
            await pass_ms(25)
        for gate in range(2):
            await scene.caller.insert(scene.url(gate), project, f"meanwhile-{number}-{gate}", query_of(3, 0))
        go_on.set()
        await sending

    async with race_scene(stores, tmp_path) as scene:
        await scene.race(repetitions(4, at_most=100), run, name="trickling upload", at_once=4)


async def test_an_upload_whose_gate_stood_still_for_longer_than_a_lease_is_broken_off(
    stores: Stores, tmp_path: Path
) -> None:
    """Others may have given its hold back: the media's end, with which the query would run, is not sent."""
    async with race_scene(stores, tmp_path) as scene:
        reached, go_on = asyncio.Event(), asyncio.Event()
        sending = asyncio.ensure_future(
            scene.caller.upload(scene.url(0), "race-0", trickling("job", reached, go_on), "b")
        )
        await reached.wait()
        await scene.recorded("race-0", 1)
        await pass_ms(25)
        scene.clock.skip(20)
        await pass_ms(25)
        go_on.set()
        assert await sending == "503"
        await scene.audit(name="upload stood still")
        assert not scene.keeper.books


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_gate_is_killed_that_ran_a_repeat_whose_hold_was_not_yet_written_down(
    redis_url: str, postgres_url: str, tmp_path: Path
) -> None:
    """One gate holds and cannot record, another runs the repeat and is killed: what ran is booked all the same."""
    async with AsyncExitStack() as stack:
        keeper = await stack.enter_async_context(Scorekeeper.running())
        socket_folder = parse_qs(urlsplit(postgres_url).query)["host"][0]
        wire = await stack.enter_async_context(TcpFaultProxy.before_socket(Path(socket_folder, ".s.PGSQL.5432")))
        database = urlsplit(postgres_url).path[1:]
        by_wire = f"postgresql://postgres@127.0.0.1:{wire.port}/{database}"
        gates = []
        for name, ledger_url in (("first", by_wire), ("second", postgres_url), ("third", postgres_url)):
            config = tmp_path / f"{name}.yaml"
            document = document_for(Stores(redis_url, ledger_url, 1), keeper.url, {"ledger": {"timeout_ms": 2_000}})
            config.write_text(yaml.safe_dump(document))
            gates.append(await stack.enter_async_context(served_gate(config)))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        caller, tables = Caller(session), LedgerTables(postgres_url)
        stack.callback(tables.close)
        (_, first), (second_process, second), (_, third) = gates
        await caller.insert(first, "race-0", "before", "SELECT 1")  # Redis then knows the windows of the customer
        wire.requests.stall()
        sql = f"/*bytes={3 * GIB} ms=500*/"
        attempt = asyncio.ensure_future(caller.insert(first, "race-0", "job", sql))
        await in_redis(redis_url, "race-0")
        await caller.insert(second, "race-0", "job", sql)
        second_process.kill()
        await attempt
        await wire.heal()
        await keeper.quiet()
        await caller.insert(third, "race-0", "next")
        await keeper.quiet()
        await without_open_holds(tables, lambda: None, timeout_s=90)  # nobody asks sooner than a minute after a placing
        found = audit(keeper, tables, PRICES, limit_nanos=LIMIT_NANOS)
        print(f"\nrecord fails, gate killed: {found}\n  callers: {dict(caller.told)}")  # noqa: T201 - shown by make races
        assert found.differences == (), str(found)


async def in_redis(redis_url: str, project: str) -> None:
    """Return when some key of a project's customer is in Redis that says of a hold; TimeoutError."""
    async with asyncio.timeout(10), redis.asyncio.Redis.from_url(redis_url) as client:
        while not [key async for key in client.scan_iter(match=f"*{project}*hold*")]:
            await pass_ms(5)


@pytest.mark.parametrize("seed", [1, 2])
async def test_jobs_that_are_repeated_amid_faults(stores: Stores, tmp_path: Path, seed: int) -> None:
    """Every kind of fault strikes by chance, callers repeat what was not answered, and the books agree all the same."""
    kinds = [kind for kind in FaultKind if kind is not FaultKind.STALL]

    async def send(scene: Scene, project: str, number: int, caller: int) -> None:
        chance = random.Random(10 * number + caller)
        for attempt in range(3):
            leaves_after_ms = chance.choice([None, None, chance.uniform(1, 30)])
            url = scene.url(caller + attempt)
            came = await scene.caller.insert(
                url, project, f"job-{number}", query_of(3, number), leaves_after_ms=leaves_after_ms
            )
            if came in {"200", "409", "403"}:
                return

    async def run(scene: Scene, project: str, number: int) -> None:
        await asyncio.gather(*(send(scene, project, number, caller) for caller in range(1 + number % 2)))

    async with race_scene(stores, tmp_path, seed=seed) as scene:
        for kind in kinds:
            scene.keeper.faults.add(Fault(kind, count=None, probability=0.06, seconds=0.03))
        await scene.race(repetitions(32), run, name=f"amid faults, seed {seed}")
