"""Measure a large answer through the gate beside a bare aiohttp stream: its rate, and the gate's memory.

    python benchmarks/streaming.py [--rounds 5]

267 MB of one page of getQueryResults, in turns through the floor (gated/floor.py) and the gate, whole and unchanged: a
checksum is compared with that of the answer taken from upstream itself. Memory is the most that the gate ever had.
"""

import argparse
import socket
import sys
import time
import zlib
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

from benchmarks.gated.figures import NONE, table, with_spread
from benchmarks.gated.gates import running_gate
from benchmarks.gated.large_answers import SIZE_BYTES
from benchmarks.gated.options import read_options
from benchmarks.gated.processes import rss_max_mib, rss_mib, serving
from benchmarks.gated.stand import open_stand

_TARGET = "/bigquery/v2/projects/bench-prod/queries/job_large?location=US&prettyPrint=false"
_REQUEST = "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer ya29.bench\r\n\r\n"
_RECEIVED_BYTES = 2**18


def fetch(port: int) -> tuple[float, int]:
    """Megabytes a second of one answer, and the checksum of its body."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        began_s = time.perf_counter()
        connection.sendall(_REQUEST.format(target=_TARGET, port=port).encode())
        received = bytearray()
        while b"\r\n\r\n" not in received:
            received += connection.recv(_RECEIVED_BYTES)
        head, _, body = bytes(received).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert b"content-length: %d" % SIZE_BYTES in head.lower(), head
        checksum, left = zlib.crc32(body), SIZE_BYTES - len(body)
        buffer = memoryview(bytearray(_RECEIVED_BYTES))
        while left:
            count = connection.recv_into(buffer)
            assert count, "the connection was closed too early"
            checksum, left = zlib.crc32(buffer[:count], checksum), left - count
        return SIZE_BYTES / 1e6 / (time.perf_counter() - began_s), checksum


def run(options: argparse.Namespace) -> None:
    with open_stand() as stand:
        _, upstream_port = stand.stack.enter_context(serving("large_answers.py"))
        _, checksum = fetch(upstream_port)
        ports = (str(upstream_port), str(stand.stores.redis_port))
        _, floor_port = stand.stack.enter_context(serving("floor.py", *ports, measured=True))
        gate = stand.stack.enter_context(running_gate("memory+sqlite", stand.stores, upstream_port))
        idle_mib = rss_mib(gate.process.pid)
        rates: dict[str, list[float]] = {"floor": [], "gate": []}
        for _ in range(options.rounds):
            for name, port in (("floor", floor_port), ("gate", gate.port)):
                rate, found = fetch(port)
                assert found == checksum, f"{name}: the answer came changed"
                rates[name].append(rate)
                print(f"  {name}: {rate:,.0f} MB/s", flush=True)
        most_mib = rss_max_mib(gate.process.pid)
    ratios = [gate / floor for gate, floor in zip(rates["gate"], rates["floor"], strict=True)]
    rows = [
        ["floor", with_spread(rates["floor"], 0), NONE, NONE, NONE],
        ["gate", with_spread(rates["gate"], 0), with_spread(ratios, 2), f"{idle_mib:.0f}", f"{most_mib:.0f}"],
    ]
    head = ["", "MB/s", "of the floor", "memory before, MiB", "at the most"]
    print(table(head, rows, markdown=options.markdown))
    print("to be kept: 0.9 to 1.0 of the floor")


if __name__ == "__main__":
    run(read_options(__doc__, sys.argv[1:], rounds=5))
