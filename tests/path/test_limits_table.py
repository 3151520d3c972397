"""What happens to a query, by the limit that it meets and the state in which it meets it: the whole table.

Ten dollars a day, thirty a month, fifteen a day in an emergency, a bound on one query; 15 minutes of grace, 30 until an
open breaker may be tried. At 10.24 dollars per TiB a cent is a GiB. What is cancelled when the breaker opens shows in
test_emergency.py, what a caller reads in test_grace.py and test_refusals.py.
"""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from bqgate.admission.admit import Admission, Admitted, CachedOnly
from bqgate.admission.estimates.estimator import EstimateCaching, Estimator
from bqgate.admission.queued_query import queued_query_of
from bqgate.admission.refusals import Refused
from bqgate.admission.sizing import HoldRules
from bqgate.admission.slots import SlotBook
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget import Period
from bqgate.domain.entry import Entry, EntryKind
from bqgate.domain.job import Estimate, Outcome
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Principal
from bqgate.domain.tier import Customer, CustomerRegistry, Tier
from bqgate.domain.units import GIB
from bqgate.gate.reply import answer_for_reject
from bqgate.ledger import SqlLedger
from bqgate.ports import BudgetStore
from bqgate.wire.query_request import parse_query
from tests.support.hold_services import CountingTelemetry, hold_service_over
from tests.support.manual_clock import START, ManualClock
from tests.support.scripted_bigquery import ScriptedBigQuery

GRACE_S, COOLDOWN_S = 900, 1_800
CENT = 10_000_000
PRICES = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=1_024 * CENT, nanos_per_slot_hour=0)
ANN = Principal("acme", "ann")
MIDNIGHT = START + timedelta(hours=12)

STATES = ("room", "monitor", "review", "throttle", "grace", "grace over", "breaker open", "half-open", "next day")
LIMITS = ("day", "month", "query", "emergency")


class Row(NamedTuple):
    """One cell: what was spent today and on earlier days of the month, what the query costs, what becomes of it."""

    limit: str
    state: str
    today: str
    before: str
    cost: str
    action: str


# Throttled queries go 2 s apart at 95 %, 8 s at the limit and past it.
TABLE = (
    Row("day", "room", "1.00", "0", "0.10", "forward"),
    Row("day", "monitor", "5.00", "0", "0.10", "forward"),
    Row("day", "review", "8.00", "0", "0.10", "forward"),
    Row("day", "throttle", "9.50", "0", "0.10", "throttle, 3200 ms apart"),
    Row("day", "grace", "10.00", "0", "0.10", "grace, 8000 ms apart"),
    Row("day", "grace over", "10.00", "0", "0.10", "reject 403 grace_over of the day"),
    Row("day", "breaker open", "9.00", "0", "0.10", "reject 403 breaker_open of the day"),
    Row("day", "half-open", "9.00", "0", "0.10", "trial"),
    Row("day", "next day", "9.00", "0", "0.10", "forward"),
    Row("month", "room", "0", "1.00", "0.10", "forward"),
    Row("month", "monitor", "0", "15.00", "0.10", "forward"),
    Row("month", "review", "0", "24.00", "0.10", "forward"),
    Row("month", "throttle", "0", "28.50", "0.15", "throttle, 2600 ms apart"),
    Row("month", "grace", "0", "30.00", "0.10", "grace, 8000 ms apart"),
    Row("month", "grace over", "0", "30.00", "0.10", "reject 403 grace_over of the month"),
    Row("month", "breaker open", "9.00", "10.00", "0.10", "reject 403 breaker_open of the day"),
    Row("month", "half-open", "9.00", "21.00", "0.10", "trial, 8000 ms apart"),  # in the month's grace
    Row("month", "next day", "0", "30.00", "0.10", "reject 403 grace_over of the month"),  # a day is no new month
    Row("query", "room", "1.00", "0", "10.01", "reject 400 query_too_big"),
    Row("query", "monitor", "5.00", "0", "10.01", "reject 400 query_too_big"),
    Row("query", "review", "8.00", "0", "10.01", "reject 400 query_too_big"),
    Row("query", "throttle", "9.50", "0", "10.01", "reject 400 query_too_big"),
    Row("query", "grace", "10.00", "0", "10.01", "reject 400 query_too_big"),
    Row("query", "grace over", "10.00", "0", "10.01", "reject 400 query_too_big"),
    Row("query", "breaker open", "9.00", "0", "10.01", "reject 400 query_too_big"),
    Row("query", "half-open", "9.00", "0", "10.01", "reject 400 query_too_big"),  # and no trial
    Row("query", "next day", "9.00", "0", "10.01", "reject 400 query_too_big"),
    Row("emergency", "room", "5.00", "0", "10.00", "grace, 8000 ms apart"),  # reached, and not passed
    Row("emergency", "monitor", "5.01", "0", "10.00", "trip, 403 emergency of the day"),
    Row("emergency", "review", "8.00", "0", "10.00", "trip, 403 emergency of the day"),
    Row("emergency", "throttle", "9.50", "0", "10.00", "trip, 403 emergency of the day"),
    Row("emergency", "grace", "14.95", "0", "0.10", "trip, 403 emergency of the day"),
    Row("emergency", "grace over", "14.90", "0", "0.10", "trip, 403 emergency of the day"),
    Row("emergency", "breaker open", "14.95", "0", "0.10", "reject 403 breaker_open of the day"),
    Row("emergency", "half-open", "14.95", "0", "0.10", "trip, 403 emergency of the day"),  # a trial that fails
    Row("emergency", "next day", "14.95", "0", "0.10", "forward"),
)


