"""Jobs, holds and costs as the ledger knows them."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from bqgate.domain.entry import Origin
from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.units import MIB
from tests.support.ledgers import make_entry
from tests.unit.admin.conftest import Plane


async def book(plane: Plane, mib: int) -> str:
    """Run a job of acme's that costs so many dollars; its hold's id."""
    hold = await plane.stand.place(plane.gate, plane.stand.make_hold(usd=mib + 1))
    usage = Usage(job=hold.job, outcome=Outcome.DONE, bytes_processed=mib * MIB, bytes_billed=mib * MIB, slot_ms=100)
    await plane.gate.settlement.settle(hold, usage)
    return hold.id


async def test_jobs_come_newest_first_in_pages(plane: Plane) -> None:
    """Every job is on exactly one page."""
    hold_ids = []
    for mib in (1, 2, 3):
        hold_ids.append(await book(plane, mib))
        plane.stand.clock.advance(1)
    first = await plane.get("/v1/jobs?customer=acme&page_size=2")
    second = await plane.get(f"/v1/jobs?customer=acme&page_size=2&page_token={first['next_page_token']}")
    assert [job["hold_id"] for job in first["jobs"] + second["jobs"]] == hold_ids[::-1]
    assert second["next_page_token"] is None
    newest = first["jobs"][0]
    assert (newest["cost_usd"], newest["hold_usd"], newest["outcome"]) == ("3.00", "4.00", "done")
    assert newest["job"]["project_id"] == "acme-prod"
    assert newest["booked_at"] == "2026-11-24T12:00:02Z"


async def test_jobs_of_a_span_of_time(plane: Plane) -> None:
    """`since` is inclusive, `until` is not; offsets are understood."""
    for mib in (1, 2, 3):
        await book(plane, mib)
        plane.stand.clock.advance(60)
    document = await plane.get("/v1/jobs?since=2026-11-24T12:01:00Z&until=2026-11-24T13:02:00%2B01:00")
    assert [job["cost_usd"] for job in document["jobs"]] == ["2.00"]
    for nobody in ("globex", "b%C3%BCro%207"):
        assert (await plane.get(f"/v1/jobs?customer={nobody}"))["jobs"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("costumer=acme", "costumer"),
        ("customer=acme&customer=globex", "customer"),
        ("customer=", "customer"),
        ("customer=a%00b", "customer"),
        (f"customer={'a' * 129}", "customer"),
        ("since=yesterday", "since"),
        ("since=2026-11-24", "since"),
        ("since=2026-11-24T12:00:00", "since"),
        ("since=2026-02-30T12:00:00Z", "since"),
        ("since=0001-01-01T00:00:00%2B14:00", "since"),
        ("until=2026-11-24T12:00:00+01:00", "until"),
        ("since=2026-11-24T12:00:00Z&until=2026-11-24T11:00:00Z", "since"),
        ("page_size=0", "page_size"),
        ("page_size=1001", "page_size"),
        ("page_size=1.5", "page_size"),
        ("page_size=%D9%A3", "page_size"),
        ("page_token=abc", "page_token"),
    ],
)
async def test_a_bad_parameter_is_refused_by_its_name(plane: Plane, query: str, field: str) -> None:
    """No parameter is ignored and none is guessed."""
    document = await plane.get(f"/v1/jobs?{query}", 400)
    assert document["field"] == field
    assert document["status"] == 400


async def test_an_unknown_parameter_is_told_the_known_ones(plane: Plane) -> None:
    """So that the typing error is found at once."""
    assert "known are customer, lookback_hours" in (await plane.get("/v1/costs?hours=1", 400))["detail"]
    assert "takes none" in (await plane.get("/v1/deployment/budget?x=1", 400))["detail"]


async def test_open_holds_oldest_first(plane: Plane) -> None:
    """With their age, their job and what they keep."""
    hold = await plane.stand.place(plane.gate, plane.stand.make_hold(usd=2))
    plane.stand.clock.advance(90.5)
    await plane.stand.place(plane.gate, plane.stand.make_hold(usd=3))
    document = await plane.get("/v1/holds?customer=acme")
    assert [row["amount_usd"] for row in document["holds"]] == ["2.00", "3.00"]
    first = document["holds"][0]
    assert (first["id"], first["age_s"], first["job"]["job_id"]) == (hold.id, 90, hold.job and hold.job.job_id)
    assert (first["placed_at"], first["deadline_at"]) == ("2026-11-24T12:00:00Z", "2026-11-24T18:00:00Z")
    assert (await plane.get("/v1/holds?customer=globex"))["holds"] == []


async def test_costs_of_the_last_hours(plane: Plane) -> None:
    """Totals, by principal, and the latest jobs; what is older is left out."""
    await book(plane, 5)
    plane.stand.clock.advance(2 * 3600)
    await book(plane, 2)
    await book(plane, 1)
    document = await plane.get("/v1/costs?customer=acme")
    total = {"cost_usd": "3.00", "bytes_billed": 3 * MIB, "slot_ms": 200, "job_count": 2}
    assert document["total"] == total
    assert document["by_principal"] == [{"customer": "acme", "principal": "ada@acme.example", "origin": "gate"} | total]
    nothing = {"cost_usd": "0.00", "bytes_billed": 0, "slot_ms": 0, "job_count": 0}
    assert document["by_origin"] == {"gate": total, "bypass": nothing, "metered": nothing, "own": nothing}
    assert document["swept_until"] is None
    assert len(document["recent_jobs"]) == 2
    assert (document["since"], document["as_of"]) == ("2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z")
    assert (await plane.get("/v1/costs?lookback_hours=3"))["total"]["cost_usd"] == "8.00"


async def test_costs_past_the_gate_are_told_apart(plane: Plane) -> None:
    """By origin in all, of each principal, and of each job; and how far the sweep has looked."""
    await book(plane, 2)
    past = make_entry(
        None,
        id="past",
        origin=Origin.BYPASS,
        customer="acme",
        principal="cron@acme.example",
        cost_nanos=3 * NANOS_PER_USD,
        job=JobRef("acme-prod", "nightly", "US"),
        booked_at=plane.stand.clock.now(),
        ended_at=plane.stand.clock.now() - timedelta(minutes=3),
        reservation="",
        prices_id="p",
    )
    await plane.stand.ledger.book(past)
    document = await plane.get("/v1/costs?customer=acme")
    assert {name: total["cost_usd"] for name, total in document["by_origin"].items() if total["job_count"]} == {
        "gate": "2.00",
        "bypass": "3.00",
    }
    assert [(row["principal"], row["origin"]) for row in document["by_principal"]] == [
        ("cron@acme.example", "bypass"),
        ("ada@acme.example", "gate"),
    ]
    (job,) = (await plane.get("/v1/jobs?customer=acme&origin=bypass"))["jobs"]
    assert (job["origin"], job["ended_at"], job["reservation"], job["prices_id"], job["adjusts"]) == (
        "bypass",
        "2026-11-24T11:57:00Z",
        "",
        "p",
        None,
    )
    assert [job["origin"] for job in (await plane.get("/v1/jobs?origin=gate"))["jobs"]] == ["gate"]
    assert (await plane.get("/v1/jobs?origin=elsewhere", 400))["field"] == "origin"
    rows = (await plane.get("/v1/spend?group_by=origin"))["rows"]
    assert {row["value"]: row["cost_usd"] for row in rows} == {"gate": "2.00", "bypass": "3.00"}


async def test_how_fresh_costs_past_the_gate_are(plane: Plane) -> None:
    """They are whole up to the oldest moment to which the sweep has come."""
    with closing(sqlite3.connect(plane.stand.path)) as connection, connection:
        micros = int(datetime(2026, 11, 24, 11, 58, tzinfo=UTC).timestamp()) * 1_000_000
        connection.execute("INSERT INTO sweep_marks VALUES ('acme-prod', '', ?)", (micros,))
    assert (await plane.get("/v1/costs"))["swept_until"] == "2026-11-24T11:58:00Z"
