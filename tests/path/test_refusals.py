import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack

SETTINGS: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {"standard": {"daily_usd": "0.10", "grace_minutes": 0, "throttle_wait_ms": 0}},
}
TEN_GIB = "SELECT a FROM `acme.money.ten_gib`"


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(tmp_path, SETTINGS) as opened:
        warehouse = opened.sandbox.warehouse
        warehouse.create_dataset("acme", "money")
        for name, size in (("ten_gib", 10 * 2**30), ("tib", 2**40)):
            table = TableRef("acme", "money", name)
            warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=size)
        yield opened


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def by_insert(sql: str, **query: Any) -> tuple[str, dict[str, Any]]:
    return "jobs", {"configuration": {"query": {"query": sql, "useLegacySql": False, **query}}}


def by_query(sql: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "queries", {"query": sql, "useLegacySql": False, **more}


async def post(
    session: aiohttp.ClientSession, stack: Stack, submission: tuple[str, Any], project: str = "acme"
) -> tuple[int, dict[str, Any], Any]:
    path, body = submission
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{stack.url}/bigquery/v2/projects/{project}/{path}"
    async with session.post(url, data=io.BytesIO(data), headers={"Content-Type": "application/json"}) as answer:
        return answer.status, await answer.json(), answer.headers


async def assert_nothing_happened(stack: Stack) -> None:
    balances = await stack.fetch_settled("acme")
    assert [(0, 0)] * 2 == [(one.captured_nanos, one.held_nanos) for one in balances]


@pytest.mark.parametrize("submit", [by_insert, by_query])
async def test_a_used_up_budget_is_403_with_the_numbers(
    stack: Stack, session: aiohttp.ClientSession, submit: Any
) -> None:
    """The second query of ten cents at a limit of ten cents is refused by both methods, in BigQuery's format."""
    assert (await post(session, stack, submit(TEN_GIB)))[0] == 200
    status, answer, headers = await post(session, stack, submit(TEN_GIB + " WHERE a = 1"))
    error = answer["error"]
    assert (403, "quotaExceeded", "PERMISSION_DENIED") == (status, error["errors"][0]["reason"], error["status"])
    assert error["message"].startswith("Custom quota exceeded: customer acme has used 0.")
    assert "of 0.10 USD today" in error["message"]
    assert ("reject", "0.10") == (headers["X-Bqgate-Decision"], headers["X-Bqgate-Cost-Usd"])
    assert headers["X-Bqgate-Reason"] == "budget_used_up"
    assert "hold;dur=" in headers["Server-Timing"]


async def test_a_query_too_big_is_400_in_bigquerys_words(stack: Stack, session: aiohttp.ClientSession) -> None:
    """It says how much one query may bill and how much this one needs."""
    status, answer, _ = await post(session, stack, by_insert("SELECT a FROM `acme.money.tib`"))
    assert (400, "bytesBilledLimitExceeded") == (status, answer["error"]["errors"][0]["reason"])
    expected = f"Query exceeded limit for bytes billed: {10 * 2**30}. {2**40} or higher required."
    assert answer["error"]["message"].startswith(expected)
    await assert_nothing_happened(stack)


async def test_an_invalid_query_behaves_as_at_google(stack: Stack, session: aiohttp.ClientSession) -> None:
    """jobs.insert answers 200 and the job fails; jobs.query answers 400. Neither costs anything."""
    status, job, _ = await post(session, stack, by_insert("SELECT nothing_of_that_name FROM `acme.money.ten_gib`"))
    assert status == 200
    url = f"{stack.url}/bigquery/v2/projects/acme/jobs/{job['jobReference']['jobId']}"
    async with session.get(url) as answer:
        assert (await answer.json())["status"]["errorResult"]["reason"] == "invalidQuery"
    status, answer_json, _ = await post(session, stack, by_query("SELEC 1"))
    assert (400, "invalidQuery") == (status, answer_json["error"]["errors"][0]["reason"])
    await assert_nothing_happened(stack)


async def test_the_callers_own_dry_run_is_free_and_unbooked(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Both forms pass, with BigQuery's own answer, even for a query that no budget would allow."""
    sql = "SELECT a FROM `acme.money.tib`"
    insert = by_insert(sql)
    insert[1]["configuration"]["dryRun"] = True
    status, answer, _ = await post(session, stack, insert)
    assert (200, str(2**40)) == (status, answer["statistics"]["totalBytesProcessed"])
    status, answer, _ = await post(session, stack, by_query(sql, dryRun=True))
    assert (200, str(2**40)) == (status, answer["totalBytesProcessed"])
    await assert_nothing_happened(stack)


async def test_bigquery_is_told_what_the_hold_covers(stack: Stack, session: aiohttp.ClientSession) -> None:
    """The forwarded job bears the cap, a job id and the gate's label; the caller's smaller cap stays."""
    await post(session, stack, by_insert(TEN_GIB, maximumBytesBilled="1234567890"))
    _, answer, headers = await post(session, stack, by_query("SELECT 1", jobCreationMode="JOB_CREATION_OPTIONAL"))
    assert "jobReference" in answer
    async with session.get(f"{stack.url}/bigquery/v2/projects/acme/jobs?projection=full") as listed:
        jobs = (await listed.json())["jobs"]
    caps = {job["configuration"]["query"]["query"]: job["configuration"]["query"]["maximumBytesBilled"] for job in jobs}
    assert {"SELECT 1": str(10 * 2**20), TEN_GIB: "1234567890"} == caps
    holds = {job["configuration"]["labels"]["bqgate_hold"] for job in jobs}
    assert headers["X-Bqgate-Request-Id"] in holds


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        pytest.param("jobs", b"{", 400, "parseError", id="broken JSON"),
        pytest.param("jobs", b"[1]", 400, "parseError", id="not an object"),
        pytest.param("jobs", b'{"configuration": {"query": {"query": 1}}}', 400, "invalid", id="wrong type"),
        pytest.param(
            "jobs", b'{"configuration": {"query": {"query": "x"}, "load": {}}}', 400, "invalid", id="two configurations"
        ),
        pytest.param("queries", b"{}", 400, "required", id="missing query"),
        pytest.param("queries", b'{"query": "' + b"x" * 12_000_000 + b'"}', 413, "badRequest", id="12 MB query"),
        pytest.param("queries", b'{"query": "x", "maximumBytesBilled": "-1"}', 400, "invalid", id="negative int64"),
        pytest.param(
            "queries", b'{"query": "x", "maximumBytesBilled": "99999999999999999999"}', 400, "invalid", id="huge int64"
        ),
        pytest.param("queries", b'{"query": "x", "continuous": true}', 501, "notImplemented", id="continuous"),
        pytest.param("nonsense", b"{}", 501, "notImplemented", id="unknown method"),
    ],
)
async def test_bad_input_gets_bigquerys_error_and_holds_nothing(
    stack: Stack, session: aiohttp.ClientSession, path: str, body: bytes, status: int, reason: str
) -> None:
    """Whatever is sent: a BigQuery-shaped error, no hold, nothing booked."""
    answered, answer, _ = await post(session, stack, (path, body))
    assert (status, reason) == (answered, answer["error"]["errors"][0]["reason"])
    await assert_nothing_happened(stack)


