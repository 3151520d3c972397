"""Raising a budget for a while: what is written, for how long it holds, who may."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bqgate.admin.documents import write_moment
from bqgate.budgets.accounts import deployment_hold
from bqgate.domain.audit import AuditEvent, AuditFilter
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.tier import Budget
from bqgate.policies.budget_models import BudgetPolicy
from tests.support.control_stand import Answer, ControlStand, control_stand
from tests.support.manual_clock import START

SOON = write_moment(START + timedelta(hours=2))
LATER = write_moment(START + timedelta(hours=4))
NIGHTLY = {
    "name": "nightly",
    "customer": "acme",
    "workload": "nightly",
    "daily_usd": "5",
    "monthly_usd": "20",
    "mode": "observe",
}


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    """A control plane over a new ledger."""
    async with control_stand(tmp_path) as stand:
        yield stand


async def lift(control: ControlStand, name: str = "acme", caller: str = "admin", **body: Any) -> Answer:
    given = {"daily_usd": "30", "until": SOON, "reason": "year-end reports", **body}
    wanted = {key: value for key, value in given.items() if value is not None}
    return await control.call("POST", f"/admin/v1/budgets/{name}:raise", caller, json=wanted)


async def day_limit(control: ControlStand) -> tuple[str, str]:
    """The day's limit, and the emergency limit."""
    document = (await control.call("GET", "/v1/customers/acme/budget")).json
    return document["windows"]["day"]["limit_usd"], document["emergency"]["limit_usd"]


async def test_a_customers_own_budget_is_raised_until_the_moment_comes(control: ControlStand) -> None:
    """Day and emergency limit together, with who and why; the clock ends it, nobody else."""
    raised = await lift(control)
    assert (raised.status, raised.json["name"], raised.json["daily_usd"]) == (201, "acme", None)
    (each,) = raised.json["raises"]
    assert (each["daily_usd"], each["reason"], each["by"]) == ("30.00", "year-end reports", "admin")
    assert await day_limit(control) == ("40.00", "80.00")
    shown = (await control.call("GET", "/v1/customers/acme/budget")).json["raises"]
    amounts = {"daily_usd": "30.00", "monthly_usd": "0.00"}
    assert shown == [
        {"id": raised.json["raised"]["id"], **amounts, "until": SOON, "reason": each["reason"], "by": "admin"}
    ]
    control.stand.clock.advance(2 * 3600)
    assert await day_limit(control) == ("10.00", "50.00")
    assert (await control.call("GET", "/v1/customers/acme/budget")).json["raises"] == []


async def test_a_part_keeps_what_it_says_and_ended_raises_go_with_the_next(control: ControlStand) -> None:
    """Raises add up; what has ended is left out when the document is written anew."""
    assert (await control.call("POST", "/admin/v1/budgets", json=NIGHTLY)).status == 201
    await lift(control, "nightly", daily_usd="1")
    both = (await lift(control, "nightly", daily_usd=None, monthly_usd="7", until=LATER)).json
    assert (both["workload"], both["daily_usd"], both["mode"]) == ("nightly", "5.00", "observe")
    assert [(each["daily_usd"], each["monthly_usd"]) for each in both["raises"]] == [("1.00", None), (None, "7.00")]
    windows = (await control.call("GET", "/v1/customers/acme/budget")).json["budgets"][0]["windows"]
    assert (windows["day"]["limit_usd"], windows["month"]["limit_usd"]) == ("6.00", "27.00")
    control.stand.clock.advance(3 * 3600)
    third = (await lift(control, "nightly", daily_usd="2", until=LATER)).json
    assert [(each["daily_usd"], each["monthly_usd"]) for each in third["raises"]] == [(None, "7.00"), ("2.00", None)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"until": write_moment(START)}, "until", id="over already"),
        pytest.param({"until": write_moment(START + timedelta(days=367))}, "until", id="more than a year"),
        pytest.param({"until": "2026-11-24T20:00:00"}, "until", id="no time zone"),
        pytest.param({"until": "soon"}, "until", id="no moment"),
        pytest.param({"until": (START + timedelta(hours=2)).timestamp()}, "until", id="a number"),
        pytest.param({"until": "9999-12-31T23:59:59-10:00"}, "until", id="beyond the calendar"),
        pytest.param({"daily_usd": None}, None, id="raises nothing"),
        pytest.param({"daily_usd": "0"}, None, id="raises by nothing"),
        pytest.param({"daily_usd": "-1"}, "daily_usd", id="lowers"),
        pytest.param({"reason": None}, "reason", id="no reason"),
        pytest.param({"reason": ""}, "reason", id="an empty reason"),
        pytest.param({"reason": "a\x00b"}, "reason", id="a reason that no database keeps"),
        pytest.param({"emergency_usd": "5"}, "emergency_usd", id="an unknown key"),
    ],
)
async def test_a_raise_says_how_much_until_when_and_why(
    control: ControlStand, body: dict[str, Any], field: str | None
) -> None:
    """400 by the key's name, and nothing is changed."""
    refused = await lift(control, **body)
    assert (refused.status, refused.json.get("field")) == (400, field)
    assert await day_limit(control) == ("10.00", "50.00")


