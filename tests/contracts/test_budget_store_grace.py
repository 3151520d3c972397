"""Hold every BudgetStore to the rules of domain.cost_breaker: grace, the emergency limit, the cost breaker."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.cost_breaker import (
    NO_GRACE,
    BreakerEvent,
    BreakerEventKind,
    CostBreaker,
    GracePolicy,
)
from bqgate.domain.hold import Hold, Placement, PlacementOutcome, VoidOutcome
from bqgate.domain.money import parse_usd
from bqgate.domain.reject_reason import RejectReason
from bqgate.ports import BudgetStore
from tests.support.budget_scene import hold_on, stands, usd, windows_of
from tests.support.budget_stores import Scene
from tests.support.manual_clock import START

GRACE_S = 900
COOLDOWN_S = 1_800
GRACE_POLICY = GracePolicy(grace_s=GRACE_S, emergency_nanos=parse_usd("20"))
HALF_OPEN = GracePolicy(grace_s=GRACE_S, emergency_nanos=parse_usd("20"), cooldown_s=COOLDOWN_S)
MIDNIGHT = START + timedelta(hours=12)


async def attempt(
    scene: Scene, amount: str, grace: GracePolicy = GRACE_POLICY, store: BudgetStore | None = None
) -> Placement:
    """Try to hold an amount now, at 10 dollars a day and 300 a month."""
    windows = windows_of(now=scene.clock.now())
    return await (store or scene.store).place_hold(hold_now(scene, amount), windows, grace)


def hold_now(scene: Scene, amount: str) -> Hold:
    return hold_on(windows_of(now=scene.clock.now()), amount, placed_at=scene.clock.now())


async def trip(scene: Scene, grace: GracePolicy = GRACE_POLICY) -> Placement:
    """Fill the day up to its limit and ask for more than the emergency limit has left."""
    await attempt(scene, "10", grace)
    tripping = await attempt(scene, "10.000000001", grace)
    assert tripping.refusal is RejectReason.EMERGENCY
    return tripping


async def test_past_the_limit_grace_places_and_says_until_when(scene: Scene) -> None:
    """The first hold past the limit starts the grace of the short window alone; later ones do not start it again."""
    day, month = windows_of()
    assert (await attempt(scene, "10")).grace_ends_at is None
    first = await attempt(scene, "1")
    ends_at = START + timedelta(seconds=GRACE_S)
    assert (first.outcome, first.grace_started_in, first.grace_ends_at) == (PlacementOutcome.PLACED, (day,), ends_at)
    assert [balance.grace_started_at for balance in first.balances] == [START, None]
    scene.clock.advance(GRACE_S - 1)
    later = await attempt(scene, "1")
    assert (later.outcome, later.grace_started_in, later.grace_ends_at) == (PlacementOutcome.PLACED, (), ends_at)
    assert (await scene.store.fetch_balances((day, month)))[0].grace_started_at == START


async def test_when_grace_is_over_nothing_more_is_placed_and_nothing_changes(scene: Scene) -> None:
    """At the very moment of its end: GRACE_OVER; the breaker stays closed."""
    await attempt(scene, "10")
    await attempt(scene, "1")
    scene.clock.advance(GRACE_S)
    refused = await attempt(scene, "0.000000001")
    assert (refused.outcome, refused.refusal, refused.breaker) == (
        PlacementOutcome.REFUSED,
        RejectReason.GRACE_OVER,
        None,
    )
    assert stands(refused.balances) == [usd("0", "11")] * 2


@pytest.mark.parametrize(
    "grace",
    [NO_GRACE, GracePolicy(grace_s=GRACE_S), GracePolicy(emergency_nanos=parse_usd("20"))],
    ids=["none", "no bound", "0 s"],
)
async def test_without_grace_the_limit_refuses(scene: Scene, grace: GracePolicy) -> None:
    """No grace, or none without an emergency limit: the budget says no, and no breaker trips."""
    await attempt(scene, "10", grace)
    refused = await attempt(scene, "11", grace)
    assert (refused.refusal, refused.breaker) == (RejectReason.BUDGET_USED_UP, None)


async def test_a_new_day_has_a_grace_of_its_own(scene: Scene) -> None:
    """A new window is a new key; the old day's grace is over for it alone."""
    await attempt(scene, "10")
    await attempt(scene, "1")
    scene.clock.advance_to(MIDNIGHT)
    await attempt(scene, "10")
    assert (await attempt(scene, "1")).grace_ends_at == MIDNIGHT + timedelta(seconds=GRACE_S)


