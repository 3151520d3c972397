import itertools
import re

import pytest

from bqgate.domain.degradation import TABLE, Conduct, Degradation, System
from bqgate.domain.tier import Mode
from tests.house.tree import ROOT

_LINE = re.compile(r"^\| `(\w+)` \| `(\w+)` \| (.+) \|$", re.MULTILINE)


def test_every_case_has_a_row() -> None:
    """Nothing is left to chance: each system under each conduct."""
    assert set(TABLE) == set(itertools.product(System, Conduct))


@pytest.mark.parametrize("system", [System.UPSTREAM, System.TOKEN_SERVICE])
@pytest.mark.parametrize("conduct", list(Conduct))
def test_without_bigquery_nothing_runs(system: System, conduct: Conduct) -> None:
    """No setting makes a query run that nobody can run."""
    assert not TABLE[system, conduct].goes_on


@pytest.mark.parametrize("system", [System.DRY_RUN, System.BUDGETS, System.LEDGER])
def test_closed_refuses_and_an_allowance_is_bounded(system: System) -> None:
    """What goes on is bounded by the allowance unless it was opened on purpose."""
    closed, allowance, is_open = (TABLE[system, each] for each in (Conduct.CLOSED, Conduct.ALLOWANCE, Conduct.OPEN))
    assert not closed.goes_on
    assert (allowance.goes_on, allowance.takes_allowance) == (True, True)
    assert (is_open.goes_on, is_open.takes_allowance) == (True, False)


def test_the_mode_decides_where_nobody_chose() -> None:
    """Enforce is closed, observe is open; a choice beats both."""
    nothing_chosen = Degradation({}, 0)
    assert nothing_chosen.conduct(System.BUDGETS, Mode.ENFORCE) is Conduct.CLOSED
    assert nothing_chosen.conduct(System.BUDGETS, Mode.OBSERVE) is Conduct.OPEN
    chosen = Degradation({System.BUDGETS: Conduct.ALLOWANCE}, 1)
    for mode in (Mode.ENFORCE, Mode.OBSERVE):
        assert chosen.conduct(System.BUDGETS, mode) is Conduct.ALLOWANCE
        assert chosen.conduct(System.LEDGER, mode) is nothing_chosen.conduct(System.LEDGER, mode)


def test_operators_read_the_same_table() -> None:
    """docs/degraded.md says of every case what the code does."""
    text = (ROOT / "docs" / "degraded.md").read_text(encoding="utf-8")
    told = {(System(system), Conduct(conduct)): sentence for system, conduct, sentence in _LINE.findall(text)}
    assert told == {case: row.told for case, row in TABLE.items()}
