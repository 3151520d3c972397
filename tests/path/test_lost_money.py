"""Requests in which a cost may get lost, one by one, against an upstream that keeps its own books.

In each, what was billed is what is booked, and no limit is passed; how the gate gets there is its own affair.
"""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import yaml

from tests.support.race_scene import Stores, document_for, pass_ms, race_scene
from tests.support.scorekeeper_books import GIB, MIB, Prices
from tests.support.scorekeeper_faults import Fault, FaultKind

USD = 1_000_000_000
LIST_PRICES = Prices(6_250_000_000, {"southamerica-east1": 11_250_000_000})
AT_LIST_PRICES: dict[str, Any] = {"pricing": {"usd_per_tib": None}}
SELECT = f"/*bytes={3 * GIB} ms=20*/"
MODEL = f"CREATE MODEL d.m AS /*bytes={3 * GIB} ms=20 type=CREATE_MODEL*/"


def limit(usd: str) -> dict[str, Any]:
    """Another limit than that of five cents."""
    return {"tiers": {"standard": {"daily_usd": usd, "monthly_usd": usd, "emergency_usd": usd}}}


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """One gate by itself."""
    return Stores("memory://", f"sqlite:///{tmp_path / 'ledger.db'}", 1)


@pytest.mark.parametrize(("count", "path"), [(64, ""), (63, "/w/nightly"), (62, ""), (64, "/w/nightly")])
@pytest.mark.parametrize("method", ["jobs.insert", "jobs.query"])
async def test_a_caller_with_as_many_labels_as_there_may_be(
    stores: Stores, tmp_path: Path, count: int, path: str, method: str
) -> None:
    """The job is found by the gate's label though its answer was lost, or the query is refused and does not run."""
    labels = {f"mine{number}": "x" for number in range(count)}
    async with race_scene(stores, tmp_path) as scene:
        scene.keeper.faults.add(Fault(FaultKind.CUT_BEFORE_REFERENCE, method=method))
        if method == "jobs.insert":
            await scene.caller.insert(scene.url(0) + path, "p", "mine", SELECT, labels=labels)
        else:
            await scene.caller.query(scene.url(0) + path, "p", "mine", SELECT, labels=labels)
        await scene.audit(name=f"{count} labels")


@pytest.mark.parametrize("mode", [2, "2", 2.0, "JOB_CREATION_OPTIONAL", "job_creation_optional"])
@pytest.mark.parametrize("key", ["jobCreationMode", "job_creation_mode"])
async def test_a_query_that_wants_no_job(stores: Stores, tmp_path: Path, mode: Any, key: str) -> None:
    """A job is made in whatever spelling none is asked for, because what has no job cannot be found again."""
    async with race_scene(stores, tmp_path) as scene:
        scene.keeper.faults.add(Fault(FaultKind.CUT_BEFORE_REFERENCE, method="jobs.query"))
        await scene.caller.query(scene.url(0), "p", "mine", SELECT, **{key: mode})
        assert all(ran.job_id is not None for ran in scene.keeper.books)
        await scene.audit(name=f"jobCreationMode {mode!r}")


@pytest.mark.parametrize("kind", ["load", "copy", "extract", "query"])
async def test_a_job_that_bears_the_label_of_another_querys_hold(stores: Stores, tmp_path: Path, kind: str) -> None:
    """A free job cannot stand for a query whose answer was lost."""
    async with race_scene(stores, tmp_path) as scene:
        scene.keeper.faults.add(Fault(FaultKind.CUT_AFTER, method="jobs.query"))
        sql = f"/*bytes={3 * GIB} ms=400*/"
        asking = asyncio.ensure_future(scene.caller.query(scene.url(0), "p", "mine", sql))
        while not scene.keeper.books:
            await pass_ms(2)
        label = {name: value for name, value in scene.keeper.books[0].labels.items() if name.startswith("bqgate_")}
        configuration = {kind: {"query": "SELECT 1"} if kind == "query" else {}, "labels": label}
        body = {"jobReference": {"projectId": "p", "jobId": "forged"}, "configuration": configuration}
        async with scene.caller.session.post(f"{scene.url(0)}/bigquery/v2/projects/p/jobs", json=body) as answer:
            await answer.read()
        await asking
        await scene.audit(name=f"forged label on a {kind} job")


