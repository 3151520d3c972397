"""Run simulated histories: python -m tests.simulation SEED HISTORIES. `make simulate` calls it.

Of a history that violates an invariant the shortest part that still does is printed, with all that happened in it, and
kept as a file that becomes a test when it is moved to tests/simulation/found. The exit status is 1 then.
"""

import gc
import sys
import tempfile
from pathlib import Path

from bqgate.clock import SystemClock
from tests.simulation.history import draw_history
from tests.simulation.redis_stand_in import playing_scripts
from tests.simulation.shrink import shrink
from tests.simulation.world import run_history

_COLLECT_EVERY = 50
_TELL_EVERY = 1_000


def main(first_seed: int, count: int) -> int:
    """Run the histories of `count` seeds; 1 where one of them is wrong."""
    clock = SystemClock()
    begun_s = clock.monotonic_s()
    gc.disable()  # a world is one large circle of references: looked for now and then, not all the time
    with playing_scripts():
        for number, seed in enumerate(range(first_seed, first_seed + count), 1):
            if not is_sound(seed):
                return 1
            if number % _COLLECT_EVERY == 0:
                gc.collect()
            if number % _TELL_EVERY == 0 or number == count:
                tell(f"{number} histories hold, in {clock.monotonic_s() - begun_s:.0f} s")
    return 0


def tell(*lines: str) -> None:
    """Write lines for whoever waits for them."""
    print(*lines, sep="\n", flush=True)  # noqa: T201 - a command's output


def is_sound(seed: int) -> bool:
    """Whether the history of a seed violates nothing; else it is told what and how."""
    history = draw_history(seed)
    report = run_history(history)
    if report.violation is None:
        return True
    tell(f"seed {seed}: {report.violation}", "looking for the shortest history that still does ...")
    shorter, report = shrink(history, report, run_history)
    path = Path(tempfile.gettempdir()) / f"bqgate-simulation-{seed}.json"
    path.write_text(shorter.to_json())
    tell("", "what happens:", *report.log, "", "what was done:", *map(str, shorter.steps), "", str(report.violation))
    tell("", f"again:      make simulate SEED={seed} HISTORIES=1")
    tell(f"as a test:  move {path} to tests/simulation/found, with what it found as its name")
    return False


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
