"""Looks of cost metrics: booked once, corrected, bounded, and no plug-in harms another."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bqgate.domain.entry import EntryKind, Origin
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.tier import Mode
from bqgate.metering.metering import MetricPlan
from bqgate.ports.cost_metrics import BoundedQueries, MeteredCost, Question
from bqgate.sandbox.faults import Fault
from tests.support.metering_stand import STORAGE, STREAMING, MeteringStand
from tests.support.own_costs_stand import EVERYBODY, POLICIES

HOUR_S = 3_600
FEE = MetricPlan("fee", f"{__name__}:Fee", {})


class Fee:
    """A flat fee of a dollar an hour, for the last hour, unless told otherwise."""

    look_back = timedelta(days=1)

    def __init__(self, *costs: MeteredCost, usd: int = 1, raises: BaseException | None = None) -> None:
        self.costs = costs
        self.usd = usd
        self.raises = raises
        self.asked: list[Question] = []

    async def measure(self, question: Question, queries: BoundedQueries) -> Sequence[MeteredCost]:
        self.asked.append(question)
        if self.raises is not None:
            raise self.raises
        if self.costs:
            return self.costs
        since = question.until - timedelta(hours=1)
        return [MeteredCost(since, question.until, 1, "hours", self.usd * NANOS_PER_USD)]


class Asks:
    """A plug-in that asks BigQuery one thing."""

    look_back = timedelta(days=1)

    async def measure(self, question: Question, queries: BoundedQueries) -> Sequence[MeteredCost]:
        await queries.run("SELECT nothing FROM nowhere.at_all")
        return []


def looks(stand: MeteringStand, metric: str, result: str) -> int:
    return int(stand.metrics.value("bqgate_cost_metric_looks_total", metric=metric, result=result))


async def test_a_cost_is_the_projects_customers(stand: MeteringStand) -> None:
    """Booked with its metric and place, in the windows of its own time, and as nobody's job."""
    await stand.measure(FEE).look()
    (entry,) = await stand.metered()
    assert (entry.origin, entry.kind, entry.customer) == (Origin.METERED, EntryKind.CHARGE, "acme")
    assert (entry.principal, entry.decision, entry.job) == ("metric:fee", "metered", None)
    assert entry.window_keys == {"day": "2026-11-24", "month": "2026-11"}
    assert entry.labels == {
        "bqgate_metric": "fee",
        "bqgate_region": "us",
        "bqgate_quantity": "1",
        "bqgate_unit": "hours",
        "bqgate_since": "2026-11-24T11:00:00+00:00",
    }


async def test_whole_hours_are_asked_for(stand: MeteringStand) -> None:
    """As far back as the plug-in says, or the settings, at every place."""
    stand.advance(HOUR_S * 1.5)
    fee = Fee()
    await stand.measure(FEE, replace(FEE, look_back=timedelta(days=3), regions=("eu", "us"))).look(fee)
    until = stand.clock.now() - timedelta(minutes=30)
    assert [(each.place.region, until - each.until, until - each.since) for each in fee.asked] == [
        ("us", timedelta(), timedelta(days=1)),
        ("eu", timedelta(), timedelta(days=3)),
        ("us", timedelta(), timedelta(days=3)),
    ]
    assert {each.place.project_id for each in fee.asked} == {"acme-prod"}


async def test_what_is_measured_again_is_booked_once(stand: MeteringStand) -> None:
    """By one gate twice, and by two at the same moment."""
    one, other = stand.measure(FEE), stand.measure(FEE, name="b")
    await asyncio.gather(one.look(), other.look())
    await one.look()
    assert len(await stand.metered()) == 1


