"""A customer's budgets as they stand, and what one more query would get."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from bqgate.domain.job import Outcome, Usage
from bqgate.domain.tier import Customer
from bqgate.domain.units import MIB
from tests.unit.admin.conftest import CUSTOMER_REGISTRY, GLOBEX, INITECH, Plane


async def spend(plane: Plane, *, booked: int = 0, held: int = 0) -> None:
    """Book and hold some dollars of acme's."""
    if booked:
        hold = await plane.stand.place(plane.gate, plane.stand.make_hold(usd=booked))
        await plane.gate.settlement.settle(hold, Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=booked * MIB))
    if held:
        await plane.stand.place(plane.gate, plane.stand.make_hold(usd=held))


async def test_a_budget_shows_both_windows(plane: Plane) -> None:
    """Limits, spent, held and what is left, as exact text, with the moment of the reset."""
    await spend(plane, booked=3, held=2)
    document = await plane.get("/v1/customers/acme/budget")
    assert document == {
        "customer": "acme",
        "listed": True,
        "tier": "standard",
        "mode": "enforce",
        "time_zone": "UTC",
        "windows": {
            "day": {
                "period": "day",
                "key": "2026-11-24",
                "limit_usd": "10.00",
                "carried_usd": "0.00",
                "spent_usd": "3.00",
                "held_usd": "2.00",
                "balance_usd": "5.00",
                "used_ratio": 0.5,
                "resets_at": "2026-11-25T00:00:00Z",
            },
            "month": {
                "period": "month",
                "key": "2026-11",
                "limit_usd": "300.00",
                "carried_usd": "0.00",
                "spent_usd": "3.00",
                "held_usd": "2.00",
                "balance_usd": "295.00",
                "used_ratio": 0.016666,
                "resets_at": "2026-12-01T00:00:00Z",
            },
        },
        "query_limit_usd": "8.00",
        "emergency": {"limit_usd": "50.00", "used_usd": "5.00"},
        "grace": {"state": "off", "period": None, "started_at": None, "ends_at": None},
        "breaker": {"state": "closed", "opened_at": None, "until": None, "reason": None},
        "raises": [],
        "budgets": [],
        "as_of": "2026-11-24T12:00:00Z",
    }


@pytest.mark.parametrize("customer", ["some-project", "example.com:old-project", "b%C3%BCro%207"])
async def test_anybody_has_a_budget(plane: Plane, customer: str) -> None:
    """A customer that no setting names is one of the default tier; a configured one may have any name."""
    document = await plane.get(f"/v1/customers/{customer}/budget")
    assert document["windows"]["day"]["limit_usd"] == "10.00"


@pytest.mark.parametrize("customer", ["%20", "a%20b", "%00", "a" * 129, "-x", "%F0%9F%92%B8", "a%7Bb%7D"])
async def test_a_name_that_cannot_be_a_customers_is_refused(plane: Plane, customer: str) -> None:
    """Anything would otherwise open an account."""
    assert (await plane.get(f"/v1/customers/{customer}/budget", 400))["field"] == "customer"


@pytest.mark.parametrize(
    ("booked", "cost_usd", "expected"),
    [
        (0, "1.5", {"decision": "forward", "would_reject": None}),
        (5, "4.5", {"decision": "throttle", "wait_ms": 2000}),
        (5, "5", {"decision": "throttle", "wait_ms": 2000}),
        (5, "5.000000001", {"decision": "reject", "reason": "budget_used_up", "refused_by": "day"}),
        (0, "8.01", {"decision": "reject", "reason": "query_too_big", "refused_by": None}),
    ],
)
async def test_a_check_tells_what_a_query_would_get(
    plane: Plane, booked: int, cost_usd: str, expected: dict[str, Any]
) -> None:
    """The decision is admission's own, to the nano-dollar, and nothing is held afterwards."""
    await spend(plane, booked=booked)
    document = await plane.check("acme", {"cost_usd": cost_usd})
    assert expected.items() <= document.items()
    assert document["windows"]["day"]["held_usd"] == "0.00"
    assert (await plane.get("/v1/customers/acme/budget"))["windows"]["day"]["held_usd"] == "0.00"


async def test_observing_refuses_nothing_and_says_what_it_would_have(plane: Plane) -> None:
    """The mode tells; what admission would write into the ledger is what is said."""
    document = await plane.check("looker", {"cost_usd": "11"})
    assert (document["decision"], document["would_reject"]) == ("forward", "query_too_big")
    looker = CUSTOMER_REGISTRY.customer("looker")
    hold = replace(plane.stand.make_hold(usd=5), customer="looker")
    await plane.gate.budgets.place_hold(hold, looker.windows(hold.placed_at), looker.grace_at(hold.placed_at))
    document = await plane.check("looker", {"cost_usd": "6"})
    assert (document["decision"], document["would_reject"]) == ("forward", "budget_used_up")


async def test_a_customer_who_is_off_is_never_refused(plane: Plane) -> None:
    """Nothing is computed for mode off."""
    document = await plane.check("free", {"cost_usd": "1000"})
    assert (document["decision"], document["would_reject"]) == ("forward", None)


