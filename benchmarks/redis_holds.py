"""Print how many holds a second one processor's Redis places and ends, and whether it matters how many are open.

    python benchmarks/redis_holds.py [--rounds 15]

Redis has a processor for itself. Each hold is on three budgets, its customer's, a principal's and a workload's, a day
and a month of each. The store's own commands are heard once and sent again under new ids, as bytes and 64 at a time, so
that it is Redis that is measured. `script` is what Redis itself says that a call took.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that another checkout's gate can be measured

import redis

from benchmarks.gated.figures import table, with_spread
from benchmarks.gated.processes import MEASURED_CORE, stay_aside
from benchmarks.gated.redis_raw import Monitor, Pump, packed
from benchmarks.redis_memory import hold_for, windows_for
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.clock import SystemClock
from tests.support.redis_server import running_redis
from tests.support.spend_book import SpendBook

_OPEN_COUNTS = (10, 1_000, 100_000)
_IN_FLIGHT = 64
_BLOCK = 2_000
_COST_NANOS = 1_000_000
_ID_DIGITS = 12

_Commands = Callable[[int], bytes]


async def hear_commands(port: int) -> tuple[_Commands, _Commands]:
    """What the store sends to place and to capture a hold, as functions of a number that makes its id."""
    url = f"redis://127.0.0.1:{port}"
    store = RedisBudgetStore.open(url, SpendBook(), SystemClock(), timeout_s=10)
    windows = windows_for("bench")
    first = hold_for(windows)
    await store.place_hold(first, windows)
    await store.capture(first, _COST_NANOS)
    monitor = Monitor(port)
    hold = hold_for(windows)
    await store.place_hold(hold, windows)
    place = monitor.heard()
    await store.capture(hold, _COST_NANOS)
    capture = monitor.heard()
    monitor.close()
    await store.close()
    assert len(place) == len(capture) == 1, "a hold is one round trip to place and one to capture"
    key = (hold.idempotency_key or "").rpartition("_")[2]
    return _numbered(place[0].words, hold.id, key), _numbered(capture[0].words, hold.id, key)


def _numbered(words: tuple[bytes, ...], hold_id: str, key: str) -> _Commands:
    """The command with ids that a number makes; they are as long as the gate's."""
    text = packed(words)
    before = text

    def command(number: int) -> bytes:
        made = b"%032d" % number
        return before.replace(hold_id.encode(), made).replace(key.encode(), made)

    return command


def run(options: argparse.Namespace) -> None:
    stay_aside()
    with running_redis() as port, redis.Redis(port=port) as raw:
        pid = raw.info("server")["process_id"]
        if len(os.sched_getaffinity(pid)) < (os.cpu_count() or 1):
            os.sched_setaffinity(pid, {MEASURED_CORE})
        place, capture = asyncio.run(hear_commands(port))
        pump, number, rows = Pump(port, _IN_FLIGHT), 0, []
        for open_count in _OPEN_COUNTS:
            missing = open_count - raw.hlen(_holds_key(raw))
            pump.send([place(number + each) for each in range(missing)])
            number += missing
            rates: dict[str, list[float]] = {"place": [], "capture": []}
            spans_us: dict[str, list[float]] = {"place": [], "capture": []}
            for _ in range(options.rounds):
                for name, command in (("place", place), ("capture", capture)):
                    raw.config_resetstat()
                    spent_s = pump.send([command(number + each) for each in range(_BLOCK)])
                    rates[name].append(_BLOCK / spent_s)
                    spans_us[name].append(raw.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])
                number += _BLOCK
            rows.append([f"{open_count:,}", *(with_spread(rates[each], 0) for each in rates)])
            rows[-1] += [with_spread(spans_us[each], 1) for each in spans_us]
        pump.close()
    head = ["open holds", "placed/s", "captured/s", "script to place µs", "script to capture µs"]
    print(table(head, rows, markdown=options.markdown))
    print("goal: 20,000 placed a second, the script's time the same in all rows")


def _holds_key(raw: redis.Redis) -> bytes:
    """The key of the customer's open holds, or one that is not there."""
    return next(iter(raw.scan_iter(match="bqgate:{bench}:holds")), b"none")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help=f"of {_BLOCK} holds each")
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(parse(sys.argv[1:]))
