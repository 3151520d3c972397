"""Run the gate as a user does: `bqgate serve` in a process of its own, ended by its own process id."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO


@asynccontextmanager
async def served_gate(
    config: Path, *, log: IO[bytes] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A gate in a process of its own, by `bqgate serve`; its address is what it announces. `log` gets what it logs."""
    arguments = (sys.executable, "-m", "bqgate", "serve", "--config", str(config))
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=log or asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert "listens at http" in line, line
    try:
        yield process, line.split()[3]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
