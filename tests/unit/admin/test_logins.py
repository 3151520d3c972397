import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import google.auth.crypt
import google.auth.jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bqgate.admin.events import EventMaker
from bqgate.admin.logins import BODY_BYTES_MAX, FORM, FailedLogins, LoginViews, add_token_endpoint
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.principal import Identity, Role
from bqgate.identity.access_tokens import AccessTokens
from bqgate.identity.assertions import Assertions
from bqgate.identity.keyring import Keyring
from bqgate.identity.logins import Logins
from bqgate.observe.logs import make_logger
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.admin_stand import FAILED_PER_MINUTE, AdminStand, Replica, admin_stand
from tests.support.manual_clock import ManualClock

TOKEN = "/oauth2/token"
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
}
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
OF_ISSUER = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln"
WRONG = {**EXCHANGE, "subject_token": "bqg_0123456789abcdef_" + "x" * 43}


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[AdminStand]:
    """A new registry."""
    async with admin_stand(tmp_path) as opened:
        yield opened


@pytest.fixture
async def held(stand: AdminStand) -> str:
    """A static token of a user."""
    return await stand.token(Role.USER, customer="acme")


@pytest.fixture
async def gate(stand: AdminStand, held: str) -> Replica:
    """A replica that knows the user."""
    assert held
    return await stand.replica()


def counted(stand: AdminStand, result: str, reason: str = "") -> float:
    return stand.metrics.value("bqgate_logins_total", result=result, reason=reason)


@pytest.mark.parametrize("path", [TOKEN, "/token", "/v1/token"])
async def test_a_static_token_is_exchanged(stand: AdminStand, gate: Replica, held: str, path: str) -> None:
    """At each path; the answer is what RFC 6749 and 8693 want, is counted and not audited."""
    async with gate.http.post(gate.url + path, data={**EXCHANGE, "subject_token": held}) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
        granted = await answer.json()
    assert {name: granted[name] for name in granted if name != "access_token"} == {
        "token_type": "Bearer",
        "expires_in": 900,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }
    await gate.call("GET", "/v1/customers/acme/budget", token=granted["access_token"])
    assert counted(stand, "granted") == 1
    assert stand.audit_log.events == []


async def test_an_assertion_is_answered_without_members_that_do_not_apply(stand: AdminStand) -> None:
    """jwt-bearer: no issued_token_type; again with the same assertion: another token, no harm."""
    root = await stand.token(Role.SUPER_ADMIN)
    gate = await stand.replica()
    body = {"role": "user", "customer": "acme", "kind": "key_file"}
    file = (await gate.call("POST", "/admin/v1/keys", token=root, json=body, status=201))["key_file"]
    now_s = int(stand.clock.now().timestamp())
    signer = google.auth.crypt.RSASigner.from_service_account_info(file)  # type: ignore[no-untyped-call]  # no types
    claims = {"iss": file["client_email"], "aud": "https://oauth2.googleapis.com/token", "iat": now_s}
    claims["exp"] = now_s + 3600
    assertion = google.auth.jwt.encode(signer, claims).decode()  # type: ignore[no-untyped-call]  # no types
    for _ in range(2):
        granted = await gate.call("POST", TOKEN, data={"grant_type": JWT_BEARER, "assertion": assertion})
        assert set(granted) == {"access_token", "token_type", "expires_in"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "error", "reason"),
    [
        (WRONG, {}, 400, "invalid_request", "unknown_key"),
        ({"grant_type": JWT_BEARER, "assertion": "a.b.c"}, {}, 400, "invalid_grant", "malformed"),
        ({"grant_type": JWT_BEARER}, {}, 400, "invalid_request", "missing"),
        ({"grant_type": JWT_BEARER, "assertion": ""}, {}, 400, "invalid_request", "missing"),
        ({"grant_type": "password", "password": "hunter2"}, {}, 400, "unsupported_grant_type", "malformed"),
        ({}, {}, 400, "invalid_request", "missing"),
        ([("grant_type", JWT_BEARER)] * 2, {}, 400, "invalid_request", "malformed"),
        ([(f"p{number}", "x") for number in range(33)], {}, 400, "invalid_request", "malformed"),
        (b"grant_type=%FF", {}, 400, "invalid_request", "malformed"),
        (b"\xff\xfe", {}, 400, "invalid_request", "malformed"),
        (b"a=" + b"x" * BODY_BYTES_MAX, {}, 413, "invalid_request", "oversized"),
        (WRONG, {"Content-Type": "application/json"}, 415, "invalid_request", "malformed"),
        (WRONG, {"Content-Type": "text/plain"}, 415, "invalid_request", "malformed"),
        (WRONG, {"Content-Encoding": "gzip"}, 415, "invalid_request", "malformed"),
    ],
)
async def test_what_is_no_login_is_refused(
    stand: AdminStand,
    gate: Replica,
    body: Any,
    headers: dict[str, str],
    status: int,
    error: str,
    reason: str,
) -> None:
    """The answer is RFC 6749 section 5.2's; the audit log knows fault and source, and nobody what was sent."""
    data = body if isinstance(body, bytes) else urlencode(body).encode()
    async with gate.http.post(gate.url + TOKEN, data=data, headers={"Content-Type": FORM, **headers}) as answer:
        refusal = await answer.json()
        assert (answer.status, refusal["error"]) == (status, error)
        assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    assert set(refusal) == {"error", "error_description"}
    assert counted(stand, "refused", reason) == 1
    (event,) = stand.audit_log.events
    assert (event.action, event.detail, event.source) == ("login.refused", reason, "127.0.0.1")
    assert event.target == f"POST {TOKEN}"
    told = json.dumps(refusal) + repr(event) + stand.log.getvalue()
    assert "hunter2" not in told
    assert "x" * 43 not in told


