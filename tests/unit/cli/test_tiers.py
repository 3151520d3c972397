import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner, Result

from bqgate.cli import app
from tests.support.policy_shelf import PolicyShelf

GOLD = {"daily_usd": "50", "monthly_usd": "1500", "emergency_usd": "200", "query_usd": "5", "throttle_wait_ms": 2000}


class Desk:
    """The command line before a shelf of tiers."""

    def __init__(self, shelf: PolicyShelf, url: str) -> None:
        self.shelf = shelf
        self.url = url

    async def run(self, *words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["tiers", *words, "--url", self.url])


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A control plane with one tier."""
    for name in ("BQGATE_TOKEN", "BQGATE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "300")  # errors are not folded
    shelf = PolicyShelf("tiers", gold=dict(GOLD))
    async with TestServer(shelf.app()) as server:
        yield Desk(shelf, str(server.make_url("")).rstrip("/"))


async def test_list_and_show_print_tables_and_json(desk: Desk) -> None:
    """People get columns, programs all members."""
    listed = await desk.run("list")
    assert listed.exit_code == 0, listed.output
    assert "gold" in listed.stdout
    assert "1500" in listed.stdout
    (found,) = json.loads((await desk.run("list", "--json")).stdout)
    assert found.items() >= GOLD.items()
    assert json.loads((await desk.run("show", "gold", "--json")).stdout) == found
    assert "throttle_wait_ms" in (await desk.run("show", "gold")).stdout


async def test_set_sends_only_what_changes(desk: Desk) -> None:
    """Values are read as the settings read them: amounts as exact text, whole numbers as numbers, nothing as null."""
    result = await desk.run("set", "gold", "daily_usd=75.50", "throttle_wait_ms=500", "query_usd=")
    assert result.exit_code == 0, result.output
    sent = {"daily_usd": "75.50", "throttle_wait_ms": 500, "query_usd": None}
    assert desk.shelf.seen == [("PATCH", "gold", sent)]
    assert desk.shelf.documents["gold"]["monthly_usd"] == "1500"
    assert "query_usd" not in desk.shelf.documents["gold"]


async def test_set_creates_what_is_not_there(desk: Desk) -> None:
    """An unknown name is a new tier, lists of thresholds included."""
    thresholds = "thresholds=[{used_ratio: '0.9', action: throttle}]"
    words = ("daily_usd=1", "monthly_usd=10", "emergency_usd=2", thresholds, "query_usd=")
    result = await desk.run("set", "trial", *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Created tier trial.")
    expected = {
        "name": "trial",
        "daily_usd": "1.00",
        "monthly_usd": "10.00",
        "emergency_usd": "2.00",
        "thresholds": [{"used_ratio": "0.9", "action": "throttle"}],
    }
    assert desk.shelf.seen == [("POST", "trial", expected)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("daily=5",), "did you mean daily_usd?"),
        (("daily_usd=cheap",), "daily_usd"),
        (("throttle_wait_ms=99999",), "30000 is the most"),
        (("throttle_wait_ms",), "key=value"),
        (("daily_usd=1", "daily_usd=2"), "given twice"),
        (("thresholds=[{used_ratio: '2', action: throttle}]",), "thresholds.0.used_ratio"),
        (("thresholds=[{",), "no list"),
    ],
)
async def test_a_slip_is_said_before_anything_is_sent(desk: Desk, words: tuple[str, ...], said: str) -> None:
    """Status 2, the key and what to write instead; the gate hears nothing."""
    result = await desk.run("set", "gold", *words)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert desk.shelf.seen == []


@pytest.mark.parametrize("words", [("set", "gold", "daily_usd=75"), ("delete", "gold")])
async def test_somebody_elses_change_is_not_overwritten(desk: Desk, words: tuple[str, ...]) -> None:
    """A document that changed after it was read is left alone: status 1, and what to do next."""
    desk.shelf.changed_between_reads = True
    result = await desk.run(*words)
    assert result.exit_code == 1
    assert "repeat the command" in result.stderr
    assert desk.shelf.documents == {"gold": GOLD}


async def test_delete_removes(desk: Desk) -> None:
    """Gone; a second time there is nothing to delete."""
    assert (await desk.run("delete", "gold")).exit_code == 0
    assert desk.shelf.documents == {}
    again = await desk.run("delete", "gold")
    assert again.exit_code == 1
    assert "There is no 'gold'" in again.stderr


async def test_a_fault_that_the_gate_finds_is_said_once(desk: Desk) -> None:
    """One fault is its sentence; of several each is named."""
    desk.shelf.faults = [("emergency_usd", "is below daily_usd")]
    one = await desk.run("set", "gold", "daily_usd=500")
    assert one.exit_code == 1
    assert one.stderr.count("emergency_usd: is below daily_usd") == 1
    desk.shelf.faults.append(("monthly_usd", "is below daily_usd, too"))
    two = await desk.run("set", "gold", "daily_usd=5000")
    assert "emergency_usd: is below daily_usd" in two.stderr
    assert "monthly_usd: is below daily_usd, too" in two.stderr
