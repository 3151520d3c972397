from dataclasses import replace
from typing import Any

import pytest

from bqgate.admission.sizing import HoldRules, HoldSize, UnknownEstimate, least_hold, size_hold, unknown_hold_nanos
from bqgate.domain.job import Estimate, Method, QueryRequest
from bqgate.domain.pricing import PriceList, PricingModel, SlotHistory, SlotPrior
from bqgate.domain.units import GIB, INT64_MAX, MIB, MINIMUM_BILLED_BYTES, MS_PER_HOUR, TIB
from bqgate.wire.sql_facts import read_facts

# A slot-hour is a dollar, a GiB a cent; a hundred GiB are believed to take ten slot-hours.
USD, CENT = 10**9, 10**7
RULES = HoldRules(headroom_ppm=0, slot_prior=SlotPrior(slot_ms_per_gib=MS_PER_HOUR // 10))
ESTIMATE = Estimate(100 * GIB, "SELECT", 1)


def query(method: Method, body: dict[str, Any], sql: str, *, maximum_bytes_billed: int | None = None) -> QueryRequest:
    """A query as it is read."""
    return QueryRequest(method, "p", body, sql, read_facts(sql), maximum_bytes_billed=maximum_bytes_billed)


@pytest.mark.parametrize(
    ("model", "max_slots", "timeout_ms", "held_nanos"),
    [
        (PricingModel.BLENDED, None, None, 11 * USD),
        (PricingModel.BLENDED, 2, MS_PER_HOUR, 3 * USD),
        (PricingModel.BLENDED, 200, MS_PER_HOUR, 11 * USD),
        (PricingModel.CAPACITY, None, None, 10 * USD),
        (PricingModel.CAPACITY, 2, MS_PER_HOUR, 2 * USD),
        (PricingModel.AUTO, 2, MS_PER_HOUR, 2 * USD),
        (PricingModel.ON_DEMAND, 2, MS_PER_HOUR, 1 * USD),
    ],
)
def test_slots_that_a_query_cannot_use_are_not_held(
    model: PricingModel, max_slots: int | None, timeout_ms: int | None, held_nanos: int
) -> None:
    """A throttled query's bound on slots bounds the slot cost of its hold, and never raises it; bytes are as ever."""
    bound = max_slots * timeout_ms if max_slots and timeout_ms else None
    request = query(Method.QUERY, {}, "SELECT 1")
    prices = PriceList(model, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    size = size_hold(request, ESTIMATE, rules=RULES, prices=prices, history=SlotHistory(), slot_ms_at_most=bound)
    assert size is not None
    assert size.amount_nanos == held_nanos
    assert size.maximum_bytes_billed == 100 * GIB


@pytest.mark.parametrize(
    ("unknown_because", "held_bytes"),
    [
        (None, GIB),
        ("row_level_security", GIB),
        ("federated", 100 * GIB),
        ("remote", 100 * GIB),
        ("script", 100 * GIB),
        ("zero_bytes", 100 * GIB),
        ("dry_run_refused", 100 * GIB),
        ("dry_run_away", 100 * GIB),
    ],
)
def test_a_callers_cap_lowers_a_hold_only_where_bigquery_enforces_it(
    unknown_because: str | None, held_bytes: int
) -> None:
    """EXTERNAL_QUERY bills what it returns under a cap of one byte; the cap goes out all the same."""
    request = query(Method.QUERY, {}, "SELECT 1", maximum_bytes_billed=GIB)
    estimate = Estimate(100 * GIB, "SELECT", 1, unknown_because=unknown_because)
    prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    size = size_hold(request, estimate, rules=RULES, prices=prices, history=SlotHistory())
    assert size is not None
    assert (size.amount_nanos, size.bytes_at_most) == (held_bytes // GIB * CENT, held_bytes)
    assert size.maximum_bytes_billed == GIB


@pytest.mark.parametrize("why", [None, "row_level_security"])
@pytest.mark.parametrize("field", ["referenced_views", "referenced_routines"])
def test_a_callers_cap_lowers_no_hold_where_a_view_may_query_another_system(field: str, why: str | None) -> None:
    """What a view or a routine calls is in no text, and an EXTERNAL_QUERY there bills past the cap all the same."""
    request = query(Method.QUERY, {}, "SELECT 1", maximum_bytes_billed=GIB)
    estimate = Estimate(100 * GIB, "SELECT", 1, unknown_because=why, **{field: ("p.d.hidden",)})  # type: ignore[arg-type]  # one field by its name
    prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    size = size_hold(request, estimate, rules=RULES, prices=prices, history=SlotHistory())
    assert size is not None
    assert (size.amount_nanos, size.bytes_at_most, size.maximum_bytes_billed) == (USD, 100 * GIB, GIB)


@pytest.mark.parametrize("unknown", [UnknownEstimate.CAP, UnknownEstimate.ALLOW])
@pytest.mark.parametrize("why", ["federated", "remote", "script", "lower_bound", "accuracy"])
def test_what_a_dry_run_counts_is_held_though_there_may_be_more(why: str, unknown: UnknownEstimate) -> None:
    """An EXTERNAL_QUERY beside a table of 300 GiB bills that table at least, and does not die under a smaller cap."""
    request = query(Method.QUERY, {}, "SELECT 1")
    estimate = Estimate(300 * GIB, "SELECT", 1, unknown_because=why)
    prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    rules = replace(RULES, unknown=unknown)
    size = size_hold(request, estimate, rules=rules, prices=prices, history=SlotHistory())
    assert size is not None
    assert (size.amount_nanos, size.bytes_at_most) == (3 * USD, 300 * GIB)
    assert size.maximum_bytes_billed == (300 * GIB if unknown is UnknownEstimate.CAP else None)


@pytest.mark.parametrize(
    ("body", "sql", "held_bytes"),
    [
        ({}, "SELECT 1", GIB),
        ({"reservation": "none"}, "SELECT 1", GIB),
        ({"reservation": "projects/p/locations/US/reservations/r"}, "SELECT 1", 100 * GIB),
        ({}, "SET @@reservation = 'projects/p/locations/US/reservations/r'; SELECT 1", 100 * GIB),
        ({"connectionProperties": [{"key": "session_id", "value": "s"}]}, "SELECT 1", 100 * GIB),
    ],
)
def test_a_callers_cap_lowers_no_hold_in_a_reservation_of_its_choice(
    body: dict[str, object], sql: str, held_bytes: int
) -> None:
    """There BigQuery bills no bytes, which no cap stops, and what was processed is booked."""
    request = query(Method.QUERY, body, sql, maximum_bytes_billed=GIB)
    prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    size = size_hold(request, ESTIMATE, rules=RULES, prices=prices, history=SlotHistory())
    assert size is not None
    assert (size.bytes_at_most, size.maximum_bytes_billed) == (held_bytes, GIB)


@pytest.mark.parametrize("why", [None, "script"])
def test_a_cap_is_a_number_that_bigquery_and_the_ledger_take(why: str | None) -> None:
    """Headroom on the largest number there is does not lead past it."""
    request = query(Method.QUERY, {}, "SELECT 1")
    estimate = Estimate(INT64_MAX, "SELECT", 1, unknown_because=why)
    prices = PriceList(PricingModel.BLENDED, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    size = size_hold(request, estimate, rules=HoldRules(), prices=prices, history=SlotHistory())
    assert size is not None
    assert (size.bytes_at_most, size.maximum_bytes_billed) == (INT64_MAX, INT64_MAX)


def test_the_least_hold_is_what_bigquery_bills_at_least() -> None:
    """A cap of one byte makes it no smaller: what ran all the same would be billed the minimum."""
    request = query(Method.INSERT, {}, "SELECT 1", maximum_bytes_billed=1)
    prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    size = least_hold(request, Estimate(0, "", 0, unknown_because="dry_run_refused"), prices=prices)
    assert size is not None
    assert size.amount_nanos > 0
    assert (size.bytes_at_most, size.maximum_bytes_billed) == (MINIMUM_BILLED_BYTES, 1)


@pytest.mark.parametrize(
    ("sql", "is_bounded"),
    [
        ("SELECT bad; -- so", True),
        ("SELECT ';' AS a", True),
        ('SELECT * FROM EXTERNAL_QUERY("c", "q")', False),
        ("SELECT AI.GENERATE(a) FROM d.t", False),
        ("CALL d.p()", False),
        ("CREATE TEMP TABLE x (a INT64); LOOP SELECT a FROM d.t; END LOOP", False),
        ("SELECT 1; SELECT 2", False),
        ("SET @@reservation = 'projects/p/locations/US/reservations/r'", False),
        ("SELECT 'without an end; SELECT 1", False),
    ],
)
def test_there_is_no_least_hold_where_no_cap_bounds_the_query(sql: str, *, is_bounded: bool) -> None:
    """Such a query would run on next to nothing, and bill what it likes; a script the minimum again and again."""
    prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    estimate = Estimate(0, "", 0, unknown_because="dry_run_refused")
    least = least_hold(query(Method.INSERT, {}, sql), estimate, prices=prices)
    assert (least is not None) == is_bounded


def sized(sql: str, estimate: Estimate) -> HoldSize:
    request = query(Method.QUERY, {}, sql)
    prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    size = size_hold(request, estimate, rules=RULES, prices=prices, history=SlotHistory())
    assert size is not None
    assert size.prices_id == prices.id
    return size


@pytest.mark.parametrize(
    ("kind", "sql", "priced_as", "held_nanos"),
    [
        ("SELECT", "SELECT 1", "SELECT", USD),
        ("CREATE_MODEL", "CREATE MODEL d.m AS SELECT 1", "CREATE_MODEL", 50 * USD),
        ("SCRIPT", "BEGIN SELECT 1; CREATE MODEL d.m AS SELECT 1; END", "CREATE_MODEL", 50 * USD),
        ("SCRIPT", "BEGIN SELECT 'CREATE MODEL'; SELECT 1; END", "SELECT", USD),
        ("CALL", "CALL d.p()", "CREATE_MODEL", 50 * USD),
        ("", "CREATE MODEL d.m AS SELECT bad", "CREATE_MODEL", 50 * USD),
        ("", "SELECT bad", "SELECT", USD),
        ("CREATE_FOO", "CREATE FOO d.f AS SELECT 1", "SELECT", USD),
    ],
)
def test_a_hold_covers_the_most_expensive_statement_that_may_occur(
    kind: str, sql: str, priced_as: str, held_nanos: int
) -> None:
    """By the dry run's kind; where it tells none, or a script, by what the text does not rule out."""
    is_known = kind in {"SELECT", "CREATE_MODEL"}
    estimate = Estimate(100 * GIB, kind, 1, unknown_because=None if is_known else "script")
    size = sized(sql, estimate)
    assert (size.priced_as, size.amount_nanos, size.maximum_bytes_billed) == (priced_as, held_nanos, 100 * GIB)


def test_the_least_hold_and_the_guess_are_for_that_statement_too() -> None:
    """A refused dry run of a CREATE MODEL may be of one that runs."""
    prices = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD)
    request = query(Method.INSERT, {}, "CREATE MODEL d.m AS SELECT bad")
    least = least_hold(request, Estimate(0, "", 0, unknown_because="dry_run_refused"), prices=prices)
    price = prices.hold_cost(bytes_billed=500 * MIB, slot_ms=0, location=None)
    assert least is not None
    assert (least.priced_as, least.amount_nanos) == ("CREATE_MODEL", price)
    assert unknown_hold_nanos(request, RULES, prices) == 50 * USD


@pytest.mark.parametrize(
    ("sql", "body"),
    [
        ("SELECT 1", {"reservation": "none"}),
        ("SET @@reservation = 'none'; SELECT 1", {}),
        ("SELECT 1", {"connectionProperties": [{"key": "session_id", "value": "s"}]}),
    ],
)
def test_what_may_run_on_demand_is_held_at_its_bytes(sql: str, body: dict[str, object]) -> None:
    """Capacity prices count on a reservation; a query that may leave it costs the more of its bytes and slots."""
    estimate = Estimate(3_000 * GIB, "SELECT", 1)
    prices = PriceList(PricingModel.CAPACITY, nanos_per_tib=TIB // GIB * CENT, nanos_per_slot_hour=USD // 100)
    leaving = query(Method.QUERY, body, sql)
    staying = query(Method.QUERY, {}, "SELECT 1")
    sizes = [
        size_hold(request, estimate, rules=RULES, prices=prices, history=SlotHistory())
        for request in (leaving, staying)
    ]
    assert [size.amount_nanos for size in sizes if size is not None] == [30 * USD, 3 * USD]
