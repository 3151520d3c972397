"""Draw all that happens in a chaos run from its seed: who calls when, what breaks when, what is changed, and the date.

Pure: the same seed and length give the same plan. When things really happen follows from the machine, so that two runs
of one plan differ in their timing and in nothing else.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from tests.chaos.world import CUSTOMER_OF, WORKLOADS, Limits, drawn_limits

MIB = 2**20
_GIB_MIB = 1024
DrawnT = TypeVar("DrawnT")


class CallKind(StrEnum):
    """What a caller does."""

    PLAIN = "plain"
    QUERY = "query"
    LONG = "long"
    REPEATED_JOB = "repeated job id"
    REPEATED_REQUEST = "repeated request id"
    LEAVING = "leaving"
    CANCELLING = "cancelling"
    SCRIPT = "script"
    FAILING_SCRIPT = "script that fails half way"
    CACHED = "cached"
    JOBLESS = "job-less"
    TOO_BIG = "too big"
    FAILING = "failing"
    BYPASS = "past the gate"


_CALL_WEIGHTS = {
    CallKind.PLAIN: 30,
    CallKind.QUERY: 16,
    CallKind.LONG: 8,
    CallKind.REPEATED_JOB: 10,
    CallKind.REPEATED_REQUEST: 8,
    CallKind.LEAVING: 12,
    CallKind.CANCELLING: 4,
    CallKind.SCRIPT: 3,
    CallKind.FAILING_SCRIPT: 3,
    CallKind.CACHED: 4,
    CallKind.JOBLESS: 6,
    CallKind.TOO_BIG: 2,
    CallKind.FAILING: 3,
}
_PROJECT_WEIGHTS = {
    "acme-prod": 20,
    "acme-dev": 10,
    "globex-data": 22,
    "initech-reports": 8,
    "umbrella-a": 20,
    "umbrella-b": 12,
    "stark-lab": 12,
}


@dataclass(frozen=True)
class Call:
    """One caller's query. `gate` is where it begins; repeats go to both. `leaves_after_ms`: it does not wait longer."""

    number: int
    at_s: float
    kind: CallKind
    gate: int
    project: str
    workload: str | None
    size_mib: int
    ms: int
    statement_type: str
    leaves_after_ms: int

    @property
    def sql(self) -> str:
        """The query's text: what it does, and which call it is."""
        size, kind = self.size_mib * MIB, f"type={self.statement_type}"
        said = f"/*bytes={size} ms={self.ms} {kind}*/"
        if self.kind in {CallKind.SCRIPT, CallKind.FAILING_SCRIPT}:
            end = " fails" if self.kind is CallKind.FAILING_SCRIPT else ""
            said = f"/*script*/ /*bytes={size} ms={self.ms}*/ /*bytes={size // 2} ms=5{end}*/ /*bytes={size} ms=5*/"
        elif self.kind is CallKind.CACHED:
            said = f"/*bytes={size} ms={self.ms} cached*/"
        elif self.kind is CallKind.FAILING:
            said = f"/*bytes={size} ms={self.ms} fails*/"
        return f"{said} SELECT {self.number}"


class FaultKind(StrEnum):
    """What breaks."""

    GATE_KILLED = "gate killed"
    GATE_STOPPED = "gate stopped"
    GATE_PAUSED = "gate paused"
    REDIS_FLUSHED = "Redis flushed"
    REDIS_KILLED = "Redis killed"
    REDIS_STALLED = "Redis stalled"
    REDIS_FULL = "Redis full"
    REDIS_SNAPSHOT = "Redis snapshot taken"
    REDIS_RESTORED = "Redis restored from the snapshot"
    REDIS_CUT = "answers of Redis cut"
    DATABASE_STOPPED = "database stopped"
    DATABASE_CRASHED = "database crashed"
    DATABASE_LOCKED = "database locked"
    DATABASE_FULL = "database full"
    DATABASE_CROWDED = "database out of connections"
    DATABASE_CUT = "answers of the database cut"
    UPSTREAM = "BigQuery"
    CLOCKS_MOVED = "clocks moved"


