"""Measure how long a gate takes from its start to its first /readyz of 200, and what memory it has when idle.

    python benchmarks/start_up.py [--starts 6] [--customers 10000]

Embedded: budgets in memory, SQLite, one customer; the first start makes the ledger, the others find it. Grown up:
Redis, PostgreSQL, and so many customers in the settings, each with a project of its own. The time begins with the
command and has Python's own start in it; files are in the system's cache from the second start on.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

from benchmarks.gated.figures import table, with_spread
from benchmarks.gated.gates import running_gate
from benchmarks.gated.options import read_options
from benchmarks.gated.processes import rss_mib
from benchmarks.gated.stand import Stand, open_stand

_IDLE_S = 3


def starts(stand: Stand, kind: str, count: int, more: str) -> tuple[list[float], list[float]]:
    """Seconds and MiB of so many starts over the same stores."""
    budgets_url, ledger_url = stand.stores.budgets_url(kind), stand.stores.ledger_url(kind)
    seconds, mib = [], []
    for _ in range(count):
        with running_gate(
            kind, stand.stores, stand.stub_port, budgets_url=budgets_url, ledger_url=ledger_url, more=more
        ) as gate:
            seconds.append(gate.started_s)
            time.sleep(_IDLE_S)  # noqa: TID251 - idle is what it is after a moment
            mib.append(rss_mib(gate.process.pid))
            print(f"  {kind}: {seconds[-1]:.2f} s, {mib[-1]:.0f} MiB", flush=True)
    return seconds, mib


def customers(count: int) -> str:
    """Lines of YAML below `customers:`."""
    return "".join(f"  customer-{at:06}: {{tier: standard, projects: [project-{at:06}]}}\n" for at in range(count))


def run(options: argparse.Namespace) -> None:
    measured = {
        "embedded": ("memory+sqlite", ""),
        f"Redis, PostgreSQL, {options.customers:,} customers": ("redis+postgres", customers(options.customers)),
    }
    rows = []
    with open_stand() as stand:
        for name, (kind, more) in measured.items():
            seconds, mib = starts(stand, kind, options.starts, more)
            rows.append([name, f"{seconds[0]:.2f}", with_spread(seconds[1:], 2), with_spread(mib, 0)])
    head = ["", "first start s", "start to ready s", "idle MiB"]
    print(table(head, rows, markdown=options.markdown))
    print("goal: embedded < 1 s, the other < 2 s, each < 120 MiB")


if __name__ == "__main__":
    run(read_options(__doc__, sys.argv[1:], starts=6, customers=10_000))
