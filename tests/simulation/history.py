"""Draw a history from a seed: what callers do, what breaks, and when. It is data, so that parts can be left out.

To let simulations know a new kind of step: draw it in `_DRAWS` here, and do it in world.DO.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.simulation.bigquery_stand_in import Plan, Way
from tests.simulation.network import How, System

# Moments at which histories begin: at noon, before midnight, before a month ends, before a clock change in Berlin.
STARTS = (
    "2026-11-24T12:00:00+00:00",
    "2026-11-24T22:59:20+00:00",
    "2026-11-30T23:59:10+00:00",
    "2026-10-24T21:59:30+00:00",
)
GATES = 2
LASTS_S = 45.0
# How long jobs run: of all kinds, or all short, or most of them long.
_RUNS_S = ((0.05, 0.5, 4.0, 20.0, 130.0), (0.05, 0.2), (4.0, 200.0, 200.0))
# How requests fare: most of them well, or few.
_ANY_WAY = tuple(way for way in Way if way is not Way.STUCK)
_WAYS = ((*(Way.WELL,) * 12, *_ANY_WAY), (*(Way.WELL,) * 2, *_ANY_WAY))

Draw = Callable[[Random, "_Sketch"], None]


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at a moment. `what` names an entry of world.DO, `given` is what it takes."""

    at_s: float
    what: str
    given: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.at_s:7.3f} s  {self.what} " + " ".join(f"{name}={value}" for name, value in self.given.items())


@dataclass(frozen=True, slots=True)
class History:
    """All that decides a run. `limits_mib` are budgets in MiB's worth of queries."""

    seed: int
    start: str
    ahead_s: tuple[float, ...]
    limits_mib: dict[str, int]
    plans: tuple[Plan, ...]
    steps: tuple[Step, ...]
    tokens_end_s: float | None = None

    def to_json(self) -> str:
        """The history as a file keeps it."""
        document = {
            "seed": self.seed,
            "start": self.start,
            "ahead_s": self.ahead_s,
            "limits_mib": self.limits_mib,
            "tokens_end_s": self.tokens_end_s,
            "plans": [{name: getattr(plan, name) for name in Plan.__dataclass_fields__} for plan in self.plans],
            "steps": [[step.at_s, step.what, step.given] for step in self.steps],
        }
        return json.dumps(document, indent=1)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "History":
        """Undo to_json; what else the document says is for readers."""
        return cls(
            seed=document["seed"],
            start=document["start"],
            ahead_s=tuple(document["ahead_s"]),
            limits_mib=document["limits_mib"],
            plans=tuple(Plan(**plan) for plan in document["plans"]),
            steps=tuple(Step(*step) for step in document["steps"]),
            tokens_end_s=document["tokens_end_s"],
        )


@dataclass(slots=True)
class _Sketch:
    """A history that is being drawn."""

    plans: list[Plan] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    queries: list[dict[str, Any]] = field(default_factory=list)
    run_s: tuple[float, ...] = (1.0,)
    ways: tuple[Way, ...] = (Way.WELL,)

    def add(self, at_s: float, what: str, **given: Any) -> None:
        self.steps.append(Step(round(at_s, 4), what, given))


def draw_history(seed: int) -> History:
    """The history of a seed. The same seed is the same history for as long as this file stays as it is."""
    random = Random(f"history {seed}")
    sketch = _Sketch(run_s=random.choice(_RUNS_S), ways=random.choice(_WAYS))
    for _ in range(random.randint(2, 11)):
        _draw_query(random, sketch)
    kinds = random.sample(_DRAWS, random.randint(0, 5))
    for draw in kinds:
        for _ in range(random.choice((1, 1, 2, 3))):
            draw(random, sketch)
    if random.random() < 0.2:
        _stick(random, sketch)
    has_grace = random.random() < 0.2
    daily_mib = random.choice((60, 120, 250, 600))
    return History(
        seed=seed,
        start=random.choice(STARTS),
        ahead_s=random.choice(((0.0, 0.0), (0.0, 12.0), (-15.0, 15.0), (15.0, -15.0))),
        limits_mib={
            "acme/day": daily_mib,
            "acme/month": daily_mib * random.choice((1, 2, 10)),
            "acme/emergency": daily_mib * 2 if has_grace else 0,
            "acme/cancels": int(has_grace and random.random() < 0.5),
            "globex/day": random.choice((120, 400)),
            "globex/month": 2_000,
            "nightly/day": random.choice((80, 300, 5_000)),
            "deployment/day": random.choice((0, 0, 150, 500, 5_000)),
        },
        plans=tuple(sketch.plans),
        steps=tuple(sorted(sketch.steps, key=lambda step: step.at_s)),
        tokens_end_s=random.choice((None, None, None, 20.0)),
    )