async def test_what_is_not_there_is_not_raised(control: ControlStand) -> None:
    """Neither a budget nor a customer; nor a limit that the budget has at no time: that would change nothing."""
    refused = await lift(control, "nobody")
    assert (refused.status, refused.json["field"]) == (404, "name")
    monthly = NIGHTLY | {"daily_usd": None}
    assert (await control.call("POST", "/admin/v1/budgets", json=monthly)).status == 201
    refused = await lift(control, "nightly")
    assert (refused.status, refused.json["field"]) == (409, "daily_usd")
    on_mondays = monthly | {"name": "mondays", "workload": "m", "schedules": [{"days": ["mon"], "daily_usd": "1"}]}
    assert (await control.call("POST", "/admin/v1/budgets", json=on_mondays)).status == 201
    assert (await lift(control, "mondays")).status == 201


async def test_raises_of_one_moment_all_count(control: ControlStand) -> None:
    """A raise adds, so that nobody has to know of another's."""
    answers = await asyncio.gather(*(lift(control, daily_usd="1", reason=f"team {each}") for each in range(3)))
    assert [answer.status for answer in answers] == [201, 201, 201]
    assert await day_limit(control) == ("13.00", "53.00")


async def test_a_raise_posted_again_is_one(control: ControlStand) -> None:
    """A second click, or a retry after a timeout: 200 and the same raise, at the same moment too, however written."""
    answers = await asyncio.gather(*(lift(control, daily_usd="1") for _ in range(3)))
    answers.append(await lift(control, daily_usd="1.00", until=SOON.replace("14:00:00Z", "15:00:00+01:00")))
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json["raised"]["id"] for answer in answers}) == 1
    assert len(answers[-1].json["raises"]) == 1
    assert await day_limit(control) == ("11.00", "51.00")
    assert len([each for each in await audited(control) if each.action == "budget.raised"]) == 1


async def test_raises_that_say_something_else_are_others(control: ControlStand) -> None:
    """Another amount, end, reason or admin; and the same once the first one is over."""
    for different in ({}, {"daily_usd": "31"}, {"until": LATER}, {"reason": "and more"}, {"caller": "super_admin"}):
        assert (await lift(control, **different)).status == 201
    assert await day_limit(control) == ("161.00", "201.00")
    raise_id = (await lift(control)).json["raised"]["id"]
    assert (await end(control, raise_id)).status == 200
    assert (await lift(control)).status == 201


