"""The money path under simulation: some histories, and proof that they repeat and can find what is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.history import History, draw_history
from tests.simulation.mutants import MUTANTS
from tests.simulation.redis_stand_in import playing_scripts
from tests.simulation.shrink import shrink
from tests.simulation.world import Report, run_history

ROOT = Path(__file__).parents[2]
FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
# Mutants that the first forty histories do not find.
HARD = {
    "adjusts twice",
    "charges a job again",
    "compares no spend",
    "ends orphans at once",
    "fills without holds",
    "gives back what others have joined",
    "keeps no leases",
    "marks before it books",
}
LOG_OF_SEEDS = """
from tests.simulation.history import draw_history
from tests.simulation.redis_stand_in import playing_scripts
from tests.simulation.world import run_history
with playing_scripts():
    for seed in range(1, 8):
        print("\\n".join(run_history(draw_history(seed)).log))
"""


@pytest.fixture(autouse=True)
def redis_is_played() -> Iterator[None]:
    with playing_scripts():
        yield


def told(report: Report) -> str:
    return "\n".join([*report.log, str(report.violation)])


@pytest.mark.parametrize("block", range(4))
def test_histories_hold_every_invariant(block: int) -> None:
    """Whatever callers, crashes and losses do: at every step and at the end the invariants of money hold."""
    for seed in range(1 + block * 15, 16 + block * 15):
        report = run_history(draw_history(seed))
        assert report.violation is None, f"{told(report)}\nmake simulate SEED={seed} HISTORIES=1"


@pytest.mark.parametrize("path", FOUND, ids=[path.stem for path in FOUND])
def test_what_was_found_once_stays_mended(path: Path) -> None:
    """A history that violated an invariant once violates none any more."""
    report = run_history(History.from_document(json.loads(path.read_text())))
    assert report.violation is None, told(report)


def test_a_seed_is_one_history_in_every_process() -> None:
    """Two processes that hash differently write the same log, to the byte."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOG_OF_SEEDS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for hash_seed in ("1", "2")
    ]
    one, other = (process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert one == other
    assert len(one.splitlines()) > 1_000


def test_a_history_survives_its_file() -> None:
    """What is kept of a found history is all that decides its run."""
    history = draw_history(7)
    again = History.from_document(json.loads(history.to_json()))
    assert run_history(again) == run_history(history)


def test_a_crash_comes_at_any_call() -> None:
    """Among the first histories gates crash before a call is sent, while it is under way, and when its answer comes."""
    moments = {
        (step.given["moment"], bool(step.given["calls"]))
        for seed in range(1, 100)
        for step in draw_history(seed).steps
        if step.what == "crash"
    }
    assert {moment for moment, has_fuse in moments if has_fuse} == {"before", "sent", "answered"}


@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in HARD])
def test_a_gate_that_is_wrong_is_found(name: str) -> None:
    """Each broken promise violates an invariant within a few histories."""
    assert found(name, histories=40) is not None


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(HARD))
def test_a_gate_that_is_wrong_in_rare_cases_is_found(name: str) -> None:
    """The same for what shows only where several things come together."""
    assert found(name, histories=1_000) is not None


def found(name: str, *, histories: int) -> int | None:
    """The first seed that finds a mutant."""
    return next(
        (seed for seed in range(1, histories) if run_history(draw_history(seed), MUTANTS[name]).violation), None
    )


def test_what_is_found_is_shown_short() -> None:
    """Steps that have nothing to do with it are left out, and what is left violates the same."""
    mutant = MUTANTS["captures before it books"]

    def run(history: History) -> Report:
        return run_history(history, mutant)

    history = next(each for each in map(draw_history, range(1, 50)) if len(each.steps) > 10 and run(each).violation)
    shorter, report = shrink(history, run(history), run)
    assert len(shorter.steps) <= 2
    assert report.violation is not None
    assert run(replace(shorter, steps=())).violation is None