def _moment(random: Random, sketch: _Sketch) -> float:
    """Any moment, more often one at which something else happens."""
    if sketch.steps and random.random() < 0.6:
        return max(
            0.0, random.choice(sketch.steps).at_s + random.choice((0.002, 0.01, 0.05, 0.5, 3.0)) * random.random()
        )
    return random.random() * LASTS_S * random.choice((0.1, 0.5, 1.0))


def _draw_plan(random: Random, number: int, run_s: tuple[float, ...]) -> Plan:
    outcome = random.choice(("done",) * 8 + ("cached", "failed", "script", "overrun"))
    estimate_mib = random.choice((10, 10, 20, 40, 90))
    billed_mib = random.randint(10, estimate_mib)
    if random.random() < 0.1:  # the tables have grown
        billed_mib = estimate_mib * 2
    if outcome == "script":
        billed_mib = random.choice((10, 30, 64))
    return Plan(
        number=number,
        estimate_mib=estimate_mib,
        billed_mib=billed_mib,
        runs_s=round(random.choice(run_s) * (0.5 + random.random()), 3),
        outcome=outcome,
        location=random.choice(("US", "US", "asia-northeast1")),
        is_rerun=random.random() < 0.5,
        listed_after_s=random.choice((0.0, 0.5, 5.0)),
    )


def _draw_query(random: Random, sketch: _Sketch) -> None:
    number = len(sketch.plans)
    sketch.plans.append(_draw_plan(random, number, sketch.run_s))
    query = {
        "number": number,
        "method": random.choice(("insert_id", "insert_id", "insert", "query_id", "query")),
        "customer": random.choice(("acme", "acme", "acme", "globex")),
        "workload": random.choice((None, None, "nightly")),
    }
    sketch.queries.append(query)
    _send(random, sketch, query, _moment(random, sketch))
    if random.random() < 0.4:
        for _ in range(random.choice((1, 1, 2))):
            _draw_repeat(random, sketch)


def _draw_repeat(random: Random, sketch: _Sketch) -> None:
    query = random.choice(sketch.queries)
    first = next(step for step in sketch.steps if step.given.get("number") == query["number"])
    after_s = random.choice((0.0, 0.003, 0.006, 0.02, 0.3, 5.0, 31.0)) * (0.5 + random.random())
    _send(random, sketch, query, first.at_s + after_s)


def _send(random: Random, sketch: _Sketch, query: dict[str, Any], at_s: float) -> None:
    way = random.choice(sketch.ways)
    leaves_s = round(random.choice((0.004, 0.02, 0.5, 6.0)) * random.random(), 4) if random.random() < 0.2 else None
    late_s = round(random.random() * 20, 3) if way is Way.LATE else 0.0
    gate = random.randrange(GATES)
    sketch.add(at_s, "query", **query, gate=gate, way=way.value, late_s=late_s, leaves_s=leaves_s)


def _stick(random: Random, sketch: _Sketch) -> None:
    """Let a request arrive minutes after its gate has given up."""
    place = random.choice([place for place, step in enumerate(sketch.steps) if step.what == "query"])
    step = sketch.steps[place]
    given = step.given | {"way": Way.STUCK.value, "late_s": round(20 + 200 * random.random(), 3)}
    sketch.steps[place] = Step(step.at_s, step.what, given)


