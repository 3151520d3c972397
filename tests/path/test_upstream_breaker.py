"""What callers of a running gate notice while BigQuery or Redis do not answer, and two gates of one another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bqgate.app import open_gate
from bqgate.clock import SystemClock
from bqgate.domain.errors import BudgetStoreUnavailable
from bqgate.sandbox import Fault
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack, settings_for
from tests.support.tcp_fault_proxy import TcpFaultProxy

QUERY = {"query": "SELECT a FROM `acme.money.t`", "useLegacySql": False}
FAILURES = 3


def settings(**sections: dict[str, Any]) -> dict[str, Any]:
    breakers = {"failures_to_open": FAILURES, "upstream_cooldown_s": 3, "stores_cooldown_s": 1}
    return {"upstream": {"credentials": "anonymous"}, "breakers": breakers} | sections


def declare_table(stack: Stack) -> None:
    stack.sandbox.warehouse.create_dataset("acme", "money")
    stack.sandbox.warehouse.create_table(TableRef("acme", "money", "t"), (Field("a", "INTEGER"),), declared_bytes=2**30)


async def ask(
    url: str, path: str = "/datasets", body: dict[str, Any] | None = None, *, project: str = "acme"
) -> tuple[int, str | None, Any]:
    """Status, Retry-After and JSON."""
    method, target = "GET" if body is None else "POST", f"{url}/bigquery/v2/projects/{project}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, target, json=body) as answer:
        return answer.status, answer.headers.get("Retry-After"), await answer.json()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await SystemClock().sleep(0.02)


def state(stack: Stack, number: int = 0, system: str = "upstream") -> float:
    return stack.gates[number].metrics.value("bqgate_system_breaker_state", system=system)


@pytest.mark.parametrize("path", ["/queries", "/jobs"])
async def test_while_bigquery_fails_callers_are_told_at_once_and_nothing_is_held(tmp_path: Path, path: str) -> None:
    """After three answers of 503 it is the gate that answers 503 backendError; then one call finds BigQuery back."""
    body = QUERY if path == "/queries" else {"configuration": {"query": QUERY}}
    async with open_stack(tmp_path, settings()) as stack:
        declare_table(stack)
        fault = stack.sandbox.faults.add(Fault(kind="error", status=503))
        while state(stack) == 0:
            assert (await ask(stack.url, path, body))[0] == 503
        struck = fault.hits
        status, retry_after, answer = await ask(stack.url, path, body)
        assert (status, fault.hits) == (503, struck)
        assert retry_after in {"1", "2", "3"}
        assert answer["error"]["errors"][0]["reason"] == "backendError"
        assert not any(balance.held_nanos for balance in await stack.fetch_balances("acme"))
        stack.sandbox.faults.clear()
        while (await ask(stack.url, path, body))[0] != 200:
            await SystemClock().sleep(0.05)
        assert state(stack) == 0
        assert stack.gate.metrics.value("bqgate_system_breaker_trips_total", system="upstream") == 1


async def test_a_users_errors_never_shut_bigquery_for_others(tmp_path: Path) -> None:
    """Queries that are wrong, tables that are absent, quotas that are used up: BigQuery answers, so all is well."""
    async with open_stack(tmp_path, settings()) as stack:
        stack.sandbox.faults.add(Fault(kind="error", status=403, reason="rateLimitExceeded", method="tables.list"))
        wrong = {"query": "SELEC a FROM `acme.money.absent`", "useLegacySql": False}
        for _ in range(3 * FAILURES):
            assert (await ask(stack.url, "/queries", wrong))[0] in {400, 404}
            assert (await ask(stack.url, "/datasets/d/tables"))[0] == 403
        assert state(stack) == 0


async def test_what_one_customer_provokes_stops_nobody_else(tmp_path: Path) -> None:
    """Its calls fail time and again, of every kind, and another's queries run; when both fail, it is left alone."""
    customers = {name: {"projects": [name]} for name in ("acme", "globex")}
    async with open_stack(tmp_path, settings(customers=customers)) as stack:
        declare_table(stack)
        assert (await ask(stack.url, "/queries", QUERY, project="globex"))[0] == 200
        provoked = stack.sandbox.faults.add(Fault(kind="error", status=500, path="projects/acme/"))
        lost = stack.sandbox.faults.add(Fault(kind="lost", path="projects/acme/datasets"))
        for _ in range(FAILURES):
            for path, body in (
                ("/queries", QUERY),
                ("/jobs", {"configuration": {"query": QUERY}}),
                ("/datasets", None),
            ):
                assert (await ask(stack.url, path, body))[0] in {500, 503}
        assert provoked.hits + lost.hits >= 3 * FAILURES
        assert state(stack) == 0
        assert (await ask(stack.url, "/queries", QUERY, project="globex"))[0] == 200
        stack.sandbox.faults.add(Fault(kind="error", status=500))
        for project in ("acme", "acme", "globex"):
            assert (await ask(stack.url, project=project))[0] == 500
        assert state(stack) == 2


