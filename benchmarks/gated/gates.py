"""Run gates as a user does: a settings file, `bqgate serve`, real Redis and PostgreSQL beside it.

A kind names its stores: `redis+postgres`, `redis+sqlite`, `memory+sqlite`. Callers are trusted (mode open) and bring
their own credentials; the one customer has a budget of a day and a month, prices are those of config/prices.yaml.
Settings that a measurement needs besides come as more lines of YAML.
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gated.processes import MEASURED_CORE, end, pinned
from tests.support.free_ports import free_port
from tests.support.postgres_server import PostgresServer, postgres_process
from tests.support.redis_server import running_redis

KINDS = ("redis+postgres", "redis+sqlite", "memory+sqlite")
# PostgreSQL as it comes, but for how many may connect: what it flushes is on the disk.
POSTGRES_SETTINGS = ("max_connections=200",)
_READY_WITHIN_S = 60

_SETTINGS = """\
server: {{host: 127.0.0.1, port: {port}, workers: {workers}}}
upstream: {{url: "http://127.0.0.1:{bigquery_port}", credentials: caller}}
budgets: {{url: "{budgets_url}"}}
ledger: {{url: "{ledger_url}", sync: journal}}
identity: {{mode: open}}
pricing: {{model: on_demand, usd_per_tib: null}}
tiers:
  standard: {{daily_usd: "100000", monthly_usd: "1000000", emergency_usd: "200000"}}
customers:
  bench: {{tier: standard, projects: [bench-prod], mode: enforce}}
{more}
"""


@dataclass(frozen=True)
class Gate:
    """A running gate: its kind, the process that answers, its port, where it logs and what its settings are."""

    kind: str
    process: "subprocess.Popen[str]"
    port: int
    log: Path
    settings: Path
    started_s: float
    redis_database: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Stores:
    """Redis and PostgreSQL, started when the first gate needs them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """Keep SQLite's files and settings in the folder; what is started ends with the stack."""
        self.folder = folder
        self._stack = stack
        self._redis_port: int | None = None
        self._postgres: PostgresServer | None = None
        self._ledgers = 0
        self._redis_databases = 0

    @property
    def redis_port(self) -> int:
        if self._redis_port is None:
            self._redis_port = self._stack.enter_context(running_redis())
        return self._redis_port

    @property
    def postgres(self) -> PostgresServer:
        if self._postgres is None:
            _, self._postgres = self._stack.enter_context(postgres_process(POSTGRES_SETTINGS))
        return self._postgres

    def budgets_url(self, kind: str) -> str:
        """Each gate has a database of Redis for itself."""
        if kind.startswith("memory"):
            return "memory://"
        self._redis_databases += 1
        return f"redis://127.0.0.1:{self.redis_port}/{self._redis_databases}"

    def ledger_url(self, kind: str) -> str:
        """An empty ledger with today's tables where it is PostgreSQL; SQLite's are made by the gate."""
        self._ledgers += 1
        if kind.endswith("sqlite"):
            return f"sqlite:///{self.folder}/ledger_{self._ledgers}.db"
        return self._stack.enter_context(self.postgres.database())


@contextmanager
def running_gate(
    kind: str,
    stores: Stores,
    bigquery_port: int,
    *,
    workers: int = 1,
    cores: str = str(MEASURED_CORE),
    budgets_url: str | None = None,
    ledger_url: str | None = None,
    more: str = "",
) -> Iterator[Gate]:
    """A gate that is ready; it is ended by its own process handle."""
    budgets_url = budgets_url or stores.budgets_url(kind)
    ledger_url, port = ledger_url or stores.ledger_url(kind), free_port()
    settings = stores.folder / f"{kind}_{time.monotonic_ns()}.yaml"
    settings.write_text(
        _SETTINGS.format(
            port=port,
            workers=workers,
            bigquery_port=bigquery_port,
            budgets_url=budgets_url,
            ledger_url=ledger_url,
            more=more,
        )
    )
    bqgate = [sys.executable, "-m", "bqgate"]
    if ledger_url.startswith("postgresql"):
        subprocess.run([*bqgate, "migrate", "-c", str(settings)], cwd=stores.folder, check=True, capture_output=True)
    log = settings.with_suffix(".log")
    with log.open("w") as output:
        began_s = time.perf_counter()
        process = subprocess.Popen(
            pinned([*bqgate, "serve", "-c", str(settings)], cores),
            cwd=stores.folder,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "listens at http" in line, f"{line}{log.read_text()[-2000:]}"
            _wait_until_ready(port, log)
            started_s = time.perf_counter() - began_s
            database = 0 if kind.startswith("memory") else int(budgets_url.rpartition("/")[2])
            yield Gate(kind, process, port, log, settings, started_s, database)
        finally:
            end(process)


def _wait_until_ready(port: int, log: Path) -> None:
    deadline_s = time.perf_counter() + _READY_WITHIN_S
    while time.perf_counter() < deadline_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.01)  # noqa: TID251 - a process that starts is waited for
    raise AssertionError(f"not ready: {log.read_text()[-2000:]}")
