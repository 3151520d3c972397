"""The contract of ports.Ledger's spend over time and of its look-up of one job, over SQLite and PostgreSQL."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from bqgate.domain.budget import Period
from bqgate.domain.entry import Entry, EntryFilter, EntryKind, EntryLookup, Origin
from bqgate.domain.job import JobRef
from bqgate.domain.money import MAX_NANOS
from bqgate.domain.spend import SpendGroup, SpendPeriod, SpendQuery, SpendRow, SpendTable
from bqgate.ledger import SqlLedger
from tests.support.ledgers import make_entry
from tests.support.manual_clock import START

YEAR_BEGINS = date(2026, 1, 1)


def on(day: str, name: str, **changes: Any) -> Entry:
    """A charge of one nano-dollar in a day's window, booked at its noon."""
    given: dict[str, Any] = {
        "cost_nanos": 1,
        "bytes_billed": 10,
        "slot_ms": 5,
        "booked_at": datetime.fromisoformat(f"{day}T12:00:00+00:00"),
        "window_keys": {Period.DAY: day, Period.MONTH: day[:7]},
    }
    return make_entry(name, **(given | changes))


async def spending(ledger: SqlLedger, **changes: Any) -> SpendTable:
    wanted = SpendQuery(SpendPeriod.DAY, SpendGroup.CUSTOMER, YEAR_BEGINS)
    return await ledger.fetch_spending(replace(wanted, **changes))


async def book_all(ledger: SqlLedger, *entries: Entry) -> None:
    for entry in entries:
        await ledger.book(entry)


def told(table: SpendTable) -> list[tuple[str, str, str | None, int]]:
    return [(row.starts_on.isoformat(), row.customer, row.value, row.cost_nanos) for row in table.rows]


async def test_charges_and_adjustments_are_added_up_and_refusals_are_not(ledger: SqlLedger) -> None:
    """An adjustment changes the sum and is no job; rows and totals are exact."""
    await book_all(
        ledger,
        on("2026-11-24", "a", cost_nanos=MAX_NANOS),
        on("2026-11-24", "b", cost_nanos=MAX_NANOS),
        on("2026-11-24", "c", cost_nanos=7, kind=EntryKind.REFUSAL),
        make_entry(None, kind=EntryKind.ADJUSTMENT, cost_nanos=-30, bytes_billed=0, slot_ms=0),
    )
    sums = {"cost_nanos": 2 * MAX_NANOS - 30, "bytes_billed": 20, "slot_ms": 10, "job_count": 2}
    row = SpendRow(date(2026, 11, 24), "acme", None, **sums)
    assert await spending(ledger) == SpendTable(rows=(row,), row_count=1, **sums)
    assert await spending(ledger, customer="nobody") == SpendTable()


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (SpendPeriod.DAY, ["2027-01-03", "2026-12-31", "2026-12-28", "2026-12-27", "2026-11-30"]),
        (SpendPeriod.WEEK, ["2026-12-28", "2026-12-21", "2026-11-30"]),
        (SpendPeriod.MONTH, ["2027-01-01", "2026-12-01", "2026-11-01"]),
    ],
)
async def test_days_weeks_and_months(ledger: SqlLedger, period: SpendPeriod, expected: list[str]) -> None:
    """Weeks begin on Mondays, also over the new year; months on their first day; the latest comes first."""
    for number, day in enumerate(("2026-11-30", "2026-12-27", "2026-12-28", "2026-12-31", "2027-01-03")):
        await ledger.book(on(day, f"h{number}"))
    table = await spending(ledger, period=period)
    assert [row.starts_on.isoformat() for row in table.rows] == expected
    assert sum(row.job_count for row in table.rows) == table.job_count == 5


def test_a_period_is_called_by_its_iso_name() -> None:
    """The week of a new year's day may be the year before's."""
    assert SpendPeriod.DAY.key_of(date(2027, 1, 3)) == "2027-01-03"
    assert SpendPeriod.WEEK.key_of(date(2026, 12, 28)) == "2026-W53"
    assert SpendPeriod.MONTH.key_of(date(2027, 1, 1)) == "2027-01"


async def test_a_query_counts_in_the_day_in_which_its_budget_holds_it(ledger: SqlLedger) -> None:
    """Not in the day in which it was booked; only what counts in no budget's day counts in UTC's."""
    late = datetime(2026, 11, 25, 3, tzinfo=UTC)
    await book_all(
        ledger,
        on("2026-11-24", "yesterday's", booked_at=late),
        on("2026-11-25", "east", booked_at=late - timedelta(hours=17)),
        on("2026-11-26", "none", booked_at=late, window_keys={}),
    )
    assert told(await spending(ledger)) == [("2026-11-25", "acme", None, 2), ("2026-11-24", "acme", None, 1)]
    assert told(await spending(ledger, since=date(2026, 11, 25), until=date(2026, 11, 25))) == [
        ("2026-11-25", "acme", None, 2)
    ]
    assert told(await spending(ledger, until=date(2026, 11, 24))) == [("2026-11-24", "acme", None, 1)]
    assert told(await spending(ledger, since=date.min, until=date.max)) == told(await spending(ledger))


