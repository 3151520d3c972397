"""Jobs and refusals over the control plane: one by any of its names, and who sees which."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bqgate.domain.entry import EntryKind
from bqgate.domain.job import JobRef, Outcome
from tests.support.control_stand import Answer, ControlStand, control_stand
from tests.support.ledgers import make_entry

MINE = make_entry("hold-1", principal="user", job=JobRef("acme-prod", "job_1", "US"))
REFUSAL = make_entry(
    None,
    id="refusal-1",
    kind=EntryKind.REFUSAL,
    principal="user",
    job=None,
    cost_nanos=0,
    outcome=Outcome.REFUSED,
    decision="reject",
    reason="budget_used_up",
)


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    """A control plane over a ledger with a job and a refusal of acme's user."""
    async with control_stand(tmp_path) as stand:
        for entry in (MINE, REFUSAL):
            await stand.stand.ledger.book(entry)
        yield stand


async def show(control: ControlStand, job_id: str, caller: str = "admin") -> Answer:
    return await control.call("GET", f"/v1/jobs/{job_id}", caller)


@pytest.mark.parametrize(
    "name", ["hold-1", MINE.id, "job_1", "acme-prod:US.job_1", "acme-prod:us.job_1", "acme-prod:job_1", "US.job_1"]
)
@pytest.mark.parametrize("caller", ["user", "analyst", "admin", "open"])
async def test_a_job_is_shown_by_any_of_its_names(control: ControlStand, name: str, caller: str) -> None:
    """BigQuery's, with or without project and location, the hold's and the entry's."""
    found = await show(control, name, caller)
    assert (found.status, found.json["state"], found.json["cost_usd"]) == (200, "booked", "0.70")
    (entry,) = found.json["entries"]
    assert (entry["id"], entry["job"]["job_id"], found.json["hold"]) == (MINE.id, "job_1", None)


async def test_a_refusal_is_shown_by_the_id_in_its_message(control: ControlStand) -> None:
    """It cost nothing, and says why it was refused."""
    found = (await show(control, "refusal-1", "user")).json
    assert (found["state"], found["cost_usd"], found["entries"][0]["reason"]) == ("refused", "0.00", "budget_used_up")


async def test_an_adjustment_belongs_to_its_job(control: ControlStand) -> None:
    """By whichever name the job is asked for, its cost is what it is now."""
    await control.stand.ledger.book(
        make_entry(None, id="back", kind=EntryKind.ADJUSTMENT, principal="user", job=MINE.job, cost_nanos=-(10**8))
    )
    for name in ("hold-1", "job_1", "acme-prod:US.job_1"):
        found = (await show(control, name)).json
        assert (found["cost_usd"], len(found["entries"])) == ("0.60", 2), name


async def test_a_job_that_runs_is_shown_with_its_hold(control: ControlStand) -> None:
    """By the hold's id from the first moment on, and by the job's once it is known."""
    hold = replace(control.stand.make_hold(usd=2), principal="user", job=JobRef("acme-prod", "job_2", "EU"))
    await control.stand.place(control.gate, hold)
    for name in (hold.id, "job_2", "acme-prod:EU.job_2"):
        found = (await show(control, name, "user")).json
        assert (found["state"], found["cost_usd"], found["hold"]["amount_usd"]) == ("held", "0.00", "2.00"), name
    assert (await show(control, "acme-prod:US.job_2")).status == 404
    stranger = replace(control.stand.make_hold(usd=2), principal="bob")
    await control.stand.place(control.gate, stranger)
    assert (await show(control, stranger.id, "user")).status == 404
    assert (await show(control, stranger.id, "analyst")).status == 200


async def test_what_is_anothers_and_what_is_not_there_look_alike(control: ControlStand) -> None:
    """Nobody can find out by asking that somebody else has a job of some name."""
    job = JobRef("globex-prod", "job_9", "US")
    await control.stand.ledger.book(make_entry("hold-9", customer="globex", principal="user", job=job))
    await control.stand.ledger.book(make_entry("hold-8", principal="bob", job=JobRef("acme-prod", "job_8", "US")))
    for caller, names in (("user", ("job_9", "hold-9", "job_8", "hold-8")), ("analyst", ("job_9", "hold-9"))):
        for name in names:
            foreign, unknown = await show(control, name, caller), await show(control, "nothing", caller)
            assert foreign.status == unknown.status == 404
            assert foreign.body.replace(name.encode(), b"nothing") == unknown.body
    assert (await show(control, "job_8", "analyst")).status == (await show(control, "job_9")).status == 200


async def test_namesakes_are_told_apart(control: ControlStand) -> None:
    """A job's id is unique in its project and location only; whose names one may not see are not told."""
    await control.stand.ledger.book(make_entry("hold-7", job=JobRef("acme-dev", "job_1", "US")))
    both = await show(control, "job_1", "analyst")
    assert both.status == 409
    assert "acme-dev:US.job_1, acme-prod:US.job_1" in both.json["detail"]
    assert (await show(control, "acme-dev:job_1", "analyst")).json["entries"][0]["hold_id"] == "hold-7"
    assert (await show(control, "job_1", "user")).status == 200


async def test_a_decisions_id_is_not_taken_over_by_a_job(control: ControlStand) -> None:
    """Job ids are the callers' to choose; a decision's is the gate's."""
    await control.stand.ledger.book(make_entry("hold-6", job=JobRef("acme-prod", "refusal-1", "US")))
    assert (await show(control, "refusal-1")).json["state"] == "refused"


@pytest.mark.parametrize("name", ["%20", "a%00b", "%22", "x." * 3 + "y", "%C3%BC", "a" * 1_100, "*"])
async def test_what_is_no_name_is_not_found(control: ControlStand, name: str) -> None:
    """404, from either database."""
    assert (await show(control, name)).status == 404


async def test_a_list_is_narrowed(control: ControlStand) -> None:
    """By principal, project, workload and kind; users get their own without asking."""
    await control.stand.ledger.book(make_entry("hold-5", principal="bob", workload=None))

    async def found(query: str, caller: str = "admin") -> set[str]:
        return {job["id"] for job in (await control.call("GET", f"/v1/jobs?{query}", caller)).json["jobs"]}

    assert await found("principal=bob") == {"entry-of-hold-5"}
    assert await found("kind=refusal") == {"refusal-1"}
    assert await found("workload=nightly&kind=charge&project_id=acme-prod") == {MINE.id}
    assert await found("", "user") == {MINE.id, "refusal-1"}
    assert await found("", "analyst") == {MINE.id, "refusal-1", "entry-of-hold-5"}
    refused = await control.call("GET", "/v1/jobs?principal=bob", "user")
    assert (refused.status, "as user" in refused.json["detail"]) == (403, True)
    wrong = await control.call("GET", "/v1/jobs?kind=job")
    assert (wrong.status, wrong.json["field"]) == (400, "kind")
