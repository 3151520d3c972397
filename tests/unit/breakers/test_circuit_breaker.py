import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.breakers.circuit_breaker import DISBELIEF_S, BreakerRules, CircuitBreaker, Permit
from bqgate.observe.logs import LogFormat, make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.manual_clock import ManualClock

CLOSED, HALF_OPEN, OPEN = 0, 1, 2
RULES = BreakerRules(failures_to_open=3, cooldown_s=10)


class Scene:
    """A breaker, its clock, its metrics."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        logger = make_logger(io.StringIO(), self.clock, level=20, log_format=LogFormat.JSON)
        self.breaker = CircuitBreaker("upstream", RULES, self.clock, PrometheusTelemetry(self.metrics, logger))

    def permit(self, customer: str = "") -> Permit:
        permit = self.breaker.take(customer)
        assert permit is not None
        return permit

    def fail(self, times: int = 3) -> None:
        for _ in range(times):
            self.permit().fail()

    def half_open_probe(self) -> Permit:
        self.fail()
        self.clock.advance(10)
        return self.permit()

    @property
    def trips(self) -> float:
        return self.metrics.value("bqgate_system_breaker_trips_total", system="upstream")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_failures_in_a_row_open_it(scene: Scene) -> None:
    """The third failure opens; from then on calls are refused, and it says for how long."""
    scene.fail(2)
    assert (scene.breaker.state_number, scene.breaker.open_for_s) == (CLOSED, 0)
    scene.permit().fail()
    assert (scene.breaker.state_number, scene.breaker.open_for_s, scene.trips) == (OPEN, 10, 1)
    scene.clock.advance(9.5)
    assert scene.breaker.take() is None
    assert scene.breaker.open_for_s == 0.5


def test_a_success_in_between_begins_the_count_anew(scene: Scene) -> None:
    """Two failures, a success, two failures: nothing is wrong enough."""
    for _ in range(2):
        scene.fail(2)
        scene.permit().succeed()
    assert scene.breaker.state_number == CLOSED


def test_a_call_that_says_nothing_counts_as_nothing(scene: Scene) -> None:
    """A caller that leaves neither fails the system nor excuses it."""
    scene.fail(2)
    scene.permit().leave()
    assert scene.breaker.state_number == CLOSED
    scene.fail(1)
    assert scene.breaker.state_number == OPEN


def test_after_the_cool_down_one_call_is_let_through(scene: Scene) -> None:
    """The first is the probe; the others are refused until it has ended."""
    probe = scene.half_open_probe()
    assert scene.breaker.state_number == HALF_OPEN
    assert [scene.breaker.take() for _ in range(3)] == [None] * 3
    probe.succeed()
    assert scene.breaker.state_number == CLOSED
    scene.fail(2)
    assert scene.breaker.state_number == CLOSED


def test_a_probe_that_fails_opens_it_again(scene: Scene) -> None:
    """One failure is enough while it is half-open, and the cool-down begins anew."""
    scene.half_open_probe().fail()
    assert (scene.breaker.state_number, scene.breaker.open_for_s, scene.trips) == (OPEN, 10, 2)


def test_a_probe_whose_caller_leaves_makes_room_for_another(scene: Scene) -> None:
    """Nothing was learnt, so the next call tries."""
    scene.half_open_probe().leave()
    assert scene.breaker.state_number == HALF_OPEN
    scene.permit().succeed()
    assert scene.breaker.state_number == CLOSED


def test_a_probe_that_takes_long_keeps_nobody_out(scene: Scene) -> None:
    """After another cool-down a second call may try, and whichever ends first decides."""
    probe = scene.half_open_probe()
    scene.clock.advance(9)
    assert scene.breaker.take() is None
    scene.clock.advance(1)
    second = scene.permit()
    probe.succeed()
    assert scene.breaker.state_number == CLOSED
    second.fail()
    assert scene.breaker.state_number == CLOSED


def test_calls_from_before_a_change_say_nothing_about_now(scene: Scene) -> None:
    """A call that began before the breaker opened neither closes it nor counts against the probe."""
    late_success, late_failure = scene.permit(), scene.permit()
    probe = scene.half_open_probe()
    late_success.succeed()
    late_failure.fail()
    assert scene.breaker.state_number == HALF_OPEN
    probe.succeed()
    assert scene.breaker.state_number == CLOSED


def test_a_turn_ends_once(scene: Scene) -> None:
    """What is said after the end is not heard."""
    permit = scene.permit()
    permit.succeed()
    for _ in range(5):
        permit.fail()
    assert scene.breaker.state_number == CLOSED


@pytest.mark.parametrize(("error", "state"), [(OSError, OPEN), (ValueError, CLOSED), (asyncio.CancelledError, CLOSED)])
def test_a_block_ends_as_its_error_says(scene: Scene, error: type[BaseException], state: int) -> None:
    """A fault that was named counts; any other error and being cancelled do not."""
    for _ in range(3):
        with pytest.raises(error), scene.permit().failing_on(OSError):
            raise error
    assert scene.breaker.state_number == state


def test_a_block_without_error_is_a_success(scene: Scene) -> None:
    """The count begins anew."""
    for _ in range(3):
        scene.fail(2)
        with scene.permit().failing_on(OSError):
            pass
    assert scene.breaker.state_number == CLOSED


def test_a_word_opens_it_for_what_is_left(scene: Scene) -> None:
    """Another gate's word is believed at once, for as long as it still stands, and counted as a trip."""
    scene.breaker.on_remote_open(4)
    assert (scene.breaker.open_for_s, scene.breaker.is_remote, scene.trips) == (4, True, 1)
    scene.breaker.on_remote_open(9)
    assert scene.breaker.open_for_s == 4
    scene.clock.advance(4)
    scene.permit().fail()
    assert (scene.breaker.open_for_s, scene.breaker.is_remote) == (10, False)


