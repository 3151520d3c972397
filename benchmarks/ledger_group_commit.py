"""Measure what group commit is worth: holds opened by 64 callers at once against one caller after the other.

Run it: python benchmarks/ledger_group_commit.py [postgresql://…]. Without a URL it uses a SQLite file in the current
folder's temporary directory, and /tmp may be memory: then a flush costs nothing and the ratio is only that of SQL.
Prints holds per second and the ratio. Ends by itself after a few seconds.
"""

import asyncio
import sys
import tempfile
import uuid
from datetime import timedelta
from pathlib import Path
from time import perf_counter

from bqgate.clock import SystemClock
from bqgate.domain.budget import Period
from bqgate.domain.hold import Hold
from bqgate.ledger import SqlLedger, migrate

ALONE_COUNT = 300
TOGETHER_COUNT = 6_000
CALLERS = 64


def new_hold() -> Hold:
    now = SystemClock().now()
    return Hold(
        id=uuid.uuid4().hex,
        customer="acme",
        principal="ann@acme.example",
        project_id="acme-prod",
        amount_nanos=1_000_000_000,
        window_keys={Period.DAY: "2026-11-24", Period.MONTH: "2026-11"},
        placed_at=now,
        deadline_at=now + timedelta(hours=6),
        estimate_bytes=2**39,
    )


async def holds_per_second(ledger: SqlLedger, *, callers: int, count: int) -> float:
    async def call() -> None:
        for _ in range(count // callers):
            await ledger.open_hold(new_hold())

    started_s = perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return count / (perf_counter() - started_s)


async def measure(url: str) -> None:
    await migrate(url)
    ledger = await SqlLedger.open(url, SystemClock())
    await holds_per_second(ledger, callers=1, count=20)
    alone = await holds_per_second(ledger, callers=1, count=ALONE_COUNT)
    together = await holds_per_second(ledger, callers=CALLERS, count=TOGETHER_COUNT)
    await ledger.close()
    print(f"{url.split(':', maxsplit=1)[0]}: one by one {alone:,.0f}/s, {CALLERS} callers {together:,.0f}/s")
    print(f"ratio {together / alone:.1f}")


def main() -> None:
    if len(sys.argv) > 1:
        asyncio.run(measure(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        asyncio.run(measure(f"sqlite:///{folder}/ledger.db"))


if __name__ == "__main__":
    main()
