"""Load a gate fully for a long time, and say what of it grows: memory, descriptors, threads, keys, journal files.

    python -m benchmarks.gated.soak --seconds 1200 [--only redis+postgres,memory+sqlite] [--connections 32]

Each query has a text of its own, so that caches are full all the time. A sample is taken sixty times. The first third
is warm-up: estimates are kept for a minute, and what Redis knows of holds that ended for five, so a soak of less than
15 minutes shows those keys growing. Growth is from the median of the first samples behind it to that of the last. Ends
with status 1 where something grows by more than its share (LIMITS).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import redis

from benchmarks.gated.figures import table
from benchmarks.gated.gates import Gate, running_gate
from benchmarks.gated.processes import FOLDER, descriptor_count, rss_mib, thread_count
from benchmarks.gated.rounds import Numbers, fetch_calls
from benchmarks.gated.stand import Stand, open_stand

SAMPLES = 60
_WARM_UP_SHARE = 1 / 3
_ENDS_SHARE = 1 / 5
# How much more each may be at the end than behind the warm-up: a share, and an amount that is no growth.
LIMITS = {
    "memory MiB": (0.03, 3),
    "descriptors": (0.0, 5),
    "threads": (0.0, 2),
    "Redis' keys": (0.10, 100),
    "journal files": (0.0, 3),
    "journal MiB": (0.10, 128),  # a file grows to 64 before the next begins
}


@dataclass(frozen=True)
class Growth:
    """One kind of thing: how much of it there was behind the warm-up, and at the end."""

    name: str
    before: float
    after: float

    @property
    def is_within(self) -> bool:
        share, amount = LIMITS[self.name]
        return self.after - self.before <= max(self.before * share, amount)


def soak(gate: Gate, stand: Stand, options: argparse.Namespace) -> list[dict[str, float]]:
    """Load it, and sample it sixty times."""
    samples, numbers, slice_s = [], Numbers(), options.seconds / SAMPLES
    for at in range(SAMPLES):
        command = [sys.executable, str(FOLDER / "load.py"), "--port", str(gate.port), "--seconds", str(slice_s)]
        command += ["--connections", str(options.connections), "--first", str(numbers.block())]
        said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
        assert not said["faults"], f"{said['faults']} wrong answers: {said['first_faults']}"
        fetch_calls(stand.stub_port)  # the stub keeps what it did until it is asked
        sample = {"queries/s": said["answers"] / said["seconds"], "p99 ms": said["p99_ms"], **sample_of(gate, stand)}
        samples.append(sample)
        if at % 5 == 4:
            shown = ", ".join(f"{name} {value:,.0f}" for name, value in sample.items())
            print(f"  {(at + 1) * slice_s:,.0f} s: {shown}", flush=True)
    return samples


def sample_of(gate: Gate, stand: Stand) -> dict[str, float]:
    """What the gate has now."""
    pid = gate.process.pid
    journal = journal_files(stand.folder)
    return {
        "memory MiB": rss_mib(pid),
        "descriptors": descriptor_count(pid),
        "threads": thread_count(pid),
        "Redis' keys": key_count(gate, stand),
        "journal files": len(journal),
        "journal MiB": sum(journal) / 2**20,
    }


def key_count(gate: Gate, stand: Stand) -> int:
    if gate.kind.startswith("memory"):
        return 0
    with redis.Redis(port=stand.stores.redis_port, db=gate.redis_database) as raw:
        return int(raw.dbsize())


def journal_files(folder: Path) -> list[int]:
    """Sizes of the files of the ledger's journal, wherever the gate keeps it below its folder."""
    sizes = []
    for file in folder.rglob("*.journal"):
        with suppress(FileNotFoundError):  # written to the ledger, and removed meanwhile
            sizes.append(file.stat().st_size)
    return sizes


def growths(samples: Sequence[dict[str, float]]) -> list[Growth]:
    """What each kind did behind the warm-up."""
    settled = samples[round(len(samples) * _WARM_UP_SHARE) :]
    width = max(1, round(len(settled) * _ENDS_SHARE))
    return [
        Growth(
            name,
            median(sample[name] for sample in settled[:width]),
            median(sample[name] for sample in settled[-width:]),
        )
        for name in LIMITS
    ]


def run(options: argparse.Namespace) -> bool:
    """Soak each kind; whether none grows."""
    is_flat = True
    with open_stand() as stand:
        for kind in options.only:
            print(f"{kind}, {options.seconds:,.0f} s, {options.connections} connections", flush=True)
            with running_gate(kind, stand.stores, stand.stub_port) as gate:
                began_s = time.perf_counter()
                samples = soak(gate, stand, options)
            found = growths(samples)
            rows = [
                [each.name, f"{each.before:,.1f}", f"{each.after:,.1f}", "" if each.is_within else "GROWS"]
                for each in found
            ]
            rates = [sample["queries/s"] for sample in samples]
            print(table(["", "after warm-up", "at the end", ""], rows, markdown=options.markdown))
            print(f"{time.perf_counter() - began_s:,.0f} s, {median(rates):,.0f} queries/s, least {min(rates):,.0f}")
            is_flat &= all(each.is_within for each in found)
    return is_flat


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--only", type=lambda text: text.split(","), default=["redis+postgres"])
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(0 if run(parse(sys.argv[1:])) else 1)
