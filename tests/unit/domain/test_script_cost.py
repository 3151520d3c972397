"""A script costs the sum of its statements, each of its own kind, and never less than its parent reports."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.job import Outcome, Usage
from bqgate.domain.pricing import CostUnknown, PriceList, PricingModel
from bqgate.domain.units import GIB, MS_PER_HOUR

# A GiB costs a dollar, a slot-hour ten cents.
USD = 10**9
PRICES = {model: PriceList(model, 1_024 * USD, USD // 10) for model in PricingModel}


def child(gib: int | None, kind: str | None = "SELECT", **fields: object) -> Usage:
    billed = None if gib is None else gib * GIB
    usage = Usage(None, Outcome.DONE, bytes_billed=billed, slot_ms=0, statement_type=kind)
    return replace(usage, **fields)  # type: ignore[arg-type]  # tests change one field at a time


def script(gib: int | None, *children: Usage, slot_hours: int = 0) -> Usage:
    parent = child(gib, "SCRIPT", slot_ms=slot_hours * MS_PER_HOUR, is_reservation_known=False)
    return replace(parent, children=children)


def cost(usage: Usage, model: PricingModel = PricingModel.ON_DEMAND, priced_as: str | None = None) -> int:
    return PRICES[model].cost_of(usage, location="US", priced_as=priced_as) // USD


def test_each_statement_costs_its_own_kind() -> None:
    """A CREATE MODEL among queries costs fifty times, and they do not."""
    assert cost(script(7, child(3), child(4, "CREATE_MODEL"))) == 3 + 200


def test_what_no_child_explains_costs_the_most_that_may_have_run() -> None:
    """A list that is short, or empty, leaves bytes that may have been a model's, unless the hold ruled that out."""
    assert cost(script(7, child(3))) == 3 + 4 * 50
    assert cost(script(7, child(3)), priced_as="CREATE_MODEL") == 3 + 4 * 50
    assert cost(script(7, child(3)), priced_as="SELECT") == 7
    assert cost(script(7)) == 350


def test_a_childs_hidden_bytes_are_in_its_parents_sum() -> None:
    """A child of a protected table hides its bytes; its parent's sum shows them."""
    assert cost(script(7, child(3), child(None)), priced_as="SELECT") == 7
    with pytest.raises(CostUnknown):
        cost(script(None, child(3)))


def test_a_call_is_not_added_to_the_statements_that_it_ran() -> None:
    """A child that sums up others would count them twice."""
    assert cost(script(5, child(5, "CALL"), child(2), child(3))) == 5


def test_a_failed_script_costs_the_statements_that_ran() -> None:
    """The failing statement is free, the earlier ones are not."""
    failed = replace(script(3, child(3), child(0, outcome=Outcome.FAILED)), outcome=Outcome.FAILED)
    assert cost(failed) == 3
    assert cost(Usage(None, Outcome.FAILED, statement_type="SCRIPT", children=())) == 0


def test_what_a_failed_script_hides_is_not_free() -> None:
    """Statements on protected tables ran before one failed, and neither they nor the parent tell their bytes."""
    failed = replace(script(None, child(3), child(0, outcome=Outcome.FAILED)), outcome=Outcome.FAILED)
    assert failed.is_billable
    assert cost(failed) == 3
    hiding = replace(failed, children=(child(3), child(None), child(None, outcome=Outcome.FAILED)))
    with pytest.raises(CostUnknown) as unknown:
        cost(hiding)
    assert (unknown.value.lacks, unknown.value.at_least_nanos) == (("bytes_billed",), 3 * USD)


@pytest.mark.parametrize("model", [PricingModel.CAPACITY, PricingModel.AUTO])
def test_statements_are_charged_for_where_they_ran(model: PricingModel) -> None:
    """The parent names no reservation, its children do: slots in one, bytes outside of any."""
    reserved = child(100, reservation="p:US.r", slot_ms=20 * MS_PER_HOUR)
    assert cost(script(103, reserved, child(3), slot_hours=20), model) == 2 + 3
    # What no child explains costs the more of its bytes and its slots.
    assert cost(script(100, reserved, slot_hours=120), model) == 2 + 10
    assert cost(script(101, reserved, slot_hours=20), model, "SELECT") == 2 + 1


@given(
    st.integers(min_value=0, max_value=1_000),
    st.lists(
        st.tuples(st.integers(min_value=0, max_value=100), st.sampled_from(["SELECT", "CREATE_MODEL", None, "CALL"]))
    ),
)
def test_a_script_never_costs_less_than_its_parents_bytes(gib: int, children: list[tuple[int, str | None]]) -> None:
    """Whatever is listed, what the parent reports is paid at a query's price at least."""
    usage = script(gib, *(child(size, kind) for size, kind in children))
    for priced_as in (None, "SELECT", "CREATE_MODEL"):
        assert cost(usage, priced_as=priced_as) >= gib
