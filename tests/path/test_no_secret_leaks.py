import asyncio
import json
import secrets
import sqlite3
import sys
from base64 import b64encode
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import jwt
import pytest
import yaml

from bqgate.clock import SystemClock
from bqgate.identity.logins import ACCESS_TOKEN_TYPE, JWT_BEARER, TOKEN_EXCHANGE
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.sandbox.faults import Fault
from tests.support.identity_stand import rsa_key
from tests.support.secret_hunt import SecretHunt, pieces_of
from tests.support.served_gate import served_gate

GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
QUERIES = "/bigquery/v2/projects/acme-prod/queries"
QUERY = {"query": "SELECT 1", "useLegacySql": False}
BATCH = """--b
Content-Type: application/http

POST /bigquery/v2/projects/acme-prod/queries HTTP/1.1
Authorization: Bearer {token}
Content-Type: application/json

{{"query": "SELECT 1", "useLegacySql": false}}
--b--
"""


class Caller:
    """Calls a gate, and hands the hunt what it sends in confidence and all that comes back."""

    def __init__(self, hunt: SecretHunt, http: aiohttp.ClientSession) -> None:
        self.hunt = hunt
        self.http = http
        self.url = ""

    async def call(
        self, method: str, path: str, token: str = "", *, status: int | None = None, **options: Any
    ) -> tuple[Any, str]:
        """The answer's JSON, where it is some, and all of the answer as text; the caller says what of it is secret."""
        headers = dict(options.pop("headers", {})) | ({"Authorization": f"Bearer {token}"} if token else {})
        async with self.http.request(method, self.url + path, headers=headers, **options) as answer:
            text = await answer.text()
            assert status in {None, answer.status}, f"{method} {path}: {answer.status} {text[:500]}"
            document = json.loads(text) if answer.content_type == "application/json" else None
            return document, f"{answer.headers} {text}"

    async def ask(self, method: str, path: str, token: str = "", **options: Any) -> Any:
        """A call whose answer has no secret in it."""
        document, whole = await self.call(method, path, token, **options)
        self.hunt.let_out(f"the answer to {method} {path.partition('?')[0]}", whole)
        return document

    async def log_in(self, form: dict[str, str]) -> str:
        """An access token, which is in this one answer."""
        document, whole = await self.call("POST", "/oauth2/token", status=200, data=form)
        token = self.hunt.remember("an access token", document["access_token"])
        self.hunt.let_out("the answer to a login", whole, but=(token,))
        return token

    async def hand_out(self, path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        """A new key, whose secret half is in this one answer."""
        document, whole = await self.call("POST", path, token, status=201, json=body)
        secret = document["token"] if document["kind"] == "token" else document["key_file"]["private_key"]
        self.hunt.remember(f"a {document['kind']}", secret)
        self.hunt.let_out("the answer that made a key", whole, but=(secret,))
        made: dict[str, Any] = document
        return made

    def assertion(self, key_file: dict[str, str], *, by: Any = None, ends_in_s: int = 600) -> dict[str, str]:
        """The form of a login with a key file."""
        now_s = int(SystemClock().now().timestamp())
        claims = {"iss": key_file["client_email"], "aud": GOOGLE_AUDIENCE, "iat": now_s, "exp": now_s + ends_in_s}
        headers = {"kid": key_file["private_key_id"]}
        text = jwt.encode(claims | {"jti": secrets.token_hex(16)}, by or key_file["private_key"], "RS256", headers)
        return {"grant_type": JWT_BEARER, "assertion": self.hunt.remember("an assertion", text)}

    def exchange(self, token: str) -> dict[str, str]:
        """The form of a login with a static token."""
        self.hunt.remember("an exchanged token", token)
        return {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN_TYPE}


async def log_in_well_and_badly(caller: Caller, root_file: dict[str, str]) -> str:
    """The root's access token, after everything that is none."""
    stranger, now = rsa_key("a stranger's"), caller.assertion(root_file)
    forms = [
        caller.assertion(root_file, by=stranger),
        caller.assertion(root_file, ends_in_s=-600),
        caller.assertion(root_file | {"private_key_id": "f" * 16}),
        caller.exchange(f"bqg_{'0' * 16}_{secrets.token_urlsafe(32)}"),
        caller.exchange(f"ya29.{secrets.token_urlsafe(40)}"),
        now | {"grant_type": "password", "password": caller.hunt.remember("a password", secrets.token_urlsafe(30))},
        {"grant_type": JWT_BEARER, "assertion": now["assertion"] * 40},
    ]
    for form in forms:
        await caller.ask("POST", "/oauth2/token", data=form)
    await caller.ask("POST", "/oauth2/token", data=json.dumps(now), headers={"Content-Type": "application/json"})
    await caller.ask("GET", f"/oauth2/token?assertion={now['assertion']}")
    return await caller.log_in(now)


async def hand_out_keys(caller: Caller, root: str) -> list[str]:
    """Bearer tokens of acme's, the good and the ended, by every way to have one."""
    of_acme = {"customer": "acme", "role": "user"}
    file = await caller.hand_out("/admin/v1/keys", root, of_acme | {"kind": "key_file"})
    token = await caller.hand_out("/admin/v1/keys", root, of_acme | {"kind": "token"})
    tokens = [token["token"]]
    tokens.append(await caller.log_in(caller.assertion(file["key_file"])))
    tokens.append(await caller.log_in(caller.exchange(token["token"])))
    for each in (file, token):
        new = await caller.hand_out(f"/admin/v1/keys/{each['id']}:rotate", root, {"overlap_minutes": 60})
        await caller.ask("GET", f"/admin/v1/keys/{new['id']}", root, status=200)
    revoked = await caller.hand_out("/admin/v1/keys", root, of_acme | {"kind": "token"})
    await caller.ask("DELETE", f"/admin/v1/keys/{revoked['id']}", root, status=204)
    tokens += [revoked["token"], f"{token['token'][:-4]}AAAA", caller.hunt.remember("a Google token", google_token())]
    await caller.ask("POST", "/admin/v1/keys", root, status=400, json={"role": root, "kind": tokens[0]})
    return tokens


async def use_tokens(caller: Caller, tokens: list[str]) -> None:
    """Bring each in every place where a token may stand, and some where none belongs."""
    for token in tokens:
        await caller.ask("POST", QUERIES, token, json=QUERY)
        for name in ("access_token", "oauth_token", "key", "upload_token"):
            await caller.ask("POST", f"{QUERIES}?{name}={token}", json=QUERY)
            await caller.ask("GET", f"/v1/jobs?customer=acme&{name}={token}")
            await caller.ask("GET", f"/nowhere?{name}={token}")
        for headers in ({"Authorization": f"Basic {token}"}, {"X-Goog-Api-Key": token}, {"Cookie": f"token={token}"}):
            await caller.ask("POST", QUERIES, json=QUERY, headers=headers)
        whole = BATCH.format(token=token).replace("\n", "\r\n")
        headers = {"Content-Type": "multipart/mixed; boundary=b"}
        await caller.ask("POST", "/batch/bigquery/v2", tokens[0], data=whole, headers=headers)


async def run_into_errors(caller: Caller, sandbox: Any, root: str, token: str, database: Path) -> None:
    """Let queries, BigQuery and the ledger fail while secrets are on their way."""
    literal = caller.hunt.remember("a literal of a query", secrets.token_hex(20))
    for sql in (f"SELECT 1 WHERE 'a' = '{literal}'", f"SELECT '{literal}' FROM nowhere.t", f"SELEC '{literal}'"):
        await caller.ask("POST", QUERIES, token, json={"query": sql, "useLegacySql": False})
    await caller.ask("POST", QUERIES, token, data=f'{{"query": "{literal}"')
    for fault in (Fault(status=500, count=3), Fault(kind="cut", count=3), Fault(kind="text", status=502, count=3)):
        sandbox.faults.add(fault)
        with suppress(aiohttp.ClientPayloadError):  # an answer that BigQuery cuts off is cut off here
            await caller.ask("POST", QUERIES, token, json=QUERY)
        assert fault.hits
        sandbox.faults.clear()
        await caller.ask("POST", QUERIES, token, status=200, json=QUERY)
    await run_sql(database, "ALTER TABLE audit RENAME TO audit_away")
    body = {"customer": "acme", "role": "user", "kind": "key_file"}
    await caller.ask("POST", "/admin/v1/keys", root, status=503, json=body)
    await caller.ask("POST", QUERIES, "bqg_refused", json={})
    await run_sql(database, "ALTER TABLE audit_away RENAME TO audit")


async def audit_written(caller: Caller, root: str) -> None:
    """Wait until the audit log has all refusals so far: they come to it in their order, once a second."""
    await caller.ask("GET", "/v1/the-last-of-all", "bqg_refused", status=401)
    async with asyncio.timeout(20):
        while True:
            page = await caller.ask("GET", "/admin/v1/audit?action=login.refused&page_size=1", root, status=200)
            if page["records"] and page["records"][0]["target"] == "GET /v1/the-last-of-all":
                return
            await SystemClock().sleep(0.05)


async def read_everything(caller: Caller, root: str) -> None:
    for path in ("/metrics", "/openapi.json", "/v1/jobs", "/v1/holds", "/v1/costs", "/admin/v1/keys", "/readyz"):
        await caller.ask("GET", path, root, status=200)
    for path in ("/admin/v1/audit?page_size=1000", "/admin/v1/audit:export", "/admin/v1/audit:verify"):
        await caller.ask("GET", path, root, status=200)


async def run_sql(database: Path, statement: str) -> None:
    """Change the ledger's database past the gate."""

    def run() -> None:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute(statement)
            connection.commit()

    await asyncio.to_thread(run)


async def run_keys(hunt: SecretHunt, *words: str) -> None:
    """`bqgate keys …`, whose terminal output is kept."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bqgate", "keys", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    hunt.let_out(f"the terminal of bqgate keys {words[0]}", output)
    assert process.returncode == 0, output


def google_token() -> str:
    return f"ya29.a0{secrets.token_urlsafe(60)}"


def write_config(folder: Path, upstream: str) -> Path:
    settings = {
        "server": {"port": 0},
        "upstream": {"url": upstream, "credentials": "anonymous"},
        "ledger": {"url": f"sqlite:///{folder}/ledger.db", "timeout_ms": 2_000},
        "identity": {"mode": "required", "failed_logins_per_minute": 10_000},
        "rate_limits": {"other_per_minute": 100_000},
        "customers": {"acme": {"projects": ["acme-prod"]}},
        "observe": {"log_level": "debug", "log_format": "json"},
    }
    config = folder / "bqgate.yaml"
    config.write_text(yaml.safe_dump(settings))
    return config


async def crash(caller: Caller, sandbox: Any, process: asyncio.subprocess.Process, root: str, token: str) -> None:
    """Kill the gate while it waits for BigQuery's answer to a query."""
    sandbox.faults.add(Fault(kind="delay", delay_s=60, method="jobs.query", dry_run=False))
    asking = asyncio.create_task(caller.ask("POST", QUERIES, token, json=QUERY))
    async with asyncio.timeout(20):
        while not (await caller.ask("GET", "/v1/holds", root, status=200))["holds"]:
            await SystemClock().sleep(0.02)
    process.kill()
    with suppress(aiohttp.ClientError):
        await asking
    sandbox.faults.clear()


async def test_no_secret_is_let_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the log at level debug, an answer, a metric, the audit log, the database, nor in what BigQuery is sent."""
    hunt, database, log_file = SecretHunt(), tmp_path / "ledger.db", tmp_path / "gate.log"
    for name in ("TOKEN_SECRET", "PREVIOUS_TOKEN_SECRET"):
        monkeypatch.setenv(f"BQGATE_IDENTITY__{name}", hunt.remember(name, secrets.token_urlsafe(48)))
    async with Sandbox.start(SandboxSettings(row_multiplier=1)) as sandbox, aiohttp.ClientSession() as http:
        config, caller = write_config(tmp_path, sandbox.url), Caller(hunt, http)
        words = ("--role", "super_admin", "--local", "--config", str(config), "--out", str(tmp_path / "root.json"))
        await run_keys(hunt, "create", *words)
        root_file = json.loads((tmp_path / "root.json").read_text())
        hunt.remember("the first key", root_file["private_key"])
        with log_file.open("ab") as log:
            async with served_gate(config, log=log) as (process, caller.url):
                root = await log_in_well_and_badly(caller, root_file)
                tokens = await hand_out_keys(caller, root)
                await use_tokens(caller, tokens)
                await run_into_errors(caller, sandbox, root, tokens[0], database)
                await audit_written(caller, root)
                await read_everything(caller, root)
                await crash(caller, sandbox, process, root, tokens[0])
                await process.wait()
            for file in (database, tmp_path / "ledger.db-wal"):
                hunt.let_out(f"{file.name} after the crash", file.read_bytes())
            async with served_gate(config, log=log) as (_, caller.url):
                await caller.ask("POST", QUERIES, tokens[1], status=200, json=QUERY)
                await read_everything(caller, await caller.log_in(caller.assertion(root_file)))
        for entry in sandbox.journal.entries():
            sent = (entry.path, entry.query, entry.headers)
            hunt.let_out(f"what BigQuery is sent: {entry.method}", str(sent))
    hunt.let_out("the log", log_file.read_bytes())
    hunt.let_out("the database", database.read_bytes())
    assert hunt.piece_count > 100
    assert log_file.read_bytes().count(b'"audit_head"') > 0
    assert not hunt.found(), "\n".join(sorted(set(hunt.found())))


@pytest.mark.parametrize(
    "secret", ["bqg_0123456789abcdef_{}", "{}", "e30.e30{}.{}", "-----BEGIN PRIVATE KEY-----\n{}\n"]
)
def test_the_hunt_finds_what_is_there(secret: str) -> None:
    """A piece of each kind of secret, as it is, in a URL and in base64; not where it is handed out."""
    text = secret.format(*["/+" + secrets.token_urlsafe(30)] * 2)
    (piece, *_) = pieces_of(text)
    for form in (piece, quote(piece, safe=""), b64encode(piece.encode()).decode()):
        hunt = SecretHunt()
        hunt.let_out("the log", f"before {form} after")
        hunt.let_out("the answer", f"before {text} after", but=(text,))
        hunt.remember("it", text)
        assert set(hunt.found()) == {"it in the log"}
