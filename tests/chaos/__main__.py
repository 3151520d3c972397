"""Make chaos runs: ``python -m tests.chaos [--seed N] [--runs N] [--revision COMMIT]``, which is `make chaos`.

Exit status 1 where one of them was not clean.
"""

import argparse
import asyncio
import secrets
import signal
import sys
from pathlib import Path

from bqgate.clock import SystemClock
from tests.chaos.plan import Stores, make_plan
from tests.chaos.run import Outcome, run_plan
from tests.support import memory_disk

_SECONDS = 30.0
_SEEDS = 1_000_000
_RUN_S_MAX = 240


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Break everything while queries run, and audit.")
    parser.add_argument("--seed", type=int, help="of the first run; the next ones count on. Without it, drawn.")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="how long the load of a run lasts")
    parser.add_argument("--revision", help="run gates of this commit")
    parser.add_argument("--stores", choices=[store.name.lower() for store in Stores], help="without it, drawn")
    parser.add_argument("--books", type=Path, help="where a failing run leaves its books")
    return parser.parse_args()


def _tell(line: str) -> None:
    moment = SystemClock().now().strftime("%H:%M:%S")
    print(f"{moment} {line}", flush=True)  # noqa: T201 - the command prints


async def _one(seed: int, asked: argparse.Namespace) -> Outcome:
    plan = make_plan(
        seed,
        asked.seconds,
        stores=Stores[asked.stores.upper()] if asked.stores else None,
        has_previous=False if asked.revision else None,
        has_bypass=asked.revision is None,  # an older gate may not look for what ran past it
    )
    async with asyncio.timeout(_RUN_S_MAX + asked.seconds):
        return await run_plan(plan, tell=_tell, revision=asked.revision, books=asked.books)


def main() -> int:
    """All runs, one after the other."""
    asked = _arguments()
    for sign in (signal.SIGINT, signal.SIGTERM):  # whoever ends this ends what it started
        signal.signal(sign, signal.default_int_handler)
    memory_disk.pytest_configure()
    first = secrets.randbelow(_SEEDS) if asked.seed is None else asked.seed
    failed = []
    for number in range(asked.runs):
        seed = first + number
        _tell(f"run {number + 1} of {asked.runs}, seed {seed} (again: make chaos SEED={seed})")
        outcome = asyncio.run(_one(seed, asked))
        _tell(str(outcome))
        if not outcome.is_clean:
            failed.append(seed)
    _tell(f"{asked.runs - len(failed)} of {asked.runs} runs clean" + (f"; not: {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
