import asyncio
import io
from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.bigquery.retrying import ATTEMPTS_MAX, CALLS_PER_RETRY, SAVED_MAX, Retries, RetryBudget
from bqgate.domain.errors import UpstreamNotTried, UpstreamRefused, UpstreamTimeout, UpstreamUnavailable
from bqgate.observe.logs import LogFormat, make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.manual_clock import ManualClock


class Scene:
    """Retries on a clock moved by hand, and an attempt that fails with what is listed, then answers."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        logger = make_logger(io.StringIO(), self.clock, level=20, log_format=LogFormat.JSON)
        self.retries = Retries(self.clock, PrometheusTelemetry(self.metrics, logger), draw=lambda: 0.5)
        self.failures: list[Exception] = []
        self.limits_s: list[float] = []
        self.lasts_s = 0.0

    async def attempt(self, left_s: float) -> str:
        self.limits_s.append(left_s)
        if not self.failures:
            return "answer"
        self.clock.advance(self.lasts_s)
        raise self.failures.pop(0)

    async def save(self, calls: int) -> None:
        """Make calls that succeed."""
        for _ in range(calls):
            await self.retries.ask("read", self.attempt, within_s=30)
        self.limits_s.clear()

    async def ask(self, *, within_s: float = 30, is_unsent_only: bool = False) -> str:
        """Ask, and let every pause pass."""
        asking = asyncio.ensure_future(
            self.retries.ask("dry_run", self.attempt, within_s=within_s, is_unsent_only=is_unsent_only)
        )
        await _pass(self.clock, asking)
        return await asking

    @property
    def retried(self) -> float:
        return self.metrics.value("bqgate_retries_total", operation="dry_run")


async def _pass(clock: ManualClock, waited_for: Awaitable[object]) -> None:
    task = asyncio.ensure_future(waited_for)
    while not task.done():
        sleeping = asyncio.ensure_future(clock.wait_for_sleepers())
        await asyncio.wait({task, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        sleeping.cancel()
        if not task.done():
            clock.advance(1)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_failure_is_followed_by_another_attempt(scene: Scene) -> None:
    """After a pause, and in what is left of the time."""
    scene.failures = [UpstreamUnavailable("503")]
    assert await scene.ask() == "answer"
    assert scene.limits_s == [30, 29]
    assert scene.retried == 1


async def test_there_are_three_attempts_at_most(scene: Scene) -> None:
    """The last failure is the answer."""
    await scene.save(100)
    scene.failures = [UpstreamUnavailable(str(number)) for number in range(5)]
    with pytest.raises(UpstreamUnavailable, match="2"):
        await scene.ask()
    assert len(scene.limits_s) == ATTEMPTS_MAX


@pytest.mark.parametrize(
    "failure", [UpstreamTimeout("late"), UpstreamNotTried("left alone"), UpstreamRefused(404, b"{}")]
)
async def test_what_would_not_help_is_not_done(scene: Scene, failure: Exception) -> None:
    """A timeout has used the time up, a refusal stands, and what this side did not try it will not try now."""
    scene.failures = [failure]
    with pytest.raises(type(failure)):
        await scene.ask()
    assert len(scene.limits_s) == 1


async def test_nobody_begins_anew_in_the_second_half(scene: Scene) -> None:
    """A caller waits meanwhile: what took long fails, and is not tried again."""
    scene.failures = [UpstreamUnavailable("503")]
    scene.lasts_s = 15
    with pytest.raises(UpstreamUnavailable):
        await scene.ask()
    assert len(scene.limits_s) == 1


async def test_nobody_begins_anew_after_a_standstill(scene: Scene) -> None:
    """A process that was stopped in the pause sends nothing afterwards: others may have given the query's hold back."""
    scene.failures = [UpstreamUnavailable("refused", may_have_worked=False)]
    asking = asyncio.ensure_future(scene.retries.ask("jobs.insert", scene.attempt, within_s=4, is_unsent_only=True))
    await scene.clock.wait_for_sleepers()
    scene.clock.advance(20)
    with pytest.raises(UpstreamUnavailable, match="refused"):
        await asking
    assert len(scene.limits_s) == 1


async def test_a_submit_is_repeated_only_where_nothing_was_sent(scene: Scene) -> None:
    """A connection that was refused is tried again; one that broke may have delivered the job."""
    scene.failures = [UpstreamUnavailable("refused", may_have_worked=False), UpstreamUnavailable("broken")]
    await scene.save(0)
    with pytest.raises(UpstreamUnavailable, match="broken"):
        await scene.ask(is_unsent_only=True)
    assert len(scene.limits_s) == 2


async def test_a_budget_that_is_spent_ends_the_retries(scene: Scene) -> None:
    """When everything fails, ten calls bring one retry."""
    for _ in range(2 * CALLS_PER_RETRY):
        scene.failures = [UpstreamUnavailable("503")] * ATTEMPTS_MAX
        with pytest.raises(UpstreamUnavailable):
            await scene.ask()
    assert scene.retried == 3


@given(st.lists(st.booleans(), max_size=400))
def test_retries_are_at_most_a_tenth_of_the_calls(steps: list[bool]) -> None:
    """And one more; whatever the order, and however long it was quiet before."""
    budget = RetryBudget()
    calls = retries = 0
    for is_call in steps:
        if is_call:
            budget.earn()
            calls += 1
        else:
            retries += budget.spend()
        assert retries <= 1 + calls / CALLS_PER_RETRY


def test_quiet_times_save_up_only_so_much() -> None:
    """A burst after a long good time is bounded."""
    budget = RetryBudget()
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1_000)) == SAVED_MAX
