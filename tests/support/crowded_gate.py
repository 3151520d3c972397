"""Send crowds of queries that are refused, throttled, shed or given up through the whole path of one gate.

The handler, admission, waiting room, budgets, settlement and a ledger in SQLite are the product's own; BigQuery is a
stand-in that answers at once and remembers nothing, and there are no sockets, so that what stays in memory is the
gate's. `Crowd.send` is one round; after it nothing is under way.
"""

import asyncio
import io
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bqgate.admission.hold_service import HoldService
from bqgate.admission.queue.admission_queue import AdmissionQueue
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.budget import Period
from bqgate.domain.entry import Entry, EntryKind
from bqgate.domain.job import Estimate, Job, JobRef, Outcome, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Credential, Principal
from bqgate.domain.tier import Customer, CustomerRegistry, Tier
from bqgate.domain.units import GIB
from bqgate.gate.handler import QueryHandler
from bqgate.gate.holds import Holds
from bqgate.gate.isolation import Isolation, IsolationMode
from bqgate.gate.isolation.upload_sessions import UploadSessions
from bqgate.gate.long_texts import LongTexts
from bqgate.gate.payers import Payers
from bqgate.gate.request_context import RequestContext
from bqgate.gate.routes import Kind, Route
from bqgate.gate.stopwatch import Stopwatch
from bqgate.gate.submission import Submission
from bqgate.ledger import SqlLedger
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.wire.http_message import HttpRequest, HttpResponse
from tests.support.gate_holds import gate_holds
from tests.support.hold_services import hold_service_over
from tests.support.list_audit_log import ListAuditLog
from tests.support.manual_clock import START, ManualClock

