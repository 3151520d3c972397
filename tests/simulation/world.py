"""Run one history on a loop with virtual time: two gates, what they share, their callers, and whatever befalls them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from bqgate.domain.errors import BqgateError, LedgerUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.principal import Credential, Principal, Role
from bqgate.gate.body import close_body, with_json
from bqgate.gate.request_context import RequestContext
from bqgate.gate.routes import resolve
from bqgate.gate.stopwatch import Stopwatch
from bqgate.gate.submission import Submission
from bqgate.wire.http_message import HttpRequest
from tests.simulation.auditor import Auditor
from tests.simulation.bigquery_stand_in import FATE, BigQueryServer, Fate, Way
from tests.simulation.event_loop import OUTSIDE, SimulatedLoop, StandsStill
from tests.simulation.gate import Parts, Shared, SimulatedGate
from tests.simulation.history import LASTS_S, History, Step
from tests.simulation.network import Fault, Fuse, How, System, Wires
from tests.simulation.redis_stand_in import RedisServer
from tests.simulation.rules import Rules
from tests.support.memory_ledger import MemoryLedger
from tests.support.memory_sweep_state import MemorySweepState

# An admin voids a hold no sooner (admin.holds_void).
VOID_AGE_S = 120
# After everything works again all must be settled within this time; two rounds of reconcile, late jobs,
# and the quarter of an hour in which the sweep waits for the hold of a label that it does not know, are in it.
REST_S = 1_200.0
LOOK_EVERY_S = 15.0
# One reconcile interval, and what a round may take.
INTERVAL_S = 70.0
# What the last step has begun may go wrong for so long before all is well.
LAST_STEP_S = 1.0
# Rounds of the sweep once all is well, one gate's after the other's.
SWEEP_EVERY_S = 60.0
# BigQuery reports other figures of a job for so long after it was made. Behind its overlap the sweep sees none.
CORRECTED_WITHIN_S = 60.0
# Without any of these a gate needs no sweep, and has to do without.
SWEPT = frozenset({"sweep", "bypass", "correct"})


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a run. `violation` None: nothing is wrong."""

    violation: str | None
    log: tuple[str, ...]