def _draw_crash(random: Random, sketch: _Sketch) -> None:
    down_s = round(random.choice((0.5, 5.0, 40.0)) * random.random(), 3)
    calls = random.choice((0, random.randint(1, 6), random.randint(1, 30)))
    moment = random.choice(("before", "sent", "sent", "answered"))
    gate = random.randrange(GATES)
    sketch.add(_moment(random, sketch), "crash", gate=gate, down_s=down_s, calls=calls, moment=moment)


def _draw_stop(random: Random, sketch: _Sketch) -> None:
    for_s = round(random.choice((2.0, 14.0, 20.0, 40.0)) * (0.5 + random.random() / 2), 3)
    sketch.add(_moment(random, sketch), "stop", gate=random.randrange(GATES), for_s=for_s)


def _draw_wipe(random: Random, sketch: _Sketch) -> None:
    sketch.add(_moment(random, sketch), "wipe")


def _draw_old_snapshot(random: Random, sketch: _Sketch) -> None:
    at_s, after_s = _moment(random, sketch), random.choice((0.02, 1.0, 20.0)) * random.random()
    if random.random() < 0.7:  # one that lacks a query which has been answered by then, and may still run
        query = random.choice([step for step in sketch.steps if step.what == "query"])
        number = query.given["number"]
        sketch.plans[number] = replace(sketch.plans[number], runs_s=round(100 + 100 * random.random(), 3))
        at_s, after_s = max(0.0, query.at_s - 0.001), 12.0 + 30.0 * random.random()
    sketch.add(at_s, "snapshot")
    sketch.add(at_s + after_s, "restore")


def _draw_fault(random: Random, sketch: _Sketch) -> None:
    sketch.add(
        _moment(random, sketch),
        "fault",
        system=random.choice((System.STORE, System.LEDGER, System.LEDGER, System.BIGQUERY)).value,
        how=random.choice(tuple(How)).value,
        gate=random.choice((None, 0, 1)),
        for_s=round(random.choice((0.1, 2.0, 20.0)) * random.random(), 3),
        share=random.choice((0.2, 1.0)),
    )


def _draw_slow_record(random: Random, sketch: _Sketch) -> None:
    """A gate places a hold and is slow to record it, while the other gate works on the same hold."""
    query = random.choice([step for step in sketch.steps if step.what == "query"])
    gate, other = query.given["gate"], 1 - query.given["gate"]
    how = random.choice((How.SLOW, How.SLOW, How.DEAF, How.DUMB))
    fault = {"system": System.LEDGER.value, "how": how.value, "gate": gate, "for_s": 1.0, "share": 1.0}
    sketch.add(max(0.0, query.at_s - 0.001), "fault", **fault)
    soon_s = query.at_s + 0.004 + random.random() * random.choice((0.05, 2.0))
    if random.random() < 0.5:
        sketch.add(soon_s, "reconcile", gate=other)
    else:
        sketch.add(soon_s, "query", **(query.given | {"gate": other, "way": Way.WELL.value, "leaves_s": None}))


def _draw_long_way(random: Random, sketch: _Sketch) -> None:
    """A request is on its way for long, and a repeat at the other gate hears nothing of it."""
    ours = [step for step in sketch.steps if step.given.get("method") == "insert_id"]
    if not ours:
        return
    first = random.choice(ours)
    late = {"way": Way.LATE.value, "late_s": round(5 + 15 * random.random(), 3), "leaves_s": None}
    sketch.steps[sketch.steps.index(first)] = replace(first, given=first.given | late)
    again = {"way": Way.BUSY_BEFORE.value, "late_s": 0.0, "leaves_s": None, "gate": 1 - first.given["gate"]}
    sketch.add(first.at_s + 0.02 + 4 * random.random(), "query", **(first.given | again))


def _draw_limit(random: Random, sketch: _Sketch) -> None:
    sketch.add(
        _moment(random, sketch),
        "limit",
        name=random.choice(("acme/day", "acme/month", "globex/day", "nightly/day", "deployment/day")),
        mib=random.choice((30, 100, 300, 900)),
        heard_s=[round(random.random(), 3) for _ in range(GATES)],
    )


