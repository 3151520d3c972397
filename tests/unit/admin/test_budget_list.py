"""All budgets as they stand: limits in force, spent and held, raises; who sees which."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bqgate.admin.documents import write_moment
from tests.support.control_stand import ControlStand, control_stand
from tests.support.manual_clock import START

LATER = write_moment(START + timedelta(hours=2))


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    """A control plane with budgets of a workload, of each principal and of the deployment, and an open hold."""
    async with control_stand(tmp_path) as stand:
        for budget in (
            {"name": "nightly", "customer": "acme", "workload": "nightly", "daily_usd": "5"},
            {"name": "each", "customer": "acme", "principal": "*", "daily_usd": "4"},
            {"name": "everybody", "deployment": True, "monthly_usd": "500"},
        ):
            assert (await stand.call("POST", "/admin/v1/budgets", json=budget)).status == 201
        await stand.stand.place(stand.gate, stand.stand.make_hold(usd=2))
        raised = {"daily_usd": "30", "until": LATER, "reason": "reports"}
        assert (await stand.call("POST", "/admin/v1/budgets/acme:raise", json=raised)).status == 201
        yield stand


async def listed(control: ControlStand, query: str = "", caller: str = "admin") -> list[dict[str, Any]]:
    answer = await control.call("GET", f"/v1/budgets{query}", caller)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["budgets"]
    return found


async def test_every_budget_says_its_limit_what_is_spent_and_what_is_raised(control: ControlStand) -> None:
    """Those that no document names too: a customer's own is its tier's."""
    acme, each, nightly, globex, everybody = await listed(control)
    assert [each["name"] for each in (acme, each, nightly, globex, everybody)] == [
        "acme",
        "each",
        "nightly",
        "globex",
        "everybody",
    ]
    assert (acme["daily_limit_usd"], acme["monthly_limit_usd"], acme["tier"]) == ("40.00", "300.00", "standard")
    assert (acme["windows"]["day"]["held_usd"], acme["windows"]["day"]["spent_usd"]) == ("2.00", "0.00")
    assert [raised["daily_usd"] for raised in acme["raises"]] == ["30.00"]
    assert (acme["scope"], acme["listed"], globex["daily_limit_usd"]) == ("customer", True, "10.00")
    assert (each["scope"], each["value"], each["windows"], each["daily_limit_usd"]) == ("principal", "*", {}, "4.00")
    assert (nightly["windows"]["day"]["limit_usd"], nightly["monthly_limit_usd"]) == ("5.00", None)
    assert (everybody["customer"], everybody["scope"], everybody["monthly_limit_usd"]) == (None, "deployment", "500.00")


async def test_they_come_in_pages_of_customers(control: ControlStand) -> None:
    """Each customer is whole on one page; the deployment's is on the last."""
    first = (await control.call("GET", "/v1/budgets?page_size=1")).json
    assert {budget["customer"] for budget in first["budgets"]} == {"acme"}
    second = (await control.call("GET", f"/v1/budgets?page_size=1&page_token={first['next_page_token']}")).json
    assert [budget["name"] for budget in second["budgets"]] == ["globex", "everybody"]
    assert second["next_page_token"] is None


@pytest.mark.parametrize("caller", ["user", "analyst"])
async def test_customers_see_their_own(control: ControlStand, caller: str) -> None:
    """And nothing of the deployment's."""
    assert {budget["name"] for budget in await listed(control, caller=caller)} == {"acme", "each", "nightly"}
    assert (await control.call("GET", "/v1/budgets?customer=globex", caller)).status == 403


async def test_a_user_does_not_learn_from_budgets_what_a_colleague_spends(control: ControlStand) -> None:
    """By a colleague's own budget, by the one that each has, or by asking what a query would be answered."""
    for name in ("ann", "user"):
        budget = {"name": f"of-{name}", "customer": "acme", "principal": name, "daily_usd": "4"}
        assert (await control.call("POST", "/admin/v1/budgets", json=budget)).status == 201
    names = {budget["name"] for budget in await listed(control, caller="user")}
    assert names == {"acme", "each", "nightly", "of-user"}
    assert "of-ann" in {budget["name"] for budget in await listed(control, caller="analyst")}
    path = "/v1/customers/acme/budget"
    assert (await control.call("GET", f"{path}?principal=ann", "user")).status == 403
    assert (await control.call("GET", f"{path}?principal=ann", "analyst")).status == 200
    shown = (await control.call("GET", path, "user")).json["budgets"]
    assert {part["name"] for part in shown} == {"each", "nightly", "of-user"}
    for principal, status in (("ann", 403), ("user", 200)):
        asked = {"cost_usd": "1", "principal": principal}
        assert (await control.call("POST", f"{path}:check", "user", json=asked)).status == status


async def test_an_unknown_customer_says_that_nobody_listed_it(control: ControlStand) -> None:
    """In the list and by itself: it has the default tier's limits, which a misspelt name would else hide."""
    (budget,) = await listed(control, "?customer=acme-typo")
    assert (budget["listed"], budget["daily_limit_usd"]) == (False, "10.00")
    shown = (await control.call("GET", "/v1/customers/acme-typo/budget")).json
    assert (shown["listed"], shown["tier"]) == (False, "standard")
    assert (await control.call("GET", "/v1/customers/acme/budget")).json["listed"] is True
    assert (await control.call("GET", "/v1/budgets?customer=%20")).status == 400
