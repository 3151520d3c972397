"""A hold is found by a repeat of its query, and by nothing that may cost more."""

from dataclasses import replace
from datetime import datetime, timedelta

from bqgate.admission.hold_factory import make_hold
from bqgate.admission.present_budgets import reckon
from bqgate.admission.sizing import HoldRules, size_hold
from bqgate.domain.budget_scope import Spender
from bqgate.domain.hold import Hold
from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.pricing import PriceList, PricingModel, SlotHistory
from bqgate.domain.principal import Principal
from bqgate.domain.throttling import Slowdown
from bqgate.domain.tier import Customer, CustomerRegistry, Tier
from bqgate.domain.units import GIB
from bqgate.wire.query_request import parse_insert
from tests.support.manual_clock import START

ESTIMATE = Estimate(10 * GIB, "SELECT", 1)
ANN = Principal("acme", "ann")
ACME = Customer("acme", Tier("standard", daily_nanos=1, monthly_nanos=1, emergency_nanos=1))
NO_SLOWDOWN = Slowdown()


def insert(**configuration: int) -> QueryRequest:
    """A job of one id, with bounds of its own."""
    document = {
        "jobReference": {"jobId": "mine"},
        "configuration": {"query": {"query": "SELECT a FROM d.t"}, **configuration},
    }
    request = parse_insert("p", document)
    assert request is not None
    return request


def hold_for(
    request: QueryRequest, model: PricingModel, *, slowdown: Slowdown = NO_SLOWDOWN, now: datetime = START
) -> Hold:
    """Its hold, sized by the query as it is to run."""
    prices = PriceList(model, nanos_per_tib=10**9, nanos_per_slot_hour=10**9)
    size = size_hold(
        request,
        ESTIMATE,
        rules=HoldRules(),
        prices=prices,
        history=SlotHistory(),
        slot_ms_at_most=slowdown.slot_ms_at_most,
    )
    assert size is not None
    present = reckon(CustomerRegistry({}, {}, ACME.tier), ACME, Spender(), now)
    return make_hold(request, ANN, ESTIMATE, size, present, hold_id="h", now=now, ttl_s=60)


def test_a_callers_bounds_on_slots_lower_no_hold() -> None:
    """BigQuery tries to keep to maxSlots and jobTimeoutMs and promises nothing; so repeats need not agree on time."""
    bounded = (insert(maxSlots=1, jobTimeoutMs=1), insert(maxSlots=1, jobTimeoutMs=3_600_000), insert())
    holds = [hold_for(each, PricingModel.CAPACITY) for each in bounded]
    assert len({hold.amount_nanos for hold in holds}) == 1
    assert holds[0].idempotency_key == holds[1].idempotency_key


def test_a_repeat_at_full_speed_does_not_join_the_hold_of_a_slowed_query() -> None:
    """A slowed query is held for the slots of its tier's slowdown only."""
    request, slowdown = insert(), Slowdown(max_slots=10, job_timeout_ms=1_000)
    slow = hold_for(request, PricingModel.BLENDED, slowdown=slowdown)
    fast = hold_for(request, PricingModel.BLENDED)
    assert slow.amount_nanos < fast.amount_nanos
    assert slow.idempotency_key != fast.idempotency_key


def test_a_slowdown_does_not_part_repeats_where_slots_cost_nothing() -> None:
    """On demand a query costs its bytes, however long it runs."""
    request, slowdown = insert(), Slowdown(max_slots=10, job_timeout_ms=1_000)
    slow = hold_for(request, PricingModel.ON_DEMAND, slowdown=slowdown)
    assert slow.idempotency_key == hold_for(request, PricingModel.ON_DEMAND).idempotency_key


def test_a_request_is_known_again_whatever_bounds_its_slots() -> None:
    """What BigQuery knows a requestId by has none of the gate's bounds."""
    request = replace(insert(), job_id=None, request_id="r1")
    slowdowns = (NO_SLOWDOWN, Slowdown(max_slots=7, job_timeout_ms=1))
    prefixes = {hold_for(request, PricingModel.CAPACITY, slowdown=each).request_prefix for each in slowdowns}
    assert len(prefixes) == 1


def test_a_repeat_at_other_prices_does_not_join_the_hold_of_a_query_at_these() -> None:
    """Else its gate, where it records the hold first, would have the job priced by prices that it was not held by."""
    request = insert()
    before, now = hold_for(request, PricingModel.ON_DEMAND), hold_for(request, PricingModel.CAPACITY)
    assert (before.job, before.fingerprint) == (now.job, now.fingerprint)
    assert before.idempotency_key != now.idempotency_key


def test_a_request_is_sent_away_at_other_prices_and_after_midnight_too() -> None:
    """Nobody joins the hold of a requestId, so that nothing is recorded wrongly; but BigQuery may run it again."""
    request = replace(insert(), job_id=None, request_id="r1")
    before = hold_for(request, PricingModel.ON_DEMAND)
    assert hold_for(request, PricingModel.CAPACITY).idempotency_key == before.idempotency_key
    next_day = hold_for(request, PricingModel.ON_DEMAND, now=START + timedelta(hours=13))
    assert next_day.idempotency_key == before.idempotency_key


def test_a_repeat_after_midnight_does_not_join_the_hold_of_the_day_before() -> None:
    """Else its gate, where it records the hold first, would have the job booked in a day in which it was not held."""
    request = insert()
    before = hold_for(request, PricingModel.ON_DEMAND)
    later = hold_for(request, PricingModel.ON_DEMAND, now=START + timedelta(hours=1))
    next_day = hold_for(request, PricingModel.ON_DEMAND, now=START + timedelta(hours=13))
    assert later.idempotency_key == before.idempotency_key
    assert next_day.idempotency_key != before.idempotency_key
