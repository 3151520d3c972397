from datetime import timedelta
from zoneinfo import ZoneInfo

from tests.chaos.plan import TURNS, CallKind, ChangeKind, FaultKind, Stores, make_plan

_MANY = range(40)


def test_a_seed_is_a_plan() -> None:
    """The same seed gives the same calls, faults and changes; another one gives others."""
    assert make_plan(7, 20) == make_plan(7, 20)
    assert make_plan(7, 20) != make_plan(8, 20)


def test_every_kind_comes_in_some_run() -> None:
    """What the suite says that it does, it does: every call, fault, change, store and turn is drawn by some seed."""
    plans = [make_plan(seed, 30) for seed in _MANY]
    assert {call.kind for plan in plans for call in plan.calls} == set(CallKind) - {CallKind.BYPASS}
    assert {fault.kind for plan in plans for fault in plan.faults} == set(FaultKind)
    assert {change.kind for plan in plans for change in plan.changes} == set(ChangeKind)
    assert {plan.stores for plan in plans} == set(Stores)
    assert {plan.turn.name for plan in plans} == {turn.name for turn in TURNS}
    assert {plan.has_previous for plan in plans} == {True, False}


def test_callers_go_past_the_gate_only_where_that_is_asked_for() -> None:
    """Who books what came past the gate says so to the plan."""
    plan = make_plan(1, 30, has_bypass=True)
    assert any(call.kind is CallKind.BYPASS for call in plan.calls)


def test_each_turn_is_one() -> None:
    """At each turn some customer's day begins, or its clocks are changed."""
    for turn in TURNS:
        before = turn.at - timedelta(seconds=1)
        zones = [ZoneInfo(name) for name in ("UTC", *turn.zones.values())]
        is_new_day = any(before.astimezone(zone).date() != turn.at.astimezone(zone).date() for zone in zones)
        is_other_time = any(
            before.astimezone(zone).utcoffset() != turn.at.astimezone(zone).utcoffset() for zone in zones
        )
        assert is_new_day or is_other_time, turn.name


def test_nothing_breaks_twice_at_once() -> None:
    """Two faults of Redis, or of the database, do not overlap, so that each is mended as it was broken."""
    for seed in _MANY:
        faults = [fault for fault in make_plan(seed, 30).faults if fault.kind.startswith(("Redis", "database"))]
        for system in ("Redis", "database"):
            ends_s = 0.0
            for fault in faults:
                if fault.kind.startswith(system) and fault.kind is not FaultKind.REDIS_SNAPSHOT:
                    assert fault.at_s >= ends_s, (seed, fault)
                    ends_s = fault.at_s + fault.seconds
