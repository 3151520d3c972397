"""Make one chaos run: start all, let the plan happen, heal, wait until nothing is held, audit, and tell.

A run is bounded: the load lasts as long as the plan says, each caller and each healing step for so long at most. All
processes are ended by their own handles when the context closes, whatever happens.
"""

import asyncio
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import redis
import yaml

from bqgate.clock import SystemClock
from tests.chaos.auditor import Redis, Verdict, audit
from tests.chaos.breaking import Breakage, Operator
from tests.chaos.callers import Callers
from tests.chaos.facts import ClockSegment, Facts, billed, plain
from tests.chaos.gates import HERE, GateProcess, NoRevision, environment_of, known_settings, tree_of
from tests.chaos.plan import Call, CallKind, Change, Fault, Plan, Stores, kinds_of
from tests.chaos.stores import (
    PostgresDatabase,
    RedisProcess,
    SqliteFile,
    proxies,
    running_database,
    running_redis_process,
)
from tests.chaos.world import CUSTOMER_OF, Limits, principal_of, settings_document
from tests.support.free_ports import free_port
from tests.support.scorekeeper import Scorekeeper
from tests.support.tcp_fault_proxy import TcpFaultProxy

# The last commit of what was landed before this: what stands beside today's gate while a deployment is renewed.
PREVIOUS_REVISION = "17b77a3"
_COMMANDS = Path(__file__).with_name("commands.py")
_TOKEN = re.compile(r"^(bqg\S+)$", re.MULTILINE)
_ADMIN = "admin"
_STARTS_WITHIN_S = 60.0
_START_S = 4.0
_CALM_S = 45.0
# Another gate sweeps within half a minute of the end of the one that did, and books what that one had not.
_CLEAN_S = 60.0
_LOOK_S = 0.5
# Fewer jobs than this in a run, and hardly anything was tried.
_JOBS_MIN = 20
# How far the clocks are put forward once the load is over: past the age of an orphan, and what a late job may take.
_FORWARD_S = 75
_FORWARD_AGAIN_S = 12.0

Tell = Callable[[str], None]


@dataclass
class Outcome:
    """What came of a run."""

    plan: Plan
    verdict: Verdict
    told: dict[str, Counter[str]]
    complaints: list[str]
    figures: dict[str, Any]
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return self.verdict.is_clean and not self.complaints

    def __str__(self) -> str:
        plan = self.plan
        lines = [
            f"chaos seed {plan.seed}: {plan.stores}; {plan.turn.name}; clocks {_apart(plan)}; load {plan.seconds:g} s",
            f"  faults: {_listed(kinds_of(plan.faults))}",
            *(f"  {kind}: {_listed(dict(came))}" for kind, came in sorted(self.told.items())),
            *(f"  {name}: {value}" for name, value in self.figures.items()),
            *(f"  {note}" for note in self.notes),
            f"  {self.verdict}",
            *(f"  COMPLAINT: {complaint}" for complaint in self.complaints),
        ]
        if self.folder is not None:
            lines.append(f"  its books are in {self.folder}")
        return "\n".join(lines)


def _apart(plan: Plan) -> str:
    return f"{abs(plan.skews_s[-1]):g} s apart" if len(plan.skews_s) > 1 else "of one gate"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items()))


