import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.job import Estimate, Outcome, Usage
from bqgate.domain.pricing import (
    CostUnknown,
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


def done(**fields: Any) -> Usage:
    return replace(Usage(job=None, outcome=Outcome.DONE, statement_type="SELECT"), **fields)


def test_blended_charges_bytes_and_slots() -> None:
    """One TiB and ten slot-hours cost $5.00 + $0.40."""
    usage = done(bytes_billed=TIB, slot_ms=10 * MS_PER_HOUR)
    assert prices(PricingModel.BLENDED).cost_of(usage, location="US") == 5_400_000_000


def test_each_model_charges_its_own_measure() -> None:
    """on_demand ignores slots; capacity and auto go by the reservation, and charge bytes where there was none."""
    usage = done(bytes_billed=TIB, slot_ms=MS_PER_HOUR)
    reserved = replace(usage, reservation="p:US.r")
    assert prices(PricingModel.ON_DEMAND).cost_of(usage, location=None) == 5 * USD
    for model in (PricingModel.CAPACITY, PricingModel.AUTO):
        assert prices(model).cost_of(usage, location=None) == 5 * USD
        assert prices(model).cost_of(reserved, location=None) == 40_000_000


def test_where_it_ran_is_unknown_the_more_expensive_counts() -> None:
    """A job that names no reservation and may have had one costs the more of bytes and slots."""
    usage = done(bytes_billed=TIB, slot_ms=200 * MS_PER_HOUR, is_reservation_known=False)
    assert prices(PricingModel.AUTO).cost_of(usage, location=None) == 8 * USD
    assert prices(PricingModel.CAPACITY).cost_of(replace(usage, slot_ms=0), location=None) == 5 * USD


@pytest.mark.parametrize("model", [PricingModel.ON_DEMAND, PricingModel.BLENDED])
def test_a_reservation_makes_no_query_cheaper(model: PricingModel) -> None:
    """Where bytes are charged, a reservation's job costs what it processed, though BigQuery billed no bytes for it."""
    usage = done(bytes_processed=TIB, bytes_billed=0, slot_ms=0, reservation="other:US.r")
    assert prices(model).cost_of(usage, location=None) == 5 * USD


@pytest.mark.parametrize("outcome", [Outcome.CACHED, Outcome.FAILED])
def test_cache_hits_and_errors_are_free_unless_something_is_reported(outcome: Outcome) -> None:
    """With nothing reported they cost nothing; what BigQuery reports as billed is the cost, however the job ended."""
    usage = Usage(job=None, outcome=outcome, statement_type="SELECT")
    blended = prices(PricingModel.BLENDED)
    assert (blended.cost_of(usage, location=None), usage.is_billable) == (0, False)
    reported = replace(usage, bytes_billed=TIB, slot_ms=MS_PER_HOUR)
    assert (blended.cost_of(reported, location=None), reported.is_billable) == (5_040_000_000, True)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.NEVER_RAN])
def test_what_never_ran_costs_nothing(outcome: Outcome) -> None:
    """Whatever it names."""
    usage = Usage(job=None, outcome=outcome)
    assert (prices(PricingModel.BLENDED).cost_of(usage, location=None), usage.is_billable) == (0, False)


@pytest.mark.parametrize("kind", ["SCRIPT", "CALL", "EXECUTE_IMMEDIATE", "SELECT", "INSERT"])
def test_failed_and_stopped_jobs_cost_what_was_billed(kind: str) -> None:
    """A cancelled job is billed, and so is all that BigQuery reports for a failed one, whatever it was."""
    on_demand = prices(PricingModel.ON_DEMAND)
    for outcome in (Outcome.STOPPED, Outcome.FAILED):
        usage = Usage(job=None, outcome=outcome, bytes_billed=TIB, statement_type=kind)
        assert on_demand.cost_of(usage, location=None, priced_as="SELECT") == 5 * USD


@pytest.mark.parametrize("model", PricingModel)
@pytest.mark.parametrize("kind", ["CREATE_CAPACITY", "CREATE_RESERVATION", "CREATE_ASSIGNMENT", "ALTER_BI_CAPACITY"])
def test_what_is_bought_is_not_free_because_no_job_tells_its_price(kind: str, model: PricingModel) -> None:
    """Slots that are reserved cost by the hour, and their statement bills nothing; one that fails buys nothing."""
    usage = done(bytes_billed=0, slot_ms=0, statement_type=kind)
    with pytest.raises(CostUnknown):
        prices(model).cost_of(usage, location=None)
    script = done(bytes_billed=0, slot_ms=0, statement_type="SCRIPT", is_reservation_known=False, children=(usage,))
    with pytest.raises(CostUnknown):
        prices(model).cost_of(script, location=None)
    assert prices(model).cost_of(replace(usage, outcome=Outcome.FAILED), location=None) == 0
    dropped = replace(usage, statement_type=kind.replace("CREATE", "DROP").replace("ALTER", "DROP"))
    assert prices(model).cost_of(dropped, location=None) == 0


