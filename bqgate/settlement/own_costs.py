"""Run queries for the gate itself, within a bound of dollars a day, and book what each cost once.

Implements ports.QueryRunner for whatever reads BigQuery in the gate's own name: the sweep, the cost metrics. Calls
OwnQueries, the ledger and the poller. A query of the gate's own has a hold like everybody's, of a customer that nobody
is (GATE_ITSELF): it counts in the deployment's budget and in no customer's. The hold is recorded before the query runs
and names its job, so a crash at any moment leaves what reconcile finishes at the next start, or a sweep before it:
a hold ends once, a job is booked once. The bound is kept by what the ledger has booked and has open, so restarts and
replicas share it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bqgate.domain.budget import Period, Window, windows_at
from bqgate.domain.errors import BudgetStoreUnavailable, OwnQueriesSpent, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef
from bqgate.domain.money import MAX_NANOS, show_usd
from bqgate.domain.pricing import SlotHistory, SlotPrior
from bqgate.domain.tier import GATE_ITSELF
from bqgate.ports import BudgetStore, Clock, Ledger, OwnQueries, PolicySource, Telemetry
from bqgate.settlement.evidence import Inquiry
from bqgate.settlement.poller import Poller
from bqgate.wire.query_rows import OWN_JOB_ID_PREFIX

# In whose name they are booked; what they were for is their workload.
PRINCIPAL = "bqgate"
_UTC = ZoneInfo("UTC")
# BigQuery ends such a query within minutes; for how long it may keep the news of it to itself, nobody knows.
_HOLD_TTL = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class OwnQueryLimits:
    """What one query may bill, in bytes, and what all of a UTC day may cost."""

    maximum_bytes_billed: int
    daily_nanos: int


class OwnCosts:
    """The gate's own queries, and their costs."""

    def __init__(
        self,
        *,
        queries: OwnQueries,
        ledger: Ledger,
        budgets: BudgetStore,
        poller: Poller,
        policies: PolicySource,
        clock: Clock,
        telemetry: Telemetry,
        limits: OwnQueryLimits,
        new_id: Callable[[], str],
    ) -> None:
        self._queries = queries
        self._ledger = ledger
        self._budgets = budgets
        self._poller = poller
        self._policies = policies
        self._clock = clock
        self._telemetry = telemetry
        self._limits = limits
        self._new_id = new_id
        self._refused_day = ""

    async def run(
        self,
        sql: str,
        *,
        purpose: str,
        project_id: str,
        location: str,
        parameters: Mapping[str, int | str | datetime],
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of a query; see ports.QueryRunner."""
        hold, window = self._make_hold(purpose, project_id, location)
        await self._ledger.open_hold(hold)
        await self._check_bound(hold, window)
        try:
            await self._budgets.restore_hold(hold)  # put back and not placed: this is not theirs to refuse
        except BudgetStoreUnavailable:  # reconcile puts it back
            self._telemetry.count("failures_total", system="budgets", step="own_query")
        assert hold.job is not None, "it was made with one"
        try:
            answer = await self._queries.run(
                sql,
                project_id=project_id,
                location=location,
                job_id=hold.job.job_id,
                parameters=parameters,
                maximum_bytes_billed=self._limits.maximum_bytes_billed,
            )
        except (UpstreamRefused, UpstreamUnavailable) as failure:
            is_answered = isinstance(failure, UpstreamRefused)
            self._telemetry.count("own_queries_total", purpose=purpose, result="refused" if is_answered else "lost")
            # Refused, it may have run and been billed; without an answer all the more.
            self._poller.watch(hold, None, inquiry=Inquiry(is_answered=is_answered))
            raise
        self._telemetry.count("own_queries_total", purpose=purpose, result="done")
        await self._poller.settle(hold, answer.usage)
        return answer.rows

    def _make_hold(self, purpose: str, project_id: str, location: str) -> tuple[Hold, Window]:
        """What it costs at most, and the day in which it counts."""
        now, prices, hold_id = self._clock.now(), self._policies.prices, self._new_id()
        limits_nanos = {Period.DAY: self._limits.daily_nanos, Period.MONTH: None}
        windows = windows_at(now, customer=GATE_ITSELF, zone=_UTC, limits_nanos=limits_nanos)
        size_bytes = self._limits.maximum_bytes_billed
        slot_ms = SlotPrior().slot_ms_for(size_bytes, SlotHistory()) if prices.uses_slots else 0
        amount = prices.hold_cost(bytes_billed=size_bytes, slot_ms=slot_ms, location=location)
        self._ledger.register_prices(prices)
        hold = Hold(
            id=hold_id,
            customer=GATE_ITSELF,
            principal=PRINCIPAL,
            project_id=project_id,
            amount_nanos=min(amount, MAX_NANOS),
            window_keys={window.period: window.key for window in windows},
            placed_at=now.astimezone(UTC),
            deadline_at=now + _HOLD_TTL,
            job=JobRef(project_id, OWN_JOB_ID_PREFIX + hold_id, location),
            workload=purpose,
            maximum_bytes_billed=size_bytes,
            estimate_nanos=min(amount, MAX_NANOS),
            prices_id=prices.id,
            priced_as="SELECT",
            account="",
        )
        return hold, windows[0]

    async def _check_bound(self, hold: Hold, today: Window) -> None:
        """Return when what is booked today and what is open, this one too, stays within the bound.

        It is recorded first and looked at then: of two gates that ask at once, each sees the other's.

        Raises:
            OwnQueriesSpent: it does not; the hold has ended.
        """
        booked = (await self._ledger.fetch_spend((today,))).captured_nanos.get(today.id, 0)
        open_nanos = sum(each.amount_nanos for each in await self._ledger.fetch_open_holds(GATE_ITSELF))
        limit_nanos = self._limits.daily_nanos
        if booked + open_nanos <= limit_nanos:
            return
        await self._ledger.close_hold(hold.id)
        self._telemetry.count("own_queries_total", purpose=hold.workload or "", result="over_bound")
        message = (
            f"bqgate's own queries have cost {show_usd(booked)} USD today, and one more, which may cost up to "
            f"{show_usd(hold.amount_nanos)} USD (own_queries.maximum_mib_billed), might pass their bound of "
            f"{show_usd(limit_nanos, rounds_up=False)} USD (own_queries.daily_usd)."
        )
        if self._refused_day != today.key:
            self._refused_day = today.key
            self._telemetry.log("own_queries_spent", spent_nanos=booked, limit_nanos=limit_nanos, error=message)
        raise OwnQueriesSpent(message)
