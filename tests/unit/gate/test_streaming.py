"""Hold invariant 9 for bodies: what streams through the gate never stands in its memory."""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.support.recording_upstream import recording_upstream

MIB = 2**20
CHUNK = bytes(range(256)) * 1024
GROWTH_MIB_MAX = 48
SIZES = [
    pytest.param(96, id="96 MiB"),
    pytest.param(1024, id="1 GiB", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
]


class GateProcess:
    """A gate in another process."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self._status = Path(f"/proc/{pid}/status")
        self._before_kib = self._peak_kib()

    def _peak_kib(self) -> int:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1])

    def growth_mib(self) -> int:
        """How far the peak of resident memory has risen since the start."""
        return (self._peak_kib() - self._before_kib) // 1024


@asynccontextmanager
async def gate_process(upstream_url: str) -> AsyncIterator[GateProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.gate_process",
        upstream_url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield GateProcess((await process.stdout.readline()).decode().strip(), process.pid)
    finally:
        process.stdin.close()
        await process.wait()


async def _chunks(size_mib: int) -> AsyncIterator[bytes]:
    for _ in range(size_mib * MIB // len(CHUNK)):
        yield CHUNK


def _digest(size_mib: int) -> str:
    digest = hashlib.sha256()
    for _ in range(size_mib * MIB // len(CHUNK)):
        digest.update(CHUNK)
    return digest.hexdigest()


@pytest.mark.parametrize("size_mib", SIZES)
async def test_an_upload_streams_in_constant_memory(size_mib: int) -> None:
    """A multipart load of any size is gated by its first part and streams through, byte for byte."""
    digest, arrived = hashlib.sha256(), 0

    async def reply(request: web.Request) -> web.StreamResponse:
        nonlocal arrived
        await request.content.readuntil(b"text/csv\r\n\r\n")
        while chunk := await request.content.readany():
            arrived += len(chunk)
            digest.update(chunk)
        return web.json_response({})

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Type: application/json\r\n\r\n{"configuration": {"load": {}}}'
        yield b"\r\n--b\r\nContent-Type: text/csv\r\n\r\n"
        async for chunk in _chunks(size_mib):
            yield chunk

    async with recording_upstream() as upstream, gate_process(upstream.url) as gate, aiohttp.ClientSession() as session:
        upstream.reply, upstream.keeps_bodies = reply, False
        url = f"{gate.url}/upload/bigquery/v2/projects/p/jobs?uploadType=multipart"
        async with session.post(url, data=body(), headers={"Content-Type": "multipart/related; boundary=b"}) as answer:
            assert answer.status == 200
        assert gate.growth_mib() < GROWTH_MIB_MAX
    assert (arrived, digest.hexdigest()) == (size_mib * MIB, _digest(size_mib))


@pytest.mark.parametrize("size_mib", SIZES)
async def test_an_answer_streams_in_constant_memory(size_mib: int) -> None:
    """Results of any size pass, byte for byte."""

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        async for chunk in _chunks(size_mib):
            await answer.write(chunk)
        return answer

    digest, arrived = hashlib.sha256(), 0
    async with recording_upstream() as upstream, gate_process(upstream.url) as gate, aiohttp.ClientSession() as session:
        upstream.reply = reply
        async with session.get(f"{gate.url}/projects/p/queries/j") as answer:
            while chunk := await answer.content.readany():
                arrived += len(chunk)
                digest.update(chunk)
        assert gate.growth_mib() < GROWTH_MIB_MAX
    assert (arrived, digest.hexdigest()) == (size_mib * MIB, _digest(size_mib))
