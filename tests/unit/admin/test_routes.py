"""Paths, methods, health, and stores that are away."""

from pathlib import Path

import pytest

from bqgate.budgets.redis_store import RedisBudgetStore
from tests.support.settlement_stand import settlement_stand
from tests.unit.admin.conftest import Plane, Serve


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/nonsense", "/v1/customers", "/v1/customers//budget", "/v1/jobs/1"]
)
async def test_an_unknown_path_is_a_problem(plane: Plane, path: str) -> None:
    """404 as problem+json, never the data plane's answer."""
    assert (await plane.get(path, 404))["title"] == "Not Found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/jobs", "GET, HEAD"),
        ("DELETE", "/v1/customers/acme/budget", "GET, HEAD"),
        ("GET", "/v1/customers/acme/budget:check", "POST"),
        ("PUT", "/healthz", "GET, HEAD"),
    ],
)
async def test_another_method_is_told_which_there_are(plane: Plane, method: str, path: str, allow: str) -> None:
    """405 with Allow (RFC 9110 section 15.5.6)."""
    async with plane.client.request(method, path) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, allow)
        assert answer.content_type == "application/problem+json"


async def test_alive_and_ready(plane: Plane) -> None:
    """Both stores can be used; probes may add parameters."""
    assert await plane.get("/healthz?probe=1") == {"status": "alive"}
    assert await plane.get("/readyz") == {"status": "ready", "degraded": []}


async def test_metrics_are_those_of_the_steps(plane: Plane) -> None:
    """In Prometheus' text format."""
    plane.stand.telemetry.count("holds_total", event="placed")
    async with plane.client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert 'bqgate_holds_total{event="placed"} 1.0' in await answer.text()


async def test_without_the_ledger_it_is_alive_and_not_ready(plane: Plane) -> None:
    """What needs the ledger answers 503."""
    with plane.stand.ledger_away():
        assert await plane.get("/healthz")
        assert (await plane.get("/readyz", 503))["not_ready"] == ["ledger"]
        for path in ("/v1/jobs", "/v1/holds", "/v1/costs", "/v1/customers/acme/budget"):
            assert "ledger" in (await plane.get(path, 503))["detail"]


async def test_without_the_budget_store_it_is_not_ready(tmp_path: Path, serve: Serve) -> None:
    """The ledger's views still answer."""
    async with settlement_stand(
        tmp_path, lambda source, clock: RedisBudgetStore.open("redis://127.0.0.1:1/0", source, clock)
    ) as stand:
        plane = await serve(stand)
        assert (await plane.get("/readyz", 503))["not_ready"] == ["budgets"]
        assert "budget store" in (await plane.get("/v1/customers/acme/budget", 503))["detail"]
        assert (await plane.get("/v1/jobs"))["jobs"] == []
