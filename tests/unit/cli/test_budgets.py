import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bqgate.cli import app
from tests.support.control_stand import ControlStand, control_stand

UNTIL = "2026-11-25T18:00:00Z"
WHY = ("--until", UNTIL, "--reason", "year-end reports")


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
    assert all(word in listed for word in ("nightly", "acme", "5.00", "enforce"))
    assert (await desk.run("set", "nightly", "daily_usd=", "monthly_usd=7")).exit_code == 0
    shown = json.loads((await desk.run("show", "nightly", "--json")).stdout)
    assert (shown["daily_usd"], shown["monthly_usd"], shown["workload"]) == (None, "7.00", "nightly")
    assert (await desk.run("delete", "nightly")).stdout == "Deleted budget nightly.\n"
    assert [each["name"] for each in json.loads((await desk.run("list", "--json")).stdout)] == ["acme", "globex"]


async def test_what_a_budget_does_not_say_is_not_shown(desk: Desk) -> None:
    """People see what holds; programs see every key."""
    await desk.run("set", "nightly", "customer=acme", "workload=nightly", "daily_usd=5")
    shown = (await desk.run("show", "nightly")).stdout
    assert "daily_usd" in shown
    assert "monthly_usd" not in shown
    assert "day_spent" in shown
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
    await desk.control.stand.place(desk.control.gate, desk.control.stand.make_hold(usd=2))
    assert (await desk.run("raise", "acme", "--daily-usd", "30", *WHY)).exit_code == 0
    listed = (await desk.run("list")).stdout
    assert [" ".join(line.split()) for line in listed.splitlines()] == [
        "name customer about day_limit day_spent day_held month_limit month_spent month_held raises mode",
        f"acme acme all queries 40.00 0.00 2.00 300.00 0.00 2.00 +30.00 a day until {UNTIL} enforce",
        "analysts acme principal * 5.00 - - - - - - enforce",
        "ml acme label team=ml - 0.00 0.00 5.00 0.00 0.00 - observe",
        "globex globex all queries 10.00 0.00 0.00 300.00 0.00 0.00 - enforce",
        "everybody - all customers together - 0.00 0.00 500.00 0.00 0.00 - enforce",
    ]
    plain = json.loads((await desk.run("list", "--json")).stdout)
    assert (plain[0]["name"], plain[0]["windows"]["day"]["held_usd"]) == ("acme", "2.00")


async def test_a_budget_without_a_document_is_shown_as_it_stands(desk: Desk) -> None:
    """A customer's own is its tier's; of a customer that nobody listed that is said."""
    listed = await desk.run("show", "acme")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert "day_limit    10.00" in listed.stdout
    unlisted = await desk.run("show", "acme-typo")
    assert (unlisted.exit_code, "No customer 'acme-typo' is in the settings" in unlisted.stderr) == (0, True)
    assert "listed       no" in unlisted.stdout
    assert json.loads((await desk.run("show", "acme-typo", "--json")).stdout)["listed"] is False
    await desk.run("set", "everybody", "deployment=true", "monthly_usd=500")
    assert "all customers together" in (await desk.run("show", "everybody")).stdout


async def test_a_budget_that_is_off_is_shown_and_said_to_be_off(desk: Desk) -> None:
    """Its document is there, but nothing counts in it, so it has no state; raised or not, of a part or of all."""
    for words in (("nightly", "customer=acme", "workload=nightly"), ("everybody", "deployment=true")):
        assert (await desk.run("set", *words, "daily_usd=5", "mode=off")).exit_code == 0
        assert (await desk.run("raise", words[0], "--daily-usd", "1", *WHY)).exit_code == 0
        shown = await desk.run("show", words[0])
        assert (shown.exit_code, "mode        off" in shown.stdout, "day_spent" in shown.stdout) == (0, True, False)
        assert f"Budget {words[0]} is off" in shown.stderr


async def test_raises_are_listed_and_ended(desk: Desk) -> None:
    """By the id that raising one told; posting one again adds nothing and says so."""
    words = ("raise", "acme", "--daily-usd", "30", *WHY)
    first, again = await desk.run(*words), await desk.run(*words)
    (running,) = json.loads((await desk.run("raises", "--json")).stdout)
    assert f"end-raise acme {running['id']}" in first.stdout
    assert (again.exit_code, "raised so already" in again.stdout, running["id"] in again.stdout) == (0, True, True)
    table = (await desk.run("raises", "--budget", "acme", "--customer", "acme")).stdout.splitlines()
    assert table[1].split()[:4] == [running["id"], "acme", "acme", "30.00"]
    ended = await desk.run("end-raise", "acme", running["id"], "--reason", "a mistake")
    assert (ended.exit_code, ended.stdout) == (0, f"Ended raise {running['id']} of budget acme.\n")
    assert json.loads((await desk.run("raises", "--json")).stdout) == []
    over = await desk.run("end-raise", "acme", running["id"], "--reason", "a mistake")
    assert (over.exit_code, "is over since" in over.stderr) == (1, True)
    unknown = await desk.run("end-raise", "acme", "0" * 16, "--reason", "a mistake")
    assert (unknown.exit_code, "there was none, or it was over" in unknown.stderr) == (1, True)


async def test_a_script_that_repeats_raises_once(desk: Desk) -> None:
    """By a word of its own, whatever end it reckons the second time."""
    for until in (UNTIL, "2026-11-25T19:00:00Z"):
        words = ("raise", "acme", "--daily-usd", "1", "--until", until, "--reason", "x", "--request-id", "run-7")
        assert (await desk.run(*words)).exit_code == 0
    assert len(json.loads((await desk.run("raises", "--json")).stdout)) == 1


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
