import asyncio
from dataclasses import replace

import aiohttp
import pytest

from bqgate.clock import SystemClock
from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.domain.tier import Customer, CustomerRegistry, Tier
from bqgate.gate.identify import Identification
from bqgate.gate.payers import Payers
from bqgate.gate.routes import resolve
from bqgate.wire.http_message import HttpRequest
from tests.support.gate_stand import gate_stand
from tests.support.list_audit_log import ListAuditLog
from tests.support.scripted_google import ScriptedGoogle

TIER = Tier("standard", daily_nanos=1, monthly_nanos=1, emergency_nanos=1)
ACME = Customer("acme", TIER, projects=("acme-prod",), account="acme@gate.example")
CUSTOMER_REGISTRY = CustomerRegistry({"acme": ACME}, {"acme-prod": "acme"}, TIER)
POLICIES = PolicySnapshot(CUSTOMER_REGISTRY, PriceList(PricingModel.ON_DEMAND, 1, 1))


class Doorkeeper:
    """Knows one token, and counts how often it is asked."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.asked = 0

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        self.asked += 1
        if credential.authorization != "Bearer good":
            raise Unauthenticated(LoginFault.BAD_SIGNATURE, "The token is not one of this gate.", claimed="key:ann")
        return self.identity


ANN = Identity("ann", "key:ann", Role.USER, "acme")


def identification(keeper: Doorkeeper, audit_log: ListAuditLog, *, passes: bool = False) -> Identification:
    return Identification(
        authenticator=keeper,
        payers=Payers(POLICIES, ScriptedGoogle(), passes_credentials=passes),
        audit_log=audit_log,
        clock=SystemClock(),
        submissions_only=passes,
    )


def call(method: str, path: str, token: str | None = "good") -> HttpRequest:
    headers = () if token is None else (("Authorization", f"Bearer {token}"),)
    return HttpRequest(method, path, headers=headers, peer="192.0.2.7", request_id="r1")


async def test_an_unknown_caller_is_refused_before_its_body_is_read() -> None:
    """Whoever waits for 100 Continue hears 401 instead, and sends nothing; BigQuery hears nothing either."""
    audit_log = ListAuditLog()
    async with gate_stand(authenticator=Doorkeeper(ANN), audit_log=audit_log) as gate:
        host, port = gate.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /bigquery/v2/projects/acme-prod/queries HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer bad\r\n"
            b"Expect: 100-continue\r\nContent-Length: 9000000\r\n\r\n"
        )
        first = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        assert first.split()[1] == b"401"
        assert gate.upstream.received == []
        assert gate.handler.judged == []
    (event,) = audit_log.events
    assert (event.action, event.actor, event.source, event.detail) == (
        "login.refused",
        "key:ann",
        "127.0.0.1",
        "bad_signature",
    )
    assert event.request_id


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/bigquery/v2/projects"),
        ("GET", "/projects/p/jobs/j"),
        ("POST", "/projects/p/jobs"),
        ("PUT", "/upload/bigquery/v2/projects/p/jobs?uploadType=resumable&upload_id=x"),
        ("POST", "/batch/bigquery/v2"),
        ("DELETE", "/projects/p/datasets/d"),
    ],
)
async def test_every_way_in_asks_who_it_is(method: str, path: str) -> None:
    """401 in BigQuery's format with a challenge, whatever is asked for, and nothing goes upstream."""
    async with (
        gate_stand(authenticator=Doorkeeper(ANN), audit_log=ListAuditLog()) as gate,
        gate.session.request(method, gate.url + path, data=b"{}") as answer,
    ):
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="bqgate"'
        assert (await answer.json())["error"]["errors"][0]["reason"] == "authError"
        assert gate.upstream.received == []


async def test_the_discovery_document_is_public() -> None:
    """Clients read it before they log in."""
    async with gate_stand(authenticator=Doorkeeper(ANN), audit_log=ListAuditLog()) as gate:
        async with gate.session.get(f"{gate.url}/$discovery/rest?version=v2") as answer:
            assert answer.status != 401
        assert [each.target for each in gate.upstream.received] == ["/$discovery/rest?version=v2"]


