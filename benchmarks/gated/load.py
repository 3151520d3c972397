"""Ask queries over so many connections, each its next as soon as it is answered, and check every answer.

    python benchmarks/gated/load.py --port 8080 --connections 32 --seconds 5 --first 1000000
                                    [--same-text] [--chat] [--log FILE]

Bytes in, bytes out, on uvloop: it takes a few percent of what a gate takes. Each query is one of jobs.query with the
fields and headers of Google's Python client. Its number, from `first` on, makes its requestId, and its text unless
they share one; the answer must be 200, complete, and bear the number in its row (stub_bigquery.py). With --chat each
is a chat completion of OpenAI's with the same text, for a peer whose job that is. Prints one line of JSON: answers,
faults and the first of them, seconds, and percentiles in milliseconds. The log has of each its number, when it was
sent, when answered, and how long dry run and forward took by its Server-Timing: unsigned 64 bit numbers, nanoseconds,
moments of the clock that all processes share.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from array import array
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

_TEXT = (
    "SELECT region, SUM(total) AS total FROM `bench-prod.sales.orders` AS orders JOIN `bench-prod.sales.customers` AS"
    " customers ON orders.customer_id = customers.id WHERE orders.day BETWEEN '2026-11-01' AND '2026-11-30' AND"
    " customers.segment IN ('retail', 'wholesale') GROUP BY region ORDER BY total DESC LIMIT 100 /* bench %s */"
)
_SHARED_NUMBER = "999999999999"
_HEAD = (
    "POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    "User-Agent: gl-python/3.11.7 grpc/1.75.0 gax/2.44.0 gapic/3.47.0 gccl/3.47.0\r\nAccept: */*\r\n"
    "Connection: keep-alive\r\nX-Server-Timeout: 600\r\nAuthorization: Bearer {token}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)
_QUERIES = "/bigquery/v2/projects/bench-prod/queries?prettyPrint=false"
_STEPS = re.compile(rb"\b(?:dryrun|upstream);dur=([\d.]+)")
_FAULTS_KEPT = 3
_SAMPLE_BYTES = 300


def _query(text: str) -> dict[str, object]:
    return {
        "query": text,
        "useLegacySql": False,
        "formatOptions": {"useInt64Timestamp": True},
        "requestId": "00000000-0000-4000-8000-%(number)s",
        "timeoutMs": 10000,
    }


def _chat(text: str) -> dict[str, object]:
    return {"model": "bench", "messages": [{"role": "user", "content": text}]}


class Source:
    """Where the connections get their next query, and report its answer."""

    def __init__(self, options: argparse.Namespace) -> None:
        text = _TEXT % (_SHARED_NUMBER if options.same_text else "%(number)s")
        query = _chat(text) if options.chat else _query(text)
        body = json.dumps(query)
        whole = body.replace("%(number)s", "0" * 12)
        target, token = ("/v1/chat/completions", "sk-bench") if options.chat else (_QUERIES, "ya29.a0AfH6SMBbenchbench")
        head = _HEAD.format(port=options.port, length=len(whole), target=target, token=token)
        self.mark = b'"finish_reason":"stop"' if options.chat else b'"jobComplete":true'
        self._request = (head + body).replace("%(number)s", "%(number)b").encode()
        self._number = options.first
        self._ends_ns = 0
        self.log = array("Q")
        self.faults: list[str] = []
        self.fault_count = 0

    def begin(self, seconds: float) -> None:
        self._ends_ns = time.perf_counter_ns() + round(seconds * 1e9)

    def take(self, now_ns: int) -> tuple[int, bytes] | None:
        """The next number and its request; None when time is up."""
        if now_ns >= self._ends_ns:
            return None
        self._number = number = self._number + 1
        return number, self._request % {b"number": b"%012d" % number}

    def fault(self, what: str) -> None:
        self.fault_count += 1
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append(what)


class Connection(asyncio.Protocol):
    """One connection with one query at a time; `ended` is set when there is none left to ask."""

    def __init__(self, source: Source, ended: "asyncio.Future[None]") -> None:
        self._source = source
        self._ended = ended
        self._buffer = b""
        self._number = 0
        self._sent_ns = 0
        self._transport = asyncio.Transport()  # until it is connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent
        self._ask(time.perf_counter_ns())

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._ended.done():
            self._source.fault("the connection was closed")
            self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        if not is_whole(buffer):
            return
        now_ns = time.perf_counter_ns()
        if buffer.startswith(b"HTTP/1.1 200 ") and self._source.mark in buffer and b'"%012d"' % self._number in buffer:
            self._source.log.extend((self._number, self._sent_ns, now_ns, _steps_ns(buffer)))
        else:
            self._source.fault(buffer[:_SAMPLE_BYTES].decode(errors="replace"))
        self._buffer = b""
        self._ask(now_ns)

    def _ask(self, now_ns: int) -> None:
        taken = self._source.take(now_ns)
        if taken is None:
            if not self._ended.done():
                self._ended.set_result(None)
            self._transport.close()
            return
        self._number, request = taken
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(request)


def _steps_ns(answer: bytes) -> int:
    """How long dry run and forward took, as the answer says; 0 where it does not."""
    at = answer.find(b"Server-Timing: ")
    line = answer[at : answer.find(b"\r\n", at)] if at >= 0 else b""
    return sum(round(float(span_ms) * 1e6) for span_ms in _STEPS.findall(line))


def is_whole(buffer: bytes) -> bool:
    """Whether an answer has come to its end."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = buffer[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return buffer.endswith(b"\r\n0\r\n\r\n")
    stop = head.find(b"\r", at + 2)
    return len(buffer) >= end + 4 + int(head[at + 17 : stop if stop > 0 else None])


async def run(options: argparse.Namespace, source: Source) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in range(options.connections)]
    began_ns = time.perf_counter_ns()
    source.begin(options.seconds)
    for end in ends:
        await loop.create_connection(partial(Connection, source, end), "127.0.0.1", options.port)
    await asyncio.wait(ends, timeout=options.seconds + 30)
    spent_s = (time.perf_counter_ns() - began_ns) / 1e9
    spans_ms = sorted((back - sent) / 1e6 for sent, back in zip(source.log[1::4], source.log[2::4], strict=True))
    return {
        "answers": len(spans_ms),
        "faults": source.fault_count,
        "first_faults": source.faults,
        "seconds": spent_s,
        **{f"p{share}_ms": _percentile(spans_ms, share) for share in (50, 90, 99, 100)},
    }


def _percentile(ascending: list[float], share: int) -> float | None:
    return ascending[min(len(ascending) * share // 100, len(ascending) - 1)] if ascending else None


def main(options: argparse.Namespace) -> None:
    source = Source(options)
    print(json.dumps(uvloop.run(run(options, source))))
    if options.log:
        Path(options.log).write_bytes(source.log.tobytes())


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--same-text", action="store_true")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--log")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse(sys.argv[1:]))
