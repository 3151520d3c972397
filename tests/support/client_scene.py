"""Set a scene for real clients: one sandbox and one gate, a project of its own for each test, and the books to look at.

Every project is a customer of the default tier, so distinct projects are distinct customers and one running stack
serves them all. Prices are such that a GiB costs exactly one cent and a hold has no headroom, so tests can state
amounts. Projects share the example data; tables of a stated size are declared by `declare`.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from bqgate.sandbox import SandboxSettings
from bqgate.sandbox.journal import Entry
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, running_stack

DATASET = "shop"
GIB = 2**30
DOCUMENT: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {"standard": {"daily_usd": "10", "monthly_usd": "300", "grace_minutes": 0, "throttle_wait_ms": 0}},
    # A test lets BigQuery fail for its own project; the queries of others go on.
    "breakers": {"failures_to_open": 1_000},
}
# The calls that a client makes to submit a query; dry runs are told apart by their body.
SUBMISSIONS = ("jobs.insert", "jobs.query")


@dataclass
class Scene:
    """What a test with a real client needs: where to call, what arrived at BigQuery, what was booked."""

    stack: Stack
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    @property
    def url(self) -> str:
        return self.stack.url

    def new_project(self, kind: str = "client") -> str:
        """A project that nobody has used; with it a customer with nothing spent."""
        return f"{kind}-{next(self._numbers)}"

    def declare(self, project: str, **gib_by_table: int) -> None:
        """Make a dataset with tables of one column `a` and no rows, each a stated number of GiB large."""
        warehouse = self.stack.sandbox.warehouse
        warehouse.create_dataset(project, DATASET, exists_ok=True)
        for table, gib in gib_by_table.items():
            warehouse.create_table(
                TableRef(project, DATASET, table), (Field("a", "INTEGER"),), declared_bytes=gib * GIB
            )

    def received(self, project: str, *methods: str) -> list[Entry]:
        """Calls for a project that reached the sandbox, the gate's own among them."""
        entries = self.stack.sandbox.journal.entries()
        return [
            entry
            for entry in entries
            if f"/projects/{project}/" in f"{entry.path}/" and (not methods or entry.method in methods)
        ]

    def submitted(self, project: str) -> list[Entry]:
        """Queries that reached the sandbox to be run; no dry runs."""
        return [entry for entry in self.received(project, *SUBMISSIONS) if not _is_dry_run(entry.body)]

    def booked(self, customer: str) -> list[dict[str, Any]]:
        """What /v1/jobs shows of a customer, oldest first, once nothing is held any more."""
        self.stack.settle(customer)
        answer = requests.get(f"{self.url}/v1/jobs", params={"customer": customer, "page_size": "1000"}, timeout=10)
        answer.raise_for_status()
        entries: list[dict[str, Any]] = answer.json()["jobs"]
        return entries[::-1]

    def budget(self, customer: str) -> dict[str, str]:
        """What the day has cost and holds, in dollars, as the control plane says it."""
        answer = requests.get(f"{self.url}/v1/customers/{customer}/budget", timeout=10)
        answer.raise_for_status()
        day = answer.json()["windows"]["day"]
        return {"spent_usd": day["spent_usd"], "held_usd": day["held_usd"]}

    def await_work(self, project: str) -> None:
        """Return when the sandbox has done the work of a project's job, which then goes on for as long as at Google.

        Stopped in the middle of its work a job would be billed in full, as it may be at Google.
        """
        jobs = self.stack.sandbox.jobs
        wait_until(lambda: any(job.project == project and job.wall_ms for job in jobs), "the job's work is done")

    def advance(self, seconds: float) -> None:
        """Let the sandbox's time pass."""

        async def move() -> None:
            self.stack.sandbox.clock.advance(seconds)

        self.stack.run(move())

    def assert_nothing_booked(self, customer: str) -> None:
        """No entry, nothing captured, nothing held."""
        assert self.booked(customer) == []
        assert self.budget(customer) == {"spent_usd": "0.00", "held_usd": "0.00"}

    def use_up(self, customer: str, gib: int = 999) -> None:
        """Spend most of the day's ten dollars, so that the next cent but one is refused."""
        self.declare(customer, spent=gib)
        body = {"query": f"SELECT a FROM {DATASET}.spent", "useLegacySql": False, "useQueryCache": False}
        requests.post(f"{self.url}/bigquery/v2/projects/{customer}/queries", json=body, timeout=10).raise_for_status()
        self.stack.settle(customer)


@contextmanager
def open_scene(
    folder: Path, document: dict[str, Any] | None = None, *, sandbox: SandboxSettings | None = None
) -> Iterator[Scene]:
    """Run a stack with the scene's prices and, on top of them, these settings."""
    merged = {
        name: {**DOCUMENT.get(name, {}), **(document or {}).get(name, {})} for name in {*DOCUMENT, *(document or {})}
    }
    with running_stack(folder, merged, sandbox=sandbox or SandboxSettings(row_multiplier=1)) as stack:
        yield Scene(stack)


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = 20) -> None:
    """Return when the condition holds; fail when it does not in time."""
    deadline_s = time.monotonic() + timeout_s  # noqa: TID251 - bounds a wait for something outside the gate
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s in vain until {what}"  # noqa: TID251 - the same
        time.sleep(0.02)  # noqa: TID251 - the same


def _is_dry_run(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    return bool(body.get("dryRun") or body.get("configuration", {}).get("dryRun"))
