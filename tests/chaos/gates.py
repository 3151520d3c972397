"""Run gates as users do, in processes of their own that are started again whenever they end, each with its own clock.

A gate is ended by its own process handle and no other way. What it logs is kept in a file.
"""

import asyncio
import re
import resource
import signal
import struct
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bqgate.clock import SystemClock

HERE = Path(__file__).resolve().parents[2]
_GATE = Path(__file__).with_name("gate.py")
_UNKNOWN_KEY = re.compile(r"^\s+([\w.-]+): unknown key", re.MULTILINE)
_PAUSE_S = 0.3
_STOP_S = 40
_CHECKS_MAX = 4
_FULL_BYTES = 4096


class NoRevision(Exception):
    """Git does not have this revision here."""


def tree_of(revision: str, folder: Path) -> Path:
    """A folder with the code of a revision of this project.

    Raises:
        NoRevision: there is no git, or no such commit.
    """
    tree = folder / f"tree-{revision}"
    if tree.exists():
        return tree
    archive = folder / f"{revision}.tar"
    command = ["git", "-C", str(HERE), "archive", "--output", str(archive), revision, "bqgate", "config"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoRevision(str(error)) from None
    if done.returncode:
        raise NoRevision(done.stderr.strip())
    tree.mkdir()
    with tarfile.open(archive) as opened:
        opened.extractall(tree, filter="data")
    return tree


def environment_of(tree: Path) -> dict[str, str]:
    """What a process of that revision needs to be told."""
    return {"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "TZ": "UTC"}


def known_settings(document: Mapping[str, Any], tree: Path, folder: Path) -> dict[str, Any]:
    """Settings without the keys that a revision does not know; that it says itself. Today's knows all.

    Raises:
        AssertionError: it refuses them for another reason.
    """
    if tree == HERE:
        return dict(document)
    file = folder / "tried.yaml"
    document = dict(document)
    for _ in range(_CHECKS_MAX):
        file.write_text(yaml.safe_dump(document))
        command = [sys.executable, "-P", "-m", "bqgate", "check-config", "--config", str(file)]
        done = subprocess.run(command, env=environment_of(tree), capture_output=True, text=True, check=False)
        unknown = _UNKNOWN_KEY.findall(done.stdout + done.stderr)
        if done.returncode == 0:
            return document
        assert unknown, f"these settings are refused: {done.stdout}{done.stderr}"
        for path in unknown:
            document = _without(document, path.split("."))
    raise AssertionError(f"these settings are refused: {unknown}")


def _without(document: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {name: value for name, value in document.items() if name != first}
    return {name: _without(value, rest) if name == first else value for name, value in document.items()}


@dataclass
class Ended:
    """How many times a gate ended, and how. `badly`: what nobody had told it to."""

    counts: Counter[str] = field(default_factory=Counter)
    badly: list[str] = field(default_factory=list)


class GateProcess:
    """One gate, started again whenever it ends until it is closed.

    The first start has the code of `tree`, the others that of `next_tree`: a gate of an older revision goes on while
    the ledger is migrated, and cannot be started once it is. Each revision has a settings file of its own.
    """

    def __init__(self, number: int, tree: Path, next_tree: Path, folder: Path, port: int) -> None:
        self.number, self.tree, self.port = number, tree, port
        self._next_tree = next_tree
        self.url = f"http://127.0.0.1:{port}"
        trees = dict.fromkeys((tree, next_tree))
        self.config_of = {each: folder / f"gate-{number}-{which}.yaml" for which, each in enumerate(trees)}
        self.log_file = folder / f"gate-{number}.log"
        self.ended = Ended()
        self.is_up = asyncio.Event()
        self._clock_file = folder / f"gate-{number}.clock"
        self._may_run = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._is_told = False
        self.move_clock(0)

    @property
    def config(self) -> Path:
        """The settings of its next start."""
        return self.config_of[self.tree]

    def move_clock(self, offset_ms: int) -> None:
        """Set how far its clock is ahead of the machine's."""
        if self._clock_file.exists():
            with self._clock_file.open("r+b") as opened:
                opened.write(struct.pack("<q", offset_ms))
        else:
            self._clock_file.write_bytes(struct.pack("<q", offset_ms))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep it running as long as the context is open; then stop it, and kill it if it does not stop."""
        self._may_run.set()
        keeper = asyncio.create_task(self._keep_running())
        try:
            yield
        finally:
            self._may_run.clear()
            await asyncio.shield(self._stopped())
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper

    async def kill(self, down_s: float) -> None:
        """SIGKILL, and another start so much later."""
        await self._down(signal.SIGKILL, down_s)

    async def terminate(self, down_s: float) -> None:
        """SIGTERM, and another start so much after its end."""
        await self._down(signal.SIGTERM, down_s)

    async def pause(self, seconds: float) -> None:
        """Stand still, as a virtual machine does."""
        self._signal(signal.SIGSTOP)
        try:
            await SystemClock().sleep(seconds)
        finally:
            self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """SIGHUP, once it is there to hear it."""
        if self.is_up.is_set():
            self._signal(signal.SIGHUP)

    def bound_files(self, *, is_full: bool) -> None:
        """Let its files not grow, as on a disk that is full; or let them."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_FULL_BYTES if is_full else hard, hard))

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _down(self, number: signal.Signals, down_s: float) -> None:
        self._is_told = True
        self._may_run.clear()
        self.is_up.clear()
        self._signal(number)
        process = self._process
        if process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
        await SystemClock().sleep(down_s)
        self._may_run.set()

    async def _stopped(self) -> None:
        process = self._process
        if process is None:
            return
        self._is_told = True
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            self.ended.badly.append(f"gate {self.number} did not stop within {_STOP_S} s of SIGTERM")
            process.kill()
            await process.wait()

    async def _keep_running(self) -> None:
        while True:
            await self._may_run.wait()
            await self._run_once()
            await SystemClock().sleep(_PAUSE_S)

    async def _run_once(self) -> None:
        self._is_told = False
        tree, config = self.tree, self.config
        self.tree = self._next_tree
        command = (sys.executable, "-P", str(_GATE), str(self._clock_file), "serve", "--config", str(config))
        pipe = asyncio.subprocess.PIPE
        process = self._process = await asyncio.create_subprocess_exec(
            *command, env=environment_of(tree), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.TaskGroup() as readers:
            readers.create_task(self._read_log(process.stderr))
            readers.create_task(self._hear(process.stdout))
            status = await process.wait()
        was_up, name = self.is_up.is_set(), f"status {status}"
        self.is_up.clear()
        self.ended.counts[f"{name}{'' if self._is_told or was_up else ', before it listened'}"] += 1
        if was_up and not self._is_told:
            self.ended.badly.append(f"gate {self.number} ended by itself with {name}")
        if self._is_told and status not in {0, -signal.SIGKILL, -signal.SIGTERM}:
            self.ended.badly.append(f"gate {self.number} was told to stop and ended with {name}")

    async def _hear(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            if b"listens at" in line and not self._is_told:
                self.is_up.set()

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        with self.log_file.open("ab") as log:
            while chunk := await stream.read(65536):
                log.write(chunk)
                log.flush()