def test_a_word_closes_only_what_a_word_opened(scene: Scene) -> None:
    """What failed here itself waits for its own probe."""
    scene.breaker.on_remote_open(4)
    scene.breaker.on_remote_closed()
    assert (scene.breaker.state_number, scene.breaker.is_remote) == (CLOSED, False)
    scene.fail()
    scene.breaker.on_remote_closed()
    assert scene.breaker.state_number == OPEN


def test_who_has_just_tried_itself_does_not_believe_others(scene: Scene) -> None:
    """One gate with a broken network shuts the others once, and not again after each of its own probes."""
    scene.breaker.on_remote_open(4)
    scene.clock.advance(4)
    scene.permit().succeed()
    scene.breaker.on_remote_open(10)
    assert scene.breaker.state_number == CLOSED
    scene.clock.advance(DISBELIEF_S)
    scene.breaker.on_remote_open(10)
    assert scene.breaker.state_number == OPEN


def opened_by_two(scene: Scene) -> None:
    """Two customers' failures, and the cool-down after them."""
    for customer in ("acme", "globex", "acme"):
        scene.permit(customer).fail()
    assert scene.breaker.state_number == OPEN
    scene.clock.advance(10)


def test_one_customers_failures_open_it_for_nobody_else(scene: Scene) -> None:
    """While another customer is active; connections that cannot be made are no customer's."""
    scene.permit("globex").succeed()
    for _ in range(20):
        scene.permit("acme").fail()
    assert scene.breaker.state_number == CLOSED
    scene.permit("globex").succeed()
    for _ in range(3):
        scene.permit("acme").fail(is_everybodys=True)
    assert scene.breaker.state_number == OPEN


def test_one_customers_failed_probe_keeps_nobody_else_out(scene: Scene) -> None:
    """The next to try is another customer; who failed waits, and does not open it again alone."""
    opened_by_two(scene)
    scene.permit("acme").fail()
    assert scene.breaker.state_number == HALF_OPEN
    assert scene.breaker.take("acme") is None
    scene.permit("globex").succeed()
    assert scene.breaker.state_number == CLOSED
    scene.permit("acme").fail()
    assert scene.breaker.state_number == CLOSED


def test_two_customers_failed_trials_open_it_again(scene: Scene) -> None:
    """So does one probe that could not be connected."""
    opened_by_two(scene)
    scene.permit("acme").fail()
    scene.permit("globex").fail()
    assert (scene.breaker.state_number, scene.trips) == (OPEN, 2)
    scene.clock.advance(10)
    scene.permit("acme").fail(is_everybodys=True)
    assert (scene.breaker.state_number, scene.trips) == (OPEN, 3)


def test_who_hogs_the_probe_lets_others_go_first(scene: Scene) -> None:
    """A probe that has not ended after a cool-down is followed by another customer's, then by anybody's."""
    opened_by_two(scene)
    scene.permit("acme")
    scene.clock.advance(10)
    assert scene.breaker.take("acme") is None
    scene.permit("globex").leave()
    scene.permit("acme").succeed()
    assert scene.breaker.state_number == CLOSED


def test_who_fails_alone_may_try_again_later(scene: Scene) -> None:
    """Nobody else has called: after two cool-downs the same customer has a probe again."""
    opened_by_two(scene)
    scene.permit("acme").fail()
    scene.clock.advance(19)
    assert scene.breaker.take("acme") is None
    scene.clock.advance(1)
    scene.permit("acme").succeed()
    assert scene.breaker.state_number == CLOSED


@given(st.lists(st.sampled_from(["take", "succeed", "fail", "leave", "advance", "open", "closed"]), max_size=60))
def test_never_more_than_one_probe_in_a_cool_down(steps: list[str]) -> None:
    """Whatever happens: open lets nobody through, half-open one in a cool-down, and no state lasts for ever."""
    scene = Scene()
    permits: list[Permit] = []
    probes_at: list[float] = []
    for step in steps:
        before = scene.breaker.state_number
        if step == "take":
            left_s = scene.breaker.open_for_s
            permit = scene.breaker.take()
            assert permit is None or left_s == 0
            assert permit is not None or before != CLOSED
            if permit is not None:
                permits.append(permit)
                if before != CLOSED:
                    probes_at.append(scene.clock.monotonic_s())
        elif step == "advance":
            scene.clock.advance(3)
        elif step == "open":
            scene.breaker.on_remote_open(6)
        elif step == "closed":
            scene.breaker.on_remote_closed()
        elif permits:
            getattr(permits.pop(), step)()
    for permit in permits:
        permit.leave()
    scene.clock.advance(20)
    scene.permit().succeed()
    assert scene.breaker.state_number == CLOSED