MASKS = [
    "jobReference",
    "status",
    "statistics(totalSlotMs)",
    "statistics/totalSlotMs",
    "jobReference(projectId,jobId),status,statistics(query(totalBytesBilled))",
    "jobReference,status/state,statistics(totalSlotMs,query(totalBytesBilled,totalBytesProcessed))",
    "jobComplete,totalBytesBilled,totalSlotMs,totalBytesProcessed,cacheHit",
    "totalSlotMs,jobComplete",
    "nonsense",
    "statistics(",
]


@pytest.mark.parametrize("key", ["fields", "%24fields", "X-Goog-FieldMask"])
@pytest.mark.parametrize("method", ["jobs.insert", "jobs.query"])
async def test_an_answer_of_which_the_caller_wants_a_part(
    stores: Stores, tmp_path: Path, key: str, method: str
) -> None:
    """What the caller's mask leaves out is known to the gate: the model's price, the place, the bytes."""
    statements = (MODEL.replace("ms=20", "ms=0"), MODEL, SELECT)
    async with race_scene(stores, tmp_path, more=AT_LIST_PRICES | limit("100")) as scene:
        for number, (mask, sql) in enumerate(itertools.product(MASKS, statements)):
            project = f"p{number}"
            scene.keeper.locations[project] = "southamerica-east1"
            query = "" if key.startswith("X-") else f"?{key}={mask}"
            if key.startswith("X-"):
                scene.caller.session.headers[key] = mask
            if method == "jobs.insert":
                await scene.caller.insert(scene.url(0), project, mask[:9].strip("(/"), sql, query=query)
            else:
                await scene.caller.query(scene.url(0), project, f"mine{number}", sql, query=query)
        await scene.audit(name=f"{method} with {key}", prices=LIST_PRICES, limit_nanos=100 * USD)


@pytest.mark.parametrize(
    "sql",
    [
        f"/*script*/ /*bytes={GIB} ms=5*/; /*bytes={3 * GIB} ms=5 type=CREATE_MODEL*/",
        f"/*script*/ /*bytes={GIB} ms=5*/; /*bytes={3 * GIB} ms=5 type=CREATE_MODEL*/; /*bytes={GIB} fails*/",
        f"/*script type=CALL*/ /*bytes={GIB} ms=5*/; /*bytes={3 * GIB} ms=5 type=CREATE_MODEL*/",
        f"CREATE MODEL d.m /*unseen bytes={3 * GIB} ms=5 type=CREATE_MODEL*/",
    ],
    ids=["in a script", "in a script that fails", "in a procedure", "without a dry run"],
)
async def test_a_model_made_where_it_does_not_show(stores: Stores, tmp_path: Path, sql: str) -> None:
    """CREATE MODEL costs fifty times as much, also where the job's own type is another."""
    async with race_scene(stores, tmp_path, more=limit("100")) as scene:
        await scene.caller.insert(scene.url(0), "p", "by-insert", sql)
        await scene.caller.query(scene.url(0), "p", "by-query", sql)
        await scene.audit(name="hidden model", limit_nanos=100 * USD)


@pytest.mark.parametrize("statement_type", ["CALL", "EXECUTE_IMMEDIATE", "SELECT", "SCRIPT", "MERGE"])
@pytest.mark.parametrize("duration_ms", [0, 30])
async def test_a_statement_that_fails_and_is_billed(
    stores: Stores, tmp_path: Path, statement_type: str, duration_ms: int
) -> None:
    """What BigQuery reports as billed is booked, whatever became of the statement."""
    sql = f"/*bytes={3 * GIB} ms={duration_ms} type={statement_type} fails billed={2 * GIB}*/"
    async with race_scene(stores, tmp_path, more=limit("10")) as scene:
        await scene.caller.insert(scene.url(0), "p", "by-insert", sql)
        await scene.caller.query(scene.url(0), "p", "by-query", sql)
        await scene.audit(name=f"failed {statement_type}", limit_nanos=10 * USD)