async def test_where_nobody_listens_the_first_customer_finds_it_out(tmp_path: Path) -> None:
    """Refused connections shut BigQuery for all after as many of them as ever, whoever made the calls."""
    async with open_stack(tmp_path) as stack:
        port = int(stack.sandbox.url.rsplit(":", 1)[1])
        async with TcpFaultProxy("127.0.0.1", port) as proxy:
            upstream = {"url": f"http://127.0.0.1:{proxy.port}", "credentials": "anonymous"}
            folder = tmp_path / "behind"
            folder.mkdir()
            async with open_gate(settings_for(folder, "", settings(upstream=upstream))) as gate:
                for project in ("acme", "globex"):
                    assert (await ask(gate.url, project=project))[0] == 200
                proxy.refuse()
                for _ in range(FAILURES):
                    assert (await ask(gate.url))[0] == 503
                assert gate.metrics.value("bqgate_system_breaker_state", system="upstream") == 2


async def test_broken_connections_open_it(tmp_path: Path) -> None:
    """An answer that breaks off before its head is BigQuery's fault, too."""
    async with open_stack(tmp_path, settings()) as stack:
        stack.sandbox.faults.add(Fault(kind="lost"))
        assert [(await ask(stack.url))[0] for _ in range(FAILURES)] == [503] * FAILURES
        assert state(stack) == 2


async def test_a_gate_that_saw_nothing_hears_it_from_the_other(tmp_path: Path, redis_url: str) -> None:
    """One gate's failures open the other's breaker through Redis, and one's successful trial closes both."""
    sections = settings(budgets={"url": redis_url}) | {
        "breakers": {"failures_to_open": FAILURES, "upstream_cooldown_s": 5, "stores_cooldown_s": 1}
    }
    async with open_stack(tmp_path, sections, gate_count=2) as stack:
        one, other = stack.gates
        fault = stack.sandbox.faults.add(Fault(kind="error", status=503))
        for _ in range(FAILURES):
            await ask(one.url)
        await until(lambda: state(stack, 1) == 2)
        assert (await ask(other.url))[0] == 503
        assert fault.hits == FAILURES
        stack.sandbox.faults.clear()
        while (await ask(one.url))[0] != 200:
            await SystemClock().sleep(0.05)
        await until(lambda: (state(stack, 0), state(stack, 1)) == (0, 0))
        assert (await ask(other.url))[0] == 200


async def test_while_redis_is_away_callers_do_not_wait_for_it_one_by_one(tmp_path: Path, redis_url: str) -> None:
    """Queries are refused at once once three calls have waited in vain; when Redis is back they run again."""
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    async with TcpFaultProxy("127.0.0.1", port) as proxy:
        budgets = {"url": f"redis://127.0.0.1:{proxy.port}/0", "timeout_ms": 200}
        async with open_stack(tmp_path, settings(budgets=budgets)) as stack:
            declare_table(stack)
            assert (await ask(stack.url, "/queries", QUERY))[0] == 200
            await stack.fetch_settled("acme")
            proxy.requests.stall()
            while state(stack, system="budgets") == 0:
                assert (await ask(stack.url, "/queries", QUERY))[0] == 503
            with pytest.raises(BudgetStoreUnavailable, match="left alone"):
                await stack.gate.budgets.check()
            await proxy.heal()
            while (await ask(stack.url, "/queries", QUERY))[0] != 200:
                await SystemClock().sleep(0.05)
            assert state(stack, system="budgets") == 0