async def test_the_month_has_a_grace_too(scene: Scene) -> None:
    """A short month alone starts its own grace, and is over in its own time, on whatever day."""
    windows = windows_of(month_usd="1")
    first = hold_on(windows, "2")
    placed = await scene.store.place_hold(first, windows, GRACE_POLICY)
    assert placed.grace_started_in == (windows[1],)
    scene.clock.advance(GRACE_S)
    late = hold_on(windows, "1", placed_at=scene.clock.now())
    assert (await scene.store.place_hold(late, windows, GRACE_POLICY)).refusal is RejectReason.GRACE_OVER


async def test_the_emergency_limit_may_be_reached_and_not_passed(scene: Scene) -> None:
    """Exactly 20 are placed in grace; a nano-dollar more trips the breaker, and from then on nothing at all runs."""
    await attempt(scene, "10")
    assert (await attempt(scene, "10")).outcome is PlacementOutcome.PLACED
    tripping = await attempt(scene, "0.000000001")
    assert (tripping.refusal, tripping.has_tripped) == (RejectReason.EMERGENCY, True)
    assert tripping.breaker == CostBreaker(opened_at=START, until=MIDNIGHT)
    scene.clock.advance(60)
    refused = await attempt(scene, "0")
    assert (refused.refusal, refused.has_tripped, refused.breaker) == (
        RejectReason.BREAKER_OPEN,
        False,
        CostBreaker(START, MIDNIGHT),
    )
    assert stands(refused.balances) == [usd("0", "20")] * 2
    assert await scene.store.fetch_breakers() == {"acme": CostBreaker(START, MIDNIGHT)}


async def test_an_overrun_past_the_emergency_limit_admits_nothing(scene: Scene) -> None:
    """A job that cost more than was held leaves no room: the next attempt trips the breaker."""
    hold = hold_now(scene, "9")
    await scene.run(hold, windows_of())
    await scene.store.capture(hold, parse_usd("25"))
    assert (await attempt(scene, "0")).refusal is RejectReason.EMERGENCY


async def test_the_breaker_closes_with_its_day(scene: Scene) -> None:
    """At midnight it is closed, whatever it was, and the new day has its limit."""
    await trip(scene)
    scene.clock.advance_to(MIDNIGHT - timedelta(microseconds=1))
    assert (await attempt(scene, "1")).refusal is RejectReason.BREAKER_OPEN
    scene.clock.advance_to(MIDNIGHT)
    assert (await attempt(scene, "1")).outcome is PlacementOutcome.PLACED
    budget_status = await scene.store.fetch_status(windows_of(now=scene.clock.now()))
    assert budget_status.breaker is None
    assert await scene.store.fetch_breakers() == {}


async def test_a_breaker_refuses_whatever_room_there_is_and_every_tier(scene: Scene) -> None:
    """A budget raised after the trip, or terms without grace, do not pass an open breaker; other customers do."""
    await trip(scene)
    wide = windows_of(day_usd="1000")
    assert (await scene.store.place_hold(hold_on(wide), wide, NO_GRACE)).refusal is RejectReason.BREAKER_OPEN
    others = windows_of("zenith")
    assert (await scene.store.place_hold(hold_on(others), others, GRACE_POLICY)).outcome is PlacementOutcome.PLACED