# For each fault what it strikes, how often it is drawn, and how many seconds it lasts.
_FAULTS: dict[FaultKind, tuple[str, int, tuple[float, float]]] = {
    FaultKind.GATE_KILLED: ("gate", 10, (0.2, 2.0)),
    FaultKind.GATE_STOPPED: ("gate", 6, (0.2, 1.0)),
    FaultKind.GATE_PAUSED: ("gate", 3, (0.3, 2.0)),
    FaultKind.REDIS_FLUSHED: ("redis", 5, (0.1, 0.1)),
    FaultKind.REDIS_KILLED: ("redis", 4, (0.2, 2.0)),
    FaultKind.REDIS_STALLED: ("redis", 4, (0.3, 3.0)),
    FaultKind.REDIS_FULL: ("redis", 4, (0.5, 2.5)),
    FaultKind.REDIS_RESTORED: ("redis", 6, (0.1, 1.0)),
    FaultKind.REDIS_CUT: ("redis", 4, (0.3, 1.5)),
    FaultKind.DATABASE_STOPPED: ("database", 3, (0.2, 2.0)),
    FaultKind.DATABASE_CRASHED: ("database", 3, (0.2, 1.5)),
    FaultKind.DATABASE_LOCKED: ("database", 5, (0.5, 3.0)),
    FaultKind.DATABASE_FULL: ("database", 4, (0.5, 2.5)),
    FaultKind.DATABASE_CROWDED: ("database", 4, (0.5, 2.5)),
    FaultKind.DATABASE_CUT: ("database", 4, (0.3, 1.5)),
    FaultKind.UPSTREAM: ("upstream", 22, (0.5, 2.5)),
}
_OF_POSTGRESQL = {
    FaultKind.DATABASE_STOPPED,
    FaultKind.DATABASE_CRASHED,
    FaultKind.DATABASE_CROWDED,
    FaultKind.DATABASE_CUT,
}
# What an older revision is not asked to survive: it lacks what was mended since.
_NOT_BESIDE_OLD = {FaultKind.REDIS_RESTORED, FaultKind.REDIS_FLUSHED, FaultKind.REDIS_KILLED}

UPSTREAM_FAULTS = (
    "503 before the work",
    "503 after the work",
    "connection cut before the work",
    "connection cut after the work",
    "answer cut before its jobReference",
    "answer cut behind its jobReference",
    "no answer, for a long time",
    "the work begins late",
)


@dataclass(frozen=True)
class Fault:
    """Something breaks, for so many seconds. `gate` is which one, where that matters; `detail` of BigQuery's, how."""

    at_s: float
    kind: FaultKind
    seconds: float
    gate: int = 0
    detail: str = ""


class ChangeKind(StrEnum):
    """What an operator changes while the load runs."""

    TIER_BY_FILE = "a tier's limit by the file"
    TIER_BY_API = "a tier's limit by the API"
    BUDGET_BY_API = "a budget's limit by the API"
    CUSTOMER_BY_FILE = "a customer's tier by the file"
    PRICE_BY_FILE = "the price by the file"
    PRICE_BY_API = "the price by the API"


@dataclass(frozen=True)
class Change:
    """A change of settings; `value` is in cents, or dollars per TiB, or a tier."""

    at_s: float
    kind: ChangeKind
    value: str


class Stores(StrEnum):
    """Where budgets and ledger are kept."""

    POSTGRESQL = "two gates, Redis, PostgreSQL"
    SQLITE = "one gate, Redis, SQLite"
    MEMORY = "one gate, budgets in memory, SQLite"

    @property
    def gate_count(self) -> int:
        return 2 if self is Stores.POSTGRESQL else 1


@dataclass(frozen=True)
class Turn:
    """A moment at which days or months begin or clocks are changed, and in which time zone whose days are."""

    name: str
    at: datetime
    zones: dict[str, str]


def _turn(name: str, at: str, **zones: str) -> Turn:
    return Turn(name, datetime.fromisoformat(at).replace(tzinfo=UTC), zones)


