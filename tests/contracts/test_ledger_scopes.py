"""The contract of ports.Ledger's spend by what a budget is about, over SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bqgate.domain.budget import Period, Window, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.entry import EntryKind
from bqgate.ledger import SqlLedger
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START

DAYS = {Period.DAY: "2026-11-24", Period.MONTH: "2026-11"}


def window(kind: ScopeKind, value: str, period: Period = Period.DAY) -> Window:
    return Window("acme", period, DAYS[period], None, START, BudgetScope(kind, value))


async def booked(ledger: SqlLedger, cost_nanos: int, **about: Any) -> None:
    given: dict[str, Any] = {"window_keys": DAYS, "job": None, "workload": None, "labels": {}, **about}
    await ledger.book(make_entry(None, id=f"e{cost_nanos}", cost_nanos=cost_nanos, **given))


@pytest.mark.parametrize(
    ("kind", "value", "nanos"),
    [
        pytest.param(ScopeKind.PRINCIPAL, "ada", 1 + 2, id="a principal"),
        pytest.param(ScopeKind.PRINCIPAL, "a'd\"a", 4, id="a principal with quotes"),
        pytest.param(ScopeKind.PROJECT, "other", 8, id="a project"),
        pytest.param(ScopeKind.WORKLOAD, "nightly", 2, id="a workload"),
        pytest.param(ScopeKind.LABEL, "team=ml", 16, id="a label"),
        pytest.param(ScopeKind.LABEL, "team=", 32, id="a label without a value"),
        pytest.param(ScopeKind.LABEL, "te=am", 0, id="a label that nobody has"),
        pytest.param(ScopeKind.CUSTOMER, "", 63, id="all of it"),
    ],
)
async def test_spend_is_summed_by_what_the_budget_is_about(
    ledger: SqlLedger, kind: ScopeKind, value: str, nanos: int
) -> None:
    """Of one customer's entries those that count, in its own day and month."""
    await booked(ledger, 1, principal="ada")
    await booked(ledger, 2, principal="ada", workload="nightly")
    await booked(ledger, 4, principal="a'd\"a")
    await booked(ledger, 8, principal="bob", project_id="other")
    await booked(ledger, 16, principal="bob", labels={"team": "ml", "x": "y"})
    await booked(ledger, 32, principal="bob", labels={"team": ""})
    await booked(ledger, 64, principal="ada", customer="globex", labels={"team": "ml"}, workload="nightly")
    windows = tuple(window(kind, value, period) for period in Period)
    assert list((await ledger.fetch_spend(windows)).captured_nanos.values()) == [nanos, nanos]


async def test_spend_of_each_is_told_together(ledger: SqlLedger) -> None:
    """Of each principal, project or workload that has any in the day: what it is asked alone."""
    await booked(ledger, 1, principal="ada", workload="nightly")
    await booked(ledger, 2, principal="a'd\"a", project_id="other")
    await booked(ledger, 4, principal="ada", kind=EntryKind.REFUSAL)
    await booked(ledger, 8, principal="ada", customer="globex")
    await booked(ledger, 16, principal="eve", window_keys={**DAYS, Period.DAY: "2026-11-23"})
    await booked(ledger, -64, principal="ada", kind=EntryKind.ADJUSTMENT)
    assert await ledger.fetch_spend_of_each(window(ScopeKind.PRINCIPAL, "*")) == {"ada": -63, "a'd\"a": 2}
    by_month = await ledger.fetch_spend_of_each(window(ScopeKind.PRINCIPAL, "*", Period.MONTH))
    assert by_month == {"ada": -63, "a'd\"a": 2, "eve": 16}
    assert await ledger.fetch_spend_of_each(window(ScopeKind.PROJECT, "*")) == {"acme-prod": -63, "other": 2}
    assert await ledger.fetch_spend_of_each(window(ScopeKind.WORKLOAD, "*")) == {"nightly": 1}


async def test_a_graces_start_is_the_customers_own(ledger: SqlLedger) -> None:
    """A part has no grace, though its day has the same name."""
    asked = window(ScopeKind.PRINCIPAL, "ada")
    spend = await ledger.fetch_spend((asked,))
    assert (spend.captured_nanos, spend.grace_started_at) == ({asked.id: 0}, {})


async def test_the_deployments_spend_is_everybodys_by_when_it_was_held(ledger: SqlLedger) -> None:
    """Days of UTC by the hold's moment; entries of before that was kept count when they were booked."""
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    await booked(ledger, 1, placed_at=midnight)
    await booked(ledger, 2, placed_at=midnight - timedelta(microseconds=1), customer="globex")
    await booked(ledger, 4, placed_at=midnight + timedelta(hours=23), customer="globex")
    await booked(ledger, 8, placed_at=midnight + timedelta(days=1))
    await booked(ledger, 16, booked_at=midnight + timedelta(hours=3))
    await booked(ledger, 32, booked_at=midnight - timedelta(days=30))
    await booked(ledger, 64, placed_at=midnight, kind=EntryKind.REFUSAL)
    day = Window(DEPLOYMENT_ACCOUNT, Period.DAY, "2026-11-24", None, midnight + timedelta(days=1))
    month = Window(DEPLOYMENT_ACCOUNT, Period.MONTH, "2026-11", None, datetime(2026, 12, 1, tzinfo=UTC))
    spend = await ledger.fetch_spend((day, month))
    assert spend.captured_nanos == {
        WindowId(CUSTOMER_SCOPE, Period.DAY, "2026-11-24"): 1 + 4 + 16,
        WindowId(CUSTOMER_SCOPE, Period.MONTH, "2026-11"): 1 + 2 + 4 + 8 + 16,
    }


async def test_what_counts_nowhere_is_not_the_deployments_either(ledger: SqlLedger) -> None:
    """An entry without windows is booked and in no budget; one of before there was a deployment's budget is."""
    await ledger.book(make_entry("old", cost_nanos=1))
    await ledger.book(make_entry(None, id="nowhere", job=None, cost_nanos=10, window_keys={}))
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    day = Window(DEPLOYMENT_ACCOUNT, Period.DAY, "2026-11-24", None, midnight + timedelta(days=1))
    assert (await ledger.fetch_spend((day,))).captured_nanos == {day.id: 1}


async def test_what_a_hold_is_about_outlives_the_gate(ledger: SqlLedger) -> None:
    """Labels are kept as they came; a budget that comes later finds them."""
    hold = make_hold("h1", labels={"team": "ml", "empty": ""}, workload="nightly")
    await ledger.open_hold(hold)
    (found,) = await ledger.fetch_open_holds()
    assert found == hold
    assert found.spender == hold.spender
