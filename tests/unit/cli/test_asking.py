"""The commands jobs, spend, holds and breakers before a control plane with real stores."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.entry import EntryKind
from bqgate.domain.job import JobRef, Outcome
from tests.support.control_stand import ControlStand, control_stand
from tests.support.ledgers import make_entry
from tests.support.manual_clock import START

CENT = 10**7


class Desk:
    """The command line of somebody before a control plane."""

    def __init__(self, control: ControlStand) -> None:
        self.control = control

    async def run(self, *words: str, caller: str = "admin") -> Result:
        url = str(self.control.client.make_url("")).rstrip("/")
        env = {"BQGATE_URL": url, "BQGATE_TOKEN": caller, "BQGATE_KEY_FILE": None, "COLUMNS": "300"}
        return await asyncio.to_thread(CliRunner().invoke, app, list(words), env=env)

    async def rows(self, *words: str, caller: str = "admin") -> list[list[str]]:
        """The cells of a table, whose columns are two blanks apart, without its headings."""
        result = await self.run(*words, caller=caller)
        assert result.exit_code == 0, result.output
        return [[cell.strip() for cell in line.split("  ") if cell] for line in result.stdout.splitlines()[1:]]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A control plane over a ledger with two jobs and a refusal of acme's, and one of globex's."""
    async with control_stand(tmp_path) as control:
        for entry in (
            make_entry("h1", principal="user", cost_nanos=980 * CENT, job=JobRef("acme-prod", "job_1", "US")),
            make_entry("h2", principal="=cmd|' /C calc'!A0", cost_nanos=1, workload=None),
            make_entry("h3", principal="bob", customer="globex", cost_nanos=3 * CENT),
            make_entry(
                None,
                id="refusal-1",
                kind=EntryKind.REFUSAL,
                principal="user",
                job=None,
                cost_nanos=0,
                outcome=Outcome.REFUSED,
                decision="reject",
                reason="budget_used_up",
            ),
        ):
            await control.stand.ledger.book(entry)
        yield Desk(control)


async def test_spend_is_a_table_with_a_total(desk: Desk) -> None:
    """In cents where cents say it all; by what is asked."""
    assert [row[:4] for row in await desk.rows("spend")] == [
        ["2026-11-24", "acme", "9.81", "2"],
        ["2026-11-24", "globex", "0.03", "1"],
        ["total", "-", "9.84", "3"],
    ]
    by_week = await desk.rows("spend", "--period", "week", "--by", "workload", "--customer", "acme")
    assert [row[:4] for row in by_week] == [
        ["2026-W48", "acme", "nightly", "9.80"],
        ["2026-W48", "acme", "-", "0.000000001"],
        ["total", "-", "-", "9.81"],
    ]
    assert [row[2] for row in await desk.rows("spend", "--by", "label:team", "--principal", "bob")] == ["data", "-"]
    assert (await desk.rows("spend", "--until", "2026-11-23"))[0][:3] == ["total", "-", "0.00"]


async def test_spend_is_json_and_csv_for_programs(desk: Desk) -> None:
    """JSON is the API's own; CSV has exact amounts, and no caller's name is a formula in it."""
    document = json.loads((await desk.run("spend", "--by", "principal", "--json")).stdout)
    assert (document["group_by"], document["total"]["cost_usd"]) == ("principal", "9.830000001")
    text = (await desk.run("spend", "--by", "principal", "--csv")).stdout
    lines = list(csv.reader(io.StringIO(text)))
    assert lines[0] == ["period", "customer", "principal", "cost_usd", "job_count", "bytes_billed", "slot_ms"]
    assert [line[2:4] for line in lines[1:]] == [
        ["user", "9.80"],
        ["bob", "0.03"],
        ["'=cmd|' /C calc'!A0", "0.000000001"],
    ]


async def test_users_see_their_own_spend_and_jobs(desk: Desk) -> None:
    """Without saying who they are; another's is refused, and an id of another's is not found."""
    mine = await desk.rows("spend", "--by", "principal", caller="user")
    assert [row[:3] for row in mine] == [["2026-11-24", "acme", "user"], ["total", "-", "-"]]
    assert {row[2] for row in await desk.rows("jobs", caller="user")} == {"user"}
    refused = await desk.run("spend", "--customer", "globex", caller="user")
    assert (refused.exit_code, "your own customer only" in refused.stderr) == (1, True)
    foreign = await desk.run("jobs", "show", "h3", caller="user")
    assert (foreign.exit_code, "no job or decision 'h3' that you may see" in foreign.stderr) == (1, True)