HIDDEN = [
    'SELECT * FROM EXTERNAL_QUERY("c", "q")',
    'SELECT * FROM EXTERNAL_QUERY -- so\n("c", "q")',
    'SELECT * FROM EXTERNAL_QUERY/* so */("c", "q")',
    'SELECT * FROM `EXTERNAL_QUERY`("c", "q")',
    'SELECT * FROM external_query # so\n ("c", "q")',
]


@pytest.mark.parametrize("sql", HIDDEN)
async def test_a_federated_query_with_a_cap_that_nobody_enforces(stores: Stores, tmp_path: Path, sql: str) -> None:
    """BigQuery does not enforce maximumBytesBilled on EXTERNAL_QUERY: a caller's cap of a byte lowers no hold."""
    sql += f" /*bytes={100 * GIB} ms=50 external*/"
    async with race_scene(stores, tmp_path, more=limit("1.5")) as scene:
        await asyncio.gather(
            *(
                scene.caller.query(scene.url(0), "p", f"job-{number}", sql, maximumBytesBilled="1")
                for number in range(12)
            )
        )
        await scene.audit(name="federated", limit_nanos=1_500_000_000)


@pytest.mark.parametrize("accuracy", ["UNKNOWN", "LOWER_BOUND", "NEW_WORD"])
async def test_a_dry_run_that_is_not_sure(stores: Stores, tmp_path: Path, accuracy: str) -> None:
    """A size that bounds nothing is held as an unknown one: a dollar, of which one fits below the limit."""
    sql = f"/*bytes={90 * GIB} said={GIB} ms=50 accuracy={accuracy} external*/"
    async with race_scene(stores, tmp_path, more=limit("1.5")) as scene:
        await asyncio.gather(*(scene.caller.query(scene.url(0), "p", f"job-{number}", sql) for number in range(5)))
        await scene.audit(name=f"accuracy {accuracy}", limit_nanos=1_500_000_000)


@pytest.mark.parametrize("method", ["jobs.insert", "jobs.query"])
@pytest.mark.parametrize("sql", ["/*type=CREATE_RESERVATION*/", "/*script*/ /*ms=5*/; /*type=CREATE_CAPACITY*/"])
async def test_slots_that_a_statement_buys(stores: Stores, tmp_path: Path, sql: str, method: str) -> None:
    """No job tells what they cost: it is held and booked as an unknown cost, and does not fit below a small limit."""
    async with race_scene(stores, tmp_path) as scene:
        assert await scene.caller.insert(scene.url(0), "p", "mine", sql) == "400"
    (tmp_path / "larger").mkdir()
    stores = Stores("memory://", f"sqlite:///{tmp_path / 'larger.db'}", 1)
    async with race_scene(stores, tmp_path / "larger", more=limit("10")) as scene:
        if method == "jobs.insert":
            assert await scene.caller.insert(scene.url(0), "p", "mine", sql) == "200"
        else:
            assert await scene.caller.query(scene.url(0), "p", "mine", sql) == "200"
        await scene.settled()
        booked = scene.tables.rows("SELECT outcome, cost_nanos FROM entries WHERE kind = 'charge'")
        assert [tuple(row) for row in booked] == [("assumed", USD)]


