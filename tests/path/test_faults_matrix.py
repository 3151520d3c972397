"""System, fault, moment: what the client is answered, what stays held, what is booked, what is counted. One row a cell.

`held` is what is open in budgets and ledger after the answer, while the fault stands; after it and two minutes, with a
reconcile each, nothing is, in any cell, and what was booked was captured, once. BigQuery has no part between booking
and capture, and before anything is sent to it its connection can be refused, no more. The gate is closed while a system
is away, as it is by itself for `enforce`, and has no journal; test_degraded.py has what `open` and `allowance` change.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from bqgate.sandbox import Fault
from tests.support.fault_stand import CENTS_10, SLOW_S, Moment, Stand, fault_stand, until

pytestmark = pytest.mark.long


UNAVAILABLE = (503, "backendError")
FINE = (200, "")
CUT = (0, "cut")
BOTH = {"budgets", "ledger"}
# A metric with its labels, as /metrics shows it; it stands at one at least.
CLOSED_DRY_RUN = 'bqgate_degraded_total{system="dry_run",conduct="closed",outcome="refused"}'
CLOSED_BUDGETS = 'bqgate_degraded_total{system="budgets",conduct="closed",outcome="refused"}'
CLOSED_LEDGER = 'bqgate_degraded_total{system="ledger",conduct="closed",outcome="refused"}'
NOT_FILLED = 'bqgate_refused_calls_total{reason="LedgerUnavailable"}'
NOT_BOOKED = 'bqgate_failures_total{system="ledger",step="settle"}'
NOT_CAPTURED = 'bqgate_failures_total{system="budgets",step="settle"}'
CAPTURED = 'bqgate_holds_total{event="captured"}'
VOIDED = 'bqgate_holds_total{event="voided"}'
NO_ANSWER = 'bqgate_upstream_answers_total{status="none"}'
ANSWER_5XX = 'bqgate_upstream_answers_total{status="5xx"}'


class Cell(NamedTuple):
    """One cell. `booked`: whether BigQuery ran the job, so that its ten cents are in the ledger in the end."""

    system: str
    fault: str
    moment: Moment
    answer: tuple[int, str]
    held: set[str]
    booked: bool
    metric: str


HOLD, FORWARD, BOOKING, CAPTURE = Moment
MATRIX = (
    Cell("bigquery", "refused", HOLD, UNAVAILABLE, set(), False, CLOSED_DRY_RUN),
    Cell("bigquery", "stalled", HOLD, UNAVAILABLE, set(), False, CLOSED_DRY_RUN),
    Cell("bigquery", "lost", HOLD, UNAVAILABLE, set(), False, CLOSED_DRY_RUN),
    Cell("bigquery", "cut", HOLD, UNAVAILABLE, set(), False, CLOSED_DRY_RUN),
    Cell("bigquery", "5xx", HOLD, UNAVAILABLE, set(), False, CLOSED_DRY_RUN),
    Cell("bigquery", "slow", HOLD, FINE, set(), True, CAPTURED),
    Cell("bigquery", "refused", FORWARD, UNAVAILABLE, set(), False, VOIDED),
    Cell("bigquery", "stalled", BOOKING, UNAVAILABLE, BOTH, True, NO_ANSWER),
    Cell("bigquery", "lost", BOOKING, UNAVAILABLE, set(), True, CAPTURED),
    Cell("bigquery", "cut", BOOKING, CUT, set(), True, CAPTURED),
    Cell("bigquery", "5xx", BOOKING, UNAVAILABLE, BOTH, False, ANSWER_5XX),
    Cell("bigquery", "slow", BOOKING, FINE, set(), True, CAPTURED),
    # Cut and stalled: Redis did the work, and only its answer is missing.
    Cell("redis", "refused", HOLD, UNAVAILABLE, set(), False, CLOSED_BUDGETS),
    Cell("redis", "stalled", HOLD, UNAVAILABLE, {"budgets"}, False, CLOSED_BUDGETS),
    Cell("redis", "cut", HOLD, UNAVAILABLE, {"budgets"}, False, CLOSED_BUDGETS),
    Cell("redis", "slow", HOLD, FINE, set(), True, CAPTURED),
    Cell("redis", "refused", FORWARD, FINE, {"budgets"}, True, NOT_CAPTURED),
    Cell("redis", "stalled", FORWARD, FINE, set(), True, NOT_CAPTURED),
    Cell("redis", "cut", FORWARD, FINE, set(), True, NOT_CAPTURED),
    Cell("redis", "slow", FORWARD, FINE, set(), True, CAPTURED),
    Cell("redis", "refused", BOOKING, FINE, {"budgets"}, True, NOT_CAPTURED),
    Cell("redis", "stalled", BOOKING, FINE, set(), True, NOT_CAPTURED),
    Cell("redis", "cut", BOOKING, FINE, set(), True, NOT_CAPTURED),
    Cell("redis", "slow", BOOKING, FINE, set(), True, CAPTURED),
    Cell("redis", "refused", CAPTURE, FINE, {"budgets"}, True, NOT_CAPTURED),
    Cell("redis", "stalled", CAPTURE, FINE, set(), True, NOT_CAPTURED),
    Cell("redis", "cut", CAPTURE, FINE, set(), True, NOT_CAPTURED),
    Cell("redis", "slow", CAPTURE, FINE, set(), True, CAPTURED),
    Cell("ledger", "refused", HOLD, UNAVAILABLE, set(), False, NOT_FILLED),
    Cell("ledger", "stalled", HOLD, UNAVAILABLE, set(), False, NOT_FILLED),
    Cell("ledger", "cut", HOLD, UNAVAILABLE, set(), False, NOT_FILLED),
    Cell("ledger", "slow", HOLD, FINE, set(), True, CAPTURED),
    Cell("ledger", "refused", FORWARD, UNAVAILABLE, set(), False, CLOSED_LEDGER),
    Cell("ledger", "stalled", FORWARD, UNAVAILABLE, set(), False, CLOSED_LEDGER),
    Cell("ledger", "cut", FORWARD, UNAVAILABLE, set(), False, CLOSED_LEDGER),
    Cell("ledger", "slow", FORWARD, FINE, set(), True, CAPTURED),
    Cell("ledger", "refused", BOOKING, FINE, BOTH, True, NOT_BOOKED),
    Cell("ledger", "stalled", BOOKING, FINE, BOTH, True, NOT_BOOKED),
    Cell("ledger", "cut", BOOKING, FINE, BOTH, True, NOT_BOOKED),
    Cell("ledger", "slow", BOOKING, FINE, set(), True, CAPTURED),
    # It has booked, and nobody heard: the hold is ended when the gate asks again, and nothing is booked twice.
    Cell("ledger", "refused", CAPTURE, FINE, {"budgets"}, True, NOT_BOOKED),
    Cell("ledger", "stalled", CAPTURE, FINE, {"budgets"}, True, NOT_BOOKED),
    Cell("ledger", "cut", CAPTURE, FINE, {"budgets"}, True, NOT_BOOKED),
    Cell("ledger", "slow", CAPTURE, FINE, set(), True, CAPTURED),
)


async def break_system(stand: Stand, system: str, fault: str, moment: Moment) -> None:
    """Let a system fail: on its wire, or, where BigQuery shall fail one method only, in the sandbox itself."""
    wire = stand.wires[system]
    is_dry_run = moment is Moment.BEFORE_HOLD
    match (system, fault):
        case (_, "refused"):
            wire.refuse()
        case ("bigquery", _):
            faults = {
                "stalled": Fault(kind="delay", delay_s=1.5),
                "lost": Fault(kind="lost"),
                "cut": Fault(kind="cut"),
                "5xx": Fault(kind="error"),
                "slow": Fault(kind="delay", delay_s=SLOW_S),
            }
            chosen = faults[fault]
            chosen.dry_run, chosen.method = is_dry_run, "" if is_dry_run else "jobs.query"
            stand.sandbox.faults.add(chosen)
        case (_, "stalled"):
            wire.answers.stall()
        case (_, "cut"):
            wire.answers.cut_after(0)
        case (_, "slow"):
            wire.answers.delay(SLOW_S)
        case _:
            raise AssertionError(fault)


def counted(stand: Stand, metric: str) -> float:
    """The value of a metric that is written as /metrics writes it."""
    name, _, labels = metric.rstrip("}").partition("{")
    pairs = dict(each.split("=") for each in labels.split(","))
    return stand.gate.metrics.value(name, **{key: value.strip('"') for key, value in pairs.items()})


@pytest.mark.parametrize("cell", MATRIX, ids=lambda cell: f"{cell.system} {cell.fault} {cell.moment}")
async def test_the_matrix(tmp_path: Path, redis_url: str, postgres_url: str, cell: Cell) -> None:
    """Invariants 1, 3, 4 and 6, in every cell: no hold is left, no job is unbooked, none is booked twice."""
    async with fault_stand(tmp_path, redis_url, postgres_url, is_patient=cell.fault != "stalled") as stand:

        async def break_it() -> None:
            await break_system(stand, cell.system, cell.fault, cell.moment)

        async def is_as_told() -> bool:
            return counted(stand, cell.metric) >= 1 and await stand.held() == cell.held

        async def is_over() -> bool:
            return not await stand.held() and len(await stand.entries()) == cell.booked

        if (cell.system, cell.moment) != ("ledger", Moment.BEFORE_HOLD):
            await stand.fill_windows()
        strikes_by_itself = cell.system == "bigquery" and cell.fault != "refused"
        assert await stand.query(None if strikes_by_itself else cell.moment, break_it) == cell.answer
        await until(is_as_told)
        await stand.come_back(is_over)
        spent_nanos = CENTS_10 if cell.booked else 0
        assert [entry.cost_nanos for entry in await stand.entries()] == [CENTS_10] * cell.booked
        balances = await stand.gate.budgets.fetch_balances(stand.windows)
        assert {(balance.captured_nanos, balance.held_nanos) for balance in balances} == {(spent_nanos, 0)}
        assert await stand.query(None, _break_nothing) == FINE


@pytest.mark.parametrize("fault", ["refused", "stalled", "cut", "slow"])
@pytest.mark.parametrize("moment", Moment)
async def test_a_journal_goes_on(tmp_path: Path, redis_url: str, postgres_url: str, fault: str, moment: Moment) -> None:
    """With the journal a database that fails at any moment refuses nobody, and the books are right in the end."""
    is_patient = fault != "stalled"
    async with fault_stand(tmp_path, redis_url, postgres_url, is_patient=is_patient, sync="journal") as stand:

        async def break_it() -> None:
            await break_system(stand, "ledger", fault, moment)

        async def is_over() -> bool:
            return not await stand.held() and len(await stand.entries()) == 2

        await stand.fill_windows()
        assert await stand.query(moment, break_it) == FINE
        assert await stand.query(None, _break_nothing) == FINE  # it fails still
        await stand.come_back(is_over)
        assert [entry.cost_nanos for entry in await stand.entries()] == [CENTS_10] * 2
        balances = await stand.gate.budgets.fetch_balances(stand.windows)
        assert {(balance.captured_nanos, balance.held_nanos) for balance in balances} == {(2 * CENTS_10, 0)}
        assert len(list((tmp_path / "journal").iterdir())) == 1


async def _break_nothing() -> None:
    pass
