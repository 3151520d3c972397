"""A job's cost is booked before its deletion passes, and only under the hold that the job is of."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bqgate.domain.errors import JobNotFound, MalformedRequest, UpstreamRefused
from bqgate.domain.job import JobRef
from bqgate.domain.principal import Credential
from bqgate.settlement.deletion import Deletions
from bqgate.wire.job_labels import customer_label
from tests.support.settlement_stand import Gate, Stand
from tests.support.skipping_clock import SkippingClock

ADA = Credential("Bearer ada")


@pytest.fixture
def deletions(stand: Stand) -> Callable[[Gate], Deletions]:
    return lambda gate: Deletions(
        ledger=stand.ledger, bigquery=stand.bigquery, settlement=gate.settlement, clock=SkippingClock()
    )


@pytest.mark.parametrize("knows_its_job", [True, False])
async def test_a_job_is_booked_before_it_is_deleted(
    stand: Stand, deletions: Callable[[Gate], Deletions], knows_its_job: bool
) -> None:
    """While it runs its deletion is refused; when it has ended its cost is booked, whoever chose the job's id."""
    gate = stand.gate()
    hold = await stand.place(gate, stand.make_hold(job=knows_its_job))
    job = stand.run_job(hold, job=hold.job or JobRef("acme-prod", "made_by_bigquery", "US"))
    with pytest.raises(MalformedRequest, match="still running"):
        await deletions(gate).prepare(job, ADA)

    stand.bigquery.end(job)
    await deletions(gate).prepare(job, ADA)
    assert [entry.hold_id for entry in await stand.entries()] == [hold.id]


@pytest.mark.parametrize("knows_its_job", [True, False])
async def test_a_job_with_a_copied_label_is_not_the_holds(
    stand: Stand, deletions: Callable[[Gate], Deletions], knows_its_job: bool
) -> None:
    """Somebody copies a hold's label onto a cheap job of his own and deletes that: the hold stays open."""
    gate = stand.gate()
    hold = await stand.place(gate, stand.make_hold(job=knows_its_job))
    stand.run_job(hold, job=hold.job or JobRef("acme-prod", "made_by_bigquery", "US"))
    stand.clock.advance(1)
    elsewhere = stand.run_job(hold, job=JobRef("other-project", "copied", "US"))
    copied = stand.run_job(hold, job=JobRef("acme-prod", "copied", "US"))
    for cheap in (elsewhere, copied):
        stand.bigquery.end(cheap)
        await deletions(gate).prepare(cheap, ADA)
    assert await stand.entries() == ()
    assert await stand.ledger.fetch_open_hold(hold.id) is not None


async def test_a_deletion_books_nothing_for_a_hold_of_another_customer(
    stand: Stand, deletions: Callable[[Gate], Deletions]
) -> None:
    """Two chose one id, one of them made the job and deletes it: what it cost is not the other's."""
    gate = stand.gate()
    hold = await stand.place(gate, replace(stand.make_hold(), job=JobRef("acme-prod", "chosen", "US")))
    assert hold.job is not None
    for hold_id, owner in (("", customer_label("globex")), ("another-hold", None)):
        stand.bigquery.start(hold.job, hold_id=hold_id, created_at=stand.clock.now(), owner=owner)
        stand.bigquery.end(hold.job)
        await deletions(gate).prepare(hold.job, ADA)
        assert await stand.entries() == ()


async def test_a_job_that_bigquery_does_not_know_is_not_deleted(
    stand: Stand, deletions: Callable[[Gate], Deletions]
) -> None:
    """It may be on its way; a deletion behind it would take it away before anybody has seen it."""
    gate = stand.gate()
    hold = await stand.place(gate, stand.make_hold())
    assert hold.job is not None
    with pytest.raises(JobNotFound):
        await deletions(gate).prepare(hold.job, ADA)


async def test_what_a_customers_account_may_not_see_is_not_asked_for_in_the_gates_name(
    stand: Stand, deletions: Callable[[Gate], Deletions]
) -> None:
    """A caller's own token may be too weak to read a job that it may delete: then the gate asks, which books it."""
    gate = stand.gate()
    hold = await stand.place(gate, stand.make_hold())
    job = stand.run_job(hold)
    stand.bigquery.end(job)
    with pytest.raises(UpstreamRefused):
        await deletions(gate).prepare(job, Credential(account="acme@gate.iam.example"))
    assert stand.bigquery.asked == ["get as acme@gate.iam.example"]
    await deletions(gate).prepare(job, Credential("Bearer unknown"))
    assert [entry.hold_id for entry in await stand.entries()] == [hold.id]
