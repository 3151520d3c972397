"""Say what enforcing would have done to a query that was only observed.

Made by shadow_evaluation for each query of an observed budget, kept in its hold and its entry, and summed up for
whoever thinks of enforcing (admin.enforcement_readiness). Waits are milliseconds, costs nano-dollars.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What would have become of one query. `reason` None: it would have run, after `wait_ms`.

    `reason` is a decision.RejectReason's word. `budget` is what would have said so: the budget's scope and period
    ("customer/day"), or "query", the bound of one query.
    """

    reason: str | None
    wait_ms: int
    budget: str


@dataclass(frozen=True, slots=True)
class ShadowDecisionRow:
    """Queries of one principal of one customer with one end: `reason` and `budget` as above, None: as it was.

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
