"""Spend by day, week and month over the control plane: what is asked, what is answered, who sees what."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bqgate.domain.budget import Period
from bqgate.domain.entry import EntryKind
from tests.support.control_stand import ControlStand, control_stand
from tests.support.ledgers import make_entry

CENT = 10**7


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    """A control plane over a ledger with two customers' entries of two days."""
    async with control_stand(tmp_path) as stand:
        for number, (day, customer, principal, cents) in enumerate(
            (
                ("2026-11-23", "acme", "user", 5),
                ("2026-11-24", "acme", "user", 980),
                ("2026-11-24", "acme", "bob", 1),
                ("2026-11-24", "globex", "user", 7),
                ("2026-08-31", "acme", "bob", 3),
            )
        ):
            entry = make_entry(
                f"h{number}",
                customer=customer,
                principal=principal,
                cost_nanos=cents * CENT,
                window_keys={Period.DAY: day, Period.MONTH: day[:7]},
                workload=None if principal == "bob" else "nightly",
            )
            await stand.stand.ledger.book(entry)
        refusal = make_entry(None, id="refused", kind=EntryKind.REFUSAL, principal="user", cost_nanos=0, job=None)
        await stand.stand.ledger.book(refusal)
        yield stand


async def rows(control: ControlStand, query: str, caller: str = "admin") -> list[tuple[str, str, str | None, str]]:
    answer = await control.call("GET", f"/v1/spend?{query}", caller)
    assert answer.status == 200, answer.body
    return [(row["period"], row["customer"], row["value"], row["cost_usd"]) for row in answer.json["rows"]]


async def test_days_of_all_customers_come_latest_and_most_expensive_first(control: ControlStand) -> None:
    """Exact amounts as text, with the totals of all rows and the span that they are of."""
    document = (await control.call("GET", "/v1/spend")).json
    assert [(row["period"], row["customer"], row["cost_usd"]) for row in document["rows"]] == [
        ("2026-11-24", "acme", "9.81"),
        ("2026-11-24", "globex", "0.07"),
        ("2026-11-23", "acme", "0.05"),
    ]
    assert (document["total"]["cost_usd"], document["total"]["job_count"]) == ("9.93", 4)
    assert (document["since"], document["until"], document["rows_left_out"]) == ("2026-10-26", None, 0)
    assert (document["period"], document["group_by"], document["customer"]) == ("day", "customer", None)


async def test_weeks_and_months_are_called_by_their_names(control: ControlStand) -> None:
    """ISO weeks, which begin on Mondays; a row says its first day."""
    assert (await rows(control, "period=week&customer=acme"))[0] == ("2026-W48", "acme", None, "9.86")
    monthly = (await control.call("GET", "/v1/spend?period=month&customer=acme")).json
    assert [(row["period"], row["starts_on"]) for row in monthly["rows"]] == [
        ("2026-11", "2026-11-01"),
        ("2026-08", "2026-08-01"),
    ]
    assert monthly["since"] == "2025-12-01"


async def test_it_is_divided_by_what_is_asked(control: ControlStand) -> None:
    """What has no workload or no such label is a row of its own."""
    today = "since=2026-11-24&customer=acme"
    assert await rows(control, f"{today}&group_by=principal") == [
        ("2026-11-24", "acme", "user", "9.80"),
        ("2026-11-24", "acme", "bob", "0.01"),
    ]
    assert [row[2] for row in await rows(control, f"{today}&group_by=workload")] == ["nightly", None]
    assert [row[2] for row in await rows(control, f"{today}&group_by=label:team")] == ["data"]
    assert [row[2] for row in await rows(control, f"{today}&group_by=label:n%C3%A4me")] == ["ünïcode ☃"]
    assert [row[2] for row in await rows(control, f"{today}&group_by=label:none")] == [None]


async def test_too_many_rows_are_told_with_the_totals_of_all(control: ControlStand) -> None:
    """The latest and most expensive are there, and how many are not."""
    document = (await control.call("GET", "/v1/spend?group_by=principal&rows_max=1")).json
    assert [row["value"] for row in document["rows"]] == ["user"]
    assert (document["rows_left_out"], document["total"]["cost_usd"]) == (3, "9.93")


async def test_both_days_count(control: ControlStand) -> None:
    """Since and until are days, and a day is no moment."""
    assert len(await rows(control, "since=2026-11-23&until=2026-11-23")) == 1
    assert await rows(control, "until=2026-08-31") == [("2026-08-31", "acme", None, "0.03")]
    assert await rows(control, "since=0001-01-01&until=0001-01-01&period=week") == []
    assert await rows(control, "until=0001-01-01&period=week") == []
    assert await rows(control, "until=0001-05-01&period=month") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("period=year", "period"),
        ("group_by=label:", "group_by"),
        ("group_by=table", "group_by"),
        ("group_by=label:a%00b", "group_by"),
        (f"group_by=label:{'k' * 64}", "group_by"),
        ("since=2026-11-24T00:00:00Z", "since"),
        ("since=2026-02-30", "since"),
        ("since=2026-11-24&until=2026-11-23", "since"),
        ("rows_max=10001", "rows_max"),
        ("principal=", "principal"),
        ("by=customer", "by"),
    ],
)
async def test_a_bad_parameter_is_refused_by_its_name(control: ControlStand, query: str, field: str) -> None:
    """No parameter is ignored and none is guessed."""
    answer = await control.call("GET", f"/v1/spend?{query}")
    assert (answer.status, answer.json["field"]) == (400, field)


async def test_each_role_sees_its_own(control: ControlStand) -> None:
    """Users what they spend themselves, analysts their customer's, admins all; another's is refused, not left out."""
    group = "since=2026-11-24&group_by=principal"
    assert await rows(control, group, "user") == [("2026-11-24", "acme", "user", "9.80")]
    assert await rows(control, f"{group}&principal=user&customer=acme", "user") == await rows(control, group, "user")
    assert [row[2] for row in await rows(control, group, "analyst")] == ["user", "bob"]
    assert len(await rows(control, group, "open")) == 3
    for query in ("principal=bob", "customer=globex", "principal=user&principal=bob"):
        refused = await control.call("GET", f"/v1/spend?{query}", "user")
        assert refused.status == 403
    assert (await control.call("GET", "/v1/spend", "nobodys-user")).status == 403
    assert (await control.call("GET", "/v1/spend?customer=globex", "analyst")).status == 403
