"""Make a failing history short: leave out steps for as long as the same invariant fails."""

import re
from collections.abc import Callable
from dataclasses import replace

from tests.simulation.history import History, Step
from tests.simulation.world import Report

RUNS_MAX = 300


def shrink(history: History, report: Report, run: Callable[[History], Report]) -> tuple[History, Report]:
    """A part of a history that violates the same invariant, and its report. At most RUNS_MAX runs are made."""
    kind = _kind_of(report)
    runs_left = RUNS_MAX
    size = max(1, len(history.steps) // 2)
    while runs_left and size:
        place, has_shrunk = 0, False
        while place < len(history.steps) and runs_left:
            fewer: tuple[Step, ...] = history.steps[:place] + history.steps[place + size :]
            candidate = replace(history, steps=fewer)
            outcome = run(candidate)
            runs_left -= 1
            if outcome.violation is not None and _kind_of(outcome) == kind:
                history, report, has_shrunk = candidate, outcome, True
            else:
                place += size
        if not has_shrunk or size > 1:
            size //= 2
    return history, report


def _kind_of(report: Report) -> str:
    """Which invariant, and what about it: without ids and amounts."""
    violation = (report.violation or "").partition("(")[0].partition("[")[0]
    return re.sub(r"\b(?:bqgate_)?[0-9a-f]{12}\b|\b\w+_\d+\b|\bjob\d+x\b|(?<!^)\d+", "", violation)