async def test_what_is_measured_otherwise_later_is_corrected(stand: MeteringStand) -> None:
    """By the difference, up and down, once each whoever measures; never by a changed entry."""
    one, other = stand.measure(FEE), stand.measure(FEE, name="b")
    for usd in (5, 7, 4, 4, 0):
        await asyncio.gather(one.look(Fee(usd=usd)), other.look(Fee(usd=usd)))
    charge, *corrections = await stand.metered()
    assert [entry.cost_nanos // NANOS_PER_USD for entry in (charge, *corrections)] == [5, 2, -3, -4]
    assert {(entry.kind, entry.adjusts) for entry in corrections} == {(EntryKind.ADJUSTMENT, charge.id)}
    moved = {"metric": "fee", "way": "down"}
    assert stand.metrics.value("bqgate_metered_adjusted_nanos_total", **moved) == 7 * NANOS_PER_USD


async def test_costs_count_in_budgets(stand: MeteringStand) -> None:
    """In the customer's and the deployment's, as soon as they are booked, corrections too."""
    gate = stand.measure(FEE)
    acme = POLICIES.customer_registry.customers["acme"]

    async def captured() -> list[int]:
        windows = (*acme.windows(stand.clock.now()), *EVERYBODY.windows(stand.clock.now()))
        return [each.captured_nanos // NANOS_PER_USD for each in await gate.budgets.fetch_balances(windows)]

    assert await captured() == [0, 0, 0, 0]
    await gate.look(Fee(usd=5))
    assert await captured() == [5, 5, 5, 5]
    await gate.look(Fee(usd=3))
    assert await captured() == [3, 3, 3, 3]


async def test_budgets_learn_of_what_was_booked_before_a_failure(stand: MeteringStand, tmp_path: Path) -> None:
    """A ledger that takes all but one of some costs keeps the budgets from none of those that it has."""
    now = stand.clock.now()
    good = MeteredCost(now - timedelta(hours=1), now, 1, "hours", 5 * NANOS_PER_USD, dataset="good")
    gate = stand.measure(FEE)
    windows = POLICIES.customer_registry.customers["acme"].windows(now)
    await gate.budgets.fetch_balances(windows)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN NEW.cost_nanos = 13 "
            "BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END"
        )
        await gate.look(Fee(good, replace(good, dataset="bad", cost_nanos=13)))
    assert len(await stand.metered()) == 1
    assert {each.captured_nanos for each in await gate.budgets.fetch_balances(windows)} == {5 * NANOS_PER_USD}


async def test_costs_may_be_kept_out_of_budgets(stand: MeteringStand) -> None:
    """Booked all the same; no window of anybody's has them."""
    gate = stand.measure(replace(FEE, counts=False))
    await gate.look(Fee(usd=5))
    await gate.look(Fee(usd=6))
    acme = POLICIES.customer_registry.customers["acme"]
    windows = (*acme.windows(stand.clock.now()), *EVERYBODY.windows(stand.clock.now()))
    assert {each.captured_nanos for each in await gate.budgets.fetch_balances(windows)} == {0}
    assert sum(entry.cost_nanos for entry in await stand.metered()) == 6 * NANOS_PER_USD


async def test_a_customer_whose_mode_is_off_is_left_alone(stand: MeteringStand) -> None:
    """Nothing is computed for it, nothing booked."""
    registry = POLICIES.customer_registry
    off = replace(registry.customers["acme"], mode=Mode.OFF)
    policies = replace(POLICIES, customer_registry=replace(registry, customers={"acme": off}))
    await stand.measure(FEE, policies=policies).look()
    assert await stand.metered() == []


@pytest.mark.parametrize(
    "failure", [ZeroDivisionError("secret"), ValueError("secret"), asyncio.CancelledError("secret")]
)
async def test_a_plug_in_that_raises_harms_no_other(stand: MeteringStand, failure: BaseException) -> None:
    """Its look failed, by its kind and line, once; what it wrote into its text is in no log."""
    gate = stand.measure(replace(FEE, name="bad"))
    for _ in range(2):
        await gate.look(Fee(raises=failure))
    await stand.measure(FEE).look()
    assert len(await stand.metered()) == 1
    assert looks(stand, "bad", "failed") == 2
    log = stand.log.getvalue()
    assert log.count("cost_metric_failed") == 1
    assert type(failure).__name__ in log
    assert "test_metering.py:" in log or isinstance(failure, asyncio.CancelledError)  # which loses its trace
    assert "secret" not in log


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cost_nanos": -1}, "a cost is -1"),
        ({"cost_nanos": 1.5}, "a cost is 1.5"),
        ({"cost_nanos": True}, "a cost is True"),
        ({"cost_nanos": 2**53}, "a cost is"),
        ({"quantity": "1"}, "a quantity is"),
        ({"dataset": "a\nb"}, "a name is no text"),
        ({"table": None}, "a name is no text"),
        ({"principal": "x" * 2_000}, "a name is no text"),
        ({"since": -30}, "a span is not within"),
        ({"until": 1}, "a span is not within"),
        ({"until": -1}, "a span is not within"),
    ],
)
async def test_an_unfit_answer_is_refused_whole(stand: MeteringStand, change: dict[str, Any], why: str) -> None:
    """With the reason, and nothing of it booked."""
    now = stand.clock.now()
    moments: dict[str, Any] = {
        name: now + timedelta(hours=change[name]) for name in ("since", "until") if name in change
    }
    changed: dict[str, Any] = {"dataset": "bad", **change, **moments}
    good = MeteredCost(now - timedelta(hours=1), now, 1, "hours", NANOS_PER_USD, dataset="good")
    bad = replace(good, **changed)
    await stand.measure(FEE).look(Fee(good, bad))
    assert await stand.metered() == []
    assert looks(stand, "fee", "failed") == 1
    assert why in stand.log.getvalue()