def _draw_prices(random: Random, sketch: _Sketch) -> None:
    heard_s = [round(random.random(), 3) for _ in range(GATES)]
    sketch.add(_moment(random, sketch), "price", factor=random.choice((1, 2, 3)), heard_s=heard_s)


def _draw_round(random: Random, sketch: _Sketch) -> None:
    sketch.add(_moment(random, sketch), "reconcile", gate=random.randrange(GATES))


def _draw_sweep(random: Random, sketch: _Sketch) -> None:
    """A round of the sweep; now and then both gates make one, or the one that does crashes in the middle."""
    at_s, gate = _moment(random, sketch) + random.choice((0.0, 5.0, 20.0, 180.0)), random.randrange(GATES)
    sketch.add(at_s, "sweep", gate=gate)
    if random.random() < 0.4:
        sketch.add(at_s + 0.05 * random.random(), "sweep", gate=1 - gate)
    if random.random() < 0.5:
        down_s, calls = round(5.0 * random.random(), 3), random.randint(1, 16)
        moment = random.choice(("before", "sent", "answered"))
        sketch.add(max(0.0, at_s - 0.0005), "crash", gate=gate, down_s=down_s, calls=calls, moment=moment)


def _draw_bypass(random: Random, sketch: _Sketch) -> None:
    number = len(sketch.plans)
    sketch.plans.append(_draw_plan(random, number, sketch.run_s))
    by = random.choice(("eve@acme", "eve@acme", "eve@globex", "eve@nowhere"))
    label = random.choice(("none", "none", "copied", "copied", "copied", "made up"))
    at_s = _moment(random, sketch)
    sketch.add(at_s, "bypass", number=number, by=by, label=label, pick=random.randrange(100))
    if random.random() < 0.5:
        _draw_sweep(random, sketch)


def _draw_correction(random: Random, sketch: _Sketch) -> None:
    """BigQuery reports other figures of a job, and others again, or the first ones, with sweeps in between."""
    number = random.choice([step for step in sketch.steps if step.what in {"query", "bypass"}]).given["number"]
    at_s = _moment(random, sketch)
    for percent in random.sample((50, 100, 200), random.choice((1, 2, 2))):
        at_s += random.choice((0.1, 2.0, 15.0)) * random.random()
        sketch.add(at_s, "correct", number=number, percent=percent)
        if random.random() < 0.7:
            at_s += 0.001 + 3.0 * random.random()
            gate = random.randrange(GATES)
            sketch.add(at_s, "sweep", gate=gate)
            if random.random() < 0.7:
                sketch.add(at_s + 0.004 * random.random(), "sweep", gate=1 - gate)


def _draw_deletion(random: Random, sketch: _Sketch) -> None:
    number = random.choice(sketch.queries)["number"]
    sketch.add(_moment(random, sketch), "delete", number=number, gate=random.randrange(GATES))


def _draw_cancellation(random: Random, sketch: _Sketch) -> None:
    number = random.choice(sketch.queries)["number"]
    sketch.add(_moment(random, sketch), "cancel", number=number, gate=random.randrange(GATES))


def _draw_void(random: Random, sketch: _Sketch) -> None:
    sketch.add(_moment(random, sketch), "void", gate=random.randrange(GATES), pick=random.randrange(100))


# Where a history may have more than queries and their repeats.
_DRAWS: tuple[Draw, ...] = (
    _draw_crash,
    _draw_crash,
    _draw_crash,
    _draw_stop,
    _draw_wipe,
    _draw_wipe,
    _draw_old_snapshot,
    _draw_fault,
    _draw_fault,
    _draw_slow_record,
    _draw_slow_record,
    _draw_long_way,
    _draw_limit,
    _draw_prices,
    _draw_round,
    _draw_sweep,
    _draw_bypass,
    _draw_bypass,
    _draw_correction,
    _draw_deletion,
    _draw_cancellation,
    _draw_void,
)