async def test_a_federated_query_beside_a_large_table(stores: Stores, tmp_path: Path) -> None:
    """What the dry run counts of the table is held, though nobody knows what comes to it."""
    sql = f"{HIDDEN[0]} JOIN d.t USING (a) /*bytes={200 * GIB} said={200 * GIB} ms=50 external*/"
    async with race_scene(stores, tmp_path, more=limit("3")) as scene:
        await asyncio.gather(*(scene.caller.query(scene.url(0), "p", f"job-{number}", sql) for number in range(5)))
        await scene.audit(name="federated beside a table", limit_nanos=3 * USD)


@pytest.mark.parametrize("delay_ms", [10, 40, 80, 150])
async def test_redis_is_emptied_while_fifty_callers_ask(redis_url: str, tmp_path: Path, delay_ms: int) -> None:
    """A hold that is placed and not yet written down when Redis forgets it does not make room for others."""
    stores = Stores(redis_url, f"sqlite:///{tmp_path / 'ledger.db'}", 2)
    async with race_scene(stores, tmp_path, more=limit("0.50")) as scene:
        sql = f"/*bytes={3 * GIB} ms=1000*/"
        asking = [
            asyncio.ensure_future(scene.caller.insert(scene.url(number), "p", f"job-{number}", sql))
            for number in range(50)
        ]
        await pass_ms(delay_ms)
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            await client.flushall()
        await asyncio.gather(*asking)
        await scene.audit(name=f"FLUSHALL after {delay_ms} ms", limit_nanos=USD // 2)


@pytest.mark.parametrize("reservation", ["none", "projects/other/locations/US/reservations/theirs"])
async def test_a_reservation_of_the_callers_own_choice(stores: Stores, tmp_path: Path, reservation: str) -> None:
    """Where slots are charged, "none" would be billed by bytes: it is refused, or booked as it is billed."""
    more = {"pricing": {"model": "capacity", "usd_per_tib": None}} | limit("100")
    async with race_scene(stores, tmp_path, more=more) as scene:
        sql = f"/*bytes={1000 * GIB} ms=20*/"
        await scene.caller.insert(scene.url(0), "p", "by-insert", sql, reservation=reservation)
        await scene.caller.query(scene.url(0), "p", "by-query", sql, reservation=reservation)
        if scene.keeper.books:
            await scene.audit(name=f"reservation {reservation}", prices=LIST_PRICES, limit_nanos=100 * USD)


@pytest.mark.parametrize("method", ["jobs.insert", "jobs.query"])
async def test_a_query_of_more_tables_than_a_dry_run_lists(stores: Stores, tmp_path: Path, method: str) -> None:
    """Fifty tables listed may be more: each costs its minimum, and the query does not die under the gate's own cap."""
    sql = f"/*bytes={GIB // 4} tables=80 ms=20*/"
    async with race_scene(stores, tmp_path, more=limit("10")) as scene:
        if method == "jobs.insert":
            await scene.caller.insert(scene.url(0), "p", "mine", sql)
        else:
            await scene.caller.query(scene.url(0), "p", "mine", sql)
        await scene.audit(name="eighty tables", limit_nanos=10 * USD)
        assert [ran.bytes_billed for ran in scene.keeper.books] == [80 * 10 * MIB]


async def test_prices_are_raised_while_a_job_runs(stores: Stores, tmp_path: Path) -> None:
    """A job costs what it was held at; the new price is for what is placed after it."""
    async with race_scene(stores, tmp_path) as scene:
        sql = f"/*bytes={3 * GIB} ms=8000*/"
        await scene.caller.insert(scene.url(0), "p", "by-insert", sql)
        asking = asyncio.ensure_future(scene.caller.query(scene.url(0), "q", "mine", sql))
        while len(scene.keeper.books) < 2:
            await pass_ms(2)
        document = document_for(stores, scene.keeper.url, {"pricing": {"usd_per_tib": "20.48"}})
        scene.config.write_text(yaml.safe_dump(document))
        numbers = itertools.count()
        while await scene.caller.insert(scene.url(0), f"now{next(numbers)}", "fits", SELECT) == "200":
            await pass_ms(200)
        await asking
        await scene.audit(name="prices raised")
