"""What enforcing would have done, as the control plane tells it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bqgate.domain.entry import Entry
from bqgate.domain.shadow_decision import ShadowDecision
from tests.support.control_stand import ControlStand, control_stand
from tests.support.ledgers import make_entry

PATH = "/v1/analytics/graduation"
CENT = 10**7
BY_DAY = ShadowDecision("budget_used_up", 0, "customer/day")
TOO_BIG = ShadowDecision("query_too_big", 0, "query")
LATE = ShadowDecision(None, 2_000, "customer/day")


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    async with control_stand(tmp_path) as stand:
        yield stand


async def book(control: ControlStand, *entries: tuple[str, int, ShadowDecision | None]) -> None:
    """Book charges of these principals of acme's, in cents."""
    now = control.stand.clock.now()
    for number, (principal, cents, shadow_decision) in enumerate(entries):
        await book_entry(
            control,
            make_entry(
                f"{now:%d%H}-{number}",
                principal=principal,
                cost_nanos=cents * CENT,
                shadow_decision=shadow_decision,
                booked_at=now,
            ),
        )


async def book_entry(control: ControlStand, entry: Entry) -> None:
    await control.stand.ledger.book(entry)


async def ask(control: ControlStand, query: str = "", caller: str = "admin") -> Any:
    control.stand.clock.advance(1)  # what is booked now is before now
    answer = await control.call("GET", f"{PATH}{query}", caller)
    assert answer.status == 200, answer.body
    return answer.json


def sums(part: dict[str, Any]) -> tuple[Any, ...]:
    names = ("query_count", "cost_usd", "stopped_count", "saved_usd", "delayed_count", "delay_ms", "longest_delay_ms")
    return tuple(part[name] for name in names)


async def test_it_says_what_enforcing_would_have_stopped_saved_and_delayed(control: ControlStand) -> None:
    """In all, by reason, by budget and by principal; the lists begin with what would have saved most."""
    await book(
        control,
        ("ann", 10, BY_DAY), ("ann", 20, TOO_BIG), ("ann", 30, LATE),
        ("bob", 40, BY_DAY), ("bob", 50, None), ("eve", 60, None),
    )  # fmt: skip
    document = await ask(control)
    assert sums(document["total"]) == (6, "2.10", 3, "0.70", 1, 2_000, 2_000)
    assert [(each["reason"], *sums(each)) for each in document["by_reason"]] == [
        ("budget_used_up", 2, "0.50", 2, "0.50", 0, 0, 0),
        ("query_too_big", 1, "0.20", 1, "0.20", 0, 0, 0),
    ]
    assert [(each["customer"], each["budget"], *sums(each)) for each in document["by_budget"]] == [
        ("acme", "customer/day", 3, "0.80", 2, "0.50", 1, 2_000, 2_000),
        ("acme", "query", 1, "0.20", 1, "0.20", 0, 0, 0),
    ]
    assert [(each["principal"], *sums(each)) for each in document["by_principal"]] == [
        ("bob", 2, "0.90", 1, "0.40", 0, 0, 0),
        ("ann", 3, "0.60", 2, "0.30", 1, 2_000, 2_000),
        ("eve", 1, "0.60", 0, "0.00", 0, 0, 0),
    ]
    assert [(each["cost_usd"], each["would_have"]) for each in document["top_stopped"]] == [
        ("0.40", {"reason": "budget_used_up", "wait_ms": 0, "budget": "customer/day"}),
        ("0.20", {"reason": "query_too_big", "wait_ms": 0, "budget": "query"}),
        ("0.10", {"reason": "budget_used_up", "wait_ms": 0, "budget": "customer/day"}),
    ]


async def test_only_the_ten_most_expensive_are_shown_one_by_one(control: ControlStand) -> None:
    """The sums count all of them."""
    await book(control, *(("ann", cents, BY_DAY) for cents in range(1, 14)))
    document = await ask(control)
    assert [each["cost_usd"] for each in document["top_stopped"]] == [f"0.{cents:02}" for cents in range(13, 3, -1)]
    assert document["total"]["stopped_count"] == 13


async def test_nothing_observed_is_nothing_stopped(control: ControlStand) -> None:
    """An empty ledger has empty lists and zeros."""
    document = await ask(control)
    assert sums(document["total"]) == (0, "0.00", 0, "0.00", 0, 0, 0)
    assert [document[name] for name in ("by_reason", "by_budget", "by_principal", "top_stopped")] == [[], [], [], []]


async def test_the_span_is_the_last_thirty_days_unless_asked(control: ControlStand) -> None:
    """`since` is inclusive and `until` is not; one customer is looked at where one is named."""
    old = control.stand.clock.now()
    await book(control, ("ann", 10, BY_DAY))
    control.stand.clock.advance(31 * 86_400)
    await book(control, ("ann", 20, BY_DAY))
    entry = make_entry("other", customer="globex", shadow_decision=BY_DAY, booked_at=control.stand.clock.now())
    await book_entry(control, replace(entry, cost_nanos=40 * CENT))
    assert (await ask(control))["total"]["saved_usd"] == "0.60"
    assert (await ask(control, "?customer=globex"))["total"]["saved_usd"] == "0.40"
    moment = old.strftime("%Y-%m-%dT%H:%M:%SZ")
    later = (old + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await ask(control, f"?since={moment}"))["total"]["saved_usd"] == "0.70"
    early = await ask(control, f"?since={moment}&until={later}&customer=acme")
    assert (early["total"]["saved_usd"], early["since"], early["until"]) == ("0.10", moment, later)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=2026-11-24T12:00:00Z&until=2026-11-24T11:00:00Z", "since"),
        ("since=2024-11-24T12:00:00Z", "since"),
        ("until=tomorrow", "until"),
        ("page_size=5", "page_size"),
    ],
)
async def test_a_span_that_is_none_is_refused_by_name(control: ControlStand, query: str, field: str) -> None:
    """Turned round, longer than a year, no moment, or another parameter."""
    answer = await control.call("GET", f"{PATH}?{query}")
    assert (answer.status, answer.json["field"]) == (400, field)


async def test_the_first_moment_of_all_has_nothing_before_it(control: ControlStand) -> None:
    """Thirty days before the year 1 there is no moment to begin with."""
    document = await ask(control, "?until=0001-01-02T00:00:00Z")
    assert document["since"] == "0001-01-01T00:00:00Z"


async def test_an_analyst_sees_its_own_customer_and_a_user_nothing(control: ControlStand) -> None:
    """As with costs."""
    now = control.stand.clock.now()
    await book(control, ("ann", 10, BY_DAY))
    await book_entry(control, make_entry("other", customer="globex", shadow_decision=BY_DAY, booked_at=now))
    document = await ask(control, caller="analyst")
    assert (document["customer"], document["total"]["query_count"]) == ("acme", 1)
    assert (await control.call("GET", f"{PATH}?customer=globex", "analyst")).status == 403
    assert (await control.call("GET", PATH, "user")).status == 403