async def test_a_repeat_of_a_running_query_is_found_while_the_breaker_is_open(scene: Scene) -> None:
    """The earlier hold covers it; it spends nothing new."""
    windows = windows_of()
    running = hold_on(windows, "10", idempotency_key="job:p:j")
    await scene.store.place_hold(running, windows, GRACE_POLICY)
    await attempt(scene, "11")
    again = await scene.store.place_hold(hold_on(windows, idempotency_key="job:p:j"), windows, GRACE_POLICY)
    assert (again.outcome, again.hold_id) == (PlacementOutcome.REPLAYED, running.id)


async def test_an_admins_reset_closes_the_breaker(scene: Scene) -> None:
    """Then budgets and grace judge again, as they stand; a reset of a closed one changes nothing."""
    await trip(scene)
    await scene.store.reset_breaker("acme")
    placed = await attempt(scene, "1")
    assert (placed.outcome, placed.breaker) == (PlacementOutcome.PLACED, None)
    await scene.store.reset_breaker("acme")
    assert (await scene.store.fetch_status(windows_of())).breaker is None


async def test_without_a_cooldown_there_is_no_probe(scene: Scene) -> None:
    """Minutes do not open it; only the next day or an admin."""
    await trip(scene)
    scene.clock.advance(11 * 3600)
    assert (await attempt(scene, "0")).refusal is RejectReason.BREAKER_OPEN


async def test_after_the_cooldown_one_probe_goes_through(scene: Scene) -> None:
    """The first attempt that fits is the probe; others are refused until it ends, on whatever terms they come."""
    await trip(scene, HALF_OPEN)
    await scene.store.fetch_balances(windows_of())
    scene.clock.advance(COOLDOWN_S - 1)
    assert (await attempt(scene, "0", HALF_OPEN)).refusal is RejectReason.BREAKER_OPEN
    scene.clock.advance(1)
    assert (await attempt(scene, "0", GRACE_POLICY)).refusal is RejectReason.BREAKER_OPEN
    probe = await attempt(scene, "0", HALF_OPEN)
    assert (probe.outcome, probe.is_probe) == (PlacementOutcome.PLACED, True)
    assert probe.breaker is not None
    assert (probe.breaker.opened_at, probe.breaker.probe_id) == (START, probe.hold_id)
    other = await attempt(scene, "0", HALF_OPEN)
    assert (other.refusal, other.is_probe) == (RejectReason.BREAKER_OPEN, False)


async def start_probe(scene: Scene, amount: str = "1") -> Hold:
    """Trip, free what was held, wait, and have a probe placed."""
    filler = hold_now(scene, "10")
    await scene.store.place_hold(filler, windows_of(), HALF_OPEN)
    await attempt(scene, "11", HALF_OPEN)
    await scene.store.void(filler)
    scene.clock.advance(COOLDOWN_S)
    probe = hold_now(scene, amount)
    placed = await scene.store.place_hold(probe, windows_of(), HALF_OPEN)
    assert placed.is_probe
    return probe


async def test_a_probe_that_is_captured_closes_the_breaker(scene: Scene) -> None:
    """The day fits under the emergency limit with its cost, to the nano-dollar."""
    probe = await start_probe(scene)
    assert await scene.store.capture(probe, parse_usd("20"))
    assert (await scene.store.fetch_status(windows_of())).breaker is None


async def test_a_probe_that_overruns_the_emergency_limit_opens_it_anew(scene: Scene) -> None:
    """The cool-down begins again at its end."""
    probe = await start_probe(scene)
    scene.clock.advance(60)
    assert await scene.store.capture(probe, parse_usd("20.000000001"))
    budget_status = await scene.store.fetch_status(windows_of())
    assert budget_status.breaker == CostBreaker(opened_at=scene.clock.now(), until=MIDNIGHT)


async def test_a_probe_that_is_voided_lets_the_next_one_try(scene: Scene) -> None:
    """It proved nothing: the breaker is open as before, and the next attempt is the probe."""
    probe = await start_probe(scene)
    assert await scene.store.void(probe) is VoidOutcome.VOIDED
    assert (await scene.store.fetch_status(windows_of())).breaker == CostBreaker(START, MIDNIGHT)
    assert (await attempt(scene, "1", HALF_OPEN)).is_probe


