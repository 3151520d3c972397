"""Who calls: credentials, challenges, what a refusal leaves behind, and that no body is read before."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from bqgate.admin.events import EventMaker
from bqgate.admin.guard import Guard, credential_of
from bqgate.admin.problem import Problem
from bqgate.domain.errors import (
    LedgerUnavailable,
    LoginFault,
    TooManyRequests,
    Unauthenticated,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bqgate.domain.principal import Credential, Identity
from tests.support.control_stand import REQUEST_ID, ControlStand, control_stand
from tests.support.list_audit_log import ListAuditLog
from tests.support.manual_clock import START, ManualClock

TOKEN = "bqg_0123456789abcdef_" + "s" * 43


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    """A control plane with every view."""
    async with control_stand(tmp_path) as stand:
        yield stand


async def test_a_refused_login_is_told_to_the_audit_trail(control: ControlStand) -> None:
    """From where, whom they claim to be, why, and under which request id; never the credential, never the query."""
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "203.0.113.9, 10.0.0.1"}
    answer = await control.call("GET", "/v1/jobs?page_token=secret", "", headers=headers)
    assert answer.status == 401
    (event,) = control.told("login.refused")
    assert event.at == START
    assert (event.actor, event.target, event.source) == ("somebody", "GET /v1/jobs", "127.0.0.1")
    assert (event.request_id, event.role, event.subject) == (REQUEST_ID, "", "")
    assert event.detail == "unknown_key; forwarded for (unverified): 203.0.113.9, 10.0.0.1"
    assert TOKEN not in repr(event)
    assert TOKEN not in answer.body.decode()


async def test_a_refused_access_is_told_to_the_audit_trail(control: ControlStand) -> None:
    """Who, with which role, of which customer, and whose data they asked for."""
    await control.call("GET", "/v1/jobs?customer=globex", "analyst")
    (event,) = control.told("access.refused")
    assert (event.actor, event.role, event.subject, event.customer) == ("analyst", "analyst", "key:analyst", "acme")
    assert event.target == "GET /v1/jobs"
    assert event.detail == "You may ask for your own customer only. Asked for: globex"


async def test_a_role_that_needs_a_customer_and_has_none_sees_nothing(control: ControlStand) -> None:
    """A user of nobody is not one of everybody."""
    answer = await control.call("GET", "/v1/customers/acme/budget", "nobodys-user")
    assert answer.status == 403
    assert "you have none" in answer.json["detail"]


async def test_the_token_may_stand_in_the_url(control: ControlStand) -> None:
    """It counts where there is no header, and is no parameter of the operation."""
    path = "/v1/customers/acme/budget?access_token=user"
    assert (await control.call("GET", path, "")).status == 200
    assert (await control.call("GET", path, "stranger")).status == 401
    assert (await control.call("GET", "/v1/customers/acme/budget?access_token=stranger", "")).status == 401


async def test_a_caller_who_waits_to_be_asked_for_its_body_is_answered_without_it(control: ControlStand) -> None:
    """Nobody who is unknown, or may not, is told 100 Continue."""
    for caller, expected in (("stranger", b"401"), ("user", b"403"), ("admin", b"100")):
        server = control.client.server
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(
            b"POST /admin/v1/keys HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            b"Expect: 100-continue\r\nAuthorization: Bearer " + caller.encode() + b"\r\n\r\n"
        )
        await writer.drain()
        assert (await reader.readline()).split()[1] == expected
        if expected == b"100":
            await reader.readline()
            writer.write(b"{}")
            assert (await reader.readline()).split()[1] == b"400"
        writer.close()
        await writer.wait_closed()


class Refusing:
    """An Authenticator that always fails the same way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        raise self._error


def guard_before(error: Exception, audit_log: ListAuditLog) -> Guard:
    """A guard whose authenticator fails."""
    events = EventMaker(ManualClock(), lambda _request: REQUEST_ID)
    return Guard(authenticator=Refusing(error), audit_log=audit_log, events=events, public=())


@pytest.mark.parametrize(
    ("error", "status", "header", "told"),
    [
        (Unauthenticated(LoginFault.EXPIRED, 'It "ended".', claimed="k1"), 401, ("WWW-Authenticate", "invalid"), 1),
        (UpstreamRefused(401, b"{}"), 401, ("WWW-Authenticate", "invalid_token"), 1),
        (TooManyRequests("Too often.", retry_after_s=7), 429, ("Retry-After", "7"), 0),
        (UpstreamUnavailable("no answer"), 503, None, 0),
    ],
)
async def test_each_failure_to_find_out_has_its_answer(
    error: Exception, status: int, header: tuple[str, str] | None, told: int
) -> None:
    """Who is refused is told to the trail; who only could not be asked about is not."""
    audit_log = ListAuditLog()
    with pytest.raises(Problem) as caught:
        await guard_before(error, audit_log).identify(make_mocked_request("GET", "/v1/jobs"))
    assert caught.value.status == status
    assert header is None or header[1] in caught.value.headers[header[0]]
    assert len(audit_log.events) == told


async def test_a_ledger_that_is_away_is_no_refusal() -> None:
    """It leaves as it is, for the answer that stores get."""
    with pytest.raises(LedgerUnavailable):
        await guard_before(LedgerUnavailable("away"), ListAuditLog()).identify(make_mocked_request("GET", "/"))


@pytest.mark.parametrize(
    ("target", "header", "expected"),
    [
        ("/", None, None),
        ("/", "Bearer a", "Bearer a"),
        ("/?access_token=b", "Bearer a", "Bearer a"),
        ("/?access_token=b&access_token=c", None, "Bearer b"),
        ("/?oauth_token=d", None, "Bearer d"),
    ],
)
def test_the_header_counts_before_the_url(target: str, header: str | None, expected: str | None) -> None:
    """And the first of several tokens in the URL."""
    request: web.Request = make_mocked_request("GET", target, {"Authorization": header} if header else {})
    assert credential_of(request).authorization == expected