async def run_plan(plan: Plan, *, tell: Tell, revision: str | None = None, books: Path | None = None) -> Outcome:
    """One run of a plan.

    Args:
        plan: what happens.
        tell: hears of the progress.
        revision: of which all gates are; None: today's.
        books: where a failing run leaves its books; None: in a folder of the machine's for temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="bqgate-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with _scene(plan, folder, revision) as run:
            outcome = await run.made(tell)
        outcome.complaints += run.complaints_of_gates()
        if not outcome.is_clean:
            outcome.folder = _left(folder, plan, run, books)
    return outcome


class _Run:
    def __init__(
        self,
        plan: Plan,
        folder: Path,
        gates: list[GateProcess],
        breakage: Breakage,
        session: aiohttp.ClientSession,
        write_settings: Callable[[Limits], None],
        tokens: dict[str, str],
        notes: list[str],
    ) -> None:
        self._plan, self._folder, self._gates, self._breakage = plan, folder, gates, breakage
        self._keeper, self._ledger, self._redis = breakage.keeper, breakage.ledger, breakage.redis
        self._operator = Operator(session, gates, write_settings, self.now_s, tokens[_ADMIN], plan.limits)
        self._callers = Callers(session, [gate.url for gate in gates], self._keeper.url, tokens)
        self._offsets_ms: list[int] = []
        self._segments: list[ClockSegment] = []
        self._moved_at_s = -1e9
        self._notes = notes
        self.began_ms = _machine_ms()
        breakage.now_s, breakage.move_clocks = self.now_s, self.move_clocks
        self.facts: Facts | None = None

    async def wait_for(self, gate: GateProcess) -> None:
        """Return when a gate listens; AssertionError."""
        try:
            async with asyncio.timeout(_STARTS_WITHIN_S):
                await gate.is_up.wait()
        except TimeoutError:
            log = gate.log_file.read_text(errors="replace")[-1500:] if gate.log_file.exists() else "nothing"
            raise AssertionError(f"gate {gate.number} does not listen; it logged {log}") from None

    def now_s(self) -> float:
        """Real seconds since the load began."""
        return (_machine_ms() - self.began_ms) / 1000

    def set_clocks(self) -> None:
        """Set all clocks so that the first gate's passes the turn when the plan says so."""
        starts_ms = int(self._plan.turn.at.timestamp() * 1000 - self._plan.turn_at_s * 1000)
        shift_ms = starts_ms - (_machine_ms() + int(_START_S * 1000))
        self._keeper.shift_ms = shift_ms
        self._offsets_ms = [shift_ms + int(skew_s * 1000) for skew_s in self._plan.skews_s]
        self._write_clocks()

    def move_clocks(self, seconds: float) -> None:
        """Put the clocks of all gates forward."""
        now_s = self.now_s()
        self._segments += [ClockSegment(self._moved_at_s, now_s, offset_ms) for offset_ms in self._offsets_ms]
        self._moved_at_s = now_s
        self._offsets_ms = [offset_ms + int(seconds * 1000) for offset_ms in self._offsets_ms]
        self._write_clocks()

    def _write_clocks(self) -> None:
        for gate, offset_ms in zip(self._gates, self._offsets_ms, strict=True):
            gate.move_clock(offset_ms)

    async def made(self, tell: Tell) -> Outcome:
        """Load, healing, audit."""
        for gate in self._gates:
            await self.wait_for(gate)
        self.began_ms = _machine_ms()
        tell(f"load for {self._plan.seconds:g} s: {len(self._plan.calls)} calls, {len(self._plan.faults)} faults")
        complaints = await self._load()
        loaded_s = self.now_s()
        complaints += await self._heal(tell)
        verdict = await self._audited_until_clean(tell)
        took = {
            "changes": _listed(Counter(self._operator.told)),
            "gates ended": _listed(sum((gate.ended.counts for gate in self._gates), Counter())),
            "took": f"{loaded_s:.0f} s of load, {self.now_s() - loaded_s:.0f} s until all was quiet",
        }
        if verdict.jobs < _JOBS_MIN:
            complaints.append(f"{verdict.jobs} jobs ran: of so few an audit proves little")
        if self._redis is not None and not verdict.counters:
            complaints.append("Redis had no counters to compare")
        complaints += [f"no answer for {who}" for who in self._callers.hung[:3]]
        complaints += [f"500: {bug}" for bug in self._callers.bugs[:3]]
        return Outcome(self._plan, verdict, self._callers.told, complaints, took, notes=self._notes)

    async def _load(self) -> list[str]:
        complaints: list[str] = []

        async def watched(name: str, at_s: float, doing: Coroutine[Any, Any, None]) -> None:
            await SystemClock().sleep(max(0.0, at_s - self.now_s()))
            try:
                await doing
            except (AssertionError, OSError, redis.RedisError) as error:
                complaints.append(f"{name}: {type(error).__name__}: {error}")

        def faulty(fault: Fault) -> Coroutine[Any, Any, None]:
            return watched(str(fault.kind), fault.at_s, self._breakage.strike(fault))

        def changing(change: Change) -> Coroutine[Any, Any, None]:
            return watched(str(change.kind), change.at_s, self._operator.make(change))

        async with asyncio.TaskGroup() as group:
            for fault in self._plan.faults:
                group.create_task(faulty(fault))
            group.create_task(self._change_all(changing))
            for call in self._plan.calls:
                group.create_task(self._called(call))
        return complaints

    async def _change_all(self, changing: Callable[[Change], Coroutine[Any, Any, None]]) -> None:
        for change in self._plan.changes:  # one after the other, so that it is known which was the last
            await changing(change)

    async def _called(self, call: Call) -> None:
        await SystemClock().sleep(max(0.0, call.at_s - self.now_s()))
        await self._callers.make(call)

    async def _heal(self, tell: Tell) -> list[str]:
        """Wait until nothing runs and nothing is held; the gates' clocks are put forward for what they put off."""
        self._keeper.faults.clear()
        for gate in self._gates:
            await self.wait_for(gate)
        await self._keeper.quiet()
        tell("healed; waiting until nothing is held")
        give_up_s, forward_s = self.now_s() + _CALM_S, 0.0
        while (open_count := await asyncio.to_thread(self._open_holds)) or not forward_s:
            if self.now_s() > give_up_s:
                return [f"{open_count} holds were still open {_CALM_S:g} s after the load"]
            if self.now_s() >= forward_s:
                self.move_clocks(_FORWARD_S)
                forward_s = self.now_s() + _FORWARD_AGAIN_S
            await SystemClock().sleep(_LOOK_S)
        return []

    def _open_holds(self) -> int:
        open_count = sum(hold["ended_at"] is None for hold in self._ledger.rows("holds"))
        if self._redis is None:
            return open_count
        contents = self._redis.contents()
        return open_count + sum(len(fields) for key, fields in contents.hashes.items() if key.endswith("}:holds"))

    async def _audited_until_clean(self, tell: Tell) -> Verdict:
        """Audit; counters that lag are given the time of some rounds of reconcile, and so are those just dropped."""
        tell("audit")
        self.facts = self._facts()
        give_up_s = self.now_s() + _CLEAN_S
        while True:
            verdict = await asyncio.to_thread(self._audited, self.facts)
            is_whole = not verdict.differences and (self._redis is None or verdict.counters > 0)
            if is_whole or self.now_s() > give_up_s:
                return verdict
            await SystemClock().sleep(2 * _LOOK_S)

    def _facts(self) -> Facts:
        limits, prices = self._operator.histories(self._breakage.outages)
        self.move_clocks(0.0)  # ends the last segment
        return Facts(
            began_ms=self.began_ms,
            zones=self._plan.turn.zones,
            limits=limits,
            prices=prices,
            clocks=self._segments,
            jobs=[billed(ran, self.began_ms, self._keeper.shift_ms) for ran in self._keeper.books],
            workload_of={call.number: call.workload for call in self._plan.calls},
            bypassed={call.number for call in self._plan.calls if call.kind is CallKind.BYPASS},
        )

    def _audited(self, facts: Facts) -> Verdict:
        contents: Redis | None = None if self._redis is None else self._redis.contents()
        return audit(facts, self._ledger.rows("entries"), self._ledger.rows("holds"), contents)

    def complaints_of_gates(self) -> list[str]:
        """What a gate did that nobody had told it to, and what it logged of its own faults."""
        complaints = [bad for gate in self._gates for bad in gate.ended.badly]
        for gate in self._gates:
            count = gate.log_file.read_text(errors="replace").count("Traceback (most recent call last)")
            if count:
                complaints.append(f"gate {gate.number} logged {count} tracebacks")
        return complaints

    def leave_books(self, folder: Path) -> None:
        """Write down what the audit was made from, beside the gates' logs and settings."""
        if self.facts is not None:
            document = json.dumps(vars(self.facts), default=plain, indent=1)
            (folder / "facts.json").write_text(document)
        (folder / "plan.json").write_text(json.dumps(self._plan.as_document(), default=str, indent=1))


