"""A query runs although what it reads has grown since its estimate was kept, whoever wrote it, with Google's client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery

from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, running_stack
from tests.support.python_client import python_client

SETTINGS: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {"standard": {"daily_usd": "1000", "monthly_usd": "1000", "emergency_usd": "1000", "grace_minutes": 0}},
    "customers": {
        "reader": {"tier": "standard", "projects": ["reader"]},
        "unmetered": {"tier": "standard", "projects": ["unmetered"], "mode": "off"},
    },
}
READ = "SELECT a FROM reader.money.totals"
SMALL, LARGE = 10 * 2**30, 2**40


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path, SETTINGS) as opened:
        opened.sandbox.warehouse.create_dataset("reader", "money")
        for name, size in (("small", SMALL), ("large", LARGE)):
            table = TableRef("reader", "money", name)
            opened.sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=size)
        show(opened, "reader", "small")
        yield opened


def show(stack: Stack, project: str, table: str, *, url: str | None = None) -> None:
    """Have the view read another table, by a query of a project's; `url`: past the gate."""
    with python_client(url or stack.url, project) as client:
        sql = f"CREATE OR REPLACE VIEW reader.money.totals AS SELECT a FROM reader.money.{table}"
        client.query_and_wait(sql)


def no_cache() -> bigquery.QueryJobConfig:
    return bigquery.QueryJobConfig(use_query_cache=False)


@pytest.mark.parametrize("project", ["reader", "unmetered"])
@pytest.mark.parametrize("by", ["query", "query_and_wait"])
def test_a_view_replaced_through_the_gate_is_estimated_anew(stack: Stack, project: str, by: str) -> None:
    """Also where whoever replaced it is not metered."""
    with python_client(stack.url, "reader") as client:
        read(client, by)
        show(stack, project, "large")
        read(client, by)


def test_what_grew_past_the_gate_is_tried_again_unseen(stack: Stack) -> None:
    """jobs.query: the caller sees an answer, and no refusal under a cap that it did not set."""
    with python_client(stack.url, "reader") as client:
        read(client, "query_and_wait")
        show(stack, "reader", "large", url=stack.sandbox.url)
        read(client, "query_and_wait")


def test_a_job_that_failed_under_an_old_estimate_does_not_fail_again(stack: Stack) -> None:
    """jobs.insert under an id of the caller's: that job has failed, and the next one has a fresh estimate."""
    with python_client(stack.url, "reader") as client:
        read(client, "query")
        show(stack, "reader", "large", url=stack.sandbox.url)
        with pytest.raises(GoogleAPICallError, match="bytes billed"):
            read(client, "query")
        stack.settle("reader")
        read(client, "query")


def read(client: bigquery.Client, by: str) -> None:
    """Ask what the view shows, by one of the client's two ways."""
    if by == "query":
        client.query(READ, no_cache()).result(retry=None)
    else:
        client.query_and_wait(READ, job_config=no_cache())
