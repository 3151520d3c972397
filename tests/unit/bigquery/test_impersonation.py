import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import google.auth.exceptions
import google.auth.iam
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bqgate.bigquery.impersonation import ImpersonatedAccounts, sources_from
from bqgate.bigquery.service_account import ServiceAccountCredentials
from bqgate.bigquery.token_source import TokenSource, Transport, load_token_source
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.wire.http_message import HttpRequest
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock
from tests.support.recording_upstream import RecordingUpstream

ACME = "acme@gate.iam.gserviceaccount.com"
BETA = "beta@gate.iam.gserviceaccount.com"
CALL = HttpRequest(
    "GET", "/p", "access_token=theirs", (("Authorization", "Bearer caller"), ("x-goog-user-project", "q"))
)


@dataclass
class Iam:
    """Google's IAM: gives each account numbered tokens that live for an hour, and can be down, shut or slow."""

    clock: ManualClock
    asked: list[str] = field(default_factory=list)
    is_down: bool = False
    may_answer: threading.Event = field(default_factory=threading.Event)
    has_been_asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    def source_of(self, account: str) -> TokenSource:
        return _AccountTokens(account, self)


@dataclass
class _AccountTokens:
    account: str
    iam: Iam
    token: str | None = None
    expiry: datetime | None = None

    def refresh(self, _request: Transport) -> None:
        self.iam.asked.append(self.account)
        self.iam.has_been_asked.set()
        assert self.iam.may_answer.wait(30)
        if self.iam.is_down:
            raise google.auth.exceptions.RefreshError("Permission denied to ya29.secret")  # type: ignore[no-untyped-call]  # no types
        self.token = f"{self.account.split('@')[0]}-{self.iam.asked.count(self.account)}"
        self.expiry = self.iam.clock.now().replace(tzinfo=None) + timedelta(hours=1)


@dataclass
class OwnTokens:
    """The gate's own token."""

    token: str | None = "own"
    expiry: datetime | None = None

    def refresh(self, _request: Transport) -> None:
        """It never ends."""


@dataclass
class Stand:
    """Accounts before a scripted IAM, by a clock that the test moves."""

    accounts: ImpersonatedAccounts
    iam: Iam
    clock: ManualClock
    telemetry: ListTelemetry

    async def token(self, account: str | None) -> str | None:
        sent = await self.accounts.applied_to(CALL, Credential(account=account))
        return sent.header("authorization")

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.accounts.keep_fresh())
        await self.clock.wait_for_sleepers()
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def pass_time(self, seconds: int) -> None:
        """Let time pass, a look of the background task at a time."""
        for _ in range(seconds // 30):
            self.clock.advance(30)
            await self.clock.wait_for_sleepers()


async def _stand(*, accounts_max: int = 1_000, wait_s: float = 15) -> Stand:
    clock, telemetry = ManualClock(), ListTelemetry()
    own = ServiceAccountCredentials(OwnTokens(), clock, telemetry)
    await own.renew()
    iam = Iam(clock)
    accounts = ImpersonatedAccounts(own, iam.source_of, clock, telemetry, accounts_max=accounts_max, wait_s=wait_s)
    return Stand(accounts, iam, clock, telemetry)


async def test_each_customer_goes_in_its_accounts_name() -> None:
    """A call bears the token of its customer's account alone, and the gate's own where there is no account."""
    stand = await _stand()
    sent = await stand.accounts.applied_to(CALL, Credential("Bearer caller", account=ACME))
    assert (sent.query, sent.headers) == ("", (("Authorization", "Bearer acme-1"),))
    assert await stand.token(BETA) == "Bearer beta-1"
    assert await stand.token(None) == "Bearer own"
    assert await stand.token(ACME) == "Bearer acme-1"
    assert stand.iam.asked == [ACME, BETA]


async def test_the_first_use_is_asked_once_for_all() -> None:
    """Callers that want the same account at the same time wait for one token; one that leaves takes nobody along."""
    stand = await _stand()
    stand.iam.may_answer.clear()
    callers = [asyncio.create_task(stand.token(ACME)) for _ in range(20)]
    await asyncio.to_thread(stand.iam.has_been_asked.wait, 10)
    callers[0].cancel()
    stand.iam.may_answer.set()
    tokens = await asyncio.gather(*callers[1:])
    assert set(tokens) == {"Bearer acme-1"}
    assert stand.iam.asked == [ACME]
    with pytest.raises(asyncio.CancelledError):
        await callers[0]


async def test_a_token_is_renewed_before_it_ends() -> None:
    """An account in use gets its next token in the background; no caller waits for it."""
    stand = await _stand()
    async with stand.kept_fresh():
        await stand.token(ACME)
        await stand.pass_time(49 * 60)
        assert stand.iam.asked == [ACME]
        await stand.pass_time(90)
        assert stand.iam.asked == [ACME, ACME]
        stand.iam.may_answer.clear()
        assert await stand.token(ACME) == "Bearer acme-2"
        stand.iam.may_answer.set()


async def test_an_account_that_nobody_uses_is_let_go() -> None:
    """An hour after its last use an account is renewed no more; the next use waits for a token again."""
    stand = await _stand()
    async with stand.kept_fresh():
        await stand.token(ACME)
        await stand.pass_time(4 * 3600)
        assert stand.iam.asked == [ACME, ACME]
        assert await stand.token(ACME) == "Bearer acme-3"


async def test_an_ended_token_is_never_sent() -> None:
    """Where nothing was renewed in time, the next use waits for a new token."""
    stand = await _stand()
    await stand.token(ACME)
    stand.clock.advance(3600)
    assert await stand.token(ACME) == "Bearer acme-2"


async def test_a_refusal_of_iam_is_told_and_not_repeated_at_once() -> None:
    """Nothing is sent, the operator reads which account, and IAM is left alone for ten seconds."""
    stand = await _stand()
    stand.iam.is_down = True
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable) as caught:
            await stand.token(ACME)
        assert not caught.value.may_have_worked
    assert stand.iam.asked == [ACME]
    noted = {"account": ACME, "error": "Permission denied to [masked]", "cause": "RefreshError"}
    assert stand.telemetry.notes == [("account_token_not_fetched", noted)]
    assert await stand.token(None) == "Bearer own"
    stand.iam.is_down = False
    stand.clock.advance(10)
    assert await stand.token(ACME) == "Bearer acme-2"


