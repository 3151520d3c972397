"""Say what happens while an outside system is away: THE table. The one file that says open or closed.

Read by admission (dry run, budgets, ledger) and by the control plane's readiness; the settings' section `degraded`
chooses a conduct for each system, and where it does not, the customer's mode does: enforce is closed, observe is open.
docs/degraded.md shows the table to operators, and a test holds it to this one.

In every row that goes on, BigQuery is told a `maximumBytesBilled` that an open hold or the allowance covers, so that
nothing billable runs uncovered (invariant 1). BigQuery itself and the gate's own token for it have no choice: without
them nothing can run, whatever the settings say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bqgate.domain.tier import Mode


class System(StrEnum):
    """What may be away."""

    DRY_RUN = "dry_run"
    BUDGETS = "budgets"
    LEDGER = "ledger"
    UPSTREAM = "upstream"
    TOKEN_SERVICE = "token_service"  # noqa: S105 - the name of a system


class Conduct(StrEnum):
    """How the gate carries on without it."""

    CLOSED = "closed"
    ALLOWANCE = "allowance"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Row:
    """What happens in one case. `told` is the sentence that operators read."""

    goes_on: bool
    takes_allowance: bool
    told: str


_NOTHING_RUNS = Row(goes_on=False, takes_allowance=False, told="503 backendError; nothing can run, nothing is held")

TABLE: Mapping[tuple[System, Conduct], Row] = {
    (System.DRY_RUN, Conduct.CLOSED): Row(
        goes_on=False, takes_allowance=False, told="503 backendError; nothing is held"
    ),
    (System.DRY_RUN, Conduct.ALLOWANCE): Row(
        goes_on=True,
        takes_allowance=True,
        told="held and capped like a query that no dry run bounds (admission.unknown_hold_gib), while the allowance "
        "lasts",
    ),
    (System.DRY_RUN, Conduct.OPEN): Row(
        goes_on=True,
        takes_allowance=False,
        told="held and capped like a query that no dry run bounds (admission.unknown_hold_gib)",
    ),
    (System.BUDGETS, Conduct.CLOSED): Row(
        goes_on=False, takes_allowance=False, told="503 backendError; nothing is held"
    ),
    (System.BUDGETS, Conduct.ALLOWANCE): Row(
        goes_on=True,
        takes_allowance=True,
        told="the hold is recorded in the ledger alone, while the allowance lasts; the budgets know it once they are "
        "back",
    ),
    (System.BUDGETS, Conduct.OPEN): Row(
        goes_on=True,
        takes_allowance=False,
        told="the hold is recorded in the ledger alone, without a limit; the budgets know it once they are back",
    ),
    (System.LEDGER, Conduct.CLOSED): Row(
        goes_on=False, takes_allowance=False, told="503 backendError; the hold is given back"
    ),
    (System.LEDGER, Conduct.ALLOWANCE): Row(
        goes_on=True,
        takes_allowance=True,
        told="the hold stands in the budgets, while the allowance lasts, and is recorded once the ledger is back; "
        "a gate that ends before that loses the record",
    ),
    (System.LEDGER, Conduct.OPEN): Row(
        goes_on=True,
        takes_allowance=False,
        told="the hold stands in the budgets and is recorded once the ledger is back; a gate that ends before that "
        "loses the record",
    ),
    **{(System.UPSTREAM, conduct): _NOTHING_RUNS for conduct in Conduct},
    **{(System.TOKEN_SERVICE, conduct): _NOTHING_RUNS for conduct in Conduct},
}

_BY_MODE: Mapping[Mode, Conduct] = {
    Mode.ENFORCE: Conduct.CLOSED,
    Mode.OBSERVE: Conduct.OPEN,
    Mode.OFF: Conduct.OPEN,
}


@dataclass(frozen=True, slots=True)
class Degradation:
    """What was chosen: a conduct by system, and what a replica may spend for a customer a day without asking."""

    chosen: Mapping[System, Conduct]
    allowance_nanos: int

    def conduct(self, system: System, mode: Mode) -> Conduct:
        """How the gate carries on without a system for a customer of this mode."""
        return self.chosen.get(system) or _BY_MODE[mode]

    def row(self, system: System, mode: Mode) -> Row:
        """What happens then."""
        return TABLE[system, self.conduct(system, mode)]
