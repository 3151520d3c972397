import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import google.auth.exceptions
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bqgate.bigquery.credentials import CredentialsUnusable
from bqgate.bigquery.service_account import ServiceAccountCredentials
from bqgate.bigquery.token_source import Transport, load_token_source
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.wire.http_message import HttpRequest
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import START, ManualClock
from tests.support.recording_upstream import RecordingUpstream

CALL = HttpRequest("GET", "/p", "key=k", (("Authorization", "Bearer caller"), ("x-goog-user-project", "q")))


class Tokens:
    """Hands out numbered tokens that live for an hour by the test's clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.token: str | None = None
        self.expiry: datetime | None = None
        self.given = 0
        self.is_down = False

    def refresh(self, _request: Transport) -> None:
        if self.is_down:
            raise google.auth.exceptions.RefreshError("down")  # type: ignore[no-untyped-call]  # no types
        self.given += 1
        self.token = f"token-{self.given}"
        self.expiry = self._clock.now().replace(tzinfo=None) + timedelta(hours=1)


async def _sent(credentials: ServiceAccountCredentials) -> str | None:
    """The credential that a call bears upstream."""
    return (await credentials.applied_to(CALL, Credential())).header("authorization")


@asynccontextmanager
async def _kept_fresh(credentials: ServiceAccountCredentials, clock: ManualClock) -> AsyncIterator[None]:
    task = asyncio.create_task(credentials.keep_fresh())
    await clock.wait_for_sleepers()
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_gates_token_replaces_the_callers() -> None:
    """Nothing of the caller's credential goes upstream."""
    clock = ManualClock()
    credentials = ServiceAccountCredentials(Tokens(clock), clock, ListTelemetry())
    assert await credentials.renew()
    sent = await credentials.applied_to(CALL, Credential("Bearer caller"))
    assert (sent.query, sent.headers) == ("", (("Authorization", "Bearer token-1"),))


async def test_without_a_token_nothing_is_sent() -> None:
    """Before the first token, and after the last one has ended, calls fail at once and say that nothing ran."""
    clock = ManualClock()
    credentials = ServiceAccountCredentials(Tokens(clock), clock, ListTelemetry())
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable) as caught:
            await credentials.applied_to(CALL, Credential())
        assert not caught.value.may_have_worked
        await credentials.renew()
        clock.advance(3600)


async def test_a_token_is_renewed_before_it_ends() -> None:
    """Five minutes before the end there is a new one; no caller waits for it."""
    clock = ManualClock()
    credentials = ServiceAccountCredentials(Tokens(clock), clock, ListTelemetry())
    async with _kept_fresh(credentials, clock):
        clock.advance(54 * 60)
        assert await _sent(credentials) == "Bearer token-1"
        clock.advance(60)
        await clock.wait_for_sleepers()
        assert await _sent(credentials) == "Bearer token-2"


async def test_a_failed_renewal_is_tried_again() -> None:
    """While the token endpoint is down the old token serves, and every ten seconds it is asked again."""
    clock, telemetry = ManualClock(), ListTelemetry()
    tokens = Tokens(clock)
    credentials = ServiceAccountCredentials(tokens, clock, telemetry)
    async with _kept_fresh(credentials, clock):
        tokens.is_down = True
        clock.advance(55 * 60)
        await clock.wait_for_sleepers()
        assert await _sent(credentials) == "Bearer token-1"
        tokens.is_down = False
        clock.advance(10)
        await clock.wait_for_sleepers()
        assert await _sent(credentials) == "Bearer token-2"
    assert [name for name, _ in telemetry.notes] == ["token_not_renewed"]
    noted = telemetry.notes[0][1]
    assert (noted["error"], noted["cause"]) == ("down", "RefreshError")


async def test_a_key_file_logs_in_where_it_says(recorder: RecordingUpstream, tmp_path: Path) -> None:
    """Google's library signs with the key and fetches the token from the file's token_uri."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "gate@p.iam.gserviceaccount.com",
                "private_key_id": "1",
                "private_key": pem.decode(),
                "token_uri": f"{recorder.url}/token",
            }
        )
    )

    async def reply(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"access_token": "from-endpoint", "expires_in": 3600, "token_type": "Bearer"})

    recorder.reply = reply
    clock = ManualClock(START)
    source = await asyncio.to_thread(load_token_source, str(file))
    credentials = ServiceAccountCredentials(source, clock, ListTelemetry())
    assert await credentials.renew()
    assert b"jwt-bearer" in recorder.last.body
    assert source.token == "from-endpoint"


@pytest.mark.parametrize("text", ["", "{}", '{"type": "authorized_user"}'])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    """A wrong file is found when it is loaded."""
    file = tmp_path / "key.json"
    file.write_text(text)
    with pytest.raises(CredentialsUnusable, match=r"key\.json"):
        load_token_source(str(file))


@pytest.mark.parametrize("token", [None, "", "two words", "a\r\nx-other: y", "ünïcode", "x" * 20_000, ["a"]])
async def test_what_is_no_token_is_never_sent(token: object) -> None:
    """google-auth takes whatever stands in the answer: the old token stands, and the operator reads why."""
    clock, telemetry = ManualClock(), ListTelemetry()
    tokens = Tokens(clock)
    credentials = ServiceAccountCredentials(tokens, clock, telemetry)
    assert await credentials.renew()
    tokens.refresh = lambda _request: setattr(tokens, "token", token)  # type: ignore[method-assign]  # a bad answer
    assert not await credentials.renew()
    assert await _sent(credentials) == "Bearer token-1"
    assert telemetry.notes[0][1]["cause"] == "no token in the answer"