@dataclass
class Stand:
    """The admission path over a ledger and a budget store, before a clock moved by hand."""

    clock: ManualClock
    ledger: SqlLedger
    store: BudgetStore
    tripped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        tier = Tier(
            "standard",
            daily_nanos=1_000 * CENT,
            monthly_nanos=3_000 * CENT,
            emergency_nanos=1_500 * CENT,
            query_nanos=1_000 * CENT,
            grace_s=GRACE_S,
            breaker_cooldown_s=COOLDOWN_S,
        )
        self.acme = Customer("acme", tier)
        telemetry, numbers = CountingTelemetry(), itertools.count(1)
        self.admission = Admission(
            estimator=Estimator(ScriptedBigQuery(), self.clock, telemetry, EstimateCaching()),
            holds=hold_service_over(self.store, self.ledger, self.clock),
            ledger=self.ledger,
            clock=self.clock,
            telemetry=telemetry,
            policies=PolicySnapshot(CustomerRegistry({"acme": self.acme}, {}, tier), PRICES),
            rules=HoldRules(headroom_ppm=0),
            hold_ttl_s=86_400,
            new_id=lambda: f"hold{next(numbers)}",
            slots=SlotBook(self.ledger),
            on_trip=lambda customer: self.tripped.append(customer.id),
        )

    async def spend(self, usd: str, day: str) -> None:
        """Have something booked on a day of this month."""
        entry = Entry(
            id=f"spent {day}",
            kind=EntryKind.CHARGE,
            customer="acme",
            principal="ann",
            project_id="acme",
            booked_at=START,
            window_keys={Period.DAY: day, Period.MONTH: "2026-11"},
            outcome=Outcome.DONE,
            cost_nanos=parse_usd(usd),
        )
        await self.ledger.book(entry)

    async def ask(self, usd: str) -> str:
        """Admit a query of this cost; what happened, in the words of the table."""
        trips = len(self.tripped)
        estimate = Estimate(parse_usd(usd) // CENT * GIB, "SELECT", 1)
        request = parse_query("acme", {"query": "SELECT a FROM d.t", "useQueryCache": False})
        outcome = await self.admission.admit(request, ANN, self.acme, estimate)
        match outcome:
            case Admitted(hold=hold):
                interval_ms = queued_query_of(outcome, self.acme).interval_ms
                return f"{hold.decision}, {interval_ms} ms apart" if interval_ms else hold.decision
            case Refused():
                return self._told(outcome, has_tripped=len(self.tripped) > trips)
            case CachedOnly():
                raise AssertionError("the query wants no cached result")

    def _told(self, refused: Refused, *, has_tripped: bool) -> str:
        answer = answer_for_reject(
            refused.reject, customer="acme", decision_id="d", estimate_bytes=1, cap_bytes=refused.cap_bytes
        )
        balance = refused.reject.balance
        budget = "" if balance is None else f" of the {balance.window.period.value}"
        action = "trip," if has_tripped else "reject"
        return f"{action} {answer.status} {refused.reject.reason.value}{budget}"

    async def come_to(self, state: str, limit: str) -> None:
        """Begin what began before the query comes."""
        if state in {"breaker open", "half-open"} or (state == "next day" and limit != "month"):
            assert await self.ask("10.00") == "trip, 403 emergency of the day"
        if state == "grace over" or (state == "next day" and limit == "month"):
            assert await self.ask("0.01") == "grace, 8000 ms apart"
            self.clock.advance(GRACE_S)
        if state == "half-open":
            self.clock.advance(COOLDOWN_S)
        if state == "next day":
            self.clock.advance_to(MIDNIGHT)


@pytest.fixture(params=["memory", "redis"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    clock = ManualClock()
    ledger = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", clock)
    store: BudgetStore = MemoryBudgetStore(ledger, clock)
    if request.param == "redis":
        store = RedisBudgetStore.open(request.getfixturevalue("redis_url"), ledger, clock, timeout_s=5)
    yield Stand(clock, ledger, store)
    await store.close()
    await ledger.close()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.limit}, {row.state}")
async def test_the_table(stand: Stand, row: Row) -> None:
    """Each limit in each state: one action, the same in memory and in Redis."""
    await stand.spend(row.before, "2026-11-20")
    await stand.spend(row.today, "2026-11-24")
    await stand.come_to(row.state, row.limit)
    before = await stand.store.fetch_status(stand.acme.windows(stand.clock.now()))
    assert await stand.ask(row.cost) == row.action
    after = await stand.store.fetch_status(stand.acme.windows(stand.clock.now()))
    is_refused = row.action.startswith(("reject", "trip"))
    held_nanos = 0 if is_refused else parse_usd(row.cost)
    # Invariant 2, and: a refusal changes no balance.
    for old, new in zip(before.balances, after.balances, strict=True):
        assert new.used_nanos == old.used_nanos + held_nanos
    assert after.balances[0].used_nanos <= stand.acme.tier.emergency_nanos
    if row.action.startswith("reject"):
        assert after.breaker == before.breaker
    if row.action.startswith("trip"):
        assert after.breaker is not None
        assert (after.breaker.opened_at, after.breaker.until) == (stand.clock.now(), MIDNIGHT)


def test_the_table_is_whole() -> None:
    """Every limit stands there in every state, once."""
    assert [(row.limit, row.state) for row in TABLE] == list(itertools.product(LIMITS, STATES))
