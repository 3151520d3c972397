import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from yarl import URL

from bqgate.wire.http_message import HttpResponse
from tests.support.gate_stand import GateStand
from tests.support.recording_upstream import replying
from tests.support.tiny_chunks import TINY_CHUNKS, ran_in_turns

TABLE = "/bigquery/v2/projects/p/datasets/d/tables/t"


async def _raw(gate: GateStand, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(gate.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    await writer.drain()
    return reader, writer


async def test_a_call_passes_with_its_path_and_query_untouched(gate: GateStand) -> None:
    """Percent-encoding, order and case of the URL arrive upstream as the caller wrote them."""
    target = "/w/team-a/projects/p%3Ax/datasets/d/tables/t%C3%A4%7e/data?pageToken=a%2fb+c%3D&selectedFields=x,y&&z"
    async with gate.session.get(URL(gate.url + target, encoded=True)) as answer:
        assert answer.status == 200
    assert gate.upstream.last.target == target.replace("/w/team-a", "/bigquery/v2")


async def test_a_long_url_and_long_headers_pass(gate: GateStand) -> None:
    """BigQuery takes URLs of 16 KiB, so the gate does."""
    token = "t" * 16_000
    async with gate.session.get(
        f"{gate.url}{TABLE}/data?pageToken={token}", headers={"X-Long": "h" * 16_000}
    ) as answer:
        assert answer.status == 200
    assert gate.upstream.last.target.endswith(token)
    assert gate.upstream.last.header("x-long") == "h" * 16_000


async def test_what_connection_names_is_not_read_either(gate: GateStand) -> None:
    """The gate would judge by a header that BigQuery never sees: an encoding, an override, a quota project."""
    hidden = {
        "X-HTTP-Method-Override": "GET",
        "Content-Encoding": "gzip",
        "x-goog-user-project": "q",
        "X-Goog-FieldMask": "kind",
    }
    headers = {"Connection": ", ".join(hidden), "Authorization": "Bearer t", **hidden}
    url = f"{gate.url}/bigquery/v2/projects/p/jobs"
    async with gate.session.post(url, data=b'{"configuration": {}}', headers=headers) as answer:
        assert answer.status == 200
    (judged,) = gate.handler.judged
    assert (judged.document, judged.route.method_id) == ({"configuration": {}}, "jobs.insert")
    assert not {key.lower() for key, _ in gate.upstream.last.headers} & {key.lower() for key in hidden}
    assert gate.upstream.last.header("authorization") == "Bearer t"


async def test_headers_of_one_connection_stay_on_it(gate: GateStand) -> None:
    """Hop-by-hop headers, also those that Connection names, pass neither up nor down; all others do."""

    async def reply(_request: web.Request) -> web.StreamResponse:
        answer = web.Response(text="x", headers={"Connection": "X-Hop, keep-alive", "X-Hop": "1", "ETag": '"e"'})
        answer.headers.extend([("X-Many", "1"), ("X-Many", "2"), ("Keep-Alive", "timeout=5")])
        return answer

    gate.upstream.reply = reply
    sent = {"Connection": "X-Secret", "X-Secret": "1", "TE": "trailers", "Proxy-Authorization": "p", "If-Match": '"e"'}
    async with gate.session.get(gate.url + TABLE, headers=sent) as answer:
        assert answer.headers.getall("X-Many") == ["1", "2"]
        assert answer.headers["ETag"] == '"e"'
        assert not {"X-Hop", "Keep-Alive"} & set(answer.headers)
    names = {key.lower() for key, _ in gate.upstream.last.headers}
    assert not {"x-secret", "te", "proxy-authorization"} & names
    assert gate.upstream.last.header("if-match") == '"e"'
    assert gate.upstream.last.header("host") == urlsplit(gate.upstream.url).netloc


async def test_compression_passes_both_ways(gate: GateStand) -> None:
    """Gzip bodies are not unpacked: neither the caller's nor BigQuery's."""
    packed = gzip.compress(b'{"rows": []}')
    gate.upstream.reply = replying(200, packed, {"Content-Encoding": "gzip", "Content-Type": "application/json"})
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip, deflate, br"}
    async with gate.session.post(f"{gate.url}{TABLE}/insertAll", data=packed, headers=headers) as answer:
        assert (await answer.read(), answer.headers["Content-Encoding"]) == (packed, "gzip")
        assert answer.headers["Content-Length"] == str(len(packed))
    assert gate.upstream.last.body == packed
    assert gate.upstream.last.header("content-encoding") == "gzip"
    assert gate.upstream.last.header("accept-encoding") == "gzip, deflate, br"
    assert gate.upstream.last.header("content-length") == str(len(packed))


async def test_an_answer_without_length_streams_in_chunks(gate: GateStand) -> None:
    """What BigQuery sends bit by bit arrives bit by bit, before the answer has ended."""
    may_end = asyncio.Event()

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"first")
        await may_end.wait()
        await answer.write(b"last")
        return answer

    gate.upstream.reply = reply
    async with gate.session.get(f"{gate.url}{TABLE}/data") as answer:
        assert await answer.content.readany() == b"first"
        may_end.set()
        assert await answer.read() == b"last"


@pytest.mark.parametrize(
    ("status", "headers"), [(204, {}), (304, {"ETag": '"e"'}), (308, {"Range": "bytes=0-262143"}), (412, {})]
)
async def test_statuses_without_body_keep_their_headers(gate: GateStand, status: int, headers: dict[str, str]) -> None:
    """Answers without a body, 308 between the chunks of an upload too, arrive as they are and end."""
    gate.upstream.reply = replying(status, b"", headers)
    async with gate.session.put(
        f"{gate.url}/upload/bigquery/v2/projects/p/jobs?upload_id=u", data=b"x", allow_redirects=False
    ) as answer:
        assert (answer.status, await answer.read()) == (status, b"")
        assert {key: answer.headers[key] for key in headers} == headers


async def test_head_has_the_length_and_no_body(gate: GateStand) -> None:
    """HEAD answers with the headers of GET."""
    gate.upstream.reply = replying(200, b"twelve bytes")
    async with gate.session.head(gate.url + TABLE) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "12")


