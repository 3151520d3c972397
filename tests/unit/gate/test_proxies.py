import asyncio
import json
from ipaddress import ip_network

import pytest

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import Credential, Identity
from bqgate.identity.open_access import OpenAuthenticator
from tests.support.gate_stand import GateStand, gate_stand
from tests.support.list_audit_log import ListAuditLog
from tests.support.raw_http import send_raw
from tests.support.recording_upstream import replying

HERE = (ip_network("127.0.0.0/8"),)
ELSEWHERE = (ip_network("10.0.0.0/8"),)
UPLOAD = "/upload/bigquery/v2/projects/p/jobs?uploadType=resumable"
SAID = {"X-Forwarded-Host": "gate.example:8443", "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
CHUNKS = "/upload/bigquery/v2/projects/p/jobs?upload_id=u"


async def location(gate: GateStand, headers: dict[str, str], path: str = UPLOAD) -> str:
    """Where the caller is to send the chunks of an upload."""
    gate.upstream.reply = replying(200, b"", {"Location": f"https://bigquery.googleapis.com{CHUNKS}"})
    async with gate.session.post(gate.url + path, json={"configuration": {}}, headers=headers) as answer:
        assert answer.status == 200
        return answer.headers["Location"]


async def test_an_upload_goes_on_where_the_caller_reached_the_first_proxy() -> None:
    """Both families of headers, the prefix and the workload are kept."""
    async with gate_stand(trusted=HERE, public_url="https://public.example") as gate:
        assert await location(gate, SAID) == f"https://gate.example:8443{CHUNKS}"
        forwarded = {"Forwarded": 'for="198.51.100.7";proto=https;host="gate.example:8443"'}
        assert await location(gate, forwarded, f"/w/team-a{UPLOAD}") == f"https://gate.example:8443/w/team-a{CHUNKS}"
        prefixed = {**SAID, "X-Forwarded-Prefix": "/bq"}
        assert await location(gate, prefixed) == f"https://gate.example:8443/bq{CHUNKS}"


@pytest.mark.parametrize("host", ['a"b', "a b", "a/b", "a@evil.example", ""])
async def test_a_malformed_host_reaches_no_header(host: str) -> None:
    """What is no host is not believed even of a trusted proxy."""
    async with gate_stand(trusted=HERE) as gate:
        headers = {"X-Forwarded-Host": host, "X-Forwarded-Proto": "https", "Host": "gate.example"}
        assert await location(gate, headers) == f"https://gate.example{CHUNKS}"


@pytest.mark.parametrize("trusted", [(), ELSEWHERE])
async def test_who_is_not_trusted_is_not_believed(trusted: tuple[()]) -> None:
    """Without the setting, the public URL or the Host header says where the gate is."""
    said = {**SAID, "Forwarded": "host=evil.example;proto=https", "Host": "gate.example"}
    async with gate_stand(trusted=trusted) as gate:
        assert await location(gate, said) == f"http://gate.example{CHUNKS}"
    async with gate_stand(trusted=trusted, public_url="https://public.example") as gate:
        assert await location(gate, said) == f"https://public.example{CHUNKS}"


async def test_the_discovery_document_names_the_forwarded_host() -> None:
    """Clients that build their URLs from it come back through the proxy."""
    async with gate_stand(trusted=HERE) as gate:
        gate.upstream.reply = replying(200, json.dumps({"rootUrl": "x"}).encode())
        async with gate.session.get(f"{gate.url}/$discovery/rest", headers=SAID) as answer:
            assert json.loads(await answer.read())["rootUrl"] == "https://gate.example:8443/"


class _Refusing(OpenAuthenticator):
    async def authenticate(self, credential: Credential, **_: object) -> Identity:
        raise Unauthenticated(LoginFault.UNKNOWN_KEY, "Nobody knows you.")


async def test_the_audit_log_has_the_clients_address() -> None:
    """A refused login is told with the address behind the proxies that are trusted, and of no others."""
    for trusted, source in ((HERE, "198.51.100.7"), (ELSEWHERE, "127.0.0.1")):
        audit_log = ListAuditLog()
        async with (
            gate_stand(authenticator=_Refusing(), audit_log=audit_log, trusted=trusted) as gate,
            gate.session.get(f"{gate.url}/projects", headers=SAID) as answer,
        ):
            assert answer.status == 401
            assert answer.headers["X-Bqgate-Request-Id"]
        assert [event.source for event in audit_log.events] == [source]


async def test_a_page_of_the_forwarded_host_is_no_foreign_one() -> None:
    """The origin of the gate's own page is the host that the browser called; a foreign page's error can be read."""
    async with gate_stand(trusted=HERE) as gate:
        own = {**SAID, "Origin": "https://gate.example:8443"}
        async with gate.session.get(f"{gate.url}/projects", headers=own) as answer:
            assert answer.status == 200
        foreign = {**SAID, "Origin": "https://evil.example", "Authorization": "Bearer x"}
        async with gate.session.get(f"{gate.url}/nothing", headers=foreign) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (501, "https://evil.example")


async def test_a_body_streams_through_a_trusted_proxy() -> None:
    """What comes by a proxy is read and sent on as what does not."""
    async with gate_stand(trusted=HERE) as gate:
        data = b"x" * 300_000
        url = f"{gate.url}/projects/p/datasets/d/tables/t/insertAll"
        async with gate.session.post(url, data=data, headers=SAID) as answer:
            assert answer.status == 200
        assert gate.upstream.last.body == data


@pytest.mark.parametrize(
    "line",
    [
        'for=192.0.2.9;host=evil.example;x=", for="198.51.100.7:4711";proto="https"',
        'host=evil.example;x=", for="[2001:db8::7]"',
        "for=198.51.100.7;host=gate.example:30080",
        "host=evil.example;proto https",
    ],
)
async def test_a_caller_cannot_swallow_what_the_proxy_adds(line: str) -> None:
    """A quote that a caller left open makes the proxy's own element a text of the caller's, so none is believed."""
    async with gate_stand(trusted=HERE) as gate:
        assert await location(gate, {"Forwarded": line, "Host": "gate.example"}) == f"http://gate.example{CHUNKS}"


async def test_a_forwarded_host_with_a_port_goes_with_an_absolute_target() -> None:
    """What a proxy says of the host counts for a target that names one, too."""
    async with gate_stand(trusted=HERE) as gate:
        gate.upstream.reply = replying(200, b"", {"Location": f"https://bigquery.googleapis.com{CHUNKS}"})
        answer = await asyncio.to_thread(
            send_raw,
            gate.url,
            f"POST http://inner.example{UPLOAD} HTTP/1.1",
            *("Host: inner.example", "Content-Type: application/json", *(f"{key}: {SAID[key]}" for key in SAID)),
            body=b'{"configuration": {}}',
        )
        assert (answer.status, answer.headers["location"]) == (200, f"https://gate.example:8443{CHUNKS}")