async def test_a_probe_that_is_refused_opens_it_anew(scene: Scene) -> None:
    """Whichever rule refuses it: here the grace, which has passed meanwhile."""
    await attempt(scene, "10", HALF_OPEN)
    await attempt(scene, "1", HALF_OPEN)
    await attempt(scene, "10", HALF_OPEN)
    scene.clock.advance(COOLDOWN_S)
    refused = await attempt(scene, "1", HALF_OPEN)
    assert (refused.refusal, refused.has_tripped) == (RejectReason.GRACE_OVER, True)
    assert refused.breaker == CostBreaker(opened_at=scene.clock.now(), until=MIDNIGHT)
    assert (await attempt(scene, "1", HALF_OPEN)).refusal is RejectReason.BREAKER_OPEN


async def test_a_probe_whose_day_is_not_known_at_its_end_proves_nothing(scene: Scene) -> None:
    """The window was forgotten and not yet filled: whether the day fits nobody can say, so the next one tries."""
    probe = await start_probe(scene)
    await scene.store.forget_windows("acme")
    assert await scene.store.capture(probe, parse_usd("1"))
    assert (await scene.store.fetch_status(windows_of())).breaker == CostBreaker(START, MIDNIGHT)


async def test_a_day_that_is_filled_anew_leaves_an_open_breaker_and_its_probe_alone(scene: Scene) -> None:
    """The ledger knows that it tripped, the store knows more."""
    probe = await start_probe(scene)
    day = windows_of()[0]
    scene.book.record(BreakerEvent("acme", day.period, day.key, START, BreakerEventKind.TRIPPED, "ada"))
    await scene.store.forget_windows("acme")
    breaker = (await scene.store.fetch_status(windows_of())).breaker
    assert breaker is not None
    assert breaker.probe_id == probe.id


async def test_the_end_of_another_hold_leaves_the_breaker_alone(scene: Scene) -> None:
    """Only the probe closes it."""
    running = hold_now(scene, "10")
    await scene.store.place_hold(running, windows_of(), HALF_OPEN)
    await attempt(scene, "11", HALF_OPEN)
    await scene.store.capture(running, parse_usd("1"))
    assert (await scene.store.fetch_status(windows_of())).breaker == CostBreaker(START, MIDNIGHT)


async def test_observing_places_everything_and_says_why_it_would_not_have(scene: Scene) -> None:
    """Past the limit within grace nothing would refuse; after it grace_over; past the emergency limit emergency."""
    observed = GracePolicy(grace_s=GRACE_S, emergency_nanos=parse_usd("20"), is_observed=True)
    refusals = [(await attempt(scene, amount, observed)).refusal for amount in ("10", "5", "6")]
    scene.clock.advance(GRACE_S)
    last = await attempt(scene, "0", observed)
    assert [*refusals, last.refusal] == [None, None, RejectReason.EMERGENCY, RejectReason.EMERGENCY]
    assert (last.outcome, last.breaker) == (PlacementOutcome.PLACED, None)
    assert stands(last.balances) == [usd("0", "21")] * 2


async def test_observing_is_not_stopped_by_an_open_breaker(scene: Scene) -> None:
    """It opened while the mode was enforce; now it only shows."""
    await trip(scene)
    placed = await attempt(scene, "1", GracePolicy(is_observed=True))
    assert (placed.outcome, placed.refusal) == (PlacementOutcome.PLACED, RejectReason.BREAKER_OPEN)


async def test_observing_makes_no_probe(scene: Scene) -> None:
    """Nobody needs one to be let through: the breaker stays as it is, and the next that enforces is the probe."""
    await trip(scene, HALF_OPEN)
    scene.clock.advance(COOLDOWN_S)
    placed = await attempt(scene, "0", replace(HALF_OPEN, is_observed=True))
    assert (placed.outcome, placed.is_probe, placed.breaker) == (
        PlacementOutcome.PLACED,
        False,
        CostBreaker(START, MIDNIGHT),
    )
    assert (await attempt(scene, "0", HALF_OPEN)).is_probe


