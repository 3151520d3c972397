import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bqgate.breakers.circuit_breaker import BreakerRules, CircuitBreaker
from bqgate.breakers.guarded import guarded
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable, MalformedRequest
from bqgate.ledger import SqlLedger
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock

RULES = BreakerRules(failures_to_open=2, cooldown_s=5)


class Adapter:
    """A small port's adapter that fails as told."""

    name = "adapter"

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.calls = 0

    async def fetch(self, number: int, *, more: int = 0) -> int:
        """The sum."""
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return number + more

    async def close(self) -> None:
        """Works always."""
        self.calls += 1


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.breaker = CircuitBreaker("ledger", RULES, self.clock, ListTelemetry())
        self.adapter = Adapter()
        self.port = guarded(self.adapter, self.breaker, LedgerUnavailable)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_calls_pass_with_their_arguments_and_answers(scene: Scene) -> None:
    """A guarded port looks like the port: methods, arguments, plain attributes."""
    assert await scene.port.fetch(1, more=2) == 3
    assert scene.port.name == "adapter"
    with pytest.raises(AttributeError):
        _ = scene.port.absent  # type: ignore[attr-defined]  # there is none, that is the point


async def test_a_system_that_failed_is_left_alone_and_then_tried_once(scene: Scene) -> None:
    """After two failures calls fail with the port's own error and without a call; then one tries, and all is well."""
    scene.adapter.failure = LedgerUnavailable("no answer")
    for _ in range(5):
        with pytest.raises(LedgerUnavailable):
            await scene.port.fetch(1)
    assert scene.adapter.calls == 2
    scene.adapter.failure = None
    scene.clock.advance(5)
    assert [await scene.port.fetch(1), await scene.port.fetch(2)] == [1, 2]


@pytest.mark.parametrize("failure", [MalformedRequest("not ours"), BudgetStoreUnavailable("of another system")])
async def test_other_errors_say_nothing_about_the_system(scene: Scene, failure: Exception) -> None:
    """A caller's fault, and the failure of another system on the way, never open the breaker."""
    scene.adapter.failure = failure
    for _ in range(5):
        with pytest.raises(type(failure)):
            await scene.port.fetch(1)
    assert scene.adapter.calls == 5


async def test_closing_is_never_refused(scene: Scene) -> None:
    """A gate that ends while a system is left alone gives its connections back."""
    scene.adapter.failure = LedgerUnavailable("no answer")
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            await scene.port.fetch(1)
    await scene.port.close()
    assert scene.adapter.calls == 3


async def test_a_database_that_does_not_answer_costs_as_little(tmp_path: Path) -> None:
    """The ledger's file is locked: two calls wait in vain, the next are refused, after the pause one asks."""
    file, clock = tmp_path / "ledger.db", ManualClock()
    breaker = CircuitBreaker("ledger", RULES, clock, ListTelemetry())
    ledger = guarded(await SqlLedger.open(f"sqlite:///{file}", clock, timeout_s=1), breaker, LedgerUnavailable)
    await ledger.check()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                await ledger.check()
        assert breaker.state_number == 2
        other.execute("ROLLBACK")
    for _ in range(100):
        with pytest.raises(LedgerUnavailable, match="left alone"):
            await ledger.check()
    clock.advance(5)
    await ledger.check()
    assert breaker.state_number == 0
    await ledger.close()
