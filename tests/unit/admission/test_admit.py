import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bqgate.admission.admit import Admission, Admitted, CachedOnly
from bqgate.admission.estimates.estimator import EstimateCaching, Estimator
from bqgate.admission.refusals import Refusals, Refused
from bqgate.admission.sizing import HoldRules, UnknownEstimate
from bqgate.admission.slots import SlotBook
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.decision import (
    Forward,
    Throttle,
)
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.errors import LedgerUnavailable, TooManyRequests, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import Estimate, Job, JobRef, QueryRequest, Usage
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Credential, Principal
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.tier import Customer, CustomerRegistry, Mode, Tier
from bqgate.domain.units import GIB, TIB
from bqgate.ledger import SqlLedger
from bqgate.wire.query_request import parse_insert, parse_query
from tests.support.hold_services import hold_service_over
from tests.support.manual_clock import ManualClock

USD = 10**9
# 10 GiB cost exactly ten cents.
PRICES = PriceList(PricingModel.ON_DEMAND, nanos_per_tib=10_240_000_000, nanos_per_slot_hour=0)
TIER = Tier("standard", daily_nanos=5 * USD, monthly_nanos=50 * USD, emergency_nanos=10 * USD)
ACME = Customer("acme", TIER)
POLICIES = PolicySnapshot(CustomerRegistry({"acme": ACME}, {}, TIER), PRICES)
ANN = Principal("acme", "ann")
TEN_GIB = Estimate(10 * GIB, "SELECT", 1)


class Silence:
    """A Telemetry for tests that look at values instead."""

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        pass

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        pass

    def log(self, event: str, /, **fields: object) -> None:
        pass


@dataclass
class DryRuns:
    """BigQuery as far as admission asks it: answers each dry run with what `says` holds at the moment."""

    says: Estimate | Exception = TEN_GIB
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        raise AssertionError("admission asks after no job")

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        raise AssertionError("nobody asks after statements of scripts")

    async def find_job(
        self, *, project_id: str, hold_id: str, since: datetime, credential: Credential | None
    ) -> JobRef | None:
        raise AssertionError("admission looks for no job")


@dataclass
class Scene:
    clock: ManualClock
    ledger: SqlLedger
    budgets: MemoryBudgetStore
    bigquery: DryRuns

    def admission(
        self,
        rules: HoldRules | None = None,
        *,
        caching: EstimateCaching = EstimateCaching(ttl_s=60, max_entries=2),  # noqa: B008 - frozen
        refusal_ttl_s: int = 0,
    ) -> Admission:
        numbers = itertools.count(1)

        def new_id() -> str:
            return f"hold{next(numbers)}"

        return Admission(
            estimator=Estimator(self.bigquery, self.clock, Silence(), caching),
            holds=hold_service_over(self.budgets, self.ledger, self.clock),
            ledger=self.ledger,
            clock=self.clock,
            telemetry=Silence(),
            policies=POLICIES,
            rules=rules or HoldRules(headroom_ppm=0),
            hold_ttl_s=86_400,
            new_id=new_id,
            slots=SlotBook(self.ledger),
            refusals=Refusals(self.ledger, self.clock, Silence(), new_id=new_id, ttl_s=refusal_ttl_s),
        )

    async def submit(
        self, admission: Admission, request: QueryRequest, customer: Customer = ACME
    ) -> Admitted | Refused | CachedOnly:
        estimate = await admission.estimate(request, ANN, customer)
        return await admission.admit(request, ANN, customer, estimate)

    async def held_nanos(self) -> int:
        return (await self.budgets.fetch_balances(ACME.windows(self.clock.now())))[0].held_nanos


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    ledger = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", clock)
    bigquery = DryRuns()
    bigquery.gate.set()
    yield Scene(clock, ledger, MemoryBudgetStore(ledger, clock), bigquery)
    await ledger.close()


def insert(sql: str = "SELECT a FROM d.t", job_id: str | None = None, **query: Any) -> QueryRequest:
    reference = {"jobId": job_id} if job_id else {}
    request = parse_insert("p", {"jobReference": reference, "configuration": {"query": {"query": sql, **query}}})
    assert request is not None
    return request


