import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bqgate.app import path
from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.principal import Credential
from bqgate.domain.units import GIB
from bqgate.sandbox.warehouse import Field, QueryContext, TableRef, TimePartitioning
from tests.support.gate_stack import Stack, open_stack

# At 10.24 USD a TiB a GiB costs a cent: ten cents are ten GiB a day.
SETTINGS: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {"standard": {"daily_usd": "0.10", "grace_minutes": 0, "throttle_wait_ms": 0}},
}
ALL = "SELECT moonlight FROM money.days"
PLAIN = "Filter on the partition column or select fewer columns to make it cheaper."


class Blocking:
    """An advisor who never answers, and says when it is asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def advise(self, request: QueryRequest, estimate: Estimate, credential: Credential) -> str:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError((request, estimate, credential))


@pytest.fixture
async def exits() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def open_advised(exits: AsyncExitStack, folder: Path, advice: str) -> Stack:
    """A gate with this setting, a table of a GiB, and one of 400 GiB in 100 partitions; both have a telling column."""
    document = SETTINGS | {"refusals": {"advice": advice, "deadline_ms": 10_000}}
    stack = await exits.enter_async_context(open_stack(folder, document))
    stack.sandbox.warehouse.create_dataset("acme", "money")
    columns = (Field("moonlight", "INTEGER"), Field("day", "DATE"))
    stack.sandbox.warehouse.create_table(TableRef("acme", "money", "gib"), columns, declared_bytes=GIB)
    stack.sandbox.warehouse.create_table(
        TableRef("acme", "money", "days"),
        columns,
        time_partitioning=TimePartitioning("day"),
        clustering=("moonlight",),
        declared_bytes=400 * GIB,
    )
    days = "SELECT 1, DATE_SUB(CURRENT_DATE(), INTERVAL age DAY) FROM UNNEST(GENERATE_ARRAY(0, 99)) AS age"
    stack.sandbox.warehouse.execute(f"INSERT INTO money.days {days}", QueryContext("acme", SystemClock().now()))
    return stack


async def post(stack: Stack, sql: str, *, method: str = "queries", **more: Any) -> tuple[int, Any, Any]:
    query = {"query": sql, "useLegacySql": False}
    body = query | more if method == "queries" else {"configuration": {"query": query, **more}}
    url = f"{stack.url}/bigquery/v2/projects/acme/{method}"
    data = io.BytesIO(json.dumps(body).encode())
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=data, headers={"Content-Type": "application/json"}) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


def calls_to_bigquery(stack: Stack) -> float:
    return stack.gate.metrics.value("bqgate_upstream_answers_total", status="2xx")


def in_gib(size_bytes: int) -> str:
    tenths = -(-size_bytes * 10 // GIB)
    return f"{tenths // 10}.{tenths % 10} GiB"


@pytest.mark.parametrize("method", ["queries", "jobs"])
async def test_a_refusal_tells_what_a_partition_filter_would_save(
    exits: AsyncExitStack, tmp_path: Path, method: str
) -> None:
    """The numbers are BigQuery's for this very query, by both methods; it costs one tables.get and one dry run."""
    stack = await open_advised(exits, tmp_path, "dry_run")
    before = calls_to_bigquery(stack)
    status, answer, headers = await post(stack, ALL, method=method)
    message = answer["error"]["message"]
    assert (400, "bytesBilledLimitExceeded") == (status, answer["error"]["errors"][0]["reason"])
    told = re.search(
        r"No filter prunes the partitions of money\.days \(partitioned by day\): with (day >= '[0-9-]+') "
        r"it would process ([0-9.]+ GiB) instead of ([0-9.]+ GiB)\.",
        message,
    )
    assert told is not None, message
    sizes = [(await post(stack, sql, dryRun=True))[1]["totalBytesProcessed"] for sql in (f"{ALL} WHERE {told[1]}", ALL)]
    assert [told[2], told[3]] == [in_gib(int(size)) for size in sizes]
    assert int(sizes[0]) < int(sizes[1]) // 5
    assert PLAIN not in message
    assert "advice;dur=" in headers["Server-Timing"]
    own = (
        5 if method == "queries" else 6
    )  # to estimate, (jobs.insert: to look into the cache,) for advice 2, the test's 2
    assert calls_to_bigquery(stack) - before == own
    assert stack.gate.metrics.value("bqgate_advice_total", result="given") == 1


async def test_text_alone_asks_bigquery_nothing(exits: AsyncExitStack, tmp_path: Path) -> None:
    """SELECT * and a missing filter show in the query itself."""
    stack = await open_advised(exits, tmp_path, "text")
    before = calls_to_bigquery(stack)
    _, answer, _ = await post(stack, "SELECT * FROM money.days LIMIT 10")
    assert "SELECT * reads every column of money.days" in answer["error"]["message"]
    assert calls_to_bigquery(stack) - before == 1


@pytest.mark.parametrize(
    ("advice", "sql"), [("off", ALL), ("dry_run", ALL + " WHERE day > '2013-01-01' AND moonlight > 0")]
)
async def test_without_advice_the_plain_words_stay(
    exits: AsyncExitStack, tmp_path: Path, advice: str, sql: str
) -> None:
    """Switched off, or where nothing stands out."""
    stack = await open_advised(exits, tmp_path, advice)
    status, answer, headers = await post(stack, sql)
    assert status == 400
    assert PLAIN in answer["error"]["message"]
    assert ("advice;dur=" in headers["Server-Timing"]) is (advice == "dry_run")


async def test_a_forwarded_query_never_meets_the_advisor(
    exits: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an advisor who never answers every query that may run is answered, by both methods, and dry runs too.

    Only a refused one waits for it, and its refusal is booked by then.
    """
    advisor = Blocking()
    monkeypatch.setattr(path, "wire_advisor", lambda _outside, _stack, _dry_runs: advisor)
    stack = await open_advised(exits, tmp_path, "off")
    async with asyncio.timeout(30):
        for method in ("queries", "jobs"):
            assert (await post(stack, "SELECT moonlight FROM money.gib", method=method))[0] == 200
            assert (await post(stack, ALL, method=method, dryRun=True))[0] == 200
        assert not advisor.asked.is_set()
        refused = asyncio.create_task(post(stack, ALL))
        await advisor.asked.wait()
        booked = await stack.gate.ledger.fetch_entries(EntryFilter(kind=EntryKind.REFUSAL))
        assert ["query_too_big"] == [entry.reason for entry in booked.entries]
        refused.cancel()


async def test_nothing_of_the_query_gets_into_log_or_ledger(exits: AsyncExitStack, tmp_path: Path) -> None:
    """The advice names columns and tables to whoever wrote them, and to nobody else."""
    stack = await open_advised(exits, tmp_path, "dry_run")
    _, answer, _ = await post(
        stack, "SELECT days.* FROM money.gib AS moonlight, money.days WHERE moonlight.moonlight = 1"
    )
    assert "No filter prunes the partitions of money.days" in answer["error"]["message"]
    url = f"{stack.url}/v1/jobs"
    async with aiohttp.ClientSession() as session, session.get(url) as shown:
        written = await shown.text() + stack.log.getvalue()
    assert "query_too_big" in written
    for secret in ("moonlight", "money.days", "No filter"):
        assert secret not in written
