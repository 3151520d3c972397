import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bqgate.cli import app
from tests.support.control_stand import ControlStand, control_stand

UNTIL = "2026-11-25T18:00:00Z"


class Desk:
    """The command line of an admin before a control plane."""

    def __init__(self, control: ControlStand) -> None:
        self.control = control

    async def run(self, *words: str) -> Result:
        url = str(self.control.client.make_url("")).rstrip("/")
        return await asyncio.to_thread(CliRunner().invoke, app, ["budgets", *words, "--url", url])


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A control plane with the customers acme and globex."""
    monkeypatch.delenv("BQGATE_KEY_FILE", raising=False)
    monkeypatch.setenv("BQGATE_TOKEN", "admin")
    monkeypatch.setenv("COLUMNS", "300")
    async with control_stand(tmp_path) as control:
        yield Desk(control)


async def test_a_budget_is_made_listed_changed_and_taken_away(desk: Desk) -> None:
    """Keys as in the settings file; the list shows what each is about."""
    made = await desk.run("set", "nightly", "customer=acme", "workload=nightly", "daily_usd=5")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("Created budget nightly.")
    listed = (await desk.run("list")).stdout
    assert all(word in listed for word in ("nightly", "acme", "5.00", "admin"))
    assert (await desk.run("set", "nightly", "daily_usd=", "monthly_usd=7")).exit_code == 0
    shown = json.loads((await desk.run("show", "nightly", "--json")).stdout)
    assert (shown["daily_usd"], shown["monthly_usd"], shown["workload"]) == (None, "7.00", "nightly")
    assert (await desk.run("delete", "nightly")).stdout == "Deleted budget nightly.\n"
    assert json.loads((await desk.run("list", "--json")).stdout) == []


async def test_what_a_budget_does_not_say_is_not_shown(desk: Desk) -> None:
    """People see what holds; programs see every key."""
    await desk.run("set", "nightly", "customer=acme", "workload=nightly", "daily_usd=5")
    shown = (await desk.run("show", "nightly")).stdout
    assert "daily_usd" in shown
    assert "monthly_usd" not in shown
    assert "schedules" not in shown


async def test_a_list_says_whose_each_budget_is_and_what_it_is_about(desk: Desk) -> None:
    """In one cell each, whatever kind it is; JSON has the keys as they are."""
    for words in (
        ("ml", "customer=acme", "label=team=ml", "monthly_usd=5", "mode=observe"),
        ("analysts", "customer=acme", "principal=*", "daily_usd=5"),
        ("globex", "query_usd=1"),
        ("everybody", "deployment=true", "monthly_usd=500"),
    ):
        assert (await desk.run("set", *words)).exit_code == 0
    rows = [" ".join(line.split()) for line in (await desk.run("list")).stdout.splitlines()]
    assert [row for row in rows if row][2:] == [
        "analysts acme principal * 5.00 admin",
        "everybody all customers together 500.00 admin",
        "globex globex all queries 1.00 admin",
        "ml acme label team=ml 5.00 observe admin",
    ]
    plain = json.loads((await desk.run("list", "--json")).stdout)
    assert ("about" in plain[0], plain[2]["name"], plain[2]["customer"]) == (False, "globex", None)


async def test_schedules_are_written_as_in_the_settings_file(desk: Desk) -> None:
    """A list of mappings; times need no quotes."""
    schedules = 'schedules=[{days: [sat, sun], from_time: 20:00, daily_usd: "5"}]'
    made = await desk.run("set", "acme", schedules)
    assert made.exit_code == 0, made.output
    assert "days=sat, sun from_time=20:00 until_time=24:00 daily_usd=5.00" in made.stdout
    wrong = await desk.run("set", "acme", "schedules=[{from_time: 8 pm}]")
    assert (wrong.exit_code, "schedules.0.from_time: '8 pm' is no time of day" in wrong.stderr) == (2, True)


async def test_a_budget_is_raised_for_a_while(desk: Desk) -> None:
    """How much, until when and why; it is in force when the command returns."""
    raised = await desk.run("raise", "acme", "--daily-usd", "30", "--until", UNTIL, "--reason", "year-end reports")
    assert raised.exit_code == 0, raised.output
    assert raised.stdout.startswith(f"Raised budget acme until {UNTIL}.")
    budget = (await desk.control.call("GET", "/v1/customers/acme/budget")).json
    assert budget["windows"]["day"]["limit_usd"] == "40.00"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("raise", "acme", "--until", UNTIL, "--reason", "x"), "raises nothing; give daily_usd, monthly_usd, or both"),
        (("raise", "nobody", "--daily-usd", "1", "--until", UNTIL, "--reason", "x"), "neither a budget nor a customer"),
        (
            ("raise", "acme", "--daily-usd", "much", "--until", UNTIL, "--reason", "x"),
            "daily_usd: 'much' is not an amount in dollars; write it like \"12.50\"",
        ),
        (
            ("raise", "acme", "--daily-usd", "1", "--until", "2026-12-01", "--reason", "x"),
            "until: '2026-12-01' is no moment; write one like 2026-12-01T18:00:00Z",
        ),
        (("raise", "acme", "--daily-usd", "1", "--until", UNTIL, "--reason", ""), "reason: must not be empty"),
        (("set", "acme", "customer=acme", "workload=nightly", "daily_usd=5"), "is called like customer acme"),
        (("delete", "nobody"), "There is no budget 'nobody'"),
        (
            ("raise", "acme", "--daily-usd", "1", "--until", "2020-01-01T00:00:00Z", "--reason", "x"),
            "until is not in the",
        ),
        (
            ("raise", "acme", "--daily-usd", "1", "--until", "soon", "--reason", "x"),
            "'soon' is no moment; write one like",
        ),
        (("set", "nightly", "workload=nightly", "daily_usd=5"), "is about a workload of which customer? Give customer"),
    ],
)
async def test_what_the_gate_refuses_is_said(desk: Desk, words: tuple[str, ...], said: str) -> None:
    """Status 1, in the gate's own words."""
    result = await desk.run(*words)
    assert result.exit_code == 1, result.output
    assert said in result.stderr
