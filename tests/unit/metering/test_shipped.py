"""The two plug-ins that come with the gate, before a sandbox."""

import tomllib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bqgate.domain.entry import EntryKind
from bqgate.domain.money import NANOS_PER_USD
from bqgate.metering.loading import load_metric
from bqgate.sandbox.warehouse import TableRef
from tests.house.tree import ROOT
from tests.support.metering_stand import STORAGE, STREAMING, MeteringStand

DAY_S, HOUR_S = 86_400, 3_600
MIB = 2**20


async def test_storage_is_booked_by_dataset_and_day(stand: MeteringStand) -> None:
    """A GiB for a day of November costs a thirtieth of its month, plus what an hour more of daylight saving takes."""
    stand.query("INSERT sales.events SELECT REPEAT('x', 1048574) FROM UNNEST(GENERATE_ARRAY(1, 3))")  # 3 MiB
    stand.advance(3 * DAY_S)
    gate = stand.measure(STORAGE)
    await gate.look()
    booked = await stand.metered()
    days = ["2026-11-24", "2026-11-25", "2026-11-26"]
    assert [entry.labels["bqgate_since"] for entry in booked] == [f"{day}T08:00:00+00:00" for day in days]
    assert {entry.labels["bqgate_dataset"] for entry in booked} == {"sales"}
    assert booked[0].labels["bqgate_quantity"] == str(3 * 20 * HOUR_S)  # it was made at four in the morning
    month_s = 30 * DAY_S + HOUR_S  # the clocks in Los Angeles go back on November 1st
    exact = 3 * DAY_S * 20_000_000 / 1_024 / month_s
    for entry in booked[1:]:
        assert entry.kind is EntryKind.CHARGE
        assert entry.labels["bqgate_quantity"] == str(3 * DAY_S)
        assert entry.cost_nanos - 1 < exact <= entry.cost_nanos
        assert entry.ended_at is not None


async def test_storage_prices_are_the_users(stand: MeteringStand) -> None:
    """A thousand times the price costs that, but for what rounding up adds; regions may have plans of their own."""
    for dataset in ("sales", "archive"):
        stand.query(f"INSERT {dataset}.events SELECT REPEAT('x', 1048574)")
    stand.advance(2 * DAY_S)
    dear = replace(STORAGE, name="storage_eu", regions=("eu",), options={"active_logical_usd_per_gib_month": "20.00"})
    await stand.measure(STORAGE, dear).look()
    in_eu, in_us = (await stand.metered())[-2:]
    assert (in_us.labels["bqgate_dataset"], in_eu.labels["bqgate_dataset"]) == ("sales", "archive")
    assert 1_000 * (in_us.cost_nanos - 1) < in_eu.cost_nanos <= 1_000 * in_us.cost_nanos


async def test_streaming_is_booked_by_dataset_and_hour(stand: MeteringStand) -> None:
    """A row counts as a KiB at least; the running hour waits until it is whole."""
    await stand.stream("small", "x" * 2_000)
    await stand.stream(*["tiny"] * 10)
    stand.advance(HOUR_S)
    await stand.stream("later")
    gate = stand.measure(STREAMING)
    await gate.look()
    (entry,) = await stand.metered()
    in_first_minute = max(len('{"text":"small"}') + 2_011 + 10 * len('{"text":"tiny"}'), 12 * 1_024)
    assert entry.labels["bqgate_quantity"] == str(in_first_minute)
    assert entry.cost_nanos == -(-in_first_minute * 10_000_000 // (200 * MIB))
    assert entry.ended_at == datetime(2026, 11, 24, 13, tzinfo=UTC)
    stand.advance(HOUR_S)
    await gate.look()
    assert len(await stand.metered()) == 2


async def test_a_terabyte_streamed_costs_what_google_says(stand: MeteringStand) -> None:
    """A cent for 200 MiB."""
    table = TableRef("acme-prod", "sales", "events")
    stand.sandbox.warehouse.note_streamed(table, rows=1, input_bytes=2**40)
    stand.advance(HOUR_S)
    await stand.measure(STREAMING).look()
    (entry,) = await stand.metered()
    assert entry.cost_nanos == -(-(2**40) * NANOS_PER_USD // 100 // (200 * MIB))


async def test_nothing_stored_and_streamed_is_nothing_booked(stand: MeteringStand) -> None:
    """An empty place has no entries, and is no failure."""
    stand.advance(2 * DAY_S)
    gate = stand.measure(STORAGE, STREAMING)
    await gate.look()
    assert await stand.metered() == []
    assert stand.metrics.value("bqgate_cost_metric_looks_total", metric="storage", result="done") == 1


@pytest.mark.parametrize("name", ["storage", "streaming"])
def test_the_shipped_plug_ins_are_entry_points(name: str) -> None:
    """pyproject.toml registers them as everybody registers one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made = load_metric(project["entry-points"]["bqgate.cost_metrics"][name], {})
    assert type(made).__name__.lower().startswith(name)