async def test_the_audit_trail_knows_whom_a_caller_claims_to_be(stand: AdminStand, gate: Replica) -> None:
    """By the key's id, which is no secret."""
    await gate.call("POST", TOKEN, data=WRONG, status=400)
    assert [event.actor for event in stand.audit_log.events] == ["0123456789abcdef"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_logins_are_posted(gate: Replica, method: str) -> None:
    """Another method is refused, and a page of another origin is not let in."""
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with gate.http.request(method, gate.url + TOKEN, headers=origin) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


async def _fails(gate: Replica, token: str) -> int:
    async with gate.http.post(gate.url + TOKEN, data={**EXCHANGE, "subject_token": token}) as answer:
        if answer.status == 429:
            assert answer.headers["Retry-After"] == "60"
            assert (await answer.json())["error"] == "temporarily_unavailable"
        return answer.status


def _invented(number: int) -> str:
    return f"bqg_{number:016x}_" + "x" * 43


async def test_a_flood_of_invented_keys_is_cut_off(stand: AdminStand, gate: Replica) -> None:
    """However many come at once, with however many names, the bound fail and are audited; then 429, for a minute."""
    statuses = await asyncio.gather(*(_fails(gate, _invented(number)) for number in range(3 * FAILED_PER_MINUTE)))
    assert sorted(statuses) == [400] * FAILED_PER_MINUTE + [429] * 2 * FAILED_PER_MINUTE
    assert len(stand.audit_log.events) == FAILED_PER_MINUTE
    assert counted(stand, "limited", "too_many") == 2 * FAILED_PER_MINUTE
    neighbour = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=neighbour) as http, http.post(gate.url + TOKEN, data=WRONG) as answer:
        assert answer.status == 400
    stand.clock.advance(59)
    await gate.call("POST", TOKEN, data=WRONG, status=429)
    stand.clock.advance(1)
    await gate.call("POST", TOKEN, data=WRONG, status=400)


async def test_a_bad_neighbour_behind_the_same_address_locks_nobody_out(
    stand: AdminStand, gate: Replica, held: str
) -> None:
    """Neither with invented keys, nor with a key of its own that has gone bad, nor with the name of somebody's key."""
    other = await stand.token(Role.USER, customer="acme")
    await gate.shelf.refresh()
    right = {**EXCHANGE, "subject_token": held}
    for token in (_invented(1), other[:-43] + "x" * 43, held[:-43] + "x" * 43, "no token at all"):
        for _ in range(FAILED_PER_MINUTE + 5):
            await _fails(gate, token)
        await gate.call("POST", TOKEN, data=right)
    await gate.call("POST", TOKEN, data={**EXCHANGE, "subject_token": other})


async def test_a_key_that_fails_too_often_is_told_so(stand: AdminStand, gate: Replica, held: str) -> None:
    """A program with a bad copy of a key gets 429, by itself: others of its address are told what is wrong."""
    bad = held[:-43] + "x" * 43
    statuses = [await _fails(gate, bad) for _ in range(FAILED_PER_MINUTE + 2)]
    assert statuses == [400] * FAILED_PER_MINUTE + [429] * 2
    assert len(stand.audit_log.events) == FAILED_PER_MINUTE
    await gate.call("POST", TOKEN, data=WRONG, status=400)


async def test_logins_that_succeed_are_not_limited(gate: Replica, held: str) -> None:
    """Only failures count."""
    for _ in range(FAILED_PER_MINUTE + 5):
        await gate.call("POST", TOKEN, data={**EXCHANGE, "subject_token": held})


async def test_an_outage_is_no_failed_login(stand: AdminStand, gate: Replica) -> None:
    """With the ledger away nobody knows: 503, to be tried again, neither audited nor held against the caller."""
    gate.shelf.is_ledger_away = True
    for _ in range(FAILED_PER_MINUTE + 1):
        refusal = await gate.call("POST", TOKEN, data=WRONG, status=503)
    assert refusal["error"] == "temporarily_unavailable"
    assert counted(stand, "failed", "unavailable") == FAILED_PER_MINUTE + 1
    assert stand.audit_log.events == []