# A GiB is a dollar. Of ten dollars a month, one customer has spent all, the other all but thirty cents.
TIER = Tier("standard", daily_nanos=10 * NANOS_PER_USD, monthly_nanos=10 * NANOS_PER_USD, emergency_nanos=0)
CUSTOMERS = {name: Customer(name, TIER) for name in ("spent", "slow")}
POLICIES = PolicySnapshot(
    CustomerRegistry(CUSTOMERS, {}, TIER), PriceList(PricingModel.BLENDED, 1_024 * NANOS_PER_USD, NANOS_PER_USD // 100)
)
SPENT_NANOS = {"spent": 10 * NANOS_PER_USD, "slow": 97 * NANOS_PER_USD // 10}
DONE = json.dumps(
    {
        "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
        "jobComplete": True,
        "cacheHit": True,
        "totalBytesProcessed": "0",
        "totalBytesBilled": "0",
        "totalSlotMs": "0",
    }
).encode()

# One round: how many are refused, how many of those are too big for any budget, how many are throttled, how many of
# those leave while they wait. The room has places for some of the throttled only.
REFUSED, TOO_BIG, THROTTLED, LEAVING, PLACES = 25, 5, 20, 3, 10
ROUND = REFUSED + THROTTLED


class QuietBigQuery:
    """BigQuery and the way to it: every query is of a MiB, or of 100 GiB where it says "big", and is done at once."""

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        is_big = "big" in body["configuration"]["query"]["query"]
        return Estimate(100 * GIB if is_big else 2**20, "SELECT", 1)

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        raise AssertionError("every answer tells what its job used")

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        raise AssertionError("nobody asks after statements of scripts")

    async def find_job(
        self, *, project_id: str, hold_id: str, since: datetime, credential: Credential | None
    ) -> JobRef | None:
        raise AssertionError("every answer tells what its job used")

    async def send(
        self, call: HttpRequest, *, credential: Credential, read_timeout_s: float | None = None
    ) -> HttpResponse:
        return HttpResponse(200, (("Content-Type", "application/json"),), DONE)

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Crowd:
    """A gate and whoever asks it. `answered` counts answers by status, 0 for who left."""

    handler: QueryHandler
    holds: Holds
    service: HoldService
    room: AdmissionQueue
    clock: ManualClock
    telemetry: PrometheusTelemetry
    answered: Counter[int] = field(default_factory=Counter)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def send(self) -> None:
        """A round of ROUND queries, all different, of a hundred principals; then half a minute passes."""
        refused = [self._begin("spent", "big" if number < TOO_BIG else "small") for number in range(REFUSED)]
        throttled = [self._begin("slow", "small") for _ in range(THROTTLED)]
        await asyncio.gather(*refused)
        while self.room.depth < PLACES:
            await self.clock.sleep(0)
        waiting = [each for each in throttled if not each.done()]
        for leaving in waiting[:LEAVING]:
            leaving.cancel()
        await asyncio.wait(waiting[:LEAVING])
        for _ in range(31):
            self.clock.advance(1)
            await self.service.keep_alive()
        await asyncio.wait(throttled)
        await self.holds.drain()
        for each in (*refused, *throttled):
            self.answered[0 if each.cancelled() else each.result()] += 1

    def _begin(self, customer: str, size: str) -> "asyncio.Task[int]":
        number = next(self.numbers)
        return asyncio.ensure_future(self._ask(Principal(customer, f"user{number % 100}"), f"SELECT {number} {size}"))

    async def _ask(self, principal: Principal, sql: str) -> int:
        call = HttpRequest("POST", "/bigquery/v2/projects/p/queries")
        ctx = RequestContext(
            call, Route(Kind.SUBMIT, "jobs.query", call.path, "p"), principal, Stopwatch(self.clock, self.telemetry)
        )
        answer = await self.handler.handle_query(ctx, Submission({"query": sql}, lambda _: call))
        if not isinstance(answer.body, bytes):
            async for _ in answer.body:
                pass
        return answer.status


@asynccontextmanager
async def crowded_gate(folder: Path, *, estimates_kept: int) -> AsyncIterator[Crowd]:
    """A gate whose two customers have spent what they may, or nearly."""
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        telemetry = PrometheusTelemetry(Metrics(lambda: CUSTOMERS), make_logger(io.StringIO(), clock))
        ledger = await SqlLedger.open(f"sqlite:///{folder}/ledger.db", clock)
        stack.push_async_callback(ledger.close)
        for customer, nanos in SPENT_NANOS.items():
            await ledger.book(_spent_before(customer, nanos))
        room = AdmissionQueue(clock, telemetry, places=PLACES)
        running = asyncio.ensure_future(room.run())
        stack.push_async_callback(_end, running)
        handler, holds, service = _wire(ledger, clock, telemetry, room, estimates_kept)
        yield Crowd(handler, holds, service, room, clock, telemetry)


def _wire(
    ledger: SqlLedger, clock: ManualClock, telemetry: PrometheusTelemetry, room: AdmissionQueue, estimates_kept: int
) -> tuple[QueryHandler, Holds, HoldService]:
    bigquery, budgets = QuietBigQuery(), MemoryBudgetStore(ledger, clock)
    service = hold_service_over(budgets, ledger, clock)
    wired = gate_holds(
        service,
        budgets,
        bigquery=bigquery,
        ledger=ledger,
        clock=clock,
        telemetry=telemetry,
        policies=POLICIES,
        estimates_kept=estimates_kept,
        release=room.release,
    )
    isolation = Isolation(
        isolation_mode=IsolationMode.NOTHING,
        allows_unknown=False,
        policies=POLICIES,
        bigquery=bigquery,
        long_texts=LongTexts(),
        upstream=bigquery,
        audit_log=ListAuditLog(),
        clock=clock,
        uploads=UploadSessions("0" * 32),
    )
    handler = QueryHandler(
        admission=wired.admission,
        holds=wired.holds,
        writes=wired.writes,
        admission_queue=room,
        policies=POLICIES,
        payers=Payers(POLICIES, bigquery, passes_credentials=True),
        isolation=isolation,
        long_texts=LongTexts(),
        upstream=bigquery,
        telemetry=telemetry,
    )
    return handler, wired.holds, service


def _spent_before(customer: str, nanos: int) -> Entry:
    return Entry(
        id=f"before {customer}",
        kind=EntryKind.CHARGE,
        customer=customer,
        principal="ann",
        project_id="p",
        booked_at=START,
        window_keys={Period.DAY: "2026-11-20", Period.MONTH: "2026-11"},
        outcome=Outcome.DONE,
        cost_nanos=nanos,
    )


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
