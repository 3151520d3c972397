"""Answer whether a budget may be enforced: what enforcing would have stopped, saved and delayed in a span of time.

Mounted by app beside the other views; asks the ledger (ShadowDecisionSource). Each query that an observed budget let
pass bears what enforcing would have done to it (domain.shadow_evaluation); here that is summed up, by reason, budget
and principal.
"""

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from aiohttp import web
from pydantic import Field

from bqgate.admin.documents import answer_document, write_entry, write_moment
from bqgate.admin.operation import Answered, Operation, Parameter, RateClass
from bqgate.admin.parameters import CUSTOMER_IN_QUERY, Parameters
from bqgate.admin.problem import Problem
from bqgate.admin.schemas import Count, Document, EntryDocument, MomentText, UsdText
from bqgate.domain.money import format_usd
from bqgate.domain.principal import Identity
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.shadow_decision import ShadowDecisionRow
from bqgate.ports import Clock
from bqgate.ports.shadow_decisions import ShadowDecisionSource

TOP_STOPPED = 10
# The most expensive of each list; whoever wants more asks customer by customer.
LIST_MAX = 100
LOOKBACK = timedelta(days=30)
LOOKBACK_MAX = timedelta(days=366)

KeyT = TypeVar("KeyT", bound=Hashable)


class EnforcementImpactDocument(Document):
    """What became of some queries, and what enforcing would have made of them."""

    query_count: Count
    cost_usd: UsdText
    stopped_count: Count = Field(description="How many enforcing would have refused.")
    saved_usd: UsdText = Field(description="What those have cost.")
    delayed_count: Count = Field(description="How many enforcing would have let wait.")
    delay_ms: Count = Field(description="How long, all of them together.")
    longest_delay_ms: Count


class ReasonDocument(EnforcementImpactDocument):
    """Those that would have been refused for one reason."""

    reason: RejectReason


class BudgetImpactDocument(EnforcementImpactDocument):
    """Those that one budget of one customer would have refused or let wait."""

    customer: str
    budget: str = Field(
        description="The budget's scope and period, or the bound of one query.", examples=["customer/day"]
    )


class PrincipalImpactDocument(EnforcementImpactDocument):
    """All queries of one principal."""

    customer: str
    principal: str


class EnforcementReadinessDocument(Document):
    """What enforcing would have done; `customer` null is all of them.

    Lists are most expensive first, 100 entries at most.
    """

    customer: str | None
    since: MomentText
    until: MomentText
    total: EnforcementImpactDocument
    by_reason: tuple[ReasonDocument, ...]
    by_budget: tuple[BudgetImpactDocument, ...]
    by_principal: tuple[PrincipalImpactDocument, ...]
    top_stopped: tuple[EntryDocument, ...] = Field(
        description="The most expensive queries that would have been refused."
    )
    as_of: MomentText


class EnforcementReadinessViews:
    """The view of what enforcing would have done."""

    def __init__(self, *, source: ShadowDecisionSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        moment = {"type": "string", "format": "date-time"}
        return (
            Operation(
                "graduation.show",
                "GET",
                "/v1/analytics/graduation",
                "What enforcing would have stopped, saved and delayed where budgets were observed",
                "analytics",
                self.graduation,
                RateClass.ANALYTICS,
                parameters=(
                    CUSTOMER_IN_QUERY,
                    Parameter(
                        "since", "Booked at this moment or later; without it 30 days before until.", schema=moment
                    ),
                    Parameter("until", "Booked before this moment; without it, now.", schema=moment),
                ),
                answers={200: Answered("What enforcing would have done.", EnforcementReadinessDocument)},
            ),
        )

    async def graduation(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/analytics/graduation."""
        parameters = Parameters(request, ("customer", "since", "until"))
        customer = parameters.customer()
        now = self._clock.now()
        since, until = _span(parameters, now)
        rows = await self._source.fetch_shadow_decisions(since=since, until=until, customer=customer)
        most_expensive = await self._source.fetch_most_expensive_rejections(
            since=since, until=until, customer=customer, count=TOP_STOPPED
        )
        return answer_document(
            EnforcementReadinessDocument(
                customer=customer,
                since=write_moment(since),
                until=write_moment(until),
                total=EnforcementImpactDocument(**_sums(rows)),
                by_reason=tuple(
                    ReasonDocument(reason=RejectReason(reason), **_sums(found))
                    for reason, found in _groups(rows, lambda row: row.reason)
                    if reason is not None
                ),
                by_budget=tuple(
                    BudgetImpactDocument(customer=key[0], budget=key[1], **_sums(found))
                    for key, found in _groups(rows, _budget_of)
                    if key is not None
                ),
                by_principal=tuple(
                    PrincipalImpactDocument(customer=key[0], principal=key[1], **_sums(found))
                    for key, found in _groups(rows, lambda row: (row.customer, row.principal))
                ),
                top_stopped=tuple(write_entry(entry) for entry in most_expensive),
                as_of=write_moment(now),
            )
        )


def _span(parameters: Parameters, now: datetime) -> tuple[datetime, datetime]:
    """The span of time that was asked for.

    Raises:
        Problem: it is turned round, or longer than a year.
    """
    until = parameters.moment("until") or now
    since = parameters.moment("since")
    if since is None:
        earliest = datetime.min.replace(tzinfo=until.tzinfo)
        since = until - min(LOOKBACK, until - earliest)
    if since > until:
        raise Problem(400, "since is later than until.", field="since")
    if until - since > LOOKBACK_MAX:
        raise Problem(400, f"The span of time is longer than {LOOKBACK_MAX.days} days.", field="since")
    return since, until


def _budget_of(row: ShadowDecisionRow) -> tuple[str, str] | None:
    return None if row.budget is None else (row.customer, row.budget)


def _groups(
    rows: tuple[ShadowDecisionRow, ...], key_of: Callable[[ShadowDecisionRow], KeyT]
) -> list[tuple[KeyT, list[ShadowDecisionRow]]]:
    """The rows by a key, those first whose refusal would have saved most, then those that cost most."""
    groups: dict[KeyT, list[ShadowDecisionRow]] = {}
    for row in rows:
        groups.setdefault(key_of(row), []).append(row)

    def worth(group: tuple[KeyT, list[ShadowDecisionRow]]) -> tuple[int, int, str]:
        saved = sum(row.cost_nanos for row in group[1] if row.reason is not None)
        return -saved, -sum(row.cost_nanos for row in group[1]), str(group[0])

    return sorted(groups.items(), key=worth)[:LIST_MAX]


def _sums(rows: Iterable[ShadowDecisionRow]) -> dict[str, Any]:
    """The members of an EnforcementImpactDocument."""
    found = list(rows)
    stopped = [row for row in found if row.reason is not None]
    return {
        "query_count": sum(row.query_count for row in found),
        "cost_usd": format_usd(sum(row.cost_nanos for row in found)),
        "stopped_count": sum(row.query_count for row in stopped),
        "saved_usd": format_usd(sum(row.cost_nanos for row in stopped)),
        "delayed_count": sum(row.delayed_count for row in found),
        "delay_ms": sum(row.wait_ms for row in found),
        "longest_delay_ms": max((row.longest_wait_ms for row in found), default=0),
    }