async def test_an_admitted_query_is_held_and_recorded_before_anyone_forwards_it(scene: Scene) -> None:
    """Invariant 1: budget and ledger both know the hold, and it covers what BigQuery may bill."""
    admitted = await scene.submit(scene.admission(), insert())
    assert isinstance(admitted, Admitted)
    assert (Forward(), 10 * GIB, 100_000_000) == (
        admitted.decision,
        admitted.hold.maximum_bytes_billed,
        admitted.hold.amount_nanos,
    )
    assert await scene.held_nanos() == 100_000_000
    assert (admitted.hold,) == await scene.ledger.fetch_open_holds("acme")
    assert admitted.hold.job == JobRef("p", "bqgate_hold1")


async def test_the_limit_admits_exactly_what_it_pays_for(scene: Scene) -> None:
    """Invariant 2: of 60 queries of ten cents at five dollars, 50 are admitted and the last ones are throttled."""
    admission = scene.admission()
    outcomes = await asyncio.gather(*(scene.submit(admission, insert()) for _ in range(60)))
    admitted = [outcome for outcome in outcomes if isinstance(outcome, Admitted)]
    assert (50, 5 * USD) == (len(admitted), await scene.held_nanos())
    assert {Forward(), Throttle(2_000)} == {outcome.decision for outcome in admitted}
    refusals = await scene.ledger.fetch_entries(EntryFilter(customer="acme", kind=EntryKind.REFUSAL))
    assert [("reject", "budget_used_up", 0)] * 10 == [
        (entry.decision, entry.reason, entry.cost_nanos) for entry in refusals.entries
    ]


async def test_a_query_dearer_than_a_whole_day_is_refused_without_touching_a_budget(scene: Scene) -> None:
    """It could never run, and is told what would."""
    scene.bigquery.says = Estimate(TIB, "SELECT", 1)
    refused = await scene.submit(scene.admission(), insert())
    assert isinstance(refused, Refused)
    assert refused.reject.reason is RejectReason.QUERY_TOO_BIG
    assert (500 * GIB, TIB) == (refused.cap_bytes, refused.bytes_at_most)


async def test_a_refusal_is_booked_under_the_name_that_charges_have(scene: Scene) -> None:
    """The dry run told the e-mail address, so both kinds of entry bear it."""
    scene.bigquery.says = Estimate(TIB, "SELECT", 1, user_email="ann@acme.example")
    await scene.submit(scene.admission(), insert())
    (refusal,) = (await scene.ledger.fetch_entries(EntryFilter(kind=EntryKind.REFUSAL))).entries
    assert refusal.principal == "ann@acme.example"
    assert await scene.held_nanos() == 0


async def test_the_callers_own_cap_is_never_widened(scene: Scene) -> None:
    """The smaller of the caller's cap and the hold goes to BigQuery, and the hold shrinks with it."""
    admitted = await scene.submit(scene.admission(), insert(maximumBytesBilled=str(GIB)))
    assert isinstance(admitted, Admitted)
    assert (GIB, 10_000_000) == (admitted.hold.maximum_bytes_billed, admitted.hold.amount_nanos)


@pytest.mark.parametrize(
    ("policy", "cap_bytes"),
    [(UnknownEstimate.CAP, 100 * GIB), (UnknownEstimate.ALLOW, None), (UnknownEstimate.REJECT, "refused")],
)
async def test_an_unknown_estimate_follows_the_policy(
    scene: Scene, policy: UnknownEstimate, cap_bytes: int | str | None
) -> None:
    """A script is capped, let run uncapped under the same hold, or refused."""
    scene.bigquery.says = Estimate(0, "SCRIPT", 0, unknown_because="script")
    outcome = await scene.submit(scene.admission(HoldRules(unknown=policy)), insert())
    assert not isinstance(outcome, CachedOnly)
    if isinstance(outcome, Refused):
        assert cap_bytes == "refused"
        assert outcome.reject.reason is RejectReason.UNKNOWN_ESTIMATE
    else:
        assert (cap_bytes, USD) == (outcome.hold.maximum_bytes_billed, outcome.hold.amount_nanos)


async def test_a_repeat_finds_the_first_attempts_hold(scene: Scene) -> None:
    """The same job id twice is one hold, and says that it is a repeat."""
    admission = scene.admission()
    first = await scene.submit(admission, insert(job_id="mine"))
    again = await scene.submit(admission, insert(job_id="mine"))
    assert isinstance(first, Admitted)
    assert isinstance(again, Admitted)
    assert (False, True, first.hold.id) == (first.is_repeat, again.is_repeat, again.hold.id)
    assert await scene.held_nanos() == 100_000_000


