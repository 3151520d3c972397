"""Stand in for BigQuery in the fewest instructions that a Python server can do with: an answer is a splice of bytes.

    python benchmarks/gated/stub_bigquery.py     prints its port and serves until its input ends

jobs.query, jobs.insert, dry runs, jobs.get, jobs.list and getQueryResults, in the shapes of
https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs. Every query is done at once, processed 8 MiB and billed
10 MiB. A query's number is that of its requestId (load.py makes those), else that of the remark in its text; it comes
back in the only row, so that whoever asked can tell whose answer it is. A chat completion it answers too, in OpenAI's
shape, for a peer whose upstream that is.

What it did is kept until it is asked for: `GET /stub/log` gives, as unsigned 64 bit numbers, the query's number, the
kind of call (KINDS), and when it had come and was answered, in nanoseconds of the clock that all processes share.
"""

import asyncio
import json
import re
import sys
import time
from array import array
from functools import partial
from typing import cast

import uvloop

KINDS = ("dry_run", "query", "insert", "get", "list", "results", "chat", "other")
DRY_RUN, QUERY, INSERT, GET, LIST, RESULTS, CHAT, OTHER = range(len(KINDS))
# Each takes 32 bytes; beyond it calls are answered, and not kept.
_RECORDS_MAX = 4_000_000

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\nVary: Origin\r\nVary: X-Origin\r\n"
    b"Vary: Referer\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\nServer: ESF\r\nCache-Control: private\r\n"
    b"X-XSS-Protection: 0\r\nX-Frame-Options: SAMEORIGIN\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Length: %d\r\n\r\n"
)
_TABLE = {"projectId": "bench-prod", "datasetId": "sales", "tableId": "orders"}
_FIELDS = [
    {"name": "number", "type": "STRING", "mode": "NULLABLE"},
    {"name": "region", "type": "STRING", "mode": "NULLABLE"},
    {"name": "total", "type": "FLOAT", "mode": "NULLABLE"},
]
_QUERY_STATISTICS = {
    "totalBytesProcessed": "8388608",
    "totalBytesBilled": "10485760",
    "totalSlotMs": "27",
    "cacheHit": False,
    "statementType": "SELECT",
    "referencedTables": [_TABLE],
}
_DRY_RUN = {
    "kind": "bigquery#job",
    "etag": "bm9uZQ==",
    "id": "bench-prod:US.",
    "selfLink": "https://bigquery.googleapis.com/bigquery/v2/projects/bench-prod/jobs/?location=US",
    "user_email": "ann@bench.example",
    "configuration": {"dryRun": True, "jobType": "QUERY"},
    "jobReference": {"projectId": "bench-prod", "location": "US"},
    "statistics": {
        "creationTime": "1796040000000",
        "totalBytesProcessed": "8388608",
        "query": {
            **_QUERY_STATISTICS,
            "totalBytesBilled": "0",
            "totalBytesProcessedAccuracy": "PRECISE",
            "schema": {"fields": _FIELDS},
        },
    },
    "status": {"state": "DONE"},
}
# %(number)s is twelve digits, %(ms)s milliseconds since 1970.
_ANSWER = {
    "kind": "bigquery#queryResponse",
    "schema": {"fields": _FIELDS},
    "jobReference": {"projectId": "bench-prod", "jobId": "job_stub%(number)s_%(ms)s", "location": "US"},
    "totalRows": "1",
    "rows": [{"f": [{"v": "%(number)s"}, {"v": "emea"}, {"v": "1234567.5"}]}],
    "totalBytesProcessed": "8388608",
    "totalBytesBilled": "10485760",
    "totalSlotMs": "27",
    "jobComplete": True,
    "cacheHit": False,
    "queryId": "query_%(number)s",
    "statementType": "SELECT",
    "location": "US",
    "creationTime": "%(ms)s",
    "startTime": "%(ms)s",
    "endTime": "%(ms)s",
}
_COMPLETION = {
    "id": "chatcmpl-%(number)s",
    "object": "chat.completion",
    "created": 1796040000,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "%(number)s", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 95, "completion_tokens": 5, "total_tokens": 100},
    "service_tier": "default",
    "system_fingerprint": "fp_bench",
}


def _encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _with_head(body: bytes) -> bytes:
    return _HEAD % len(body) + body


def _template(document: object) -> bytes:
    """An answer with its head, whose length is that of the numbers that are put in."""
    body = _encoded(document)
    for name, width in (("number", 12), ("ms", 13)):
        body = body.replace(f"%({name})s".encode(), f"%({name})".encode() + b"s" * width)
    text = _HEAD % (len(body) - body.count(b"%(number)") * 9 - body.count(b"%(ms)") * 5) + body
    return text.replace(b"%(number)" + b"s" * 12, b"%(number)b").replace(b"%(ms)" + b"s" * 13, b"%(ms)b")