@asynccontextmanager
async def _scene(plan: Plan, folder: Path, revision: str | None) -> AsyncIterator[_Run]:
    """All that runs, with gates whose clocks are set."""
    trees, notes = _trees(plan, folder, revision)
    async with AsyncExitStack() as stack:
        keeper = await stack.enter_async_context(Scorekeeper.running(seed=plan.seed))
        keeper.members = {project: principal_of(project) for project in CUSTOMER_OF}
        process: RedisProcess | None = None
        redis_proxies: list[TcpFaultProxy] = []
        if plan.stores is not Stores.MEMORY:
            process = stack.enter_context(running_redis_process(folder / "redis"))
            redis_proxies = await stack.enter_async_context(proxies(plan.stores.gate_count, port=process.port))
        ledger: SqliteFile | PostgresDatabase = SqliteFile(folder)
        ledger_proxies: list[TcpFaultProxy] = []
        if plan.stores is Stores.POSTGRESQL:
            ledger, socket = await asyncio.to_thread(stack.enter_context, running_database())
            ledger_proxies = await stack.enter_async_context(proxies(plan.stores.gate_count, socket=socket))
        gates = [GateProcess(number, tree, trees[0], folder, free_port()) for number, tree in enumerate(trees)]

        def document_of(limits: Limits, number: int) -> dict[str, Any]:
            budgets_url = f"redis://127.0.0.1:{redis_proxies[number].port}/0" if redis_proxies else "memory://"
            ledger_url = ledger.url if isinstance(ledger, SqliteFile) else ledger.url_by(ledger_proxies[number].port)
            return settings_document(
                limits,
                upstream_url=keeper.url,
                budgets_url=budgets_url,
                ledger_url=ledger_url,
                port=gates[number].port,
                zones=plan.turn.zones,
            )

        document = document_of(plan.limits, 0)
        known_by_tree = {tree: await asyncio.to_thread(known_settings, document, tree, folder) for tree in set(trees)}

        def write_settings(limits: Limits) -> None:
            for gate in gates:
                for tree, config in gate.config_of.items():
                    document = _only(document_of(limits, gate.number), known_by_tree[tree])
                    beside = config.with_suffix(".new")
                    beside.write_text(yaml.safe_dump(document))
                    beside.replace(config)

        write_settings(plan.limits)
        tokens = await _prepare(gates[-1])
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        breakage = Breakage(
            gates, keeper, ledger, process, redis_proxies, ledger_proxies, lambda: 0.0, lambda _seconds: None
        )
        run = _Run(plan, folder, gates, breakage, session, write_settings, tokens, notes)
        run.set_clocks()
        try:
            async with AsyncExitStack() as running:
                for gate in reversed(gates):
                    await running.enter_async_context(gate.running())
                    if plan.has_previous and gate is gates[-1]:
                        await run.wait_for(gate)
                        await _commanded(gates[0], [["migrate", "--config", str(gates[0].config)]])
                yield run
        finally:
            await asyncio.to_thread(_keep_ledger, ledger, folder)


