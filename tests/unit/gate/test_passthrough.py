import pytest

from bqgate.gate.passthrough import with_gate_location
from bqgate.gate.routes import METHODS, SUBMITTING
from bqgate.wire.http_message import HttpResponse
from tests.support.gate_stand import GateStand
from tests.support.recording_upstream import replying

PREFIXES = ("", "/bigquery/v2", "/w/team-a", "/w/team-a/bigquery/v2")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_every_method_reaches_bigquery(gate: GateStand, prefix: str) -> None:
    """Each of the 47 methods arrives upstream with its verb, its body and its credential, below any prefix."""
    headers = {"Authorization": "Bearer t", "x-goog-user-project": "q"}
    for method_id, verb, template in METHODS:
        path = template.replace("{projectId}", "p").replace("{", "x-").replace("}", "")
        body = b"{}" if verb in {"POST", "PUT", "PATCH"} else None
        async with gate.session.request(verb, f"{gate.url}{prefix}/{path}?a=b", data=body, headers=headers) as answer:
            assert answer.status == 200, method_id
        last = gate.upstream.last
        assert (last.method, last.target) == (verb, f"/bigquery/v2/{path}?a=b")
        assert last.body == (b'{"judged":true}' if method_id in SUBMITTING else body or b"")
        assert last.header("authorization") == "Bearer t"
        if method_id not in SUBMITTING:
            assert last.header("x-goog-user-project") == "q"
    assert {judged.route.method_id for judged in gate.handler.judged} == SUBMITTING


async def test_a_resumable_upload_stays_with_the_gate(gate: GateStand) -> None:
    """The address for the chunks is the gate's, below the same workload; chunks and 308 pass untouched."""
    location = "https://bigquery.googleapis.com/upload/bigquery/v2/projects/p/jobs?uploadType=resumable&upload_id=a%2Fb"
    gate.upstream.reply = replying(200, b"", {"Location": location})
    url = f"{gate.url}/w/team-a/upload/bigquery/v2/projects/p/jobs?uploadType=resumable"
    async with gate.session.post(url, json={"configuration": {}}) as answer:
        chunk_url = answer.headers["Location"]
    assert chunk_url == (f"{gate.url}/w/team-a/upload/bigquery/v2/projects/p/jobs?uploadType=resumable&upload_id=a%2Fb")
    assert gate.upstream.last.body == b'{"configuration":{},"judged":true}'
    gate.upstream.reply = replying(308, b"", {"Range": "bytes=0-3"})
    headers = {"Content-Range": "bytes 0-3/8"}
    async with gate.session.put(chunk_url, data=b"abcd", headers=headers, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Range"]) == (308, "bytes=0-3")
    assert gate.upstream.last.header("content-range") == "bytes 0-3/8"
    assert (gate.upstream.last.method, gate.upstream.last.body) == ("PUT", b"abcd")
    gate.upstream.reply = replying(200, b'{"kind": "bigquery#job"}')
    async with gate.session.put(chunk_url, data=b"efgh") as answer:
        assert await answer.json(content_type=None) == {"kind": "bigquery#job"}
    assert len(gate.handler.judged) == 1


def test_only_the_location_is_moved() -> None:
    """Other headers stay, and a Location without query keeps its path."""
    moved = with_gate_location(
        HttpResponse(200, (("location", "http://x/a/b"), ("X-A", "http://x/a"))), root="http://gate"
    )
    assert moved.headers == (("location", "http://gate/a/b"), ("X-A", "http://x/a"))