async def test_an_unknown_customer_has_the_default_tiers_budget(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A project that nobody listed is its own customer, with limits."""
    assert (await post(session, stack, by_query(TEN_GIB), project="stranger"))[0] == 200
    assert (await post(session, stack, by_query(TEN_GIB), project="stranger"))[0] == 403


async def test_a_used_up_budget_still_serves_cached_results(stack: Stack, session: aiohttp.ClientSession) -> None:
    """What BigQuery has in its cache costs nothing: the same query again is answered, another one is refused."""
    assert (await post(session, stack, by_insert(TEN_GIB)))[0] == 200
    await stack.fetch_settled("acme")
    status, job, headers = await post(session, stack, by_insert(TEN_GIB))
    assert (200, "cached") == (status, headers["X-Bqgate-Decision"])
    url = f"{stack.url}/bigquery/v2/projects/acme/jobs/{job['jobReference']['jobId']}"
    async with session.get(url) as answer:
        assert (await answer.json())["statistics"]["query"]["cacheHit"] is True
    assert (await post(session, stack, by_insert(TEN_GIB, useQueryCache=False)))[0] == 403
    assert [100_000_000] * 2 == [one.used_nanos for one in await stack.fetch_settled("acme")]


async def test_a_query_in_an_upload_is_gated_like_any_other(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A multipart upload's query is held and capped; a resumable one, which would start later, is refused."""
    _, body = by_insert(TEN_GIB)
    job = f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(body)}\r\n"
    part = f"{job}--b\r\nContent-Type: text/plain\r\n\r\n\r\n--b--\r\n"
    url = f"{stack.url}/upload/bigquery/v2/projects/acme/jobs?uploadType="
    multipart = {"Content-Type": "multipart/related; boundary=b"}
    async with session.post(f"{url}multipart", data=part, headers=multipart) as answer:
        assert (200, "forward") == (answer.status, answer.headers["X-Bqgate-Decision"])
    async with session.post(f"{url}resumable", json=body) as answer:
        assert answer.status == 501
    assert [100_000_000] * 2 == [one.captured_nanos for one in await stack.fetch_settled("acme")]


async def test_a_query_in_a_batch_is_gated_like_any_other(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Each call of a batch takes the same path: the second query of ten cents at a limit of ten cents is refused."""
    calls = "".join(
        "--b\r\nContent-Type: application/http\r\n\r\nPOST /bigquery/v2/projects/acme/queries HTTP/1.1\r\n"
        f"Content-Type: application/json\r\n\r\n{json.dumps(by_query(f'{TEN_GIB} WHERE a > {number}')[1])}\r\n"
        for number in range(2)
    )
    url = f"{stack.url}/batch/bigquery/v2"
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    async with session.post(url, data=f"{calls}--b--\r\n", headers=headers) as answer:
        text = await answer.text()
    assert (200, 1, 1) == (answer.status, text.count("HTTP/1.1 200"), text.count("HTTP/1.1 403"))
    assert [100_000_000] * 2 == [one.captured_nanos for one in await stack.fetch_settled("acme")]
