"""Answer a batch: many calls in one multipart body, each answered on its own.

The server comes here for `/batch` and `/batch/bigquery/v2`. Every part is taken apart into a call and goes through the
same router as a call that comes alone; what the outer request says about the caller holds for parts that say nothing.
The answer is 200 with a part per part, in order; only a body that is no batch is an error of its own.

Source: https://cloud.google.com/bigquery/docs/batch
"""

from __future__ import annotations

import secrets
from email import message_from_bytes, policy
from email.message import Message
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from multidict import CIMultiDict, MultiDict

from bqgate.sandbox.replies import ApiError, Reply, encode
from bqgate.sandbox.routes import Incoming, Router
from bqgate.sandbox.system_parameters import plain_names

CALLS_MAX = 1_000


async def answer(router: Router, incoming: Incoming) -> tuple[str, bytes]:
    """Answer all calls of a batch; returns the content type and the body.

    Raises:
        ApiError: 400 for a body that is no batch or holds more than 1,000 calls.
    """
    content_type = incoming.headers.get("Content-Type", "")
    message = message_from_bytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + incoming.body, policy=policy.HTTP
    )
    if not message.is_multipart():
        raise ApiError(400, "badRequest", "Failed to parse batch request, error: no multipart/mixed body")
    parts = [part for part in message.iter_parts() if isinstance(part, Message)]
    if not 0 < len(parts) <= CALLS_MAX:
        raise ApiError(
            400, "badRequest", f"The batch request contains {len(parts)} calls; 1 to {CALLS_MAX} are allowed"
        )
    boundary = f"batch_{secrets.token_hex(16)}"
    chunks = []
    for part in parts:
        head = f"--{boundary}\r\nContent-Type: application/http\r\n"
        if content_id := part.get("Content-ID"):
            head += f"Content-ID: <response-{content_id.strip().removeprefix('<').removesuffix('>')}>\r\n"
        chunks += [head.encode(), b"\r\n", _http_of(await router.answer(_call_in(part, incoming))), b"\r\n"]
    return f"multipart/mixed; boundary={boundary}", b"".join(chunks) + f"--{boundary}--\r\n".encode()


def _call_in(part: Message, outer: Incoming) -> Incoming:
    """Read the call inside a part.

    Raises:
        ApiError: 400 when there is none.
    """
    payload = part.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    line, _, rest = raw.lstrip(b"\r\n").partition(b"\n")
    words = line.decode("latin-1").split()
    if part.get_content_type() != "application/http" or len(words) < 2:
        raise ApiError(400, "badRequest", "Failed to parse batch request, error: a part is no application/http call")
    inner = message_from_bytes(rest, policy=policy.HTTP)
    content = inner.get_payload(decode=True)
    headers = CIMultiDict({name: outer.headers[name] for name in ("Authorization",) if name in outer.headers})
    headers.update({name: str(value) for name, value in inner.items()})
    url = urlsplit(words[1])
    return Incoming(
        verb=words[0].upper(),
        path=url.path,
        query=plain_names(MultiDict(parse_qsl(url.query, keep_blank_values=True))),
        headers=headers,
        body=content if isinstance(content, bytes) else b"",
        root_url=outer.root_url,
    )


def _http_of(reply: Reply) -> bytes:
    body = encode(reply.body, pretty=False)
    head = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
    headers = {"Content-Type": "application/json; charset=UTF-8", "Content-Length": str(len(body)), **reply.headers}
    return (head + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode() + body