async def test_the_calls_of_a_batch_are_each_asked() -> None:
    """A part may bear another credential than the batch, and is refused for itself."""
    part = "--b\r\nContent-Type: application/http\r\n\r\nGET /bigquery/v2/projects/p/jobs/j HTTP/1.1\r\n{}\r\n"
    body = part.format("") + part.format("Authorization: Bearer bad\r\n") + "--b--\r\n"
    headers = {"Authorization": "Bearer good", "Content-Type": "multipart/mixed; boundary=b"}
    audit_log = ListAuditLog()
    async with (
        gate_stand(authenticator=Doorkeeper(ANN), audit_log=audit_log) as gate,
        gate.session.post(f"{gate.url}/batch/bigquery/v2", data=body.encode(), headers=headers) as answer,
    ):
        text = (await answer.read()).decode()
        assert text.count("HTTP/1.1 401") == 1
        assert len(gate.upstream.received) == 1
    assert [(event.source, event.detail) for event in audit_log.events] == [("127.0.0.1", "bad_signature")]


async def test_the_credential_says_who_pays() -> None:
    """Neither the project of the URL nor the workload makes anybody else pay."""
    keeper, audit_log = Doorkeeper(ANN), ListAuditLog()
    asked = call("POST", "/w/globex/projects/globex-data/queries")
    principal = await identification(keeper, audit_log).identify(asked, resolve(asked.method, asked.path))
    assert (principal.customer, principal.name, principal.workload, principal.role) == (
        "acme",
        "ann",
        "globex",
        Role.USER,
    )


async def test_who_is_of_no_customer_works_for_the_projects() -> None:
    """An admin's query is paid by the owner of the project."""
    keeper, audit_log = Doorkeeper(Identity("root", "key:r", Role.ADMIN)), ListAuditLog()
    asked = call("POST", "/projects/acme-prod/queries")
    principal = await identification(keeper, audit_log).identify(asked, resolve(asked.method, asked.path))
    assert (principal.customer, principal.role) == ("acme", Role.ADMIN)


async def test_with_the_gates_own_credentials_the_callers_are_kept_nowhere() -> None:
    """The principal bears the subject and the customer's account, and no token."""
    keeper, audit_log = Doorkeeper(ANN), ListAuditLog()
    asked = call("POST", "/projects/acme-prod/queries")
    principal = await identification(keeper, audit_log).identify(asked, resolve(asked.method, asked.path))
    assert principal.credential == Credential(subject="key:ann", account="acme@gate.example")


async def test_with_the_callers_credentials_only_submissions_are_asked_about() -> None:
    """BigQuery authenticates the rest; a call without any credential is refused all the same."""
    keeper, audit_log = Doorkeeper(replace(ANN, subject="google:ann@acme.com")), ListAuditLog()
    step = identification(keeper, audit_log, passes=True)
    reading = call("GET", "/projects/acme-prod/jobs/j")
    principal = await step.identify(reading, resolve(reading.method, reading.path))
    assert keeper.asked == 0
    assert principal.credential.authorization == "Bearer good"
    asked = call("POST", "/projects/acme-prod/queries")
    await step.identify(asked, resolve(asked.method, asked.path))
    assert keeper.asked == 1
    bare = call("GET", "/projects/acme-prod/jobs/j", token=None)
    with pytest.raises(Unauthenticated) as refused:
        await step.identify(bare, resolve(bare.method, bare.path))
    assert refused.value.fault is LoginFault.MISSING


async def test_a_credential_of_the_gates_cannot_go_up_to_google() -> None:
    """Where callers' credentials go to BigQuery, a key of the gate is refused with what to do instead."""
    step = identification(Doorkeeper(ANN), ListAuditLog(), passes=True)
    asked = call("POST", "/projects/acme-prod/queries")
    with pytest.raises(Unauthenticated, match="Log in at Google") as refused:
        await step.identify(asked, resolve(asked.method, asked.path))
    assert refused.value.fault is LoginFault.WRONG_ISSUER


async def test_the_form_of_an_overridden_get_is_not_read_for_strangers() -> None:
    """A long GET sent as a POST waits for the caller to be known like any other body."""
    async with gate_stand(authenticator=Doorkeeper(ANN), audit_log=ListAuditLog()) as gate:
        headers = {"X-HTTP-Method-Override": "GET", "Expect": "100-continue", "Authorization": "Bearer bad"}
        async with gate.session.post(
            f"{gate.url}/projects/p/queries/j", data=b"pageToken=x", headers=headers, timeout=aiohttp.ClientTimeout(10)
        ) as answer:
            assert answer.status == 401
