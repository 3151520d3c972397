"""Say how many queries may run at once, who goes first, and what else slows a throttled query down. Pure.

Part of a Tier; read by the admission queue (limits, priority) and by the handler (what a throttled query is sent with).
Times are milliseconds, slots are slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Priority(StrEnum):
    """Who goes first among those that wait; best first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Slowdown:
    """What a throttled query is sent with beside its wait. None: left as the caller set it."""

    to_batch: bool = False
    max_slots: int | None = None
    job_timeout_ms: int | None = None

    @property
    def slot_ms_at_most(self) -> int | None:
        """What a query may use of slots then; None: it is not bounded both in slots and in time."""
        if self.max_slots is None or self.job_timeout_ms is None:
            return None
        return self.max_slots * self.job_timeout_ms


@dataclass(frozen=True, slots=True)
class Throttling:
    """How a tier's queries share what there is. None: no limit.

    `priority_by_workload` stands above `priority`; a workload is the label from the /w/{workload} path.
    """

    customer_concurrency_max: int | None = None
    principal_concurrency_max: int | None = None
    priority: Priority = Priority.NORMAL
    priority_by_workload: Mapping[str, Priority] = field(default_factory=dict)
    slowdown: Slowdown = Slowdown()

    def priority_of(self, workload: str | None) -> Priority:
        """The class of a query by its workload, else by its tier."""
        return self.priority_by_workload.get(workload, self.priority) if workload is not None else self.priority