class World:
    """One run of one history."""

    def __init__(self, history: History, parts: Parts) -> None:
        self.history = history
        self.log: list[str] = []
        self.violation: str | None = None
        self.loop = SimulatedLoop(Random(f"order {history.seed}"))
        self.start = datetime.fromisoformat(history.start).astimezone(UTC)
        self.rules = Rules(history.limits_mib)
        self.ledger = MemoryLedger()
        self.auditor = Auditor(self.ledger, self.rules, self.fail)
        self.wires = Wires(self.loop, self.note, self.auditor.after_step)
        self.redis = RedisServer(
            self.now,
            make_account=parts.account,
            on_end=self.auditor.ended,
            on_place=self.auditor.placed,
            on_fill=self.auditor.filled,
            on_restore=self.auditor.restored,
        )
        plans = {plan.sql: plan for plan in history.plans}
        self.bigquery = BigQueryServer(self.loop, self.now, plans, self.auditor.job_made, self.note)
        self.bigquery.tokens_end_s = history.tokens_end_s
        self.auditor.redis, self.auditor.bigquery = self.redis, self.bigquery
        ids = Random(f"ids {history.seed}")
        self.shared = Shared(
            self.loop,
            self.wires,
            self.redis,
            self.ledger,
            MemorySweepState(self.ledger),
            self.bigquery,
            self.start,
            lambda: f"{ids.getrandbits(48):012x}",
            self.note,
            self.fail,
        )
        self.gates: list[SimulatedGate] = []
        self.lives = [0 for _ in history.ahead_s]
        self.snapshot: dict[str, Any] | None = None
        self.is_over = False
        self.disturbed_s = 0.0
        self._parts = parts
        self._main: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        """The time as the servers have it."""
        return self.start + timedelta(seconds=self.loop.time())

    def note(self, line: str) -> None:
        """Write down what happens."""
        self.log.append(f"{self.loop.time():10.4f} {line}")

    def fail(self, violation: str) -> None:
        """End the run: something is wrong."""
        if self.violation is None:
            self.violation = violation
            self.note(f"VIOLATED {violation}")
            if self._main is not None:
                self._main.cancel()

    def run(self) -> Report:
        """The whole history, the healing after it, and the audit."""
        try:
            self._main = self.loop.create_task(self._live(), context=OUTSIDE.copy())
            try:
                self.loop.run_until_complete(self._main)
            except asyncio.CancelledError:
                assert self.violation is not None
            except StandsStill as error:
                self.fail(str(error))
            for failure in self.loop.failures:
                self.fail(f"asyncio: {failure}")
        finally:
            self._close()
        return Report(self.violation, tuple(self.log))

    def restart(self, number: int) -> None:
        """Start a gate, where none of this number is alive."""
        self.lives[number] += 1
        gate = SimulatedGate(
            number,
            self.lives[number],
            self.shared,
            self.rules.snapshot,
            ahead_s=self.history.ahead_s[number],
            seed=self.history.seed,
            parts=self._parts,
        )
        self.note(f"{gate.name} starts")
        self.disturbed_s = self.loop.time()
        if number < len(self.gates):
            self.gates[number] = gate
        else:
            self.gates.append(gate)

    async def _live(self) -> None:
        for number in range(len(self.lives)):
            self.restart(number)
        for step in self.history.steps:
            await self._until(step.at_s)
            self.note(f"step {step.what} {json.dumps(step.given)}")
            DO[step.what](self, step)
        await self._until(max(LASTS_S, self.loop.time() + LAST_STEP_S))
        await self._heal()

    async def _heal(self) -> None:
        """Everything works again; after a while nothing may be left undone."""
        self.note("all is well from here on")
        self.is_over = True
        self.wires.faults.clear()
        self.disturbed_s = max(self.disturbed_s, *(gate.process.stopped_until_s for gate in self.gates))
        for gate in list(self.gates):
            gate.rules.snapshot = self.rules.snapshot
            gate.port.fuse = None
            if gate.process.is_dead:
                self.restart(gate.number)
        steps = self.history.steps
        sweeps = any(step.what in SWEPT or step.given.get("way") == Way.STUCK.value for step in steps)
        begun_s, round_number = self.loop.time(), 0
        while self.loop.time() < begun_s + REST_S:
            if sweeps and self.loop.time() >= begun_s + round_number * SWEEP_EVERY_S:
                do_sweep(self, Step(self.loop.time(), "sweep", {"gate": round_number % len(self.gates)}))
                round_number += 1
            await self._until(self.loop.time() + LOOK_EVERY_S)
            if self.loop.time() > self.disturbed_s + INTERVAL_S:
                missing = self.auditor.missing_holds()
                if missing:
                    self.fail(f"7: a round after the last disturbance the store lacks {missing}")
            if self.auditor.is_at_rest(self.rules.snapshot):
                return
        self.fail(self.auditor.what_is_left(self.rules.snapshot) or "")

    async def _until(self, at_s: float) -> None:
        delay_s = at_s - self.loop.time()
        if delay_s > 0:
            await self.loop.pass_time(delay_s)

    def _close(self) -> None:
        """End all tasks, so that none is left to the garbage collector."""
        for gate in self.gates:
            gate.crash()
        left = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        for _ in range(20):
            if not left:
                break
            for task in sorted(left, key=hash):
                task.cancel()
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            left = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def run_history(history: History, parts: Parts = Parts()) -> Report:  # noqa: B008 - frozen
    """Run a history on a loop of its own."""
    return World(history, parts).run()


