import asyncio
import json
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bqgate.admin.schemas_keys import KeyDescription
from bqgate.cli import app
from bqgate.domain.audit import AuditFilter, AuditRecord
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.principal import Role
from bqgate.identity.static_tokens import hash_of
from bqgate.ledger import SqlRegistry, migrate

PUBLIC_URL = "https://gate.example.com"


class Local:
    """A database, and the command line before it with --local."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "bqgate.yaml"
        self.url = f"sqlite:///{folder}/ledger.db"
        self.config.write_text(
            json.dumps(
                {
                    "ledger": {"url": self.url},
                    "identity": {"public_url": PUBLIC_URL},
                    "customers": {"acme": {"projects": ["acme-prod", "acme-dev"]}, "globex": {}},
                }
            )
        )

    def run(self, command: str, *words: str) -> Result:
        return CliRunner().invoke(app, ["keys", command, *words, "--local", "--config", str(self.config)])

    def create(self, *words: str) -> dict[str, Any]:
        """A key file's content."""
        file = self.folder / "made.json"
        file.unlink(missing_ok=True)
        result = self.run("create", *words, "--out", str(file))
        assert result.exit_code == 0, result.output
        content: dict[str, Any] = json.loads(file.read_text())
        return content

    def fetch_keys(self) -> tuple[Key, ...]:
        async def fetch() -> tuple[Key, ...]:
            registry = await SqlRegistry.open(self.url)
            try:
                return await registry.fetch_keys()
            finally:
                await registry.close()

        return asyncio.run(fetch())

    def audit(self) -> list[AuditRecord]:
        """Oldest first."""

        async def fetch() -> list[AuditRecord]:
            registry = await SqlRegistry.open(self.url)
            try:
                return list(reversed((await registry.fetch_audit(AuditFilter())).records))
            finally:
                await registry.close()

        return asyncio.run(fetch())


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    """A gate's settings and a folder to work in; the environment names no gate."""
    for name in ("BQGATE_URL", "BQGATE_TOKEN", "BQGATE_KEY_FILE", "BQGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "300")  # errors are not folded
    monkeypatch.chdir(tmp_path)
    return Local(tmp_path)


def test_the_first_admin_is_made_in_a_database_that_is_not_there_yet(local: Local) -> None:
    """Before the gate ever ran: tables are made, the file is a service account's, the gate keeps its public half."""
    content = local.create("--role", "super_admin")
    (key,) = local.fetch_keys()
    assert content["type"] == "service_account"
    assert content["private_key_id"] == key.id
    assert content["token_uri"] == f"{PUBLIC_URL}/oauth2/token"
    assert (key.kind, key.role, key.customer) == (KeyKind.KEY_FILE, Role.SUPER_ADMIN, None)
    assert (key.public_key or "").startswith("-----BEGIN PUBLIC KEY-----")


def test_a_key_made_locally_is_in_the_audit_log_of_the_os_user(local: Local) -> None:
    """The record names the operating system's user, and holds no secret."""
    content = local.create("--role", "super_admin")
    (record,) = local.audit()
    user = pwd.getpwuid(os.getuid()).pw_name
    assert (record.event.action, record.event.actor) == ("key.created", f"local:{user}")
    assert record.event.target == f"keys/{content['private_key_id']}"
    assert "PRIVATE" not in str(record)
    assert "PUBLIC KEY" not in str(record)


def test_a_key_file_is_its_owners_alone_and_overwrites_nothing(local: Local) -> None:
    """Mode 0600; a second key for the same file is refused with status 2, before it is made."""
    local.create("--role", "super_admin")
    file = local.folder / "made.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    result = local.run("create", "--role", "super_admin", "--out", str(file))
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert file.read_bytes() == before
    assert len(local.fetch_keys()) == 1


def test_without_out_the_file_is_named_for_its_holder(local: Local) -> None:
    """The file lies in the present folder, and nothing secret is printed."""
    result = local.run("create", "--customer", "acme", "--role", "user", "--principal", "etl")
    assert result.exit_code == 0, result.output
    content = json.loads((local.folder / "bqgate-acme-user.json").read_text())
    assert content["project_id"] == "acme-prod"
    assert "PRIVATE KEY" not in result.output
    assert "spends as etl" in result.stderr


@pytest.mark.parametrize(
    ("words", "project"), [((), "acme-prod"), (("--project", "other"), "other")], ids=["first", "as asked"]
)
def test_a_key_file_names_a_project(local: Local, words: tuple[str, ...], project: str) -> None:
    """The customer's first, or the one that was asked for."""
    assert local.create("--customer", "acme", "--role", "user", *words)["project_id"] == project


@pytest.mark.parametrize("command", [("create", "--token"), ("token",)], ids=["create --token", "token"])
def test_a_token_is_printed_once_and_kept_as_a_hash(local: Local, command: tuple[str, ...]) -> None:
    """Standard output is the token and nothing else; the database has its hash."""
    result = local.run(*command, "--customer", "acme", "--role", "analyst", "--expires-days", "30")
    assert result.exit_code == 0, result.output
    token = result.stdout.strip()
    (key,) = local.fetch_keys()
    assert token.startswith(f"bqg_{key.id}_")
    assert key.token_hash == hash_of(token)
    assert key.ends_at is not None
    assert (key.ends_at - key.created_at).days == 30
    assert token not in result.stderr
    assert token not in str(local.audit())


def test_a_token_in_a_file_can_have_an_external_account_beside_it(local: Local) -> None:
    """The account file names the gate's token endpoint and where the token lies, and holds no secret itself."""
    token_file, account_file = local.folder / "tool.token", local.folder / "tool.json"
    result = local.run(
        "token", "--customer", "acme", "--role", "user", "--out", "tool.token", "--external-account", str(account_file)
    )
    assert result.exit_code == 0, result.output
    token = token_file.read_text()
    assert token == token.strip(), "clients send the file as it is"
    account = json.loads(account_file.read_text())
    assert account["token_url"] == f"{PUBLIC_URL}/oauth2/token"
    assert account["credential_source"]["file"] == str(token_file)
    assert result.stdout == ""
    assert token not in account_file.read_text()
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("--role", "user"), "--customer", 2),
        (("--role", "owner"), "owner", 2),
        (("--role", "open"), "open", 2),
        (("--role", "user", "--customer", "initech"), "There is no customer 'initech'", 1),
        (("--role", "admin", "--external-account", "a.json"), "--external-account", 2),
        (("--role", "admin", "--out", "nowhere/key.json"), "nowhere/key.json", 2),
    ],
)
def test_what_makes_no_key_is_said_and_leaves_no_file(
    local: Local, words: tuple[str, ...], said: str, status: int
) -> None:
    """A wrong argument is status 2, a customer that is not there 1; neither leaves a key or a file."""
    asyncio.run(migrate(local.url))
    before = set(local.folder.iterdir())
    result = local.run("create", *words)
    assert result.exit_code == status, result.output
    assert said in result.stderr
    assert local.fetch_keys() == ()
    assert {path for path in set(local.folder.iterdir()) - before if path.suffix == ".json"} == set()