async def test_a_job_id_used_again_for_more_is_held_anew(scene: Scene) -> None:
    """Invariant 1: a hold covers only what it was placed for, so the same id with a wider cap is no repeat."""
    admission = scene.admission()
    small = await scene.submit(admission, insert(job_id="mine", maximumBytesBilled=str(GIB)))
    large = await scene.submit(admission, insert(job_id="mine"))
    assert isinstance(small, Admitted)
    assert isinstance(large, Admitted)
    assert (False, False) == (small.is_repeat, large.is_repeat)
    assert await scene.held_nanos() == 110_000_000


async def test_observing_counts_everything_and_refuses_nothing(scene: Scene) -> None:
    """Past the limit, observe mode forwards and says what enforcing would have done."""
    scene.bigquery.says = Estimate(400 * GIB, "SELECT", 1)
    observed = replace(ACME, mode=Mode.OBSERVE)
    admission = scene.admission()
    decisions = [await scene.submit(admission, insert(), observed) for _ in range(2)]
    assert [None, RejectReason.BUDGET_USED_UP] == [
        outcome.decision.would_reject
        for outcome in decisions
        if isinstance(outcome, Admitted) and isinstance(outcome.decision, Forward)
    ]
    assert await scene.held_nanos() == 8 * USD


async def test_an_invalid_query_is_refused_or_left_to_fail_as_at_google(scene: Scene) -> None:
    """jobs.query answers 4xx; jobs.insert is forwarded under a cap and its job fails, which is free."""
    scene.bigquery.says = UpstreamRefused(400, b"{}")
    admission = scene.admission()
    with pytest.raises(UpstreamRefused):
        await scene.submit(admission, parse_query("p", {"query": "SELECT nonsense"}))
    admitted = await scene.submit(admission, insert())
    assert isinstance(admitted, Admitted)
    assert admitted.hold.estimate_bytes is None


async def test_a_bad_token_is_told_to_both_methods(scene: Scene) -> None:
    """401 concerns the caller, not the query: nothing is forwarded or held."""
    scene.bigquery.says = UpstreamRefused(401, b"{}")
    with pytest.raises(UpstreamRefused):
        await scene.submit(scene.admission(), insert())
    assert await scene.held_nanos() == 0


async def test_a_ledger_that_cannot_record_stops_the_query(scene: Scene) -> None:
    """Nothing is forwarded that the ledger does not know, and the hold is given back."""
    admission = scene.admission()
    estimate = await admission.estimate(insert(), ANN, ACME)
    await scene.budgets.fetch_balances(ACME.windows(scene.clock.now()))  # filled while the ledger is there
    await scene.ledger.close()
    with pytest.raises(LedgerUnavailable):
        await admission.admit(insert(), ANN, ACME, estimate)
    assert await scene.held_nanos() == 0


async def test_identical_queries_share_one_dry_run_and_a_failure_is_not_kept(scene: Scene) -> None:
    """Single flight; the answer lives a minute; an error is asked again by the next."""
    scene.bigquery.gate.clear()
    admission = scene.admission()
    together = [asyncio.ensure_future(admission.estimate(insert(), ANN, ACME)) for _ in range(5)]
    scene.bigquery.gate.set()
    await asyncio.gather(*together)
    await admission.estimate(insert(), ANN, ACME)
    assert scene.bigquery.asked == 1
    scene.clock.advance(61)
    scene.bigquery.says = UpstreamUnavailable("gone")
    for expected in (2, 3):
        with pytest.raises(UpstreamUnavailable):
            await admission.estimate(insert(), ANN, ACME)
        assert scene.bigquery.asked == expected


async def test_the_estimate_cache_is_bounded(scene: Scene) -> None:
    """Past its size the oldest estimate goes and is asked again."""
    admission = scene.admission()
    for sql in ("SELECT 1", "SELECT 2", "SELECT 3", "SELECT 1"):
        await admission.estimate(insert(sql), ANN, ACME)
    assert scene.bigquery.asked == 4


