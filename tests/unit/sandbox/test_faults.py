from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from bqgate.sandbox.faults import Fault, Faults


def test_count_ends_a_fault() -> None:
    """A fault with a count strikes so often and no more."""
    faults = Faults()
    faults.add(Fault(count=2))
    struck = [faults.draw("jobs.get", "GET", "/x", is_dry_run=False) is not None for _ in range(4)]
    assert struck == [True, True, False, False]


def test_rate_is_repeatable() -> None:
    """The same seed strikes the same calls, at about the rate."""

    def run() -> list[bool]:
        faults = Faults()
        faults.add(Fault(rate=0.3, seed=7))
        return [faults.draw("jobs.get", "GET", "/x", is_dry_run=False) is not None for _ in range(400)]

    assert run() == run()
    assert 80 < sum(run()) < 160


@pytest.mark.parametrize(
    ("fault", "strikes"),
    [
        (Fault(method="jobs.insert"), True),
        (Fault(method="POST"), True),
        (Fault(method="jobs.query"), False),
        (Fault(path=r"/projects/p\b"), True),
        (Fault(path="/projects/q"), False),
        (Fault(dry_run=True), True),
        (Fault(dry_run=False), False),
    ],
)
def test_fault_strikes_what_it_names(fault: Fault, strikes: bool) -> None:
    """Method, verb, path and dry run narrow a fault."""
    assert fault.strikes("jobs.insert", "POST", "/projects/p/jobs", is_dry_run=True) is strikes


async def test_error_fault_answers_in_bigquerys_form(api: Any) -> None:
    """Status and reason reach the caller, and nothing is done."""
    api.sandbox.faults.add(Fault(method="jobs.insert", status=429, reason="rateLimitExceeded", message="Exceeded"))
    answer = await api.insert("SELECT 1")
    assert (answer.status, answer.reason) == (429, "rateLimitExceeded")
    assert len(api.sandbox.jobs) == 0


async def test_dry_run_fault_leaves_real_runs_alone(api: Any) -> None:
    """A fault for dry runs only strikes dry runs of both methods."""
    api.sandbox.faults.add(Fault(dry_run=True, status=500, reason="internalError"))
    assert (await api.insert("SELECT 1", job={"dryRun": True})).status == 500
    assert (await api.query("SELECT 1", dryRun=True)).status == 500
    assert (await api.insert("SELECT 1")).status == 200


async def test_text_fault_is_not_json(api: Any) -> None:
    """A proxy's error page has no reason that a client could read."""
    api.sandbox.faults.add(Fault(kind="text", status=502, message="<html>Bad Gateway</html>"))
    answer = await api("GET", "jobs")
    assert (answer.status, answer.body) == (502, "<html>Bad Gateway</html>")


async def test_delay_waits_by_the_sandboxes_clock(slow_api: Any) -> None:
    """A delayed call is answered once the clock has moved on."""
    slow_api.sandbox.faults.add(Fault(kind="delay", delay_s=30, method="jobs.list"))
    with pytest.raises(TimeoutError):
        await slow_api("GET", "jobs", timeout=aiohttp.ClientTimeout(total=0.1))
    # The clock jumps while the call waits for it.
    call = slow_api("GET", "jobs")
    moved = slow_api("POST", "/sandbox/v1/clock:advance", {"seconds": 0})
    await moved
    slow_api.sandbox.faults.clear()
    assert (await call).status == 200


async def test_cut_breaks_in_the_middle_of_the_body(api: Any, flights: str) -> None:
    """The head and a part of the body arrive, the rest does not."""
    api.sandbox.faults.add(Fault(kind="cut", method="jobs.query"))
    url = f"{api.sandbox.url}/bigquery/v2/projects/p/queries"
    async with api.session.post(url, json={"query": flights, "useLegacySql": False}) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_lost_answer_leaves_the_work_done(api: Any) -> None:
    """The connection breaks without an answer, and the job is there."""
    api.sandbox.faults.add(Fault(kind="lost", method="jobs.insert"))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await api.insert("SELECT 1", "gone")
    assert (await api("GET", "jobs/gone")).body["status"]["state"] == "DONE"


async def test_faults_can_be_added_over_http(api: Any) -> None:
    """The admin endpoint adds, lists and clears; a wrong fault is refused."""
    added = await api("POST", "/sandbox/v1/faults", {"method": "jobs.get", "status": 500, "count": 1})
    assert added.body["id"] == 1
    assert (await api("GET", "jobs/x")).status == 500
    listed = await api("GET", "/sandbox/v1/faults")
    assert listed.body["faults"][0]["hits"] == 1
    assert (await api("DELETE", "/sandbox/v1/faults")).status == 204
    assert (await api("GET", "/sandbox/v1/faults")).body == {"faults": []}


@pytest.mark.parametrize(
    "fault", [{"kind": "explode"}, {"colour": "red"}, {"status": "500"}, {"path": "("}, {"rate": "often"}]
)
async def test_wrong_fault_is_refused(api: Any, fault: dict[str, Any]) -> None:
    """What is no fault is a 400 and changes nothing."""
    answer = await api("POST", "/sandbox/v1/faults", fault)
    assert answer.status == 400, json.dumps(answer.body)
    assert list(api.sandbox.faults) == []