TURNS = (
    _turn("midnight", "2026-11-18T00:00", globex="Europe/Berlin"),
    _turn("the end of a month", "2026-12-01T00:00", globex="Asia/Tokyo"),
    _turn("the end of a month in New York", "2026-12-01T05:00", acme="America/New_York", globex="America/New_York"),
    _turn("summer time begins at midnight in Cairo", "2026-04-23T22:00", acme="Africa/Cairo", umbrella="Africa/Cairo"),
    _turn("summer time ends at midnight in Cairo", "2026-10-29T21:00", acme="Africa/Cairo", globex="Africa/Cairo"),
    _turn("the day after that begins", "2026-10-29T22:00", acme="Africa/Cairo", umbrella="Africa/Cairo"),
    _turn("summer time begins at midnight in Havana", "2027-03-14T05:00", acme="America/Havana"),
    _turn("midnight comes twice in Havana", "2026-11-01T05:00", acme="America/Havana", umbrella="America/Havana"),
    _turn("summer time ends in Berlin", "2026-10-25T01:00", acme="Europe/Berlin", globex="Europe/Berlin"),
)


@dataclass(frozen=True)
class Plan:
    """All of a run. `skews_s` is how far each gate's clock is ahead; at `turn_at_s` gate 0 passes the turn.

    `has_previous`: the last gate is of the previous revision until it is started anew.
    """

    seed: int
    seconds: float
    stores: Stores
    turn: Turn
    turn_at_s: float
    skews_s: tuple[float, ...]
    has_previous: bool
    limits: Limits
    calls: tuple[Call, ...]
    faults: tuple[Fault, ...]
    changes: tuple[Change, ...]

    def as_document(self) -> dict[str, Any]:
        """All of it in plain values."""
        return asdict(self) | {"turn": self.turn.name}


def make_plan(
    seed: int,
    seconds: float,
    *,
    stores: Stores | None = None,
    calls_per_s: float = 25.0,
    has_previous: bool | None = None,
    has_bypass: bool = False,
) -> Plan:
    """The plan of a seed.

    Args:
        seed: says everything else.
        seconds: how long the load lasts.
        stores: one kind; None: drawn.
        calls_per_s: on average.
        has_previous: whether the previous revision runs beside this one; None: drawn, where there are two gates.
        has_bypass: whether some callers go past the gate; for when somebody books what they cost.
    """
    chance = random.Random(seed)
    drawn = chance.choices(tuple(Stores), (6, 3, 1))[0]
    chosen = stores or drawn
    wants_previous = chance.random() < 0.25
    is_mixed = (wants_previous if has_previous is None else has_previous) and chosen.gate_count > 1
    skew_s = chance.choice((30.0, -30.0))
    return Plan(
        seed=seed,
        seconds=seconds,
        stores=chosen,
        turn=chance.choice(TURNS),
        turn_at_s=seconds * chance.uniform(0.3, 0.6),
        skews_s=(0.0, skew_s)[: chosen.gate_count],
        has_previous=is_mixed,
        limits=(limits := drawn_limits(chance)),
        calls=_calls(chance, seconds, chosen.gate_count, calls_per_s, has_bypass=has_bypass),
        faults=_faults(chance, seconds, chosen, is_mixed=is_mixed),
        changes=_changes(chance, seconds, limits),
    )


def _calls(
    chance: random.Random, seconds: float, gate_count: int, calls_per_s: float, *, has_bypass: bool
) -> tuple[Call, ...]:
    weights = _CALL_WEIGHTS | ({CallKind.BYPASS: 5} if has_bypass else {})
    calls: list[Call] = []
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(calls_per_s)) < seconds:
        kind = _drawn(chance, weights)
        project = _drawn(chance, _PROJECT_WEIGHTS)
        calls.append(
            Call(
                number=len(calls) + 1,
                at_s=at_s,
                kind=kind,
                gate=chance.randrange(gate_count),
                project=project,
                workload=chance.choice((*WORKLOADS, None)) if CUSTOMER_OF[project] == "umbrella" else None,
                size_mib=2_000 * _GIB_MIB if kind is CallKind.TOO_BIG else chance.randint(11, 1_800),
                ms=chance.randint(1_500, 5_000) if _is_long(kind) else chance.choice((0, 0, 10, 60, 250, 900)),
                statement_type=chance.choice(("SELECT", "SELECT", "INSERT")),
                leaves_after_ms=chance.choice((1, 3, 8, 15, 30, 60, 150, 400)),
            )
        )
    return tuple(calls)