async def test_an_answer_that_breaks_off_breaks_off(gate: GateStand) -> None:
    """Half an answer is never ended as if it were whole, be it chunked or of known length."""
    for length in (None, 1000):

        async def reply(request: web.Request, length: int | None = length) -> web.StreamResponse:
            answer = web.StreamResponse()
            answer.content_length = length
            await answer.prepare(request)
            await answer.write(b"half")
            assert request.transport is not None
            request.transport.close()
            return answer

        gate.upstream.reply = reply
        reader, writer = await _raw(gate, f"GET {TABLE} HTTP/1.1\r\nHost: gate\r\n\r\n".encode())
        text = await reader.read()
        writer.close()
        assert b"half" in text
        assert not text.endswith(b"0\r\n\r\n")
    assert [event for event, _ in gate.telemetry.notes] == ["answer_cut_off"] * 2


async def test_a_caller_that_leaves_frees_the_connection_upstream(gate: GateStand) -> None:
    """When nobody waits for a long poll any more, BigQuery's connection is closed, too."""
    arrived, left = asyncio.Event(), asyncio.Event()

    async def reply(_request: web.Request) -> web.StreamResponse:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    gate.upstream.reply = reply
    _, writer = await _raw(gate, b"GET /projects/p/queries/j HTTP/1.1\r\nHost: gate\r\n\r\n")
    await asyncio.wait_for(arrived.wait(), 5)
    writer.close()
    await asyncio.wait_for(left.wait(), 5)


async def test_a_caller_that_leaves_while_sending_ends_the_call(gate: GateStand) -> None:
    """A body that is cut off never arrives upstream as a whole one."""
    _, writer = await _raw(
        gate, f"POST {TABLE}/insertAll HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000\r\n\r\nhalf".encode()
    )
    await asyncio.wait_for(gate.upstream.has_call.wait(), 5)
    writer.close()
    await asyncio.wait_for(gate.upstream.has_broken_body.wait(), 5)
    assert gate.upstream.received == []


async def test_malformed_chunks_are_the_callers_fault(gate: GateStand) -> None:
    """A body with broken chunks is answered with 400 and not sent on as a whole one."""
    reader, writer = await _raw(
        gate, f"POST {TABLE}/insertAll HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
    )
    assert b" 400 " in await reader.readline()
    writer.close()
    assert gate.upstream.received == []


async def test_continue_is_sent_only_when_the_body_is_wanted(gate: GateStand) -> None:
    """A refused caller is not asked for its megabytes; an accepted one is."""
    ask = b"Host: gate\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    reader, writer = await _raw(gate, b"POST /unknown HTTP/1.1\r\n" + ask)
    assert b" 501 " in await reader.readline()
    writer.close()
    reader, writer = await _raw(gate, b"POST /projects/p/queries HTTP/1.1\r\n" + ask)
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.write(b"{}")
    assert await reader.readline() == b"\r\n"
    assert b" 200 " in await reader.readline()
    writer.close()
    assert gate.upstream.last.header("expect") is None