async def test_jobs_are_listed_newest_first_and_narrowed(desk: Desk) -> None:
    """By whose they are, what became of them and when they were booked; a day counts whole."""
    assert {row[-1] for row in await desk.rows("jobs")} == {"h1", "h2", "h3", "refusal-1"}
    assert [row[-1] for row in await desk.rows("jobs", "--refused")] == ["refusal-1"]
    assert [
        row[-1] for row in await desk.rows("jobs", "--customer", "acme", "--principal", "user", "--limit", "1")
    ] == ["refusal-1"]
    assert [row[-1] for row in await desk.rows("jobs", "--project", "acme-prod", "--workload", "none")] == []
    for days, count in (
        (("2026-11-24", "2026-11-24"), 4),
        (("2026-11-25", "2026-11-25"), 0),
        (("2026-11-24T12:00:00Z",), 4),
    ):
        words = [word for pair in zip(("--since", "--until"), days, strict=False) for word in pair]
        assert len(await desk.rows("jobs", *words)) == count
    wrong = await desk.run("jobs", "--since", "yesterday")
    assert (wrong.exit_code, "since must be an RFC 3339 date-time" in wrong.stderr) == (1, True)
    assert len(json.loads((await desk.run("jobs", "--json")).stdout)) == 4


async def test_more_jobs_than_a_page_are_all_listed(desk: Desk) -> None:
    """Up to the limit."""
    entries = [make_entry(f"more-{number}") for number in range(1_010)]
    await asyncio.gather(*(desk.control.stand.ledger.book(entry) for entry in entries))
    assert len(json.loads((await desk.run("jobs", "--limit", "1012", "--json")).stdout)) == 1_012


@pytest.mark.parametrize("name", ["h1", "job_1", "acme-prod:US.job_1"])
async def test_a_job_is_shown_by_any_of_its_names(desk: Desk, name: str) -> None:
    """What it cost and why, its name as BigQuery's clients print it."""
    result = await desk.run("jobs", "show", name, caller="user")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (lines["state"], lines["job"], lines["cost_usd"]) == ("booked", "acme-prod:US.job_1", "9.80")
    assert json.loads((await desk.run("jobs", "show", name, "--json")).stdout)["state"] == "booked"


async def test_a_refusal_and_a_running_job_are_shown(desk: Desk) -> None:
    """By the id in the refusal's message; while it runs, a job's hold."""
    assert "budget_used_up" in (await desk.run("jobs", "show", "refusal-1")).stdout
    hold = await desk.control.stand.place(desk.control.gate, desk.control.stand.make_hold(usd=2))
    running = (await desk.run("jobs", "show", hold.id)).stdout
    assert running.splitlines()[0].split() == ["state", "held"]
    assert "amount_usd" in running


async def test_holds_are_listed_and_voided(desk: Desk) -> None:
    """A young one is refused as by the API."""
    hold = await desk.control.stand.place(desk.control.gate, desk.control.stand.make_hold(usd=2))
    (row,) = await desk.rows("holds", "list", "--customer", "acme")
    assert row[:3] == [hold.id, "2.00", "acme"]
    young = await desk.run("holds", "void", hold.id, "--reason", "lost")
    assert (young.exit_code, "younger than" in young.stderr) == (1, True)
    desk.control.stand.clock.advance(121)
    ended = await desk.run("holds", "void", hold.id, "--reason", "lost")
    assert (ended.exit_code, ended.stdout) == (0, f"Ended hold {hold.id} of acme; 2.00 USD are free again.\n")
    assert json.loads((await desk.run("holds", "list", "--json")).stdout) == []
    assert (await desk.run("holds", "void", hold.id, "--reason", "lost")).exit_code == 1
    assert (await desk.run("holds", "void", hold.id)).exit_code == 2


async def test_breakers_are_listed_and_reset(desk: Desk) -> None:
    """Which customers are stopped since when; one is let run again, and there is nothing more to reset."""
    trip = BreakerEvent("acme", Period.DAY, "2026-11-24", START, BreakerEventKind.TRIPPED, "ann")
    await desk.control.stand.ledger.record_breaker_event(trip)
    await desk.control.call("GET", "/v1/customers/acme/budget")  # the store looks it up
    (row,) = await desk.rows("breakers", "list")
    assert row == ["acme", "open", "2026-11-24T12:00:00Z", "2026-11-25T00:00:00Z", "emergency"]
    reset = await desk.run("breakers", "reset", "acme", "--reason", "found the cause")
    assert (reset.exit_code, reset.stdout) == (0, "Closed the cost breaker of acme.\n")
    assert await desk.rows("breakers", "list") == []
    again = await desk.run("breakers", "reset", "acme", "--reason", "again")
    assert (again.exit_code, "is not open" in again.stderr) == (1, True)
    refused = await desk.run("breakers", "reset", "acme", "--reason", "mine", caller="user")
    assert (refused.exit_code, "Ask with a key of the role admin" in refused.stderr) == (1, True)