def _is_long(kind: CallKind) -> bool:
    return kind in {CallKind.LONG, CallKind.CANCELLING}


def _faults(chance: random.Random, seconds: float, stores: Stores, *, is_mixed: bool) -> tuple[Fault, ...]:
    """One after the other and over one another, but never two at once of the same system."""
    barred = set() if stores is Stores.POSTGRESQL else set(_OF_POSTGRESQL)
    barred |= {FaultKind.DATABASE_FULL} if stores is Stores.POSTGRESQL else set()
    barred |= _NOT_BESIDE_OLD if is_mixed else set()
    weights = {
        kind: weight
        for kind, (system, weight, _) in _FAULTS.items()
        if kind not in barred and (stores is not Stores.MEMORY or system != "redis")
    }
    faults = [Fault(seconds * 0.7, FaultKind.CLOCKS_MOVED, 0.0, detail=str(chance.randint(3, 15)))]
    busy_until: dict[str, float] = {}
    at_s = chance.uniform(1.5, 3.0)
    while at_s < seconds - 1.0:
        kind = _drawn(chance, weights)
        system, _, (least_s, most_s) = _FAULTS[kind]
        gate = chance.randrange(stores.gate_count)
        name = f"gate {gate}" if system == "gate" else system
        lasts_s, ago_s = chance.uniform(least_s, most_s), chance.uniform(0.8, 5.0)
        detail = chance.choice(UPSTREAM_FAULTS) if kind is FaultKind.UPSTREAM else ""
        if busy_until.get(name, 0.0) <= at_s:
            if kind is FaultKind.REDIS_RESTORED:
                faults.append(Fault(max(0.5, at_s - ago_s), FaultKind.REDIS_SNAPSHOT, 0.0))
            faults.append(Fault(at_s, kind, lasts_s, gate, detail))
            busy_until[name] = at_s + lasts_s + 0.5
        at_s += chance.uniform(0.7, 2.8)
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def _changes(chance: random.Random, seconds: float, limits: Limits) -> tuple[Change, ...]:
    by_api = chance.random() < 0.5  # what an admin wrote beats the file, so a price is changed in one way only
    values: dict[ChangeKind, Callable[[], str]] = {
        ChangeKind.TIER_BY_FILE: lambda: str(chance.randint(30, 110)),
        ChangeKind.TIER_BY_API: lambda: str(limits.tiers["graced"] + chance.randint(10, 80)),
        ChangeKind.BUDGET_BY_API: lambda: str(chance.randint(40, 120)),
        ChangeKind.CUSTOMER_BY_FILE: lambda: chance.choice(("wide", "middling")),
        ChangeKind.PRICE_BY_API if by_api else ChangeKind.PRICE_BY_FILE: lambda: chance.choice(
            ("7.77", "10.24", "12.5")
        ),
    }
    moments = sorted(chance.uniform(2.0, seconds - 2.0) for _ in range(int(seconds / 5)))
    kinds = [chance.choice(tuple(values)) for _ in moments]
    return tuple(Change(at_s, kind, values[kind]()) for at_s, kind in zip(moments, kinds, strict=True))


def _drawn(chance: random.Random, weights: Mapping[DrawnT, int]) -> DrawnT:
    return chance.choices(tuple(weights), tuple(weights.values()))[0]


def kinds_of(faults: Sequence[Fault]) -> dict[str, int]:
    """How often each kind of fault comes."""
    counts: dict[str, int] = {}
    for fault in faults:
        name = f"{fault.kind}: {fault.detail}" if fault.kind is FaultKind.UPSTREAM else str(fault.kind)
        counts[name] = counts.get(name, 0) + 1
    return counts
