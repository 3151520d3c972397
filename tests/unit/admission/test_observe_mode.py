import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bqgate.admission.admit import Admission, Admitted
from bqgate.admission.estimates.estimator import DRY_RUN_REFUSED, EstimateCaching, Estimator
from bqgate.admission.refusals import Refused
from bqgate.admission.sizing import HoldRules, UnknownEstimate
from bqgate.admission.slots import SlotBook
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.job import Estimate
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Principal
from bqgate.domain.shadow_decision import ShadowDecision
from bqgate.domain.tier import Customer, CustomerRegistry, Mode, Tier
from bqgate.domain.units import GIB
from bqgate.ledger import SqlLedger
from bqgate.wire.query_request import parse_query
from tests.support.hold_services import hold_service_over
from tests.support.manual_clock import ManualClock
from tests.support.scripted_bigquery import ScriptedBigQuery

CENT = 10**7
# A GiB costs a cent; a day may cost one dollar, a query fifty cents.
PRICES = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=10_240_000_000, nanos_per_slot_hour=0)
TIER = Tier(
    "standard", daily_nanos=100 * CENT, monthly_nanos=900 * CENT, emergency_nanos=200 * CENT, query_nanos=50 * CENT
)
WATCHED = Customer("acme", TIER, mode=Mode.OBSERVE)


class Silence:
    """A Telemetry for tests that look at values instead."""

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        pass

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        pass

    def log(self, event: str, /, **fields: object) -> None:
        pass


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    opened = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", ManualClock())
    yield opened
    await opened.close()


def admission_over(ledger: SqlLedger, **rules: Any) -> Admission:
    clock, numbers = ManualClock(), itertools.count(1)
    return Admission(
        estimator=Estimator(ScriptedBigQuery(), clock, Silence(), EstimateCaching()),
        holds=hold_service_over(MemoryBudgetStore(ledger, clock), ledger, clock),
        ledger=ledger,
        clock=clock,
        telemetry=Silence(),
        policies=PolicySnapshot(CustomerRegistry({"acme": WATCHED}, {}, TIER), PRICES),
        rules=HoldRules(headroom_ppm=0, **rules),
        hold_ttl_s=86_400,
        new_id=lambda: f"hold{next(numbers)}",
        slots=SlotBook(ledger),
    )


async def submit(admission: Admission, estimate: Estimate, customer: Customer = WATCHED) -> Admitted | Refused:
    request = parse_query("p", {"query": "SELECT a FROM d.t"})
    outcome = await admission.admit(request, Principal("acme", "ann"), customer, estimate)
    assert isinstance(outcome, Admitted | Refused)
    return outcome


def gib(size: int) -> Estimate:
    return Estimate(size * GIB, "SELECT", 1)


async def test_every_query_runs_and_bears_what_enforcing_would_have_done(ledger: SqlLedger) -> None:
    """From room through little room to none: forwarded at once, with the wait or the refusal it was spared.

    The hold in the ledger bears it too, so a gate that dies loses nothing of it.
    """
    admission = admission_over(ledger)
    seen = []
    for size in (40, 40, 18, 40, 60):
        admitted = await submit(admission, gib(size))
        assert isinstance(admitted, Admitted)
        seen.append((admitted.hold.decision, admitted.hold.shadow_decision))
    assert seen == [
        ("forward", None),
        ("forward", None),
        ("forward", ShadowDecision(None, 2_000, "customer/day")),
        ("would_reject", ShadowDecision("budget_used_up", 0, "customer/day")),
        ("would_reject", ShadowDecision("query_too_big", 0, "query")),
    ]
    recorded = sorted(await ledger.fetch_open_holds("acme"), key=lambda hold: hold.id)
    assert [hold.shadow_decision for hold in recorded] == [shadow_decision for _, shadow_decision in seen]


async def test_what_cannot_be_estimated_runs_uncapped(ledger: SqlLedger) -> None:
    """Where enforcing refuses to guess, observing guesses, caps nothing, and says so."""
    admission = admission_over(ledger, unknown=UnknownEstimate.REJECT, unknown_hold_bytes=10 * GIB)
    unknown = Estimate(0, "SCRIPT", 0, unknown_because="script")
    admitted = await submit(admission, unknown)
    assert isinstance(admitted, Admitted)
    assert (admitted.hold.maximum_bytes_billed, admitted.hold.amount_nanos) == (None, 10 * CENT)
    assert admitted.hold.shadow_decision == ShadowDecision("unknown_estimate", 0, "query")
    enforced = await submit(admission, unknown, replace(WATCHED, mode=Mode.ENFORCE))
    assert isinstance(enforced, Refused)


async def test_a_query_that_will_fail_is_spared_nothing(ledger: SqlLedger) -> None:
    """BigQuery calls it invalid: enforcing lets it fail too."""
    admission = admission_over(ledger, unknown=UnknownEstimate.REJECT)
    admitted = await submit(admission, Estimate(0, "", 0, unknown_because=DRY_RUN_REFUSED))
    assert isinstance(admitted, Admitted)
    assert admitted.hold.shadow_decision is None


async def test_an_enforced_budget_foresees_nothing(ledger: SqlLedger) -> None:
    """What happened there is in the decision."""
    admitted = await submit(admission_over(ledger), gib(10), replace(WATCHED, mode=Mode.ENFORCE))
    assert isinstance(admitted, Admitted)
    assert admitted.hold.shadow_decision is None
