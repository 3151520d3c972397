"""Google's own library logs in to a real token endpoint with nothing but what the gate issued."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from google.oauth2 import service_account

from bqgate.clock import SystemClock
from bqgate.domain.key import KeyKind
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.identity.key_files import NewKey, external_account_document, new_key, service_account_document
from bqgate.identity.keyring import identity_of
from bqgate.identity.logins import LoginRefused
from tests.support.identity_stand import TTL_S, IdentityStand

SCOPES = ["https://www.googleapis.com/auth/bigquery"]


class TokenEndpoint:
    """A gate's token endpoint, as small as it can be, and what it was sent."""

    def __init__(self) -> None:
        self.stand = IdentityStand(SystemClock())
        self.forms: list[dict[str, str]] = []
        app = web.Application()
        app.router.add_post("/oauth2/token", self.answer)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/")).rstrip("/")

    async def answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.forms.append({name: str(value) for name, value in form.items()})
        try:
            grant = await self.stand.logins.grant(self.forms[-1])
        except LoginRefused as refused:
            told = {"error": refused.error, "error_description": refused.description}
            return web.json_response(told, status=refused.status)
        body: dict[str, str | int] = {
            "access_token": grant.access_token,
            "token_type": "Bearer",
            "expires_in": grant.expires_in_s,
        }
        if grant.issued_token_type is not None:
            body["issued_token_type"] = grant.issued_token_type
        return web.json_response(body)

    async def new_key(self, kind: KeyKind) -> NewKey:
        now = SystemClock().now()
        new = await new_key(kind, principal="etl", role=Role.USER, customer="acme", created_by="root", now=now)
        self.stand.shelf.put(new.key)
        return new

    async def whose(self, token: str) -> Identity:
        return await self.stand.callers.authenticate(Credential(f"Bearer {token}"), project_id=None)


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    await endpoint.server.start_server()
    yield endpoint
    await endpoint.server.close()


def by_key_file(document: dict[str, str], **wanted: Any) -> Any:
    load = service_account.Credentials.from_service_account_info
    return load(document, **wanted)  # type: ignore[no-untyped-call]  # google-auth declares no types


def by_external_account_file(path: Path) -> Any:
    load = google.auth.load_credentials_from_file
    return load(str(path), scopes=SCOPES)[0]  # type: ignore[no-untyped-call]  # google-auth declares no types


async def refresh(credentials: Any) -> None:
    """Have the library log in; it blocks, so it does so in a thread."""
    await asyncio.to_thread(credentials.refresh, google.auth.transport.requests.Request())


async def test_a_key_file_logs_in(endpoint: TokenEndpoint) -> None:
    """service_account.Credentials fetches a token at the file's token_uri, and it proves the key."""
    new = await endpoint.new_key(KeyKind.KEY_FILE)
    document = service_account_document(new, public_url=endpoint.url, project_id="p")
    credentials = by_key_file(document, scopes=SCOPES)
    await refresh(credentials)
    assert await endpoint.whose(credentials.token) == identity_of(new.key)
    lives_for = credentials.expiry.replace(tzinfo=UTC) - SystemClock().now()
    assert timedelta(seconds=TTL_S - 60) < lives_for <= timedelta(seconds=TTL_S)
    first = credentials.token
    await refresh(credentials)
    assert await endpoint.whose(credentials.token) == await endpoint.whose(first)


async def test_a_key_file_signs_its_own_tokens(endpoint: TokenEndpoint) -> None:
    """The library's self-signed JWTs are bearer tokens of the same key, without any login."""
    new = await endpoint.new_key(KeyKind.KEY_FILE)
    document = service_account_document(new, public_url=endpoint.url, project_id="p")
    credentials = by_key_file(document, scopes=SCOPES)
    credentials = credentials.with_always_use_jwt_access(True)
    credentials._create_self_signed_jwt("https://bigquery.googleapis.com/")
    await refresh(credentials)
    assert await endpoint.whose(credentials.token) == identity_of(new.key)
    by_audience = by_key_file(document)
    by_audience._create_self_signed_jwt("https://bigquery.googleapis.com/")
    await refresh(by_audience)
    assert await endpoint.whose(by_audience.token) == identity_of(new.key)
    assert endpoint.forms == []


async def test_a_revoked_key_file_is_told_so(endpoint: TokenEndpoint) -> None:
    """The library shows the gate's words to whoever logs in with a revoked key, and does not try for ever."""
    new = await endpoint.new_key(KeyKind.KEY_FILE)
    endpoint.stand.shelf.put(new.key.ended(SystemClock().now(), is_revoked=True))
    document = service_account_document(new, public_url=endpoint.url, project_id="p")
    credentials = by_key_file(document, scopes=SCOPES)
    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant: This key was revoked"):
        await refresh(credentials)
    assert len(endpoint.forms) == 1


@pytest.mark.parametrize("end", ["", "\n"])
async def test_an_external_account_file_logs_in(endpoint: TokenEndpoint, tmp_path: Path, end: str) -> None:
    """identity_pool.Credentials exchanges the static token in a file for one of the gate's."""
    new = await endpoint.new_key(KeyKind.TOKEN)
    (tmp_path / "token").write_text(new.secret + end)
    document = external_account_document(public_url=endpoint.url, token_file=str(tmp_path / "token"))
    (tmp_path / "account.json").write_text(json.dumps(document))
    credentials = by_external_account_file(tmp_path / "account.json")
    await refresh(credentials)
    assert await endpoint.whose(credentials.token) == identity_of(new.key)
    assert credentials.token != new.secret


async def test_a_wrong_static_token_is_told_so(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """The library shows the gate's words where the file holds something else."""
    (tmp_path / "token").write_text("something else")
    document = external_account_document(public_url=endpoint.url, token_file=str(tmp_path / "token"))
    (tmp_path / "account.json").write_text(json.dumps(document))
    credentials = by_external_account_file(tmp_path / "account.json")
    with pytest.raises(google.auth.exceptions.OAuthError, match=r"invalid_request.*neither a static token nor a JWT"):
        await refresh(credentials)