async def _call(world: World, gate: SimulatedGate, step: Step) -> None:
    """One caller's query, from its first byte to its answer's last."""
    given = step.given
    plan = world.history.plans[given["number"]]
    body: dict[str, Any] = {"query": plan.sql, "useLegacySql": False, "useQueryCache": False}
    path = "/bigquery/v2/projects/p/queries"
    if given["method"] in {"insert", "insert_id"}:
        path = "/bigquery/v2/projects/p/jobs"
        body = {"configuration": {"query": body}}
        if given["method"] == "insert_id":
            body["jobReference"] = {"projectId": "p", "jobId": f"job{given['number']:03}x"}
    elif given["method"] == "query_id":
        body["requestId"] = f"request{given['number']}"
    customer = given["customer"]
    credential = Credential(authorization=f"Bearer {customer}", subject=f"{customer}'s", customer=customer)
    principal = Principal(customer, f"ada@{customer}", given["workload"], credential, Role.USER)
    call = HttpRequest("POST", path)
    ctx = RequestContext(call, resolve("POST", path), principal, Stopwatch(gate.clock, gate.telemetry))
    submission = Submission(body, lambda new: with_json(call, new))
    answer = await gate.handler.handle_query(ctx, submission)
    try:
        if not isinstance(answer.body, bytes):
            async for _chunk in answer.body:
                pass
    finally:
        await close_body(answer.body)
    world.note(f"{gate.name} answers query {given['number']} with {answer.status}")