async def test_a_request_id_says_which_raises_are_one(control: ControlStand) -> None:
    """A script reckons its end anew with each try: its request_id decides, and is not taken for another amount."""
    first = await lift(control, request_id="run-7")
    again = await lift(control, request_id="run-7", until=LATER, reason="second try")
    assert (first.status, again.status) == (201, 200)
    assert again.json["raised"] == first.json["raised"]
    assert (await lift(control, request_id="run-8")).status == 201
    refused = await lift(control, request_id="run-7", daily_usd="31")
    assert (refused.status, refused.json["field"]) == (409, "request_id")
    assert await day_limit(control) == ("70.00", "110.00")


async def test_a_script_does_not_bring_back_what_an_admin_ended(control: ControlStand) -> None:
    """Its request_id is remembered until the raise would have been over, other raises in between or not."""
    raise_id = (await lift(control, request_id="run-7")).json["raised"]["id"]
    assert (await end(control, raise_id, caller="super_admin")).status == 200
    for _ in range(2):
        refused = await lift(control, request_id="run-7")
        assert (refused.status, refused.json["field"]) == (409, "request_id")
        assert "a raise that super_admin ended" in refused.json["detail"]
        assert (await lift(control, daily_usd="1")).status in {200, 201}
    assert await day_limit(control) == ("11.00", "51.00")
    assert (await lift(control, request_id="run-8")).status == 201
    control.stand.clock.advance(2 * 3600)
    assert (await lift(control, request_id="run-7", until=LATER)).status == 201


async def test_raises_that_were_ended_make_room_for_others(control: ControlStand) -> None:
    """What is remembered for scripts alone does not count among the hundred."""
    over = {"daily_usd": "0.01", "until": LATER, "reason": "x", "ended_at": write_moment(START), "ended_by": "ann"}
    raises = [over | {"request_id": f"run-{number}"} for number in range(100)]
    assert (await control.call("POST", "/admin/v1/budgets", json=NIGHTLY | {"raises": raises})).status == 201
    assert len((await lift(control, "nightly")).json["raises"]) == 1


async def end(control: ControlStand, raise_id: str, name: str = "acme", caller: str = "admin") -> Answer:
    path = f"/admin/v1/budgets/{name}/raises/{raise_id}:end"
    return await control.call("POST", path, caller, json={"reason": "was a mistake"})


async def audited(control: ControlStand) -> list[AuditEvent]:
    return [record.event for record in (await control.registry.fetch_audit(AuditFilter())).records]


async def test_a_raise_is_ended_before_its_time(control: ControlStand) -> None:
    """For the next query on; who did it and why is in the audit log, and the other raises stand."""
    await lift(control, daily_usd="1", reason="stays")
    raise_id = (await lift(control)).json["raised"]["id"]
    control.stand.clock.advance(60)
    ended = await end(control, raise_id, caller="super_admin")
    moment = write_moment(START + timedelta(minutes=1))
    assert (ended.status, ended.json["ended_at"], ended.json["id"]) == (200, moment, raise_id)
    assert await day_limit(control) == ("11.00", "51.00")
    event = next(each for each in await audited(control) if each.action == "budget.raise_ended")
    assert (event.actor, event.customer, event.target) == ("super_admin", "acme", "budgets/acme")
    assert event.detail == f"{raise_id}: was a mistake"
    again = await end(control, raise_id)
    assert (again.status, f"over since {moment}, ended by super_admin" in again.json["detail"]) == (409, True)


async def test_a_raise_that_is_over_or_unknown_is_not_ended(control: ControlStand) -> None:
    """And it is said which: over by the clock, or nowhere to be found."""
    raise_id = (await lift(control)).json["raised"]["id"]
    control.stand.clock.advance(2 * 3600)
    over = await end(control, raise_id)
    assert (over.status, f"over since {SOON}." in over.json["detail"]) == (409, True)
    for name, unknown in (("acme", "0" * 16), ("nobody", raise_id), ("globex", raise_id)):
        missing = await end(control, unknown, name)
        assert (missing.status, missing.json["field"]) == (404, "raise_id")
    assert "budget.raise_ended" not in {each.action for each in await audited(control)}