def test_what_is_not_told_is_never_zero_cost() -> None:
    """Hidden bytes, or slots that are missing, make an unknown cost that says what it is at least."""
    with pytest.raises(CostUnknown) as hidden:
        prices(PricingModel.ON_DEMAND).cost_of(done(slot_ms=1), location=None)
    assert (hidden.value.lacks, hidden.value.at_least_nanos) == (("bytes_billed",), 0)
    with pytest.raises(CostUnknown) as slots:
        prices(PricingModel.BLENDED).cost_of(done(bytes_billed=TIB), location=None)
    assert (slots.value.lacks, slots.value.at_least_nanos) == (("slot_ms",), 5 * USD)
    with pytest.raises(CostUnknown):
        prices(PricingModel.CAPACITY).cost_of(done(bytes_billed=TIB, reservation="r"), location=None)


@pytest.mark.parametrize("kind", [None, "", "SELECT_2", "CREATE_REMOTE_MODEL", "SCRIPT", "CALL"])
def test_an_unknown_kind_of_statement_costs_the_most_that_it_may(kind: str | None) -> None:
    """Missing, never heard of, or a script of which no statement is known: the hold says what may have run."""
    usage, on_demand = done(bytes_billed=TIB, statement_type=kind), prices(PricingModel.ON_DEMAND)
    assert on_demand.cost_of(usage, location=None, priced_as="SELECT") == 5 * USD
    assert on_demand.cost_of(usage, location=None, priced_as="CREATE_MODEL") == 250 * USD
    assert on_demand.cost_of(usage, location=None) == 250 * USD


def test_what_a_price_needs_of_an_answer_is_named() -> None:
    """An answer that lacks what this price needs is no end; what another price needs may be missing."""
    whole = done(bytes_billed=TIB, slot_ms=1)
    table = PriceList(PricingModel.ON_DEMAND, USD, 0, nanos_per_tib_by_location={"us": USD})
    on_demand, blended = prices(PricingModel.ON_DEMAND), prices(PricingModel.BLENDED)
    assert on_demand.lacks(whole, location=None) == ()
    assert table.lacks(whole, location=None) == ("location",)
    assert on_demand.lacks(replace(whole, statement_type=None), location="US") == ("statement_type",)
    assert on_demand.lacks(replace(whole, statement_type=None), location="US", priced_as="SELECT") == ()
    assert on_demand.lacks(replace(whole, statement_type="SCRIPT"), location="US") == ("children",)
    assert on_demand.lacks(replace(whole, bytes_billed=None, slot_ms=None), location="US") == ("bytes_billed",)
    assert blended.lacks(replace(whole, bytes_billed=None, slot_ms=None), location="US") == ("bytes_billed", "slot_ms")
    unplaced = replace(whole, is_reservation_known=False)
    assert prices(PricingModel.AUTO).lacks(unplaced, location="US") == ("reservation",)
    assert on_demand.lacks(replace(unplaced, bytes_processed=2 * TIB), location="US") == ("reservation",)
    assert on_demand.lacks(Usage(None, Outcome.CACHED), location=None) == ()


def test_equal_prices_have_one_id_and_come_back_from_their_document() -> None:
    """The id is a hash of the content, whatever the order of its rows, and the document is plain JSON."""
    rows = {"us": 1, "eu": 2}
    one = PriceList(PricingModel.AUTO, 3, 4, nanos_per_tib_by_location=rows)
    two = PriceList(PricingModel.AUTO, 3, 4, nanos_per_tib_by_location=dict(reversed(rows.items())))
    assert one.id == two.id != PriceList(PricingModel.AUTO, 3, 4).id
    back = PriceList.from_document(json.loads(json.dumps(one.document())))
    assert (back, back.id) == (one, one.id)
    assert replace(one, bytes_factors={"CREATE_MODEL": 51}).id != one.id


def test_price_follows_the_region_and_the_edition() -> None:
    """A job costs what its own region and edition cost; one that is not known costs the most."""
    table = PriceList(
        PricingModel.AUTO,
        6_250_000_000,
        60_000_000,
        nanos_per_tib_by_location={"europe-west3": 8_125_000_000, "us": 6_250_000_000},
        nanos_per_slot_hour_by_edition={"standard": 40_000_000},
    )
    assert [8_125_000_000, 6_250_000_000, 8_125_000_000, 8_125_000_000] == [
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
    affordable = table.bytes_affordable(nanos, location=None)
    assert table.hold_cost(bytes_billed=affordable, slot_ms=0, location=None) <= nanos


def test_slot_time_is_foreseen_from_history_weighed_against_the_prior() -> None:
    """Without history the prior speaks alone; much history outweighs it."""
    prior = SlotPrior(slot_ms_per_gib=10_000, weight_gib=100)
    assert prior.slot_ms_for(GIB, SlotHistory()) == 10_000
    assert prior.slot_ms_for(GIB, SlotHistory(slot_ms=100 * 30_000, bytes_processed=100 * GIB)) == 20_000
    assert prior.slot_ms_for(0, SlotHistory()) == 0


def test_a_prior_without_weight_counts_while_there_is_no_history() -> None:
    """The first query of a customer is not held at nothing."""
    prior = SlotPrior(slot_ms_per_gib=10_000, weight_gib=0)
    assert prior.slot_ms_for(2 * GIB, SlotHistory()) == 20_000
    assert prior.slot_ms_for(2 * GIB, SlotHistory(slot_ms=30_000, bytes_processed=GIB)) == 60_000