async def _let(world: World, gate: SimulatedGate, name: str, do: Callable[[SimulatedGate], Awaitable[Any]]) -> None:
    """What the middleware does: outside failures are answers, anything else is a bug."""
    try:
        await do(gate)
    except BqgateError as error:
        world.note(f"{gate.name} answers {name} with {type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a bug of the gate's
        if not gate.process.is_dead:
            world.fail(f"{name} at {gate.name} failed with {error!r}")


def _begin(
    world: World,
    step: Step,
    name: str,
    do: Callable[[SimulatedGate], Awaitable[Any]],
    fate: Fate = Fate(),  # noqa: B008 - frozen
) -> "asyncio.Task[None] | None":
    """Let a gate do something, if it is alive."""
    gate = world.gates[step.given["gate"]]
    if gate.process.is_dead:
        return None
    context = gate.context.copy()
    context.run(FATE.set, fate)
    return world.loop.create_task(_let(world, gate, name, do), context=context)


def do_query(world: World, step: Step) -> None:
    given = step.given
    fate = Fate(Way(given["way"]), given["late_s"])
    task = _begin(world, step, f"query {given['number']}", lambda gate: _call(world, gate, step), fate)
    if task is not None and given["leaves_s"] is not None:
        world.loop.call_later(given["leaves_s"], task.cancel, context=OUTSIDE)


def do_crash(world: World, step: Step) -> None:
    """Now, or at one of the gate's next calls. A gate is started again some time later."""
    given = step.given
    gate = world.gates[given["gate"]]
    if gate.process.is_dead:
        return

    def come_back() -> None:
        if world.gates[gate.number].process.is_dead and not world.is_over:
            world.restart(gate.number)

    def crash() -> None:
        gate.crash()
        world.loop.call_later(given["down_s"], come_back, context=OUTSIDE)

    gate.port.crash = crash
    if given["calls"]:
        gate.port.fuse = Fuse(given["calls"], given["moment"])
    else:
        crash()


def do_stop(world: World, step: Step) -> None:
    gate = world.gates[step.given["gate"]]
    if not gate.process.is_dead:
        world.loop.stop_process(gate.process, step.given["for_s"])


def do_wipe(world: World, _step: Step) -> None:
    world.disturbed_s = world.loop.time()
    world.auditor.store_loses(world.redis.accounts, {})
    world.redis.wipe()


def do_snapshot(world: World, _step: Step) -> None:
    world.snapshot = world.redis.copy()


def do_restore(world: World, _step: Step) -> None:
    if world.snapshot is not None:
        world.disturbed_s = world.loop.time()
        world.auditor.store_loses(world.redis.accounts, world.snapshot)
        world.redis.restore(world.snapshot)


def do_fault(world: World, step: Step) -> None:
    given = step.given
    until_s = world.loop.time() + given["for_s"]
    fault = Fault(System(given["system"]), How(given["how"]), given["gate"], until_s, given["share"])
    world.wires.faults.append(fault)
    world.disturbed_s = max(world.disturbed_s, until_s)


def do_limit(world: World, step: Step) -> None:
    world.rules.change_limit(step.given["name"], step.given["mib"])
    _tell(world, step.given["heard_s"])


def do_price(world: World, step: Step) -> None:
    world.rules.change_prices(step.given["factor"])
    _tell(world, step.given["heard_s"])


def _tell(world: World, heard_s: list[float]) -> None:
    """Each gate hears of new rules in its own time."""
    snapshot = world.rules.snapshot
    for gate, after_s in zip(world.gates, heard_s, strict=True):
        world.loop.call_later(after_s, setattr, gate.rules, "snapshot", snapshot, context=OUTSIDE)


def do_reconcile(world: World, step: Step) -> None:
    _begin(world, step, "a round", lambda gate: gate.reconciler.reconcile())


def do_sweep(world: World, step: Step) -> None:
    _begin(world, step, "a sweep", lambda gate: gate.sweep())


def do_bypass(world: World, step: Step) -> None:
    """Somebody queries past the gates, with a label that they have read on another's job, or have made up."""
    given = step.given
    label = {"none": "", "copied": world.bigquery.copied_label(given["pick"]), "made up": "0" * 12}[given["label"]]
    world.bigquery.insert_past(world.history.plans[given["number"]], past_by=given["by"], label=label)


def do_correct(world: World, step: Step) -> None:
    """BigQuery reports other figures of a young job that has ended, and is never deleted: nobody could see."""
    plan = world.history.plans[step.given["number"]]
    is_deleted = any(each.what == "delete" and each.given["number"] == plan.number for each in world.history.steps)
    for job in world.bigquery.jobs.values():
        is_young = world.loop.time() < job.created_s + CORRECTED_WITHIN_S
        if job.plan is plan and job.bytes_billed and is_young and not is_deleted:
            world.bigquery.correct(job, plan.billed_mib * step.given["percent"] // 100)


def do_delete(world: World, step: Step) -> None:
    _on_job(world, step, "DELETE", "delete")


def do_cancel(world: World, step: Step) -> None:
    _on_job(world, step, "POST", "cancel")


def _on_job(world: World, step: Step, verb: str, what: str) -> None:
    """A caller cancels or deletes the job of a query, through a gate."""
    plan = world.history.plans[step.given["number"]]
    job = next((job for job in world.bigquery.jobs.values() if job.plan is plan), None)
    if job is None:
        return
    path = f"/bigquery/v2/projects/p/jobs/{job.ref.job_id}/{what}"
    call = HttpRequest(verb, path, f"location={job.ref.location}")
    _begin(world, step, what, lambda gate: gate.passthrough.send(call, resolve(verb, path), Credential("Bearer acme")))


def do_void(world: World, step: Step) -> None:
    """An admin ends an old hold of which nothing runs."""
    ran = {job.hold_id for job in world.bigquery.jobs.values() if job.past_by is None}
    idle = [hold for hold in world.ledger.open_holds.values() if hold.id not in ran]
    old = [hold for hold in idle if world.now() - hold.placed_at >= timedelta(seconds=VOID_AGE_S)]
    if not old:
        return
    hold: Hold = old[step.given["pick"] % len(old)]

    async def void(gate: SimulatedGate) -> None:
        found = await gate.ledger.fetch_open_hold(hold.id)
        if found is None:
            raise LedgerUnavailable("no such hold")
        await gate.settlement.void(found, attempts=None)

    _begin(world, step, "void", void)


# What each step does. A new kind of step needs an entry here, and a draw in history.
DO: dict[str, Callable[[World, Step], None]] = {
    "query": do_query,
    "crash": do_crash,
    "stop": do_stop,
    "wipe": do_wipe,
    "snapshot": do_snapshot,
    "restore": do_restore,
    "fault": do_fault,
    "limit": do_limit,
    "price": do_price,
    "reconcile": do_reconcile,
    "sweep": do_sweep,
    "bypass": do_bypass,
    "correct": do_correct,
    "delete": do_delete,
    "cancel": do_cancel,
    "void": do_void,
}
