"""The auditor finds each kind of wrong, one by one, in books that are right otherwise."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.chaos.auditor import Redis, Verdict, audit
from tests.chaos.facts import Billed, ClockSegment, Facts, History
from tests.chaos.world import principal_of

_PRICE = 10_240_000_000  # nano-dollars per TiB
_GIB = 2**30
_CENT = 10_000_000
_BEGAN = datetime(2026, 11, 18, 12, tzinfo=UTC)
_PROJECT = "acme-prod"


def _billed(number: int, cents: int, at_s: float) -> Billed:
    return Billed(_PROJECT, f"job-{number}", at_s, at_s + 1, [("SELECT", cents * _GIB)], f"hold-{number}", number, "")


def _placed_us(at_s: float) -> int:
    return int((_BEGAN.timestamp() + at_s) * 1_000_000)


def _hold(job: Billed) -> dict[str, Any]:
    placed_us = _placed_us(job.created_s - 0.1)
    return {
        "id": job.hold_id,
        "customer": "acme",
        "project_id": _PROJECT,
        "state": "captured",
        "placed_at": placed_us,
        "ended_at": placed_us + 1_000_000,
        "day_key": "2026-11-18",
        "month_key": "2026-11",
    }


def _entry(job: Billed) -> dict[str, Any]:
    return {
        "kind": "charge",
        "hold_id": job.hold_id,
        "customer": "acme",
        "principal": principal_of(_PROJECT),
        "workload": None,
        "project_id": _PROJECT,
        "job_project_id": _PROJECT,
        "job_id": job.job_id,
        "cost_nanos": sum(size for _, size in job.billed) // _GIB * _CENT,
        "day_key": "2026-11-18",
        "month_key": "2026-11",
    }


class Books:
    """Two jobs of two and three cents, booked as they should be, below a limit of five cents."""

    def __init__(self) -> None:
        self.jobs = [_billed(1, 2, 1.0), _billed(2, 3, 2.0)]
        self.entries = [_entry(job) for job in self.jobs]
        self.holds = [_hold(job) for job in self.jobs]
        window = {"captured_nanos": str(5 * _CENT), "held_nanos": "0"}
        self.hashes: dict[str, dict[str, str]] = {"bqgate:{acme}:window:day:2026-11-18": window}
        self.ended = {"hold-1": str(2 * _CENT)}
        self.facts = Facts(
            began_ms=int(_BEGAN.timestamp() * 1000),
            zones={},
            limits={"customer acme": History.beginning_with(5 * _CENT)},
            prices=History.beginning_with(_PRICE),
            clocks=[ClockSegment(-1e9, 1e9, 0)],
        )

    def audited(self) -> Verdict:
        self.facts.jobs = self.jobs
        return audit(self.facts, self.entries, self.holds, Redis(self.hashes, self.ended))


@pytest.fixture
def books() -> Books:
    return Books()


def test_right_books_are_right(books: Books) -> None:
    """Nothing is found where nothing is wrong, and all of it was looked at."""
    verdict = books.audited()
    assert verdict.is_clean, verdict
    assert (verdict.jobs, verdict.holds, verdict.windows, verdict.counters) == (2, 2, 1, 1)
    assert verdict.billed_nanos == verdict.booked_nanos == 5 * _CENT


def test_a_nano_dollar_is_a_difference(books: Books) -> None:
    """Billed is booked to the nano-dollar."""
    books.entries[0]["cost_nanos"] += 1
    assert "was billed $0.020000000 and booked $0.020000001" in str(books.audited())


def test_a_job_that_nobody_booked_is_found(books: Books) -> None:
    """Money that BigQuery bills and the ledger lacks is a difference, and so is its hold."""
    del books.entries[1]
    verdict = str(books.audited())
    assert "booked $0.000000000 in 0 entries" in verdict
    assert "hold hold-2 was captured without a charge" in verdict


def test_what_did_not_run_may_not_be_booked(books: Books) -> None:
    """A charge without a job is a difference."""
    books.entries.append(_entry(_billed(9, 1, 3.0)))
    assert "acme-prod.job-9 is booked and did not run" in str(books.audited())


def test_a_job_is_booked_once(books: Books) -> None:
    """Two charges of one job are told apart from other differences, and so are two of one hold."""
    books.entries.append(_entry(books.jobs[0]))
    assert books.audited().twice == ["acme-prod.job-1 has 2 charges", "hold hold-1 has 2 charges"]


def test_adjustments_count(books: Books) -> None:
    """A charge that was corrected by an adjustment is right in sum."""
    books.entries[0]["cost_nanos"] += 7
    books.entries.append(_entry(books.jobs[0]) | {"kind": "adjustment", "hold_id": None, "cost_nanos": -7})
    books.ended = {}
    assert books.audited().is_clean


def test_prices_are_as_held(books: Books) -> None:
    """A job costs what it was held at, whatever the price is when it ends."""
    books.facts.prices.change(2 * _PRICE, 1.5, 1.6)
    assert "job-2" in str(books.audited())
    books.entries[1]["cost_nanos"] *= 2
    books.facts.limits["customer acme"] = History.beginning_with(8 * _CENT)
    books.hashes = {}
    assert books.audited().is_clean


def test_a_limit_holds_at_every_moment(books: Books) -> None:
    """A limit that was passed and raised later was passed."""
    books.facts.limits["customer acme"] = History.beginning_with(4 * _CENT)
    books.facts.limits["customer acme"].change(9 * _CENT, 2.5, 2.6)
    assert "customer acme was billed $0.050000000 on 2026-11-18 at a limit of $0.040000000" in str(books.audited())


def test_a_limit_that_is_lowered_afterwards_was_not_passed(books: Books) -> None:
    """What was held before the limit was lowered may end after it."""
    books.facts.limits["customer acme"].change(1 * _CENT, 2.2, 2.3)
    assert books.audited().is_clean


def test_an_open_hold_is_found(books: Books) -> None:
    """Each hold ends."""
    books.holds[0] |= {"state": "held", "ended_at": None}
    assert "hold hold-1 of acme-prod is open" in str(books.audited())


def test_a_hold_ends_in_one_way(books: Books) -> None:
    """A hold that was given back has no charge."""
    books.holds[0] |= {"state": "voided"}
    assert "hold hold-1 was voided and has a charge" in str(books.audited())


def test_days_are_those_of_the_customers_zone(books: Books) -> None:
    """In Auckland it was tomorrow already."""
    books.facts.zones["acme"] = "Pacific/Auckland"
    assert "counts in 2026-11-18 and was placed in 2026-11-19" in str(books.audited())


def test_another_payer_is_a_difference(books: Books) -> None:
    """A job is booked for whoever asked."""
    books.entries[0]["customer"] = "globex"
    assert "is booked with customer globex and not acme" in str(books.audited())


def test_redis_says_what_the_ledger_says(books: Books) -> None:
    """A counter, a hold and a mark that differ are each found."""
    books.hashes["bqgate:{acme}:window:day:2026-11-18"] = {"captured_nanos": "1", "held_nanos": "2"}
    books.hashes["bqgate:{acme}:holds"] = {"hold-1": "20000000 0  day:2026-11-18"}
    books.ended["hold-1"] = "3"
    found = books.audited().differences
    assert found == [
        "Redis still has 1 holds of acme",
        "Redis has $0.000000001 in acme day:2026-11-18, the ledger $0.050000000",
        "Redis still holds $0.000000002 in acme day:2026-11-18",
        "Redis ended hold hold-1 at $0.000000003, the ledger at $0.020000000",
    ]


def test_who_went_past_the_gate_is_booked_once_as_such(books: Books) -> None:
    """A job of a caller that asked BigQuery itself has one charge, of the origin bypass, and needs no hold."""
    past = replace(_billed(3, 1, 4.0), hold_id="")
    books.jobs.append(past)
    books.facts.bypassed = {3}
    charge = _entry(past) | {"hold_id": None}
    books.entries.append(charge)
    books.hashes = {}
    assert "went past the gate and is booked as [None]" in str(books.audited())
    charge["origin"] = "bypass"
    assert books.audited().is_clean
