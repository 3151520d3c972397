"""Say what enforcing would have done to a query that was only observed.

Made by shadow_evaluation for each query of an observed budget, kept in its hold and its entry, and summed up for
whoever thinks of enforcing (admin.enforcement_readiness). Waits are milliseconds, costs nano-dollars.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What enforcing would have decided about one query. `reason` None: it would have run, after `wait_ms`.

    `reason` is the value of a decision.RejectReason. `budget` is the budget that decides: its scope and period
    ("customer/day"), or "query", the bound of one query.
    """

    reason: str | None
    wait_ms: int
    budget: str


@dataclass(frozen=True, slots=True)
class ShadowDecisionRow:
    """A group of queries of one principal with the same shadow decision; `reason` and `budget` as above, or None.

    `delayed_count` of them would have waited, `wait_ms` in all, the longest `longest_wait_ms`.
    """

    customer: str
    principal: str
    reason: str | None
    budget: str | None
    query_count: int
    cost_nanos: int
    delayed_count: int
    wait_ms: int
    longest_wait_ms: int