async def test_parts_are_shown_with_what_stands_against_them(plane: Plane) -> None:
    """Named ones always; one of each where the request names whose."""
    await hold_for(plane, GLOBEX, "nightly")
    nightly, each, bob, ml = (await plane.get("/v1/customers/globex/budget"))["budgets"]
    assert (nightly["name"], nightly["scope"], nightly["value"], nightly["mode"]) == (
        "nightly",
        "workload",
        "nightly",
        "enforce",
    )
    assert (nightly["windows"]["day"]["held_usd"], nightly["windows"]["day"]["balance_usd"]) == ("2.00", "1.00")
    assert (nightly["windows"]["month"]["limit_usd"], nightly["query_limit_usd"]) == (None, "3.00")
    assert (each["value"], each["windows"]) == ("*", {})
    assert (bob["windows"]["day"]["limit_usd"], ml["mode"]) == ("7.00", "observe")
    named = (await plane.get("/v1/customers/globex/budget?principal=ann"))["budgets"][1]
    assert (named["value"], named["windows"]["day"]["balance_usd"]) == ("ann", "4.00")
    bobs = (await plane.get("/v1/customers/globex/budget?principal=bob"))["budgets"]
    assert [(each["name"], each["windows"]["day"]["limit_usd"]) for each in bobs if each["value"] == "bob"] == [
        ("bob", "7.00")
    ]


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({}, {"decision": "forward", "would_reject": None}),
        ({"workload": "nightly"}, {"decision": "reject", "reason": "query_too_big", "budget": "workload nightly"}),
        ({"principal": "ann"}, {"decision": "throttle", "wait_ms": 2000}),
        ({"labels": {"team": "ml"}}, {"decision": "forward", "would_reject": "query_too_big"}),
    ],
)
async def test_a_check_asks_every_budget_that_the_query_falls_under(
    plane: Plane, about: dict[str, Any], expected: dict[str, Any]
) -> None:
    """By who would ask, from which workload, with which labels; an observed one says what it would have said."""
    document = await plane.check("globex", {"cost_usd": "4", **about})
    assert expected.items() <= document.items()
    assert document["windows"].keys() == {"day", "month"}


async def hold_for(plane: Plane, customer: Customer, name: str) -> None:
    """Hold two dollars in a customer's own budget and in one of a part."""
    budget = next(each for each in customer.budgets if each.name == name)
    now = plane.stand.clock.now()
    hold = replace(plane.stand.make_hold(usd=2), customer=customer.id, scopes=(budget.scope,))
    await plane.gate.budgets.place_hold(hold, (*customer.windows(now), *budget.windows(now)))


async def test_a_check_names_the_part_without_room(plane: Plane) -> None:
    """And its window."""
    await hold_for(plane, GLOBEX, "nightly")
    document = await plane.check("globex", {"cost_usd": "2", "workload": "nightly"})
    assert (document["reason"], document["refused_by"], document["budget"]) == (
        "budget_used_up",
        "day",
        "workload nightly",
    )


@pytest.mark.parametrize(
    ("customer", "name", "about", "expected"),
    [
        pytest.param(
            GLOBEX,
            "ml",
            {"labels": {"team": "ml"}},
            {"decision": "forward", "would_reject": "budget_used_up"},
            id="an observed part of a customer who is refused",
        ),
        pytest.param(
            INITECH,
            "strict",
            {"workload": "strict"},
            {"decision": "reject", "reason": "budget_used_up", "budget": "workload strict"},
            id="an enforced part of a customer who is observed",
        ),
        pytest.param(
            INITECH,
            "lax",
            {"workload": "lax"},
            {"decision": "forward", "would_reject": "budget_used_up"},
            id="both observed",
        ),
        pytest.param(INITECH, "strict", {}, {"decision": "forward", "would_reject": None}, id="the part of others"),
    ],
)
async def test_each_budget_is_meant_as_seriously_as_it_says(
    plane: Plane, customer: Customer, name: str, about: dict[str, Any], expected: dict[str, Any]
) -> None:
    """What admission would do to a query that does not fit into a part: refuse it, or write down that it would have."""
    await hold_for(plane, customer, name)
    document = await plane.check(customer.id, {"cost_usd": "1.50", **about})
    assert expected.items() <= document.items()


@pytest.mark.parametrize("name", ["principal", "project_id", "workload"])
@pytest.mark.parametrize("value", ["a\x00b", "\n", "x" * 1025])
async def test_whom_no_database_can_look_for_is_refused(plane: Plane, name: str, value: str) -> None:
    """Else a customer could make the ledger look as if it were away, until its breaker opens for everybody."""
    shown = await plane.get(f"/v1/customers/globex/budget?{urlencode({name: value})}", 400)
    checked = await plane.check("globex", {"cost_usd": "1", name: value}, 400)
    assert (shown["field"], checked["field"]) == (name, name)


async def test_a_deployment_without_a_budget_says_so(plane: Plane) -> None:
    """And how to give it one."""
    assert "deployment: true" in (await plane.get("/v1/deployment/budget", 404))["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "cost_usd"),
        ({"cost_usd": 1.5}, "cost_usd"),
        ({"cost_usd": "-1"}, "cost_usd"),
        ({"cost_usd": "NaN"}, "cost_usd"),
        ({"cost_usd": "1e99"}, "cost_usd"),
        ({"cost_usd": "1" * 100}, "cost_usd"),
        ({"cost_usd": "1", "dollars": 2}, "dollars"),
        ([], None),
        (None, None),
    ],
)
async def test_a_bad_check_is_refused_by_the_name_of_its_fault(plane: Plane, body: object, field: str | None) -> None:
    """Nothing is guessed."""
    document = await plane.check("acme", body, 400)
    assert document.get("field") == field
    assert document["detail"]


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"\xff", {}, 400),
        (b" " * 70_000, {}, 413),
        (b"{}", {"Content-Encoding": "gzip"}, 415),
    ],
)
async def test_a_body_that_is_no_json_is_refused(
    plane: Plane, data: bytes, headers: dict[str, str], status: int
) -> None:
    """Broken, too large, compressed."""
    path = "/v1/customers/acme/budget:check"
    async with plane.client.post(path, data=data, headers=headers, skip_auto_headers=["Content-Type"]) as answer:
        assert answer.status == status
        assert answer.content_type == "application/problem+json"
