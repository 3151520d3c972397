"""Add up what pricing charges again has changed, by customer, and what was left as it is.

Filled by rerating.py, shown by the command line. Amounts are nano-dollars.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class LeftOut(StrEnum):
    """Why a charge was not priced again. It stands as it is."""

    METERED = "it was metered, and is not priced by the price list"
    NO_JOB = "the ledger does not tell enough of it, and there is no job to ask after"
    GONE = "the ledger does not tell enough of it, and BigQuery does not know the job any more"
    HIDDEN = "neither the ledger nor BigQuery tells what it used"
    RUNNING = "it was booked at its hold, and the job still runs"
    REFUSED = "the ledger does not tell enough of it, and BigQuery does not let the gate see the job"
    AWAY = "the ledger does not tell enough of it, and BigQuery did not answer"
    CONTENDED = "others corrected it at the same time, again and again"


@dataclass(slots=True)
class CustomerSums:
    """What a customer's charges cost before and after; those left out cost the same in both."""

    charge_count: int = 0
    changed_count: int = 0
    before_nanos: int = 0
    after_nanos: int = 0


@dataclass(slots=True)
class RerateReport:
    """All charges of a span. `left_out` counts, `left_out_nanos` adds up what they cost."""

    customers: dict[str, CustomerSums] = field(default_factory=dict)
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    left_out_nanos: int = 0
    asked_count: int = 0

    @property
    def total(self) -> CustomerSums:
        """The sums of all customers."""
        sums = self.customers.values()
        return CustomerSums(
            sum(each.charge_count for each in sums),
            sum(each.changed_count for each in sums),
            sum(each.before_nanos for each in sums),
            sum(each.after_nanos for each in sums),
        )

    def add(self, customer: str, *, before_nanos: int, after_nanos: int, left_out: LeftOut | None = None) -> None:
        """Count one charge."""
        sums = self.customers.setdefault(customer, CustomerSums())
        sums.charge_count += 1
        sums.changed_count += before_nanos != after_nanos
        sums.before_nanos += before_nanos
        sums.after_nanos += after_nanos
        if left_out is not None:
            self.left_out[left_out] += 1
            self.left_out_nanos += before_nanos
