"""What takes minutes, by `make soak`: memory over 100,000 refused and throttled queries. Not part of `make test`."""

import gc
from pathlib import Path

import pytest

from tests.support.crowded_gate import ROUND, crowded_gate

COUNT = 100_000
WARM = 20_000
GROWTH_MIB_MAX = 8


@pytest.mark.timeout(3_600)
async def test_memory_is_flat_over_a_hundred_thousand_refused_and_throttled_queries(tmp_path: Path) -> None:
    """What the process occupies after 20,000 it occupies after 100,000, with caches as large as by themselves."""
    async with crowded_gate(tmp_path, estimates_kept=10_000) as crowd:
        seen: list[tuple[int, float]] = []
        for number in range(COUNT // ROUND + 1):
            await crowd.send()
            if number % (WARM // ROUND) == WARM // ROUND - 1:
                seen.append((sum(crowd.answered.values()), occupied_mib()))
        print("".join(f"\n{count:>7} queries: {mib:.1f} MiB" for count, mib in seen), dict(crowd.answered))  # noqa: T201 - shown by make soak
        assert max(mib for _, mib in seen) - seen[0][1] < GROWTH_MIB_MAX


def occupied_mib() -> float:
    """The resident memory of this process."""
    gc.collect()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kib,) = (int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return kib / 1024