async def test_raises_are_listed_across_budgets(tmp_path: Path) -> None:
    """Those that run, the next to end first, the settings file's too; each can be ended by its id."""
    given = {"customer": "acme", "workload": "nightly", "daily_usd": "5"}
    raises = [{"daily_usd": "2", "until": LATER, "reason": "of the file"}] * 2
    policy = BudgetPolicy.model_validate(given | {"raises": raises})
    async with control_stand(tmp_path, budgets={"nightly": policy}) as control:
        await lift(control)
        await lift(control, "globex", until=LATER, reason="also")

        async def listed(query: str = "") -> list[tuple[str, str, str]]:
            found = (await control.call("GET", f"/admin/v1/raises{query}")).json["raises"]
            return [(each["budget"], each["customer"], each["daily_usd"]) for each in found]

        globex, nightly = ("globex", "globex", "30.00"), ("nightly", "acme", "2.00")
        assert await listed() == [("acme", "acme", "30.00"), globex, nightly, nightly]
        assert await listed("?customer=acme&budget=nightly") == [nightly, nightly]
        first, second = (await control.call("GET", "/admin/v1/raises?budget=nightly")).json["raises"]
        assert first["id"] != second["id"]
        assert (await end(control, first["id"], "nightly")).status == 200
        assert await listed("?budget=nightly") == [nightly]
        assert (await end(control, second["id"], "nightly")).status == 200
        control.stand.clock.advance(2 * 3600)
        assert await listed() == [globex]


async def test_a_budget_that_says_nothing_but_a_raise_outlives_it(control: ControlStand) -> None:
    """A customer's own budget is its tier's again once its only raise is ended."""
    raise_id = (await lift(control)).json["raised"]["id"]
    assert (await end(control, raise_id)).status == 200
    assert await day_limit(control) == ("10.00", "50.00")


@pytest.mark.parametrize("caller", ["user", "analyst", "open"])
async def test_only_admins_end_raises(control: ControlStand, caller: str) -> None:
    """A raise was somebody's word; who may not give it may not take it back."""
    raise_id = (await lift(control)).json["raised"]["id"]
    assert (await end(control, raise_id, caller=caller)).status == 403


async def test_a_budget_of_the_settings_file_is_raised_with_all_that_it_says(tmp_path: Path) -> None:
    """From then on it is an admin's; deleting that brings the file's back, without the raise."""
    document = {key: value for key, value in NIGHTLY.items() if key != "name"}
    async with control_stand(tmp_path, budgets={"nightly": BudgetPolicy.model_validate(document)}) as control:
        raised = await lift(control, "nightly", daily_usd="1")
        assert (raised.status, raised.json["source"], raised.json["workload"]) == (201, "admin", "nightly")
        (nightly,) = (await control.call("GET", "/v1/customers/acme/budget")).json["budgets"]
        assert (nightly["windows"]["day"]["limit_usd"], nightly["raises"][0]["by"]) == ("6.00", "admin")
        gone = await control.call("DELETE", "/admin/v1/budgets/nightly", headers={"If-Match": raised.headers["ETag"]})
        assert gone.status == 204
        (nightly,) = (await control.call("GET", "/v1/customers/acme/budget")).json["budgets"]
        assert (nightly["windows"]["day"]["limit_usd"], nightly["raises"]) == ("5.00", [])


async def test_who_raised_what_and_why_is_in_the_audit_log(control: ControlStand) -> None:
    """With the document before and after, under the customer whose budget it is."""
    await control.call("POST", "/admin/v1/budgets", json=NIGHTLY)
    await lift(control, "nightly", caller="super_admin")
    (event,) = [
        record.event
        for record in (await control.registry.fetch_audit(AuditFilter())).records
        if record.event.action == "budget.raised"
    ]
    assert (event.actor, event.customer, event.target) == ("super_admin", "acme", "budgets/nightly")
    assert event.detail == "year-end reports"
    assert event.before is not None
    assert event.after is not None
    assert (event.before["raises"], len(event.after["raises"])) == ([], 1)


