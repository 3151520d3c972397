"""`bqgate ledger check` on what a gate has booked, with every kind of difference put in: found, named, status 1."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.clock import SystemClock
from bqgate.domain.entry import Entry, EntryKind, Origin
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.place import Place
from bqgate.domain.pricing import PriceList
from bqgate.ledger import SqlSweepState
from tests.support.ledgers import make_entry, make_hold
from tests.support.sweep_scene import CENTS_10, GIB, SweepScene, sweep_scene

SQL = "SELECT a FROM `acme.money.ten_gib`"
TEN_GIB = 10 * GIB
HOLD_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[SweepScene]:
    """A gate before a sandbox, with a job through it and a job past it that the sweep has booked."""
    async with sweep_scene(tmp_path, "jobs_list") as opened:
        await opened.insert(SQL, "through", at=opened.stack.url)
        await opened.stack.fetch_settled("acme")
        await opened.insert(SQL, "past")
        await opened.sweep()
        yield opened


async def run(scene: SweepScene, *arguments: str, command: str = "check") -> Result:
    """The command, as somebody runs it beside the gate."""
    assert scene.stack.settings is not None
    file = Path(scene.stack.settings.ledger.url.reveal().removeprefix("sqlite:///")).with_name("bqgate.yaml")
    until = (SystemClock().now() + timedelta(minutes=5)).isoformat()
    words = ["ledger", command, "-c", str(file), "--until", until, *arguments]
    return await asyncio.to_thread(CliRunner().invoke, app, words)


async def check(scene: SweepScene) -> tuple[int, dict[str, Any]]:
    """Its status and what it found."""
    result = await run(scene, "--json")
    return result.exit_code, json.loads(result.stdout)


def prices_of(scene: SweepScene) -> PriceList:
    return scene.stack.gate.policies.prices


def charge(scene: SweepScene, job_id: str, **changes: Any) -> Entry:
    """A charge of ten GiB for a job, as the gate books it."""
    scene.ledger.register_prices(prices_of(scene))
    entry = make_entry(
        None,
        id=f"charge-of-{job_id}",
        project_id="acme",
        job=JobRef("acme", job_id, "US"),
        bytes_processed=TEN_GIB,
        bytes_billed=TEN_GIB,
        slot_ms=0,
        cost_nanos=CENTS_10,
        booked_at=SystemClock().now(),
        placed_at=SystemClock().now(),
        reservation="",
        prices_id=prices_of(scene).id,
    )
    return replace(entry, **changes)


async def slot_ms_of(scene: SweepScene) -> int:
    """What such a query takes at the sandbox."""
    return (await scene.entries())[0].slot_ms


async def not_swept(scene: SweepScene) -> None:
    await scene.insert(SQL, "odd")


async def swept_over(scene: SweepScene) -> None:
    marks = SqlSweepState.open(scene.stack.settings.ledger.url.reveal())
    await marks.advance(Place("acme"), swept_until=SystemClock().now() + timedelta(hours=1), pending=())
    await marks.close()
    await scene.insert(SQL, "odd")


async def hold_open(scene: SweepScene) -> None:
    hold = make_hold(HOLD_ID, project_id="acme", job=JobRef("acme", "odd", "US"), placed_at=SystemClock().now())
    await scene.ledger.open_hold(hold)
    await scene.insert(SQL, "odd")


async def hold_ended(scene: SweepScene) -> None:
    hold = make_hold(HOLD_ID, project_id="acme", job=JobRef("acme", "odd", "US"), placed_at=SystemClock().now())
    await scene.ledger.open_hold(hold)
    await scene.ledger.close_hold(HOLD_ID)
    await scene.insert(SQL, "odd", labels={"bqgate_hold": HOLD_ID})


async def unrecorded(scene: SweepScene) -> None:
    await scene.insert(SQL, "odd", labels={"bqgate_hold": HOLD_ID})


async def assumed(scene: SweepScene) -> None:
    await scene.insert(SQL, "odd")
    await scene.ledger.book(charge(scene, "odd", outcome=Outcome.ASSUMED, bytes_billed=0, cost_nanos=7))


async def figures(scene: SweepScene) -> None:
    await scene.insert(SQL, "odd")
    await scene.ledger.book(charge(scene, "odd", bytes_billed=TEN_GIB // 2, cost_nanos=CENTS_10 // 2))


async def priced(scene: SweepScene) -> None:
    await scene.insert(SQL, "odd")
    await scene.ledger.book(charge(scene, "odd", slot_ms=await slot_ms_of(scene), cost_nanos=CENTS_10 + 1))


async def no_job(scene: SweepScene) -> None:
    await scene.ledger.book(charge(scene, "odd"))


async def stray(scene: SweepScene) -> None:
    await scene.ledger.book(charge(scene, "odd", kind=EntryKind.ADJUSTMENT, adjusts="nowhere", job=None, cost_nanos=3))


Prepare = Callable[[SweepScene], Awaitable[None]]


async def test_equal_books_are_equal(scene: SweepScene) -> None:
    """Through the gate and past it: status 0, and the sums of both sides to the nano-dollar."""
    status, found = await check(scene)
    assert (status, found["differences"], found["not_looked_at"]) == (0, [], [])
    assert found["bigquery_usd"] == found["ledger_usd"] == "0.20"
    assert found["jobs"]["equal"] == 2
    assert found["projects"] == ["acme"]
    shown = await run(scene)
    assert shown.exit_code == 0
    assert "They are equal." in shown.stdout


@pytest.mark.parametrize(
    ("prepare", "cause", "missing_usd"),
    [
        (not_swept, "not_swept", "0.10"),
        (swept_over, "swept_over", "0.10"),
        (hold_open, "hold_open", "0.10"),
        (hold_ended, "hold_ended", "0.10"),
        (unrecorded, "unrecorded", "0.10"),
        (assumed, "assumed", "0.099999993"),
        (figures, "figures", "0.05"),
        (priced, "priced", "-0.000000001"),
        (no_job, "no_job", "-0.10"),
        (stray, "stray", "-0.000000003"),
    ],
)
async def test_every_difference_is_found_and_named(
    scene: SweepScene, prepare: Prepare, cause: str, missing_usd: str
) -> None:
    """One is put in: status 1, its cause, its job, and by how much the sums differ."""
    await prepare(scene)
    status, found = await check(scene)
    assert status == 1, found
    assert found["causes"] == {cause: {"count": 1, "missing_usd": missing_usd}}
    (difference,) = found["differences"]
    assert difference["cause"] == cause
    assert found["missing_usd"] == difference["missing_usd"] == missing_usd
    assert cause == "stray" or difference["job"]["job_id"] == "odd"
    shown = await run(scene)
    assert shown.exit_code == 1
    assert "DIFFERENT: 1 times" in shown.stdout


async def test_jobs_of_before_the_ledger_are_told_apart(tmp_path: Path) -> None:
    """What ran before the gate began is nobody's fault."""
    async with sweep_scene(tmp_path, "jobs_list", {"sweep": {"method": "off"}}) as scene:
        await scene.insert(SQL, "early")
        await scene.insert(SQL, "through", at=scene.stack.url)
        await scene.stack.fetch_settled("acme")
        status, found = await check(scene)
        assert (status, list(found["causes"])) == (1, ["before_ledger"])