async def test_a_caller_that_leaves_does_not_take_the_others_estimate(scene: Scene) -> None:
    """Followers get the answer when the leader is gone."""
    scene.bigquery.gate.clear()
    admission = scene.admission()
    leader = asyncio.ensure_future(admission.estimate(insert(), ANN, ACME))
    follower = asyncio.ensure_future(admission.estimate(insert(), ANN, ACME))
    while not scene.bigquery.asked:
        await scene.clock.sleep(0)
    leader.cancel()
    scene.bigquery.gate.set()
    assert await follower == TEN_GIB


async def test_a_refused_query_in_a_loop_costs_one_look_and_one_entry(scene: Scene) -> None:
    """BigQuery is asked for an estimate and a second look, once; the budgets every time; one entry is written."""
    scene.bigquery.says = Estimate(TIB, "SELECT", 1)
    admission = scene.admission(refusal_ttl_s=5)
    refused = [await scene.submit(admission, insert()) for _ in range(20)]
    assert {outcome.decision_id for outcome in refused if isinstance(outcome, Refused)} == {"hold1"}
    assert scene.bigquery.asked == 2
    assert len((await scene.ledger.fetch_entries(EntryFilter(kind=EntryKind.REFUSAL))).entries) == 1


@pytest.mark.parametrize(
    ("kind", "is_cached_only"),
    [
        ("SELECT", True),
        *(
            (kind, False)
            for kind in ("INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE_TABLE", "CREATE_MODEL", "ASSERT")
        ),
        *((kind, False) for kind in ("CREATE_TABLE_AS_SELECT", "CREATE_VIEW", "EXPORT_DATA", "LOAD_DATA", "EXPLAIN")),
        *((kind, False) for kind in ("SCRIPT", "CALL", "EXECUTE_IMMEDIATE", "BEGIN_TRANSACTION", "A_NEW_KIND", "")),
    ],
)
async def test_only_the_result_of_a_select_is_let_through_from_the_cache(
    scene: Scene, kind: str, is_cached_only: bool
) -> None:
    """Anything else would run and bill, whatever its dry run says of the cache; jobs.query cannot be bound to it."""
    scene.bigquery.says = Estimate(TIB, kind, 1, cache_hit=True)
    expected = CachedOnly if is_cached_only else Refused
    assert isinstance(await scene.submit(scene.admission(), insert()), expected)
    query = parse_query("p", {"query": "SELECT a FROM d.t"})
    assert isinstance(await scene.submit(scene.admission(), query), Refused)


@pytest.mark.parametrize("other", ["SCRIPT", "MERGE"])
@pytest.mark.parametrize("second", [True, False], ids=["the second dry run", "the first dry run"])
async def test_both_dry_runs_must_call_it_a_select(scene: Scene, other: str, second: bool) -> None:
    """A routine or a table that became another one in between changes what a text is."""
    select, changed = (Estimate(TIB, kind, 1, cache_hit=True) for kind in ("SELECT", other))
    admission = scene.admission()
    scene.bigquery.says = select if second else changed
    estimate = await admission.estimate(insert(), ANN, ACME)
    scene.bigquery.says = changed if second else select
    assert isinstance(await admission.admit(insert(), ANN, ACME, estimate), Refused)


async def test_a_remembered_refusal_ends_with_its_cause(scene: Scene) -> None:
    """A raised limit is seen by the next query, not when the moment is over."""
    scene.bigquery.says = Estimate(600 * GIB, "SELECT", 1)
    admission = scene.admission(refusal_ttl_s=5)
    assert isinstance(await scene.submit(admission, insert()), Refused)
    raised = replace(ACME, tier=replace(TIER, daily_nanos=8 * USD))
    assert isinstance(await scene.submit(admission, insert(), raised), Admitted)


async def test_too_many_dry_runs_are_no_estimate(scene: Scene) -> None:
    """Whoever finds no place is told to come back: a query is not taken for invalid or free."""
    admission = scene.admission(caching=EstimateCaching(max_dry_runs=1, max_waiting=0))
    scene.bigquery.gate.clear()
    first = asyncio.ensure_future(admission.estimate(insert("SELECT 1"), ANN, ACME))
    while not scene.bigquery.asked:
        await scene.clock.sleep(0)
    with pytest.raises(TooManyRequests):
        await admission.estimate(insert("SELECT 2"), ANN, ACME)
    scene.bigquery.gate.set()
    assert await first == TEN_GIB