def _trees(plan: Plan, folder: Path, revision: str | None) -> tuple[list[Path], list[str]]:
    """Where the code of each gate is, and what is to be told of it."""
    if revision is not None:
        return [tree_of(revision, folder)] * plan.stores.gate_count, [f"all gates are of revision {revision}"]
    if not plan.has_previous:
        return [HERE] * plan.stores.gate_count, []
    try:
        tree = tree_of(PREVIOUS_REVISION, folder)
    except NoRevision as error:
        skipped = f"SKIPPED: the previous revision did NOT run beside this one. Git has no {PREVIOUS_REVISION}: {error}"
        return [HERE] * plan.stores.gate_count, [skipped]
    return [HERE, tree], [f"gate 1 is of the previous revision, {PREVIOUS_REVISION}, until it is started anew"]


def _only(document: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The keys of a document that another one has, too."""
    return {
        name: _only(value, known[name]) if isinstance(value, dict) and isinstance(known[name], dict) else value
        for name, value in document.items()
        if name in known
    }


async def _prepare(gate: GateProcess) -> dict[str, str]:
    """Make the ledger's tables and everybody's keys; what comes is the token of who asks in each project."""
    config = ["--config", str(gate.config)]
    create = ["keys", "create", "--local", "--token", *config]
    commands = [["migrate", *config], [*create, "--role", "super_admin"]]
    for project, customer in CUSTOMER_OF.items():
        commands.append([*create, "--role", "user", "--customer", customer, "--principal", principal_of(project)])
    tokens = _TOKEN.findall(await _commanded(gate, commands))
    assert len(tokens) == 1 + len(CUSTOMER_OF), tokens
    return dict(zip((_ADMIN, *CUSTOMER_OF), tokens, strict=True))


async def _commanded(gate: GateProcess, commands: list[list[str]]) -> str:
    """What commands of a gate's revision print, one after the other; AssertionError where one fails."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", str(_COMMANDS)), env=environment_of(gate.tree), stdin=pipe, stdout=pipe, stderr=pipe
    )
    said, failed = await process.communicate("\n".join(json.dumps(command) for command in commands).encode())
    assert process.returncode == 0, f"{said.decode()}{failed.decode()}"
    return said.decode()


def _keep_ledger(ledger: SqliteFile | PostgresDatabase, folder: Path) -> None:
    """Copy the ledger while its database still runs, for a run that fails."""
    with suppress(Exception):  # a database that is gone must not hide why it is
        rows = {table: ledger.rows(table) for table in ("entries", "holds", "breaker_events", "price_lists")}
        (folder / "ledger.json").write_text(json.dumps(rows, default=str, indent=1))


def _left(folder: Path, plan: Plan, run: _Run, books: Path | None) -> Path:
    """Where the books of a failing run are kept."""
    run.leave_books(folder)
    parent = Path(tempfile.gettempdir()) if books is None else books
    parent.mkdir(parents=True, exist_ok=True)
    kept = Path(tempfile.mkdtemp(prefix=f"bqgate-chaos-seed-{plan.seed}-", dir=parent))
    for file in folder.iterdir():
        if file.is_file():
            shutil.copy(file, kept / file.name)
    return kept


def _machine_ms() -> int:
    return int(SystemClock().now().timestamp() * 1000)
