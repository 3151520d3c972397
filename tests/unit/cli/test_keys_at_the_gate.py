import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import google.auth
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from google.auth.transport.requests import Request
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.clock import SystemClock
from bqgate.domain.principal import Role
from tests.support.admin_stand import AdminStand, Replica, admin_stand
from tests.support.manual_clock import ManualClock

FOREIGN_KEY_ID = "0" * 16


class Gate:
    """A control plane, and the command line before it."""

    def __init__(self, stand: AdminStand, replica: Replica, folder: Path) -> None:
        self.stand = stand
        self.replica = replica
        self.folder = folder

    @property
    def url(self) -> str:
        return self.replica.url.rstrip("/")

    async def run(self, *words: str, token: str | None = None, stdin: str | None = None) -> Result:
        """`bqgate keys …` as somebody with a token in the environment."""
        env = {"BQGATE_URL": self.url, "BQGATE_TOKEN": token or ""}
        return await asyncio.to_thread(CliRunner().invoke, app, ["keys", *words], env=env, input=stdin)

    async def token(self, role: Role, customer: str | None = None) -> str:
        token = await self.stand.token(role, customer=customer)
        await self.replica.shelf.refresh()
        return token


@pytest.fixture
async def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    """A gate of today: google-auth signs by the machine's clock."""
    for name in ("BQGATE_KEY_FILE", "BQGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "300")  # errors are not folded
    monkeypatch.chdir(tmp_path)
    async with admin_stand(tmp_path, ManualClock(SystemClock().now())) as stand:
        yield Gate(stand, await stand.replica(), tmp_path)


async def test_a_key_file_makes_further_keys(gate: Gate) -> None:
    """A super admin's file alone is enough: the command finds the gate in it, logs in there, and makes a key."""
    root = await gate.token(Role.SUPER_ADMIN)
    made = await gate.run("create", "--role", "admin", "--out", "admin.json", token=root)
    assert made.exit_code == 0, made.output
    assert json.loads((gate.folder / "admin.json").read_text())["token_uri"] == f"{gate.url}/oauth2/token"
    words = ["keys", "create", "--key-file", "admin.json", "--customer", "acme", "--role", "user"]
    result = await asyncio.to_thread(CliRunner().invoke, app, words, env={"BQGATE_URL": None, "BQGATE_TOKEN": None})
    assert result.exit_code == 0, result.output
    key_file = json.loads((gate.folder / "bqgate-acme-user.json").read_text())
    assert key_file["project_id"] == "acme-prod"
    assert key_file["private_key"][:40] not in result.output


async def test_a_token_from_standard_input_is_taken(gate: Gate) -> None:
    """--token-stdin beats what the environment says."""
    root = await gate.token(Role.SUPER_ADMIN)
    result = await gate.run("list", "--token-stdin", "--json", token="bqg_wrong", stdin=f"{root}\n")
    assert result.exit_code == 0, result.output
    assert [each["role"] for each in json.loads(result.stdout)] == ["super_admin"]
    assert root not in result.output


async def test_an_external_account_logs_in_with_the_token_beside_it(gate: Gate) -> None:
    """google-auth takes both files as they were written, and gets a token that opens what the role may see."""
    root = await gate.token(Role.SUPER_ADMIN)
    words = ("--customer", "acme", "--role", "analyst", "--out", "bi.token", "--external-account", "bi.json")
    made = await gate.run("token", *words, token=root)
    assert made.exit_code == 0, made.output
    credentials, _ = await asyncio.to_thread(google.auth.load_credentials_from_file, "bi.json")
    await asyncio.to_thread(credentials.refresh, Request())
    await gate.replica.call("GET", "/v1/jobs", token=credentials.token)


async def test_every_page_of_keys_is_listed(gate: Gate) -> None:
    """More keys than a page holds are all there, once."""
    root = await gate.token(Role.SUPER_ADMIN)
    for _ in range(120):
        await gate.token(Role.USER, "acme")
    listed = json.loads((await gate.run("list", "--json", token=root)).stdout)
    assert len({each["id"] for each in listed}) == len(listed) == 121


async def test_rotation_and_revocation_go_by_the_gate(gate: Gate) -> None:
    """Rotate prints the new token and the old one's end; revoke ends a key, and the gate takes it no more."""
    root = await gate.token(Role.SUPER_ADMIN)
    old = (await gate.run("token", "--customer", "acme", "--role", "analyst", token=root)).stdout.strip()
    rotated = await gate.run("rotate", old.split("_")[1], "--overlap-minutes", "5", token=root)
    assert rotated.exit_code == 0, rotated.output
    new = rotated.stdout.strip()
    assert new.startswith("bqg_")
    assert f"The key {old.split('_')[1]} ends at " in rotated.stderr
    revoked = await gate.run("revoke", new.split("_")[1], token=root)
    assert revoked.exit_code == 0, revoked.output
    await gate.replica.call("GET", "/v1/jobs", token=old)
    await gate.replica.call("GET", "/v1/jobs", token=new, status=401)


async def test_the_last_super_admin_wants_force(gate: Gate) -> None:
    """The refusal says which word goes past it and what then; --force goes through, and it was the last one."""
    root = await gate.token(Role.SUPER_ADMIN)
    refused = await gate.run("revoke", root.split("_")[1], token=root)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "last valid key of a super_admin" in refused.stderr
    assert "--force" in refused.stderr
    assert "force=true" not in refused.stderr
    forced = await gate.run("revoke", root.split("_")[1], "--force", token=root)
    assert (forced.exit_code, forced.stderr) == (0, "")
    assert (await gate.run("list", token=root)).exit_code == 1


@pytest.mark.parametrize(
    ("role", "words", "said"),
    [
        (None, ("list",), "BQGATE_KEY_FILE"),
        (Role.USER, ("list",), "role admin"),
        (Role.ADMIN, ("create", "--role", "admin"), "super"),
        (Role.ADMIN, ("create", "--role", "user", "--customer", "initech"), "There is no customer 'initech'"),
        (Role.ADMIN, ("revoke", FOREIGN_KEY_ID), "no key"),
        (Role.ADMIN, ("rotate", FOREIGN_KEY_ID), "no key"),
    ],
)
async def test_a_refusal_is_a_sentence_and_leaves_no_file(
    gate: Gate, role: Role | None, words: tuple[str, ...], said: str
) -> None:
    """Status 1, the gate's own words and what to do next; no key file, and the credential is not repeated."""
    token = None if role is None else await gate.token(role, "acme" if role is Role.USER else None)
    result = await gate.run(*words, token=token)
    assert result.exit_code == 1, result.output
    assert said in result.stderr
    assert token is None or token not in result.output
    assert list(gate.folder.glob("*.json")) == []


async def test_a_revoked_key_file_is_told_what_to_do(gate: Gate) -> None:
    """The token endpoint's reason is shown, with the way back in."""
    root = await gate.token(Role.SUPER_ADMIN)
    await gate.run("create", "--role", "admin", "--out", "admin.json", token=root)
    key_id = json.loads((gate.folder / "admin.json").read_text())["private_key_id"]
    await gate.run("revoke", key_id, token=root)
    result = await gate.run("list", "--key-file", "admin.json")
    assert result.exit_code == 1
    assert "revoked" in result.stderr
    assert "bqgate keys create --role super_admin --local" in result.stderr


async def test_an_address_without_a_gate_is_said() -> None:
    """Nobody listens, or another server does, which gets no second request: a sentence, status 1."""

    async def elsewhere(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "https://bqgate.invalid/"})

    other = web.Application()
    other.router.add_get("/{tail:.*}", elsewhere)
    async with TestServer(other) as server:
        for url, said in (
            ("http://127.0.0.1:1", "Nobody answers at http://127.0.0.1:1"),
            (str(server.make_url("")).rstrip("/"), "answered 302, but not as a control plane of bqgate does"),
        ):
            result = await asyncio.to_thread(CliRunner().invoke, app, ["keys", "list", "--url", url])
            assert result.exit_code == 1, result.output
            assert said in result.stderr


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (("--url", "gate:8080"), {}),
        (("--url", "http://user:hunter2@gate"), {}),
        (("--key-file", "nowhere.json"), {}),
        ((), {"BQGATE_TOKEN": "hunter2 and more"}),
    ],
)
def test_a_wrong_argument_is_status_2(words: tuple[str, ...], env: dict[str, str]) -> None:
    """What cannot be a URL, a key file or a token is said before anybody is called, without quoting a secret."""
    result = CliRunner().invoke(app, ["keys", "list", *words], env=env)
    assert result.exit_code == 2
    assert "hunter2" not in result.output