_CHAT_REPLY = _template(_COMPLETION)
_DRY_RUN_REPLY = _with_head(_encoded(_DRY_RUN))
_ANSWER_REPLY = _template(_ANSWER)
_NO_JOBS_REPLY = _with_head(_encoded({"kind": "bigquery#jobList", "etag": "bm9uZQ=="}))
_EMPTY_REPLY = _with_head(b"{}")
_DRY_RUN_SAID = re.compile(rb'"dryRun":\s*true')
_NO_NUMBER = b"0" * 12


def _job(job_id: str, labels: object) -> bytes:
    """A finished job."""
    now_ms = str(time.time_ns() // 10**6)
    document = {
        "kind": "bigquery#job",
        "id": f"bench-prod:US.{job_id}",
        "user_email": "ann@bench.example",
        "jobReference": {"projectId": "bench-prod", "jobId": job_id, "location": "US"},
        "configuration": {"jobType": "QUERY", "query": {}, "labels": labels},
        "statistics": {
            "creationTime": now_ms,
            "startTime": now_ms,
            "endTime": now_ms,
            "totalBytesProcessed": "8388608",
            "totalSlotMs": "27",
            "query": _QUERY_STATISTICS,
        },
        "status": {"state": "DONE"},
    }
    return _with_head(_encoded(document))


class Stub(asyncio.Protocol):
    """One connection. `log` is shared by all."""

    def __init__(self, log: "array[int]") -> None:
        self._log = log
        self._buffer = b""
        self._transport = asyncio.Transport()  # until it is connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent

    def data_received(self, data: bytes) -> None:
        came_ns = time.perf_counter_ns()
        self._buffer = buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            at = buffer.find(b"ontent-", 0, end)  # the L of Length may be a capital or not, and Content-Type come first
            length = 0
            while at >= 0:
                if buffer[at + 7 : at + 15].lower() == b"length: ":
                    length = int(buffer[at + 15 : buffer.find(b"\r", at)])
                    break
                at = buffer.find(b"ontent-", at + 1, end)
            whole = end + 4 + length
            if len(buffer) < whole:
                return
            self._answer(buffer[:end], buffer[end + 4 : whole], came_ns)
            self._buffer = buffer = buffer[whole:]

    def _answer(self, head: bytes, body: bytes, came_ns: int) -> None:
        method, target = head[: head.find(b"\r")].split(b" ")[:2]
        path = target.partition(b"?")[0]
        number = _number_in(body)
        if method == b"POST" and path.endswith(b"/queries") and not _DRY_RUN_SAID.search(body):
            kind, reply = QUERY, _ANSWER_REPLY % {b"number": number, b"ms": b"%d" % (time.time_ns() // 10**6)}
        elif method == b"POST" and _DRY_RUN_SAID.search(body):
            kind, reply = DRY_RUN, _DRY_RUN_REPLY
        elif path.endswith(b"/chat/completions"):
            kind, reply = CHAT, _CHAT_REPLY % {b"number": number}
        elif path == b"/stub/log":
            self._transport.write(_with_head(self._log.tobytes()))
            del self._log[:]
            return
        else:
            kind, reply = _rare_answer(method, path, body)
        self._transport.write(reply)
        if len(self._log) < _RECORDS_MAX * 4:
            self._log.extend((int(number), kind, came_ns, time.perf_counter_ns()))


def _number_in(body: bytes) -> bytes:
    """The query's number: of its requestId, else of the remark in its text."""
    at = body.find(b"-4000-8000-")
    if at >= 0:
        return body[at + 11 : at + 23]
    at = body.find(b"/* bench ")
    return body[at + 9 : at + 21] if at >= 0 else _NO_NUMBER


def _rare_answer(method: bytes, path: bytes, body: bytes) -> tuple[int, bytes]:
    """Answer what is not on the path of a query of jobs.query."""
    name = path.rpartition(b"/")[2].decode()
    if method == b"POST" and name == "jobs":
        job = json.loads(body)
        return INSERT, _job(job["jobReference"]["jobId"], job["configuration"].get("labels", {}))
    if method == b"GET" and name == "jobs":
        return LIST, _NO_JOBS_REPLY
    if method == b"GET" and b"/jobs/" in path:
        return GET, _job(name, {})
    if method == b"GET" and b"/queries/" in path:
        return RESULTS, _ANSWER_REPLY % {b"number": _NO_NUMBER, b"ms": b"%d" % (time.time_ns() // 10**6)}
    return OTHER, _EMPTY_REPLY


async def serve() -> None:
    loop = asyncio.get_running_loop()
    log = array("Q")
    server = await loop.create_server(partial(Stub, log), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
