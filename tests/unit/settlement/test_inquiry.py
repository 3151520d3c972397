"""One question to BigQuery: every answer and every failure is news."""

from dataclasses import replace

import pytest

from bqgate.domain.errors import UpstreamRefused, UpstreamTimeout
from bqgate.domain.job import JobRef
from bqgate.domain.principal import Credential
from bqgate.domain.tier import CustomerRegistry
from bqgate.settlement.inquiry import Finding, News, inquire, maker_of
from bqgate.wire.error_reply import error_body
from bqgate.wire.job_labels import customer_label
from tests.support.scripted_bigquery import OWN
from tests.support.settlement_stand import ACME, Stand

ADA = Credential("Bearer ada")


async def test_a_job_is_running_until_it_has_ended(stand: Stand) -> None:
    """Its usage comes with its end."""
    hold = stand.make_hold()
    job = stand.run_job(hold)
    assert await inquire(stand.bigquery, hold, None) == Finding(News.RUNNING, job)
    usage = stand.bigquery.end(job)
    assert await inquire(stand.bigquery, hold, None) == Finding(News.ENDED, job, usage)
    assert stand.bigquery.asked == [f"get as {OWN}"] * 2


async def test_a_job_without_known_id_is_found_by_its_label(stand: Stand) -> None:
    """Jobs.query tells the id in its answer only."""
    hold = stand.make_hold(job=False)
    assert await inquire(stand.bigquery, hold, None) == Finding(News.ABSENT, None)
    job = stand.run_job(hold, job=JobRef("acme-prod", "made_by_bigquery", "EU"))
    assert await inquire(stand.bigquery, hold, None) == Finding(News.RUNNING, job)


async def test_a_job_in_a_region_is_not_taken_for_absent(stand: Stand) -> None:
    """Jobs.get without a location is a 404 there; the label tells the place."""
    hold = stand.make_hold(location=None)
    assert hold.job is not None
    there = stand.run_job(hold, job=replace(hold.job, location="asia-northeast1"))
    assert await inquire(stand.bigquery, hold, None) == Finding(News.RUNNING, there)


async def test_a_repeat_finds_the_job_of_the_first_attempt(stand: Stand) -> None:
    """The hold that a repeat brings is younger than the job that it repeats."""
    hold = stand.make_hold(job=False)
    job = stand.run_job(hold, job=JobRef("acme-prod", "made_by_bigquery", "US"))
    stand.clock.advance(15 * 60)
    later = replace(hold, placed_at=stand.clock.now())
    assert (await inquire(stand.bigquery, later, None)).job == job


@pytest.mark.parametrize(("location", "news"), [("US", News.ABSENT), (None, News.REFUSED)])
async def test_without_the_right_to_list_a_404_counts_where_the_place_was_named(
    stand: Stand, location: str | None, news: News
) -> None:
    """A 404 without a location proves nothing."""
    stand.bigquery.may_list = False
    assert (await inquire(stand.bigquery, stand.make_hold(location=location), None)).news is news


async def test_a_spent_token_gives_way_to_the_gates_own(stand: Stand) -> None:
    """The caller's credential is asked with first, and dropped where the gate's own works."""
    hold = stand.make_hold()
    job = stand.run_job(hold)
    assert await inquire(stand.bigquery, hold, ADA) == Finding(News.RUNNING, job, is_credential_spent=True)
    assert stand.bigquery.asked == ["get as Bearer ada", f"get as {OWN}"]


async def test_the_gates_own_404_proves_nothing_of_anothers_job(stand: Stand) -> None:
    """The caller's token is spent, and the gate's own account may not list: it may just not be shown the job."""
    stand.bigquery.may_list = False
    assert (await inquire(stand.bigquery, stand.make_hold(), ADA)).news is News.REFUSED


async def test_a_job_that_its_maker_may_not_see_is_anothers(stand: Stand) -> None:
    """The id was taken: the maker's own list says that it made none, and without that nobody knows."""
    hold = stand.make_hold()
    assert hold.job is not None
    stand.bigquery.unseen.add(hold.job.job_id)
    assert (await inquire(stand.bigquery, hold, None)).news is News.ABSENT
    stand.bigquery.may_list = False
    assert (await inquire(stand.bigquery, hold, None)).news is News.REFUSED


@pytest.mark.parametrize(("owner", "news"), [("globex", News.FOREIGN), ("acme", News.RUNNING), (None, News.RUNNING)])
async def test_a_job_that_bears_another_customers_label_is_anothers(
    stand: Stand, owner: str | None, news: News
) -> None:
    """A customer that no budget covers has jobs without a hold's label, perhaps under an id that another chooses."""
    hold = replace(stand.make_hold(), job=JobRef("acme-prod", "chosen", "US"))
    assert hold.job is not None
    label = None if owner is None else customer_label(owner)
    stand.bigquery.start(hold.job, hold_id="", created_at=stand.clock.now(), owner=label)
    assert (await inquire(stand.bigquery, hold, None)).news is news


async def test_nobody_may_see_it(stand: Stand) -> None:
    """Refused with either credential; the caller's is kept."""
    stand.bigquery.accepted.clear()
    hold = stand.make_hold()
    assert await inquire(stand.bigquery, hold, ADA) == Finding(News.REFUSED, hold.job)


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamTimeout("no answer"),
        UpstreamRefused(429, b""),
        UpstreamRefused(403, error_body(403, "rateLimitExceeded", "Exceeded rate limits")),
    ],
)
async def test_no_answer_and_too_busy_are_silence(stand: Stand, failure: UpstreamTimeout | UpstreamRefused) -> None:
    """Neither says anything about the job or the credential."""
    stand.bigquery.failure = failure
    assert (await inquire(stand.bigquery, stand.make_hold(), ADA)).news is News.SILENT
    assert len(stand.bigquery.asked) == 1


@pytest.mark.parametrize(
    ("made_by", "account_now", "asks"),
    [
        ("made@p.iam.example", "now@p.iam.example", "made@p.iam.example"),
        ("made@p.iam.example", None, "made@p.iam.example"),
        ("", "now@p.iam.example", None),
        (None, "now@p.iam.example", "now@p.iam.example"),  # a hold of before
        (None, None, None),
    ],
)
def test_who_made_a_job_asks_after_it(
    stand: Stand, made_by: str | None, account_now: str | None, asks: str | None
) -> None:
    """Whatever account its customer has now, or although nobody lists the customer any more."""
    hold = replace(stand.make_hold(), account=made_by)
    customer_registry = CustomerRegistry({"acme": replace(ACME, account=account_now)}, {}, ACME.tier)
    maker = maker_of(hold, customer_registry)
    assert (maker.account if maker else None) == asks
    if made_by:
        assert maker_of(hold, CustomerRegistry({}, {}, ACME.tier)) == maker