class SilentIssuer:
    """An issuer whose keys cannot be fetched."""

    def issuer_of(self, text: str) -> str:
        return "https://issuer.example.com" if text == OF_ISSUER else ""

    async def verify(self, text: str) -> Identity:
        raise UpstreamUnavailable(f"no keys for {len(text)} characters")


@pytest.fixture
async def data_plane(stand: AdminStand) -> AsyncIterator[str]:
    """An application as app makes the data plane's: the token endpoint, then what takes everything."""
    shelf_free = Keyring(_NoKeys(), stand.clock)
    tokens = AccessTokens("s" * 43, previous_secret=None, ttl_s=900, clock=stand.clock, leeway_s=60)
    assertions = Assertions(shelf_free, stand.clock, audiences=(), leeway_s=60)
    views = LoginViews(
        logins=Logins(access_tokens=tokens, assertions=assertions, keyring=shelf_free, oidc=SilentIssuer()),
        failures=FailedLogins(stand.clock, per_minute=FAILED_PER_MINUTE),
        audit_log=stand.audit_log,
        events=EventMaker(stand.clock, lambda _request: "request-1"),
        telemetry=PrometheusTelemetry(stand.metrics, make_logger(stand.log, stand.clock)),
    )
    app = web.Application()
    add_token_endpoint(app, views)

    async def everything_else(_request: web.Request) -> web.Response:
        return web.Response(text="BigQuery")

    app.router.add_route("*", "/{tail:.*}", everything_else)
    runner = TestServer(app)
    await runner.start_server()
    yield str(runner.make_url(""))
    await runner.close()


class _NoKeys:
    def key(self, key_id: str) -> None:
        """There is none."""

    async def refresh(self) -> None:
        """There is none later, either."""


async def test_the_data_plane_has_the_endpoint_too(stand: AdminStand, data_plane: str) -> None:
    """Before the path that takes everything; other methods are refused there, not passed on."""
    async with aiohttp.ClientSession() as http:
        async with http.post(data_plane + "/token", data=WRONG) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_request")
        async with http.get(data_plane + TOKEN) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
            assert (await answer.json())["error"] == "invalid_request"
        async with http.get(data_plane + "/bigquery/v2/projects") as answer:
            assert await answer.text() == "BigQuery"
    assert len(stand.audit_log.events) == 1


async def test_an_issuer_that_is_silent_is_no_failed_login(stand: AdminStand, data_plane: str) -> None:
    """Its keys cannot be had now: 503."""
    form = {**EXCHANGE, "subject_token": OF_ISSUER}
    async with aiohttp.ClientSession() as http, http.post(data_plane + TOKEN, data=form) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert stand.audit_log.events == []


async def test_a_form_is_asked_for(data_plane: str) -> None:
    """Who expects 100 gets it when the form is read, and 429 behind it once too many have failed."""
    host, port = data_plane.removeprefix("http://").rstrip("/").split(":")
    body = urlencode(WRONG).encode()
    head = f"POST {TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n"

    async def lines() -> list[bytes]:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        first = await reader.readline()
        writer.write(body)
        await reader.readline()
        second = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return [first, second]

    answers = [await lines() for _ in range(FAILED_PER_MINUTE + 1)]
    assert answers[0] == [b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 400 Bad Request\r\n"]
    assert answers[-1] == [b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 429 Too Many Requests\r\n"]


async def test_an_issuers_tokens_are_looked_at_whoever_else_failed(stand: AdminStand, data_plane: str) -> None:
    """Behind an address of which invented keys have failed too often, a trusted issuer is asked all the same."""
    async with aiohttp.ClientSession() as http:
        for _ in range(FAILED_PER_MINUTE + 1):
            async with http.post(data_plane + TOKEN, data=WRONG) as answer:
                last = answer.status
        assert last == 429
        async with http.post(data_plane + TOKEN, data={**EXCHANGE, "subject_token": OF_ISSUER}) as answer:
            assert answer.status == 503


def test_sources_are_bounded() -> None:
    """Past the bound the address that was counted longest is forgotten; one that is over makes room by itself."""
    clock = ManualClock()
    failures = FailedLogins(clock, per_minute=1, sources_max=2)
    for source in ("a", "b"):
        assert failures.add(source)
        assert failures.wait_s(source) == 60
        clock.advance(1)
    assert failures.add("c")
    assert [failures.wait_s(source) for source in ("a", "b", "c")] == [0, 59, 60]
    clock.advance(58.5)
    assert failures.wait_s("b") == 1
    assert not failures.add("b")
    clock.advance(0.5)
    assert failures.wait_s("b") == 0
    assert failures.add("b")
    assert failures.wait_s("b") == 60