@pytest.mark.parametrize(
    ("group", "label_key", "expected"),
    [
        (SpendGroup.CUSTOMER, None, [("acme", None, 15), ("other", None, 16)]),
        (SpendGroup.PRINCIPAL, None, [("acme", "ann", 3), ("acme", "bob", 12), ("other", "ann", 16)]),
        (SpendGroup.PROJECT, None, [("acme", "p", 7), ("acme", "q", 8), ("other", "p", 16)]),
        (SpendGroup.WORKLOAD, None, [("acme", None, 14), ("acme", "nightly", 1), ("other", None, 16)]),
        (SpendGroup.ORIGIN, None, [("acme", "bypass", 8), ("acme", "gate", 7), ("other", "gate", 16)]),
        (SpendGroup.LABEL, "team", [("acme", None, 10), ("acme", "ml", 5), ("other", "ml", 16)]),
        (SpendGroup.LABEL, 'nä"me.x', [("acme", None, 11), ("acme", "y", 4), ("other", None, 16)]),
    ],
)
async def test_spend_is_divided(
    ledger: SqlLedger, group: SpendGroup, label_key: str | None, expected: list[tuple[str, str | None, int]]
) -> None:
    """By one thing beside the customer: what two customers call alike stays apart, and so does what has no name."""
    day = "2026-11-24"
    ml, none = {"team": "ml"}, {"te": "am"}
    plain: dict[str, Any] = {"principal": "bob", "project_id": "p", "workload": None, "labels": none}
    await book_all(
        ledger,
        on(day, "1", **(plain | {"cost_nanos": 1, "principal": "ann", "workload": "nightly", "labels": ml})),
        on(day, "2", **(plain | {"cost_nanos": 2, "principal": "ann"})),
        on(day, "4", **(plain | {"cost_nanos": 4, "labels": ml | {'nä"me.x': "y"}})),
        on(day, "8", **(plain | {"cost_nanos": 8, "project_id": "q", "origin": Origin.BYPASS})),
        on(day, "16", **(plain | {"cost_nanos": 16, "principal": "ann", "customer": "other", "labels": ml})),
    )
    table = await spending(ledger, group=group, label_key=label_key)
    assert sorted((row.customer, row.value or "", row.cost_nanos) for row in table.rows) == sorted(
        (customer, value or "", cost) for customer, value, cost in expected
    )
    assert [row.cost_nanos for row in table.rows] == sorted((row.cost_nanos for row in table.rows), reverse=True)
    mine = await spending(ledger, group=group, label_key=label_key, customer="acme", principal="ann")
    assert (mine.cost_nanos, {row.customer for row in mine.rows}) == (3, {"acme"})


async def test_rows_are_bounded_and_totals_are_of_all(ledger: SqlLedger) -> None:
    """The latest and most expensive are kept, and it is told how many there were."""
    for number in range(6):
        await ledger.book(on(f"2026-11-2{number // 2}", f"h{number}", principal=f"p{number}", cost_nanos=10 + number))
    table = await spending(ledger, group=SpendGroup.PRINCIPAL, rows_max=3)
    assert [(row.starts_on.day, row.value) for row in table.rows] == [(22, "p5"), (22, "p4"), (21, "p3")]
    assert (table.row_count, table.cost_nanos, table.job_count) == (6, 75, 6)


async def test_one_job_is_found_by_every_name_it_has(ledger: SqlLedger) -> None:
    """By its hold, its entry, its job id with or without project and location; a job seen without one is in any."""
    mine = make_entry("h1", job=JobRef("acme-prod", "job_1", "EU"))
    adjusted = make_entry(None, kind=EntryKind.ADJUSTMENT, job=mine.job, booked_at=START + timedelta(hours=1))
    elsewhere = make_entry("h2", job=JobRef("acme-prod", "job_1", "us-east1"))
    nowhere = make_entry("h3", job=JobRef("acme-dev", "job_1", None))
    refusal = make_entry(None, id="r1", kind=EntryKind.REFUSAL, job=None, cost_nanos=0)
    await book_all(ledger, mine, adjusted, elsewhere, nowhere, refusal)

    async def found(job_id: str, decision_id: str | None = None, **changes: str) -> set[str]:
        return {entry.id for entry in await ledger.find_entries(EntryLookup(job_id, decision_id, **changes))}

    assert await found("job_1") == {mine.id, adjusted.id, elsewhere.id, nowhere.id}
    assert await found("job_1", project_id="acme-prod") == {mine.id, adjusted.id, elsewhere.id}
    assert await found("job_1", location="eu") == {mine.id, adjusted.id, nowhere.id}
    assert await found("job_1", project_id="acme-prod", location="EU") == {mine.id, adjusted.id}
    assert await found("h2", "h2") == {elsewhere.id}
    assert await found(refusal.id, refusal.id) == {refusal.id}
    assert await found("h2") == set()
    assert await found("job_1", customer="other") == await found("job_1", principal="bob@acme.example") == set()


async def test_entries_are_filtered_by_whose_they_are(ledger: SqlLedger) -> None:
    """By principal, project and workload, all of them together."""
    await book_all(
        ledger,
        make_entry("a", principal="ann", project_id="p", workload="w"),
        make_entry("b", principal="bob", project_id="p", workload=None),
    )

    async def found(wanted: EntryFilter) -> list[str | None]:
        return [entry.hold_id for entry in (await ledger.fetch_entries(wanted)).entries]

    assert await found(EntryFilter(principal="ann")) == await found(EntryFilter(workload="w")) == ["a"]
    assert await found(EntryFilter(project_id="p")) == ["b", "a"]
    assert await found(EntryFilter(principal="bob", workload="w")) == []
