"""Run a sandbox and gates before it in a thread of their own, for tests with real, blocking clients.

`running_stack` gives a Stack: addresses, the parts of each gate, and `run` to await something in the stack's own event
loop. Everything listens on loopback at a free port and ends with the context.
"""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from bqgate.app import Gate, open_gate
from bqgate.clock import SystemClock
from bqgate.domain.budget import Balance
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.settings import Settings, load_settings

T = TypeVar("T")


@dataclass
class Stack:
    """What is running. `gates` share one ledger and one budget store."""

    sandbox: Any
    gates: list[Gate]
    settings: Settings
    log: io.StringIO
    loop: asyncio.AbstractEventLoop = field(repr=False)

    @property
    def gate(self) -> Gate:
        return self.gates[0]

    @property
    def url(self) -> str:
        return self.gate.url

    def run(self, work: Coroutine[Any, Any, T], *, timeout_s: float = 60) -> T:
        """Await something in the stack's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def balances(self, customer: str) -> tuple[Balance, ...]:
        """Day and month of a customer."""
        return self.run(self.fetch_balances(customer))

    def settle(self, customer: str, *, timeout_s: float = 30) -> tuple[Balance, ...]:
        """The balances once nothing is held any more."""
        return self.run(self.fetch_settled(customer, timeout_s=timeout_s))

    async def fetch_balances(self, customer: str) -> tuple[Balance, ...]:
        known = self.settings.customer_registry.customer(customer)
        return await self.gate.budgets.fetch_balances(known.windows(SystemClock().now()))

    async def fetch_settled(self, customer: str, *, timeout_s: float = 30) -> tuple[Balance, ...]:
        async with asyncio.timeout(timeout_s):
            while True:
                for gate in self.gates:
                    await gate.holds.drain()
                balances = await self.fetch_balances(customer)
                if not any(balance.held_nanos for balance in balances):
                    return balances
                await SystemClock().sleep(0.02)


def settings_for(folder: Path, sandbox_url: str, document: Mapping[str, Any]) -> Settings:
    """Settings as a user would write them, with the upstream put in and polls made quick."""
    base: dict[str, Any] = {
        "server": {"port": 0},
        "upstream": {"url": sandbox_url, "connect_timeout_s": 60},
        "ledger": {"url": f"sqlite:///{folder}/ledger.db", "timeout_ms": 60_000},
        "settlement": {"poll_first_ms": 20, "poll_longest_ms": 200},
        "observe": {"log_format": "json"},
    }
    for name, section in document.items():
        base[name] = {**base.get(name, {}), **section}
    file = folder / "bqgate.yaml"
    file.write_text(yaml.safe_dump(base))
    return load_settings(file, {})


@asynccontextmanager
async def open_stack(
    folder: Path,
    document: Mapping[str, Any] | None = None,
    *,
    sandbox: SandboxSettings | None = None,
    gate_count: int = 1,
) -> AsyncIterator[Stack]:
    """Run a sandbox and `gate_count` gates with these settings in the present event loop."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Sandbox.start(sandbox or SandboxSettings()))
        settings = settings_for(folder, upstream.url, document or {})
        log = io.StringIO()
        gates = [await stack.enter_async_context(open_gate(settings, log_stream=log)) for _ in range(gate_count)]
        yield Stack(upstream, gates, settings, log, asyncio.get_running_loop())


@contextmanager
def running_stack(
    folder: Path,
    document: Mapping[str, Any] | None = None,
    *,
    sandbox: SandboxSettings | None = None,
    gate_count: int = 1,
) -> Iterator[Stack]:
    """The same in a thread of its own."""
    started: list[Stack] = []
    failed: list[BaseException] = []
    is_up = threading.Event()
    stop: list[asyncio.Event] = []

    async def live() -> None:
        async with open_stack(folder, document, sandbox=sandbox, gate_count=gate_count) as stack:
            stop.append(asyncio.Event())
            started.append(stack)
            is_up.set()
            await stop[0].wait()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread below
            failed.append(error)
        finally:
            is_up.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    is_up.wait(60)
    if failed:
        raise failed[0]
    try:
        yield started[0]
    finally:
        started[0].loop.call_soon_threadsafe(stop[0].set)
        thread.join(60)
        if failed:
            raise failed[0]
        assert not thread.is_alive(), f"the stack did not stop; its log: {started[0].log.getvalue()[-2000:]}"