async def test_a_cost_that_is_answered_twice_is_refused(stand: MeteringStand) -> None:
    """Nobody can say which of the two it is."""
    now = stand.clock.now()
    cost = MeteredCost(now - timedelta(hours=1), now, 1, "hours", 1)
    await stand.measure(FEE).look(Fee(cost, replace(cost, cost_nanos=2)))
    assert "answers one cost twice" in stand.log.getvalue()


@pytest.mark.parametrize(
    ("named", "options", "why"),
    [
        ("nobody", {}, "there are no entry points nobody"),
        ("no.such.module:Metric", {}, "ModuleNotFoundError"),
        (f"{__name__}:Nothing", {}, "AttributeError"),
        (f"{__name__}:HOUR_S", {}, "TypeError"),
        (f"{__name__}:Fee", {"price": 1}, "takes no options"),
        ("bqgate.metering.storage:StorageMetric", {"active_logical_usd_per_gib_month": 0.02}, "in quotes"),
        ("bqgate.metering.storage:StorageMetric", {"price": "hunter2"}, "options.price: Extra inputs"),
        ("pathlib:Path", {}, "has not what a cost metric has"),
    ],
)
async def test_an_unusable_plug_in_is_said(stand: MeteringStand, named: str, options: dict[str, Any], why: str) -> None:
    """With what is wrong, and no value of its options; the others go on."""
    gate = stand.measure(replace(FEE, name="bad", metric=named, options=options), FEE)
    await gate.look()
    assert len(await stand.metered()) == 1
    assert looks(stand, "bad", "unusable") == 1
    assert why in stand.log.getvalue()
    assert "hunter2" not in stand.log.getvalue()


async def test_a_place_that_refuses_is_said_once(stand: MeteringStand) -> None:
    """With BigQuery's own words; it is asked again at the next look."""
    gate = stand.measure(replace(FEE, name="asks", metric=f"{__name__}:Asks"))
    for _ in range(2):
        await gate.look()
    assert looks(stand, "asks", "refused") == 2
    assert stand.log.getvalue().count("cost_metric_failed") == 1
    assert "nowhere" in stand.log.getvalue()


async def test_bigquery_away_is_made_up_for(stand: MeteringStand) -> None:
    """What could not be measured now is measured by the next look."""
    await stand.stream("x")
    stand.advance(HOUR_S)
    gate = stand.measure(STREAMING)
    stand.sandbox.faults.add(Fault("error", method="jobs.insert"))
    await gate.look()
    assert looks(stand, "streaming", "lost") == 1
    stand.sandbox.faults.clear()
    stand.advance(20 * HOUR_S)
    await gate.look()
    assert len(await stand.metered()) == 1


async def test_looking_is_bounded(stand: MeteringStand) -> None:
    """Where the gate's own queries have cost what they may, a metric waits for the next day."""
    gate = stand.measure(STORAGE)
    for _ in range(6):
        await gate.look()
    assert looks(stand, "storage", "over_bound") == 2
    assert sum(entry.cost_nanos for entry in await stand.entries()) <= 5 * NANOS_PER_USD


async def test_its_age_says_when_a_metric_went_well(stand: MeteringStand) -> None:
    """It grows with every look that fails somewhere."""
    gate = stand.measure(FEE)
    await gate.look()
    stand.advance(100)
    await gate.look(Fee(raises=ValueError()))
    assert gate.metering.age_s("fee") == 100
    await gate.look()
    assert gate.metering.age_s("fee") == 0


async def test_every_metric_goes_by_its_own_pace(stand: MeteringStand) -> None:
    """One an hour, one every two; a slow start of one keeps no other waiting."""
    hourly, seldom = replace(FEE, name="hourly"), replace(FEE, name="seldom", interval_s=2 * HOUR_S)
    gate = stand.measure(hourly, seldom)
    running = asyncio.create_task(gate.metering.run())
    for hour in range(4):
        await stand.clock.wait_for_sleepers(2)
        assert looks(stand, "hourly", "done") == hour + 1
        stand.advance(HOUR_S)
    await stand.clock.wait_for_sleepers(2)
    assert looks(stand, "seldom", "done") == 3
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_unusable_plug_in_is_tried_again_at_its_pace(stand: MeteringStand) -> None:
    """Not at once: the lease would be let go of, and the same said every few seconds."""
    gate = stand.measure(replace(FEE, name="bad", metric="nobody"))
    running = asyncio.create_task(gate.metering.run())
    for number in (1, 2):
        await stand.clock.wait_for_sleepers()
        assert looks(stand, "bad", "unusable") == number
        stand.advance(HOUR_S)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