async def test_an_id_that_has_ended_is_not_placed_again(scene: Scene) -> None:
    """No budget said no."""
    hold = hold_now(scene, "1")
    await scene.store.void(hold)
    refused = await scene.store.place_hold(hold, windows_of(), GRACE_POLICY)
    assert (refused.outcome, refused.refusal) == (PlacementOutcome.ENDED, None)


async def test_a_lost_store_has_grace_and_breaker_back_before_it_decides(scene: Scene) -> None:
    """Invariant 7: the first attempt after the loss is refused by what the ledger remembers."""
    day, _ = windows_of()
    for kind, minute in ((BreakerEventKind.GRACE_STARTED, 0), (BreakerEventKind.TRIPPED, 5)):
        at = START + timedelta(minutes=minute)
        scene.book.record(BreakerEvent("acme", day.period, day.key, at, kind, "ada"))
    async with scene.wiped() as store:
        refused = await attempt(scene, "1", store=store)
        assert (refused.refusal, refused.breaker) == (
            RejectReason.BREAKER_OPEN,
            CostBreaker(START + timedelta(minutes=5), MIDNIGHT),
        )
        assert refused.balances[0].grace_started_at == START
        await store.reset_breaker("acme")
        scene.clock.advance(GRACE_S)
        assert (await attempt(scene, "11", store=store)).refusal is RejectReason.GRACE_OVER


async def test_a_window_that_is_forgotten_is_filled_anew(scene: Scene) -> None:
    """What the ledger says is set, holds count once, and other customers are left alone."""
    day, month = windows_of()
    done, running = hold_now(scene, "2"), hold_now(scene, "3")
    await scene.run(done, (day, month))
    await scene.run(running, (day, month))
    scene.book.book(done, parse_usd("1.5"))
    await scene.store.capture(done, parse_usd("1"))  # a store that lost half a dollar
    others = windows_of("acmeta")
    await scene.run(hold_on(others, "4"), others)
    scene.book.open_holds.clear()
    scene.book.open_hold(running)
    assert stands(await scene.store.fetch_balances((day, month))) == [usd("1", "3")] * 2
    for _ in range(2):
        await scene.store.forget_windows("acme")
    assert stands(await scene.store.fetch_balances((day, month))) == [usd("1.5", "3")] * 2
    assert stands(await scene.store.fetch_balances(others)) == [usd("0", "4")] * 2


@pytest.mark.parametrize(
    ("grace", "advance_s", "expected"),
    [
        pytest.param(NO_GRACE, 0, 50, id="at the limit"),
        pytest.param(GracePolicy(GRACE_S, parse_usd("7")), 0, 70, id="at the emergency limit"),
        pytest.param(GracePolicy(GRACE_S, parse_usd("7")), GRACE_S, 51, id="when grace is over"),
    ],
)
async def test_a_burst_passes_no_boundary(scene: Scene, grace: GracePolicy, advance_s: int, expected: int) -> None:
    """Invariant 2: of 200 concurrent attempts of 0.10 at 5.00 exactly those that the boundary has room for."""
    windows = windows_of(day_usd="5.00")
    placed = 0
    if advance_s:
        for amount in ("5", "0.10"):
            await scene.store.place_hold(hold_on(windows, amount), windows, grace)
        placed = 51
        scene.clock.advance(advance_s)
    now = scene.clock.now()
    placements = await asyncio.gather(
        *(scene.store.place_hold(hold_on(windows, "0.10", placed_at=now), windows, grace) for _ in range(200))
    )
    placed += sum(placement.outcome is PlacementOutcome.PLACED for placement in placements)
    assert placed == expected
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", f"{expected // 10}.{expected % 10}")] * 2
    assert sum(placement.has_tripped for placement in placements) == (expected == 70)
