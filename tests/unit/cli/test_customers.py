import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner, Result

from bqgate.cli import app
from tests.support.policy_shelf import PolicyShelf

ACME = {"tier": "premium", "projects": ["acme-prod", "acme-dev"], "time_zone": "UTC", "mode": "enforce"}


class Desk:
    """The command line before a shelf of customers."""

    def __init__(self, shelf: PolicyShelf, url: str) -> None:
        self.shelf = shelf
        self.url = url

    async def run(self, *words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["customers", *words, "--url", self.url])


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A control plane with one customer."""
    for name in ("BQGATE_TOKEN", "BQGATE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "300")  # errors are not folded
    shelf = PolicyShelf("customers", acme=dict(ACME))
    async with TestServer(shelf.app()) as server:
        yield Desk(shelf, str(server.make_url("")).rstrip("/"))


async def test_a_customer_is_shown_with_its_projects(desk: Desk) -> None:
    """A list is one cell with commas, and a list in JSON."""
    assert "acme-prod, acme-dev" in (await desk.run("list")).stdout
    assert json.loads((await desk.run("show", "acme", "--json")).stdout)["projects"] == ACME["projects"]


async def test_set_reads_lists_zones_and_modes(desk: Desk) -> None:
    """What the settings file takes is taken, and sent as JSON."""
    words = (
        "projects=[acme-prod]",
        "data=[shared.reference, 'gs://acme/x']",
        "time_zone=Europe/Berlin",
        "mode=observe",
    )
    result = await desk.run("set", "acme", *words)
    assert result.exit_code == 0, result.output
    assert desk.shelf.seen[0][2] == {
        "projects": ["acme-prod"],
        "data": ["shared.reference", "gs://acme/x"],
        "time_zone": "Europe/Berlin",
        "mode": "observe",
    }


async def test_a_name_with_strange_letters_stays_one_segment(desk: Desk) -> None:
    """A slash in a name asks for no other path."""
    result = await desk.run("show", "../keys")
    assert result.exit_code == 1
    assert "There is no '../keys'" in result.stderr


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("time_zone=Europe/Berlyn", "did you mean Europe/Berlin?"),
        ("mode=strict", "off, observe, enforce"),
        ("projects=acme-prod", "must be a list"),
        ("service_account=nobody", "is not a service account"),
    ],
)
async def test_a_slip_is_said_before_anything_is_sent(desk: Desk, word: str, said: str) -> None:
    """Status 2, in the words of the settings."""
    result = await desk.run("set", "acme", word)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert desk.shelf.seen == []