async def test_a_failed_renewal_leaves_the_old_token() -> None:
    """While IAM is down the old token serves until its end, and every look asks again."""
    stand = await _stand()
    async with stand.kept_fresh():
        await stand.token(ACME)
        stand.iam.is_down = True
        await stand.pass_time(51 * 60)
        assert await stand.token(ACME) == "Bearer acme-1"
        stand.iam.is_down = False
        await stand.pass_time(30)
        assert await stand.token(ACME) == f"Bearer acme-{len(stand.iam.asked)}"


async def test_nobody_waits_for_iam_for_ever() -> None:
    """A caller gives up after its wait; the token that comes later serves the next."""
    stand = await _stand(wait_s=0.05)
    stand.iam.may_answer.clear()
    with pytest.raises(UpstreamUnavailable) as caught:
        await stand.token(ACME)
    assert not caught.value.may_have_worked
    assert stand.telemetry.notes[0][0] == "account_token_late"
    stand.iam.may_answer.set()
    async with asyncio.timeout(10):
        while True:
            with suppress(UpstreamUnavailable):
                assert await stand.token(ACME) == "Bearer acme-1"
                break


async def test_a_token_that_bigquery_refuses_is_fetched_anew() -> None:
    """Not at once, so that IAM is not asked for each call; the gate's own is renewed by its own time."""
    stand = await _stand()
    await stand.token(ACME)
    await stand.token(BETA)
    assert stand.accounts.drop_refused(Credential(account=ACME))
    with pytest.raises(UpstreamUnavailable):
        await stand.token(ACME)
    assert await stand.token(BETA) == "Bearer beta-1"
    stand.clock.advance(10)
    assert await stand.token(ACME) == "Bearer acme-2"
    assert stand.accounts.drop_refused(Credential())
    assert await stand.token(None) == "Bearer own"
    assert [event for event, _ in stand.telemetry.notes] == ["account_token_refused"]


async def test_accounts_are_bounded() -> None:
    """Past the bound the account that was unused for longest is forgotten."""
    stand = await _stand(accounts_max=2)
    for account in (ACME, BETA, ACME, "third@gate.iam.gserviceaccount.com", ACME, BETA):
        await stand.token(account)
    assert stand.iam.asked == [ACME, BETA, "third@gate.iam.gserviceaccount.com", BETA]


async def test_googles_library_asks_iam_for_the_accounts_token(
    recorder: RecordingUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate's key file logs in, and its token asks IAM for one of the account with BigQuery's scopes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path / "key.json"
    document = {
        "type": "service_account",
        "client_email": "gate@p.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "token_uri": f"{recorder.url}/token",
    }
    file.write_text(json.dumps(document))
    monkeypatch.setattr(google.auth.iam, "_IAM_ENDPOINT", f"{recorder.url}/iam/{{}}:generateAccessToken")

    async def reply(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return web.json_response({"access_token": "the-gates", "expires_in": 3600, "token_type": "Bearer"})
        return web.json_response({"accessToken": "acmes", "expireTime": "2026-11-24T13:00:00Z"})

    recorder.reply = reply
    clock, telemetry = ManualClock(), ListTelemetry()
    own = await asyncio.to_thread(load_token_source, str(file))
    accounts = ImpersonatedAccounts(
        ServiceAccountCredentials(own, clock, telemetry), sources_from(own), clock, telemetry
    )
    sent = await accounts.applied_to(CALL, Credential(account=ACME))
    assert sent.header("authorization") == "Bearer acmes"
    assert recorder.last.target == f"/iam/{ACME}:generateAccessToken"
    assert recorder.last.header("authorization") == "Bearer the-gates"
    assert "https://www.googleapis.com/auth/bigquery" in json.loads(recorder.last.body)["scope"]