def test_list_shows_all_keys_without_secrets(local: Local) -> None:
    """A table for people, JSON for programs; tokens show their prefix alone."""
    local.create("--customer", "acme", "--role", "user", "--principal", "[red]etl[/red]")
    token = local.run("token", "--role", "admin").stdout.strip()
    listed = json.loads(local.run("list", "--json").stdout)
    assert [each["role"] for each in listed] == ["user", "admin"]
    assert set(listed[0]) == set(KeyDescription.model_fields), "as the admin API shows keys"
    assert listed[1]["prefix"] == token[: len("bqg_") + 16]
    table = local.run("list").stdout
    assert "[red]etl[/red]" in table
    for shown in (table, json.dumps(listed)):
        assert token not in shown
        assert "KEY-----" not in shown


def test_rotation_keeps_the_holder_and_ends_the_old_key_after_the_overlap(local: Local) -> None:
    """The new key is of the same principal, role, customer and life; the audit log has both changes."""
    content = local.create("--customer", "acme", "--role", "user", "--principal", "etl", "--expires-days", "90")
    old_id = content["private_key_id"]
    result = local.run("rotate", old_id, "--overlap-minutes", "30")
    assert result.exit_code == 0, result.output
    rotated = json.loads((local.folder / f"bqgate-{old_id}-rotated.json").read_text())
    old, new = local.fetch_keys()
    assert rotated["private_key_id"] == new.id != old_id
    assert (new.principal, new.role, new.customer) == ("etl", Role.USER, "acme")
    assert old.ends_at is not None
    assert new.ends_at is not None
    assert (old.ends_at - new.created_at).total_seconds() == 30 * 60
    assert (new.ends_at - new.created_at).days == 90
    assert [record.event.action for record in local.audit()] == ["key.created", "key.created", "key.rotated"]


def test_a_rotated_token_is_printed(local: Local) -> None:
    """The new token is on standard output alone."""
    token = local.run("token", "--role", "admin").stdout.strip()
    result = local.run("rotate", token.split("_")[1])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("bqg_")
    assert result.stdout.strip() != token


def test_revocation_ends_a_key_at_once(local: Local) -> None:
    """A revoked key is not valid any more, cannot be rotated, and the audit log says who ended it."""
    key_id = local.create("--customer", "acme", "--role", "user")["private_key_id"]
    result = local.run("revoke", key_id)
    assert result.exit_code == 0, result.output
    (key,) = local.fetch_keys()
    assert key.is_revoked
    assert local.audit()[-1].event.action == "key.revoked"
    again = local.run("rotate", key_id)
    assert again.exit_code == 1
    assert "has ended" in again.stderr
    assert not (local.folder / f"bqgate-{key_id}-rotated.json").exists()


def test_the_last_super_admin_is_not_locked_out_by_a_slip(local: Local) -> None:
    """Revoking the last super_admin key wants --force; with another one there it does not."""
    first = local.create("--role", "super_admin")["private_key_id"]
    refused = local.run("revoke", first)
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    second = local.create("--role", "super_admin")["private_key_id"]
    assert local.run("revoke", first).exit_code == 0
    assert local.run("revoke", second, "--force").exit_code == 0
    assert [key.is_revoked for key in local.fetch_keys()] == [True, True]


@pytest.mark.parametrize("words", [("list",), ("rotate", "0" * 16), ("revoke", "0" * 16)])
def test_a_misspelt_database_is_not_made(local: Local, words: tuple[str, ...]) -> None:
    """All but create want a database that has the gate's tables."""
    result = local.run(*words)
    assert result.exit_code == 1
    assert "bqgate migrate" in result.stderr


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_a_key_that_is_not_there_is_said(local: Local, command: str) -> None:
    """An unknown id is status 1, what is no id status 2."""
    asyncio.run(migrate(local.url))
    unknown = local.run(command, "0" * 16)
    assert unknown.exit_code == 1
    assert "There is no key 0000000000000000" in unknown.stderr
    assert local.run(command, "nonsense").exit_code == 2
