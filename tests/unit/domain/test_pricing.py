import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.job import Estimate, Outcome, Usage
from bqgate.domain.pricing import (
    PriceList,
    PricingModel,
    SlotHistory,
    SlotPrior,
    bytes_billed_at_most,
    with_headroom,
)
from bqgate.domain.units import GIB, MIB, MS_PER_HOUR, TIB

USD = 10**9


def prices(model: PricingModel, **more: dict[str, int]) -> PriceList:
    return PriceList(model=model, nanos_per_tib=5 * USD, nanos_per_slot_hour=40_000_000, **more)


def done(**fields: object) -> Usage:
    return Usage(job=None, outcome=Outcome.DONE, **fields)  # type: ignore[arg-type]  # keywords of Usage


def test_blended_charges_bytes_and_slots() -> None:
    """One TiB and ten slot-hours cost $5.00 + $0.40."""
    usage = done(bytes_billed=TIB, slot_ms=10 * MS_PER_HOUR)
    assert prices(PricingModel.BLENDED).cost_of(usage, location="US") == 5_400_000_000


def test_each_model_charges_its_own_measure() -> None:
    """on_demand ignores slots, capacity ignores bytes, auto goes by the reservation."""
    usage = done(bytes_billed=TIB, slot_ms=MS_PER_HOUR)
    reserved = done(bytes_billed=TIB, slot_ms=MS_PER_HOUR, reservation="p:US.r")
    assert prices(PricingModel.ON_DEMAND).cost_of(usage, location=None) == 5 * USD
    assert prices(PricingModel.CAPACITY).cost_of(usage, location=None) == 40_000_000
    assert prices(PricingModel.AUTO).cost_of(usage, location=None) == 5 * USD
    assert prices(PricingModel.AUTO).cost_of(reserved, location=None) == 40_000_000


@pytest.mark.parametrize("outcome", [Outcome.CACHED, Outcome.FAILED, Outcome.REFUSED, Outcome.NEVER_RAN])
def test_cache_hits_and_errors_are_free(outcome: Outcome) -> None:
    """Whatever bytes they name, they cost nothing."""
    usage = Usage(job=None, outcome=outcome, bytes_billed=TIB, slot_ms=MS_PER_HOUR)
    assert prices(PricingModel.BLENDED).cost_of(usage, location=None) == 0


def test_stopped_jobs_and_failed_scripts_cost_what_was_billed() -> None:
    """A cancelled job is billed, and so are the statements of a script before the failing one."""
    stopped = Usage(job=None, outcome=Outcome.STOPPED, bytes_billed=TIB)
    script = Usage(job=None, outcome=Outcome.FAILED, bytes_billed=TIB, statement_type="SCRIPT")
    on_demand = prices(PricingModel.ON_DEMAND)
    assert [5 * USD, 5 * USD] == [on_demand.cost_of(usage, location=None) for usage in (stopped, script)]


def test_hidden_bytes_are_never_zero_cost() -> None:
    """Row-level security hides bytes; that is an unknown cost, and says so."""
    with pytest.raises(ValueError, match="hidden"):
        prices(PricingModel.ON_DEMAND).cost_of(done(bytes_billed=None), location=None)


def test_price_follows_the_region_and_the_edition() -> None:
    """A job costs what its own region and edition cost; an unknown region costs the dearest."""
    table = PriceList(
        PricingModel.AUTO,
        6_250_000_000,
        60_000_000,
        nanos_per_tib_by_location={"europe-west3": 8_125_000_000, "us": 6_250_000_000},
        nanos_per_slot_hour_by_edition={"standard": 40_000_000},
    )
    assert [8_125_000_000, 6_250_000_000, 6_250_000_000, 8_125_000_000] == [
        table.tib_price(location) for location in ("europe-west3", "US", None, "mars-north1")
    ]
    assert [40_000_000, 60_000_000] == [table.slot_price(edition) for edition in ("STANDARD", None)]


def test_training_a_model_costs_fifty_times_a_query() -> None:
    """CREATE MODEL has its own price per byte."""
    cost = prices(PricingModel.ON_DEMAND).cost_of(done(bytes_billed=GIB, statement_type="CREATE_MODEL"), location=None)
    assert cost == -(-GIB * 5 * USD * 50 // TIB)


@given(
    st.lists(st.integers(min_value=0, max_value=50 * GIB), min_size=1, max_size=30),
    st.integers(min_value=0, max_value=1_000_000),
)
def test_a_hold_covers_what_bigquery_can_bill(table_bytes: list[int], headroom_ppm: int) -> None:
    """Invariant 5: however the total is spread over tables, rounding and minimums stay under the bound."""
    estimate = Estimate(sum(table_bytes), "SELECT", len(table_bytes))
    billed = sum(max(10 * MIB, -(-size // MIB) * MIB) for size in table_bytes if size) or 0
    minimum = 10 * MIB * len(table_bytes)
    bound = with_headroom(bytes_billed_at_most(estimate), headroom_ppm)
    assert bound >= billed
    assert bound >= minimum
    assert bound % MIB == 0


def test_one_whole_table_is_bounded_exactly() -> None:
    """With one table and no headroom the hold is the price, to the nano-dollar."""
    estimate = Estimate(10 * GIB, "SELECT", 1)
    assert with_headroom(bytes_billed_at_most(estimate), 0) == 10 * GIB


def test_a_query_without_tables_bills_nothing() -> None:
    """SELECT 1 is bounded by zero bytes."""
    assert bytes_billed_at_most(Estimate(0, "SELECT", 0)) == 0


@given(st.integers(min_value=0, max_value=10**15), st.integers(min_value=1, max_value=20 * USD))
def test_affordable_bytes_never_cost_more_than_the_sum(nanos: int, nanos_per_tib: int) -> None:
    """The inverse of the price rounds down: what is affordable is affordable."""
    table = PriceList(PricingModel.ON_DEMAND, nanos_per_tib, 0)
    assert table.bytes_cost(table.bytes_affordable(nanos, location=None), location=None) <= nanos


def test_slot_time_is_foreseen_from_history_weighed_against_the_prior() -> None:
    """Without history the prior speaks alone; much history outweighs it."""
    prior = SlotPrior(slot_ms_per_gib=10_000, weight_gib=100)
    assert prior.slot_ms_for(GIB, SlotHistory()) == 10_000
    assert prior.slot_ms_for(GIB, SlotHistory(slot_ms=100 * 30_000, bytes_processed=100 * GIB)) == 20_000
    assert prior.slot_ms_for(0, SlotHistory()) == 0