@pytest.mark.parametrize("path", ["/projects/p/queries", f"{TABLE}/insertAll"], ids=["kept", "streamed"])
async def test_others_run_while_a_body_of_tiny_chunks_is_read(gate: GateStand, path: str) -> None:
    """A byte in each chunk takes some hundred times as long to read as it takes to send."""
    reader, writer = await _raw(gate, b"")
    writer.write(f"POST {path} HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + TINY_CHUNKS)
    assert b"HTTP/1.1 " in await ran_in_turns(reader.readline())
    writer.close()


async def test_http_1_0_is_not_told_to_continue(gate: GateStand) -> None:
    """It has no such answer, so its client would take it for the last one (RFC 9110 section 10.1.1)."""
    ask = b"Host: gate\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    reader, writer = await _raw(gate, b"POST /projects/p/queries HTTP/1.0\r\n" + ask)
    assert b" 200 " in await reader.readline()
    writer.close()


async def test_the_answer_of_the_handler_is_written_as_it_is(gate: GateStand) -> None:
    """Bytes get a length, headers stay, and a body is closed after use."""
    gate.handler.answer = HttpResponse(
        403, (("X-Bqgate-Decision", "reject"), ("Content-Type", "application/json")), b"{}"
    )
    async with gate.session.post(f"{gate.url}/projects/p/queries", json={}) as answer:
        assert (answer.status, await answer.read()) == (403, b"{}")
        assert answer.headers["X-Bqgate-Decision"] == "reject"
        assert answer.headers["Content-Length"] == "2"


@pytest.mark.parametrize("target", ["/projects/p/jobs/\u00e4", "/projects/p/jobs/a|b?x=\u00e4"])
async def test_a_url_that_is_not_encoded_is_malformed(gate: GateStand, target: str) -> None:
    """Bytes beyond ASCII in a URL have no one meaning."""
    reader, writer = await _raw(gate, b"GET " + target.encode() + b" HTTP/1.1\r\nHost: gate\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()


async def test_a_header_that_is_not_text_is_malformed(gate: GateStand) -> None:
    """A header that cannot be sent on is the caller's fault, not a crash."""
    reader, writer = await _raw(gate, b"GET /projects HTTP/1.1\r\nHost: gate\r\nX-A: \xff\xfe\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()


async def test_an_absolute_target_is_understood(gate: GateStand) -> None:
    """Clients that take the gate for a proxy name the host in the request line."""
    reader, writer = await _raw(
        gate, b"GET http://bigquery.googleapis.com/projects?all=1 HTTP/1.1\r\nHost: gate\r\n\r\n"
    )
    assert b" 200 " in await reader.readline()
    writer.close()
    assert gate.upstream.last.target == "/bigquery/v2/projects?all=1"


async def test_a_browser_may_ask_before_it_calls(gate: GateStand) -> None:
    """A preflight for a method of BigQuery is answered by the gate; for anything else it is refused."""
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with gate.session.options(f"{gate.url}/bigquery/v2/projects/p/queries", headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
    async with gate.session.options(f"{gate.url}/admin/v1/keys", headers=headers) as answer:
        assert answer.status == 501
    assert gate.upstream.received == []


async def test_no_page_may_say_how_it_reached_the_gate(gate: GateStand) -> None:
    """A page that could set a proxy's headers would be taken for the gate's own where a proxy hands them on."""
    headers = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, X-Forwarded-Host,forwarded ,content-type",
    }
    async with gate.session.options(f"{gate.url}/bigquery/v2/projects/p/queries", headers=headers) as answer:
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"


async def test_a_foreign_page_needs_a_token(gate: GateStand) -> None:
    """A page that a user of this network happens to visit cannot run queries with nobody's name."""
    url, origin = f"{gate.url}/projects/p/queries", {"Origin": "https://evil.example"}
    async with gate.session.post(url, data=b"{}", headers=origin) as answer:
        assert answer.status == 401
        assert json.loads(await answer.read())["error"]["errors"][0]["reason"] == "required"
    assert gate.handler.judged == []
    async with gate.session.post(url, data=b"{}", headers=origin | {"Authorization": "Bearer t"}) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://evil.example"


async def test_a_body_is_sent_on_while_it_comes(gate: GateStand) -> None:
    """The first chunk of an upload is upstream before the last one is here."""
    first_arrived, may_end = asyncio.Event(), asyncio.Event()

    async def reply(request: web.Request) -> web.StreamResponse:
        assert await request.content.readany() == b"first"
        first_arrived.set()
        return web.Response(body=await request.content.read())

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.wait_for(may_end.wait(), 5)
        yield b"last"

    gate.upstream.reply, gate.upstream.keeps_bodies = reply, False
    call = asyncio.create_task(gate.session.post(f"{gate.url}{TABLE}/insertAll", data=body()).__aenter__())
    await asyncio.wait_for(first_arrived.wait(), 5)
    may_end.set()
    answer = await call
    assert await answer.read() == b"last"
