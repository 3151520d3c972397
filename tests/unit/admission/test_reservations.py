"""Where prices depend on where a query runs, its caller's choice needs the customer's list."""

from typing import Any

import pytest

from bqgate.admission.reservations import judge_reservations
from bqgate.domain.errors import AccessDenied, MalformedRequest
from bqgate.domain.job import QueryRequest
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.tier import Customer, Mode, Tier
from bqgate.wire.query_request import parse_insert, parse_query
from bqgate.wire.reservations import may_run_on_demand, reservations_named

OURS, THEIRS = "projects/p/locations/US/reservations/ours", "projects/q/locations/US/reservations/theirs"
TIER = Tier("standard", daily_nanos=1, monthly_nanos=1, emergency_nanos=1)
PRICES = {model: PriceList(model, 1, 1) for model in PricingModel}


def customer(*reservations: str, mode: Mode = Mode.ENFORCE) -> Customer:
    return Customer("acme", TIER, mode=mode, reservations=reservations or None)


def requests(reservation: Any = None, sql: str = "SELECT 1", **properties: str) -> list[QueryRequest]:
    """The same query by both methods."""
    query: dict[str, Any] = {"query": sql}
    if properties:
        query["connectionProperties"] = [{"key": key, "value": value} for key, value in properties.items()]
    named = {} if reservation is None else {"reservation": reservation}
    insert = parse_insert("p", {"configuration": {"query": query, **named}})
    assert insert is not None
    return [insert, parse_query("p", {**query, **named})]


@pytest.mark.parametrize("model", [PricingModel.CAPACITY, PricingModel.AUTO])
@pytest.mark.parametrize("name", ["none", "NONE", THEIRS, "theirs", "US.theirs"])
def test_a_choice_of_price_is_refused(model: PricingModel, name: str) -> None:
    """On demand, or another project's slots: in the field, in a property, in the text, by both methods."""
    asked = [*requests(name), *requests(reservation=name), *requests(sql=f"SET @@reservation = '{name}'; SELECT 1")]
    for request in asked:
        for who in (customer(), customer(OURS)):
            with pytest.raises(AccessDenied, match=r"^Access Denied: Reservation "):
                judge_reservations(request, who, PRICES[model])


@pytest.mark.parametrize("name", [OURS, OURS.upper(), "none"])
def test_the_list_of_the_customer_allows(name: str) -> None:
    """Full paths, and on demand by its name."""
    for request in [*requests(name), *requests(sql=f"SET @@reservation = '{name}'")]:
        judge_reservations(request, customer(OURS, "none"), PRICES[PricingModel.CAPACITY])


@pytest.mark.parametrize("model", [PricingModel.ON_DEMAND, PricingModel.BLENDED])
def test_where_it_changes_no_price_it_is_let_through(model: PricingModel) -> None:
    """Unless the customer has a list: a list is meant."""
    for request in requests(THEIRS):
        judge_reservations(request, customer(), PRICES[model])
        with pytest.raises(AccessDenied):
            judge_reservations(request, customer(OURS), PRICES[model])


def test_what_names_no_reservation_is_let_through() -> None:
    """And so is all of a customer that is only observed."""
    for request in requests(sql="SELECT '@@reservation'", time_zone="UTC"):
        judge_reservations(request, customer(), PRICES[PricingModel.AUTO])
    for request in requests("none"):
        judge_reservations(request, customer(mode=Mode.OBSERVE), PRICES[PricingModel.AUTO])


def test_a_reservation_of_another_type_is_malformed() -> None:
    """As BigQuery has it."""
    for request in requests({"name": OURS}):
        with pytest.raises(MalformedRequest):
            reservations_named(request)


def test_who_may_leave_the_reservation() -> None:
    """Its own word, its session's, or text that does not stand there."""
    for asked in (
        requests("none"),
        requests(session_id="s"),
        requests(sql="CALL d.p()"),
        requests(sql="SET @@reservation=x"),
    ):
        assert all(may_run_on_demand(request) for request in asked)
    for asked in (requests(), requests(OURS), requests(time_zone="UTC"), requests(sql="SELECT 'CALL'")):
        assert not any(may_run_on_demand(request) for request in asked)
