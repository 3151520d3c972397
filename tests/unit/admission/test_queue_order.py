from datetime import UTC, datetime

import pytest

from bqgate.admission.queue.depths import Depths
from bqgate.admission.queue.fair_queue import FairQueue, QueuedQuery, Waiting
from bqgate.admission.queue.pacing import interval_ms
from bqgate.domain.budget import Balance, Period, Window
from bqgate.domain.throttling import Priority, Throttling


def day(used: int, limit: int | None = 100, *, throttle_ppm: int | None = 950_000) -> Balance:
    """A day's budget with so much used."""
    midnight = datetime(2026, 11, 25, tzinfo=UTC)
    return Balance(Window("acme", Period.DAY, "2026-11-24", limit, midnight, throttle_ppm=throttle_ppm), used, 0)


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        pytest.param(95, 2_000, id="at the threshold"),
        pytest.param(96, 3_200, id="a fifth of the way"),
        pytest.param(99, 6_800, id="four fifths of the way"),
        pytest.param(100, 8_000, id="at the limit"),
        pytest.param(300, 8_000, id="in grace, far beyond it"),
    ],
)
def test_the_pace_tightens_as_the_balance_falls(used: int, expected: int) -> None:
    """The interval grows in a straight line from the tier's wait to four times it at the limit."""
    assert interval_ms(2_000, (day(used),)) == expected


def test_the_tightest_budget_sets_the_pace() -> None:
    """Of several budgets the one with the largest share in use; one without a limit says nothing."""
    assert interval_ms(2_000, (day(95), day(99), day(10**9, None))) == 6_800


def test_a_tier_without_a_throttle_threshold_paces_at_the_limit() -> None:
    """A query in grace is throttled under any tier: below the limit at the wait itself, at it four times slower."""
    assert [2_000, 8_000] == [interval_ms(2_000, (day(used, throttle_ppm=None),)) for used in (99, 100)]


def test_the_deepest_is_known_after_every_step() -> None:
    """Depths agree with counting anew, whoever comes and goes."""
    depths, counted = Depths(), dict.fromkeys("abc", 0)
    for step in ("+a", "+b", "+b", "+c", "+c", "+c", "-c", "-c", "-b", "-b", "-c", "+b", "-a", "-b"):
        name = step[1]
        counted[name] += 1 if step[0] == "+" else -1
        (depths.add if step[0] == "+" else depths.remove)(name)
        most = max(counted.values())
        deepest = depths.deepest()
        assert (deepest is None) == (most == 0)
        assert deepest is None or counted[deepest] == most
        assert [depths.of(each) for each in "abc"] == list(counted.values())
    assert len(depths) == 0


def waiting(hold_id: str, customer: str, principal: str, priority: Priority = Priority.NORMAL) -> Waiting:
    return Waiting(QueuedQuery(hold_id, customer, principal, priority), 0.0)


def filled(*names: str) -> FairQueue:
    """A full queue of "customer principal" entries, with hold ids h0, h1, and so on."""
    queue = FairQueue(len(names))
    for number, name in enumerate(names):
        customer, principal = name.split()
        assert queue.add(waiting(f"h{number}", customer, principal)) is None
    return queue


def test_a_full_room_makes_place_for_who_has_none() -> None:
    """A customer that filled the room gives up the newest place of its busiest principal to another customer."""
    queue = filled("a x", "a x", "a y", "a x")
    loser = queue.add(waiting("new", "b", "z"))
    assert loser is not None
    assert loser.queued.hold_id == "h3"
    assert "new" in queue
    assert len(queue) == 4


def test_a_full_room_makes_place_inside_a_customer() -> None:
    """A principal that filled its customer's share gives up its newest place to a colleague."""
    queue = filled("a x", "a x", "a x", "b z", "b z")
    loser = queue.add(waiting("new", "a", "y"))
    assert loser is not None
    assert loser.queued.hold_id == "h2"


@pytest.mark.parametrize(
    ("names", "newcomer"),
    [
        pytest.param(("a x", "a x", "a x"), "a x", id="the one who fills it"),
        pytest.param(("a x", "b y"), "c z", id="everybody has one"),
        pytest.param(("a x", "a x", "b y"), "b y", id="one less than the deepest"),
        pytest.param((), "a x", id="a room without places"),
    ],
)
def test_a_full_room_refuses_who_would_make_shares_no_more_equal(names: tuple[str, ...], newcomer: str) -> None:
    """The newcomer itself finds no place, and nobody loses one."""
    queue = filled(*names)
    customer, principal = newcomer.split()
    new = waiting("new", customer, principal)
    assert queue.add(new) is new
    assert len(queue) == len(names)


def test_the_least_class_gives_up_its_place_first() -> None:
    """Of the principal that must give up a place, the newest of its least class goes."""
    queue = FairQueue(3)
    queue.add(waiting("low", "a", "x", Priority.LOW))
    queue.add(waiting("high", "a", "x", Priority.HIGH))
    queue.add(waiting("high too", "a", "x", Priority.HIGH))
    loser = queue.add(waiting("new", "b", "z"))
    assert loser is not None
    assert loser.queued.hold_id == "low"


def test_customers_take_turns_and_principals_inside_them() -> None:
    """A customer with many principals gets no more turns than one with one."""
    queue = filled("a x", "a x", "a y", "b z", "b z", "b z")
    order = []
    while (taken := queue.take_next(lambda _: True)) is not None:
        order.append(f"{taken.queued.customer} {taken.queued.principal}")
    assert order == ["a x", "b z", "a y", "b z", "a x", "b z"]


def test_a_workload_stands_above_the_tier() -> None:
    """The class of a query is its workload's where that has one, else the tier's."""
    throttling = Throttling(priority=Priority.HIGH, priority_by_workload={"nightly": Priority.LOW})
    asked = [throttling.priority_of(workload) for workload in (None, "nightly", "other")]
    assert asked == [Priority.HIGH, Priority.LOW, Priority.HIGH]