@pytest.mark.parametrize("caller", ["user", "analyst", "open"])
async def test_only_admins_raise(control: ControlStand, caller: str) -> None:
    """Whoever could raise its own limit would have none."""
    assert (await lift(control, caller=caller)).status == 403
    assert await day_limit(control) == ("10.00", "50.00")


async def test_a_budget_is_not_raised_without_end(control: ControlStand) -> None:
    """A hundred at once; then somebody should change the limit."""
    raises = [{"daily_usd": "0.01", "until": LATER, "reason": "again"}] * 100
    await control.call("POST", "/admin/v1/budgets", json=NIGHTLY | {"raises": raises})
    refused = await lift(control, "nightly")
    assert (refused.status, "100 times" in refused.json["detail"]) == (409, True)


async def test_the_deployments_budget_is_for_admins_to_see_and_to_raise(control: ControlStand) -> None:
    """What all customers spend together is no customer's to read, and its raise is in no customer's audit log."""
    everybody = {"name": "everybody", "deployment": True, "monthly_usd": "500"}
    assert (await control.call("POST", "/admin/v1/budgets", json=everybody)).status == 201
    shown = (await control.call("GET", "/v1/deployment/budget")).json
    assert (shown["name"], shown["scope"], shown["value"]) == ("everybody", "deployment", "")
    assert shown["windows"]["month"]["limit_usd"] == "500.00"
    assert (await lift(control, "everybody", daily_usd=None, monthly_usd="50")).status == 201
    shown = (await control.call("GET", "/v1/deployment/budget")).json
    assert (shown["windows"]["month"]["limit_usd"], shown["raises"][0]["monthly_usd"]) == ("550.00", "50.00")
    raised = (await control.registry.fetch_audit(AuditFilter())).records[0].event
    assert (raised.action, raised.customer, raised.target) == ("budget.raised", None, "budgets/everybody")
    for caller in ("user", "analyst"):
        assert (await control.call("GET", "/v1/deployment/budget", caller)).status == 403


async def test_a_check_tells_customers_nothing_of_the_deployment(control: ControlStand) -> None:
    """An admin hears that it would refuse; a customer could else find out the others' spend by asking."""
    everybody = {"name": "everybody", "deployment": True, "daily_usd": "1"}
    assert (await control.call("POST", "/admin/v1/budgets", json=everybody)).status == 201
    path, body = "/v1/customers/acme/budget:check", {"cost_usd": "2"}
    for admin in ("admin", "acmes-admin"):
        told = (await control.call("POST", path, admin, json=body)).json
        assert (told["decision"], told["reason"], told["budget"]) == ("reject", "query_too_big", "deployment")
        assert "1.00" not in str(told["windows"])
    for caller in ("user", "analyst"):
        assert (await control.call("POST", path, caller, json=body)).json["decision"] == "forward"
    await spend_a_dollar(control)
    told = (await control.call("POST", path, json={"cost_usd": "0.50"})).json
    assert (told["reason"], told["refused_by"], told["budget"]) == ("budget_used_up", "day", "deployment")
    assert (await control.call("POST", path, "user", json={"cost_usd": "0.50"})).json["decision"] == "forward"


async def spend_a_dollar(control: ControlStand) -> None:
    """Of globex's, in the deployment's account too."""
    deployment = Budget("everybody", DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, LimitPlan(Limits(daily_nanos=NANOS_PER_USD)))
    hold = replace(control.stand.make_hold(usd=1), customer="globex")
    await control.gate.budgets.place_hold(deployment_hold(hold), deployment.windows(control.stand.clock.now()))