async def test_only_one_customers_books_are_compared(scene: SweepScene) -> None:
    """Another's differences are another's."""
    await no_job(scene)
    await scene.ledger.book(charge(scene, "theirs", customer="other"))
    found = json.loads((await run(scene, "--json", "--customer", "other")).stdout)
    assert [each["job"]["job_id"] for each in found["differences"]] == ["theirs"]
    found = json.loads((await run(scene, "--json", "--customer", "acme")).stdout)
    assert [each["job"]["job_id"] for each in found["differences"]] == ["odd"]


async def test_what_cannot_be_proved_is_no_agreement(scene: SweepScene) -> None:
    """Queries without a job are counted beside, with what they cost: status 2, and nobody is told that all is equal."""
    await scene.ledger.book(charge(scene, "jobless", job=None, cost_nanos=5))
    status, found = await check(scene)
    assert (status, found["not_proved"], found["not_proved_usd"]) == (2, {"no_job": 1}, "0.000000005")
    assert "Not proved: 1 jobs: a query that BigQuery ran without a job." in (await run(scene)).stdout


async def test_nothing_is_changed(scene: SweepScene) -> None:
    """Whatever it finds, the ledger has what it had."""
    await not_swept(scene)
    await scene.ledger.book(charge(scene, "gone"))
    before = await scene.entries()
    assert (await check(scene))[0] == 1
    assert await scene.entries() == before


async def test_prices_change_and_the_books_still_prove(scene: SweepScene) -> None:
    """After a rerate the ledger is compared under the new prices; who did it is in the audit log."""
    settings = scene.stack.settings
    file = Path(settings.ledger.url.reveal().removeprefix("sqlite:///")).with_name("bqgate.yaml")
    file.write_text(file.read_text().replace("10.24", "20.48"))
    since = (SystemClock().now() - timedelta(hours=1)).isoformat()
    dry = await run(scene, "--since", since, "--dry-run", command="rerate")
    assert dry.exit_code == 0, dry.output
    assert len(await scene.entries(EntryKind.ADJUSTMENT)) == 0
    refused = await run(scene, "--since", since, command="rerate")
    assert refused.exit_code == 2
    done = await run(scene, "--since", since, "--yes", command="rerate")
    assert done.exit_code == 0, done.output
    assert "Written: 2 adjustments, 0.20 dollars." in done.stdout
    again = await run(scene, "--since", since, "--yes", "--json", command="rerate")
    assert json.loads(again.stdout)["total"]["changed"] == 0
    status, found = await check(scene)
    assert (status, found["bigquery_usd"], found["ledger_usd"]) == (0, "0.40", "0.40")
    origins = [each.origin for each in await scene.entries(EntryKind.ADJUSTMENT)]
    assert sorted(origins) == [Origin.BYPASS, Origin.GATE]
    audit = await asyncio.to_thread(
        CliRunner().invoke, app, ["ledger", "audit", "-c", str(file), "--action", "ledger.rerated"]
    )
    (line,) = [json.loads(each) for each in audit.stdout.splitlines()]
    assert line["actor"].startswith("local:")
    assert (line["before"]["cost_usd"], line["after"]["cost_usd"], line["after"]["changed"]) == ("0.20", "0.40", 2)


@pytest.mark.parametrize("command", ["check", "rerate"])
async def test_a_customer_that_nobody_knows_is_a_mistake(scene: SweepScene, command: str) -> None:
    """Status 2: a name that was mistyped is not told to be equal, nor that there is nothing to correct."""
    words = ["--since", "2026-01-01", "--dry-run"] if command == "rerate" else []
    result = await run(scene, *words, "--customer", "acmee", command=command)
    assert (result.exit_code, "acmee" in result.stderr) == (2, True)
