"""Each case that the gate answers for itself: status, reason, wording, and whether Google's Python client tries again.

The table of cases is that of docs/architecture.md and gate/reply.py. Tries are counted at the client's own HTTP layer;
its retries are cut short to three tries, its decision to retry is its own.
"""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import Credentials
from google.cloud import bigquery

from bqgate.sandbox.faults import Fault
from tests.support.client_scene import DATASET, GIB, Scene, open_scene, wait_until
from tests.support.python_client import Watch, python_client, short_retry

Submit = Callable[[bigquery.Client, str], Any]
# Java's client tries again on any one-line message that this matches (BigQueryRetryAlgorithm).
JAVA_RETRIES = re.compile(r".*exceed.*rate.*limit.*", re.IGNORECASE)


# query_and_wait is annotated to want a retry, where query takes None.
NEVER = short_retry().with_predicate(lambda _: False)


def by_insert(client: bigquery.Client, sql: str) -> Any:
    config = bigquery.QueryJobConfig(use_query_cache=False)
    return client.query(sql, config, retry=short_retry(), job_retry=None).result(retry=short_retry(), job_retry=None)


def by_query(client: bigquery.Client, sql: str) -> Any:
    config = bigquery.QueryJobConfig(use_query_cache=False)
    return client.query_and_wait(sql, job_config=config, retry=short_retry(), job_retry=NEVER)


both = pytest.mark.parametrize("submit", [by_insert, by_query], ids=["insert", "query"])


def attempt(
    scene: Scene, project: str, submit: Submit, sql: str, credentials: Credentials | None = None
) -> tuple[exceptions.GoogleAPICallError, Watch]:
    """The error that a query ends with, and what the client saw on the way."""
    watch = Watch()
    with (
        python_client(scene.url, project, watch=watch, credentials=credentials) as client,
        pytest.raises(exceptions.GoogleAPIError) as failed,
    ):
        submit(client, sql)
    error = failed.value
    if isinstance(error, exceptions.RetryError):
        error = error.cause
    assert isinstance(error, exceptions.GoogleAPICallError)
    return error, watch


def reason_of(error: exceptions.GoogleAPICallError) -> tuple[int | None, str, str]:
    """Status, reason and domain, as clients read them."""
    return error.code, error.errors[0]["reason"], error.errors[0]["domain"]


def tries(watch: Watch) -> int:
    """How often a query was submitted."""
    return len(watch.posts("/jobs") + watch.posts("/queries"))


@both
def test_a_used_up_budget_is_final(scene: Scene, project: str, submit: Submit) -> None:
    """403 quotaExceeded, "Custom quota exceeded: …" with the numbers; one try; BigQuery is not asked to run it."""
    scene.use_up(project)
    error, watch = attempt(scene, project, submit, f"SELECT a + 1 FROM {DATASET}.spent")
    assert isinstance(error, exceptions.Forbidden)
    assert (403, "quotaExceeded", "global") == reason_of(error)
    assert error.errors[0]["message"].startswith(
        f"Custom quota exceeded: customer {project} has used 9.99 of 10.00 USD today, "
    )
    assert re.search(r"\(this query: up to 9\.99 USD, 999\.0 GiB\)\. Resets \d{4}-\d\d-\d\dT00:00Z\. ", error.message)
    assert JAVA_RETRIES.search(error.errors[0]["message"]) is None
    assert 1 == tries(watch)
    assert 1 == len(scene.submitted(project))
    refusal = scene.booked(project)[-1]
    assert ("refusal", "reject", "budget_used_up", "9.99", "0.00") == tuple(
        refusal[name] for name in ("kind", "decision", "reason", "estimate_usd", "cost_usd")
    )
    assert {"spent_usd": "9.99", "held_usd": "0.00"} == scene.budget(project)
    assert f"bqgate decision {refusal['id']}" in error.message


@both
def test_a_query_too_big_is_final(scene: Scene, project: str, submit: Submit) -> None:
    """400 bytesBilledLimitExceeded, BigQuery's wording first; one try; nothing held."""
    scene.declare(project, huge=5_000)
    error, watch = attempt(scene, project, submit, f"SELECT a FROM {DATASET}.huge")
    assert isinstance(error, exceptions.BadRequest)
    assert (400, "bytesBilledLimitExceeded", "global") == reason_of(error)
    message = error.errors[0]["message"]
    assert message.startswith(
        f"Query exceeded limit for bytes billed: {1_000 * GIB}. {5_000 * GIB} or higher required. "
    )
    assert JAVA_RETRIES.search(message) is None
    assert (1, 0) == (tries(watch), len(scene.submitted(project)))
    assert [("query_too_big", "50.00")] == [(one["reason"], one["estimate_usd"]) for one in scene.booked(project)]
    assert {"spent_usd": "0.00", "held_usd": "0.00"} == scene.budget(project)


@both
def test_a_throttled_query_without_a_place_to_wait_comes_again(crowded: Scene, submit: Submit) -> None:
    """429 rateLimitExceeded, "Exceeded rate limits: …", which every client repeats; each try gives its hold back."""
    error, watch = attempt(crowded, "crowd", submit, f"SELECT a FROM {DATASET}.t")
    assert isinstance(error, exceptions.TooManyRequests)
    assert (429, "rateLimitExceeded", "global") == reason_of(error)
    assert error.errors[0]["message"].startswith("Exceeded rate limits: ")
    assert tries(watch) >= 2
    assert [] == crowded.submitted("crowd")
    crowded.assert_nothing_booked("crowd")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"kind": "error", "status": 503, "reason": "backendError"}, id="503"),
        pytest.param({"kind": "text", "status": 502, "message": "<html>bad gateway</html>"}, id="502 in HTML"),
        pytest.param({"kind": "lost"}, id="connection closed"),
    ],
)
@both
def test_a_bigquery_that_does_not_answer_is_asked_again(
    scene: Scene, project: str, submit: Submit, fault: dict[str, Any]
) -> None:
    """503 backendError while the dry run fails, which every client repeats; nothing is held meanwhile."""
    added = scene.stack.sandbox.faults.add(Fault(**fault, path=f"/projects/{project}/", dry_run=True))
    error, watch = attempt(scene, project, submit, "SELECT 1")
    added.count = 0
    assert isinstance(error, exceptions.ServiceUnavailable)
    assert (503, "backendError", "global") == reason_of(error)
    told = error.errors[0]["message"]
    assert re.fullmatch(r"bqgate: BigQuery is not answering \([^()]+\).*; retry later\.", told), told
    assert tries(watch) >= 2
    scene.assert_nothing_booked(project)


@both
def test_a_bigquery_that_comes_back_answers_the_retry(scene: Scene, project: str, submit: Submit) -> None:
    """The client never learns that its first try failed."""
    scene.declare(project, t=10)
    fault = Fault(status=503, path=f"/projects/{project}/", dry_run=True, count=2)
    scene.stack.sandbox.faults.add(fault)
    with python_client(scene.url, project) as client:
        assert [] == list(submit(client, f"SELECT a FROM {DATASET}.t"))
    assert (2, ["0.10"]) == (fault.hits, [entry["cost_usd"] for entry in scene.booked(project)])


@both
def test_what_bigquery_forbids_is_final(scene: Scene, project: str, submit: Submit) -> None:
    """403 accessDenied in BigQuery's own words, "Access Denied: …"; one try."""
    message = f"Access Denied: Table {project}:{DATASET}.t: User does not have permission to query table"
    fault = Fault(status=403, reason="accessDenied", message=message, path=f"/projects/{project}/")
    scene.stack.sandbox.faults.add(fault)
    error, watch = attempt(scene, project, submit, f"SELECT a FROM {DATASET}.t")
    fault.count = 0
    assert isinstance(error, exceptions.Forbidden)
    assert (403, "accessDenied", "global") == reason_of(error)
    assert message == error.errors[0]["message"]
    assert 1 == tries(watch)
    scene.assert_nothing_booked(project)


class Renewed(Credentials):
    """A credential whose every renewal gives the same bad token."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # google-auth has no annotations
        self.token = "invalid"

    def refresh(self, request: object) -> None:
        """Nothing changes."""


@both
def test_a_bad_credential_is_renewed_twice_and_then_final(scene: Scene, project: str, submit: Submit) -> None:
    """401 authError with BigQuery's challenge; Python asks for a new token twice, then stops."""
    error, watch = attempt(scene, project, submit, "SELECT 1", Renewed())
    assert isinstance(error, exceptions.Unauthorized)
    assert (401, "authError", "global") == reason_of(error)
    assert error.errors[0]["message"].startswith("Request had invalid authentication credentials.")
    assert re.match(r'Bearer realm=".*", error="invalid_token"', watch.last_headers["WWW-Authenticate"])
    assert 3 == tries(watch)
    scene.assert_nothing_booked(project)


@both
def test_a_ledger_that_cannot_record_is_asked_again(tmp_path: Path, submit: Submit) -> None:
    """503 backendError while the gate cannot write down what it holds; nothing reaches BigQuery but the dry run."""
    ledger = {"url": f"sqlite:///{tmp_path}/ledger.db", "timeout_ms": 1_000, "sync": "before_forward"}
    with open_scene(tmp_path, {"ledger": ledger}) as scene:
        project = scene.new_project()
        scene.declare(project, t=10)
        locker = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        error, watch = attempt(scene, project, submit, f"SELECT a FROM {DATASET}.t")
        assert [] == scene.submitted(project)
        locker.execute("ROLLBACK")
        locker.close()
        wait_until(lambda: requests.get(f"{scene.url}/readyz", timeout=10).ok, "the ledger answers again")
        assert (503, "backendError", "global") == reason_of(error)
        assert error.errors[0]["message"].startswith("bqgate: ")
        assert tries(watch) >= 2
        scene.assert_nothing_booked(project)
        with python_client(scene.url, project) as client:
            assert [] == list(submit(client, f"SELECT a FROM {DATASET}.t"))
        assert ["0.10"] == [entry["cost_usd"] for entry in scene.booked(project)]


@both
@pytest.mark.parametrize("section", ["budgets", "upstream"])
def test_a_system_that_is_not_there_is_asked_again(tmp_path: Path, submit: Submit, section: str) -> None:
    """503 backendError without Redis, and without BigQuery; no query reaches BigQuery to be run."""
    nowhere = {"budgets": "redis://127.0.0.1:9/0", "upstream": "http://127.0.0.1:9"}[section]
    with open_scene(tmp_path, {section: {"url": nowhere}}) as scene:
        project = scene.new_project()
        error, watch = attempt(scene, project, submit, "SELECT 1")
        assert (503, "backendError", "global") == reason_of(error)
        assert ("BigQuery is not answering" in error.message) == (section == "upstream")
        assert tries(watch) >= 2
        assert [] == scene.submitted(project)


@both
def test_an_invalid_query_behaves_as_at_google(scene: Scene, project: str, submit: Submit) -> None:
    """400 invalidQuery: from jobs.query itself, or from a job that jobs.insert made; one try, at no cost."""
    error, watch = attempt(scene, project, submit, "SELECT nothing FROM nycflights13.airlines")
    assert isinstance(error, exceptions.BadRequest)
    assert ("invalidQuery", 1) == (error.errors[0]["reason"], tries(watch))
    posted = [status for verb, _, status in watch.seen if verb == "POST"]
    assert posted == ([200] if submit is by_insert else [400])
    entries = [(entry["outcome"], entry["cost_usd"]) for entry in scene.booked(project)]
    assert entries == ([("failed", "0.00")] if submit is by_insert else [])
    assert {"spent_usd": "0.00", "held_usd": "0.00"} == scene.budget(project)


def test_a_used_up_budget_still_serves_cached_results(scene: Scene, project: str) -> None:
    """What BigQuery has in its cache costs nothing, so it is served, and only from there."""
    scene.declare(project, t=500, u=600)
    with python_client(scene.url, project) as client:
        client.query_and_wait(f"SELECT a FROM {DATASET}.t")
        scene.stack.settle(project)
        with pytest.raises(exceptions.Forbidden):
            client.query_and_wait(f"SELECT a FROM {DATASET}.u")
        client.query_and_wait(f"SELECT a FROM {DATASET}.t")
        assert [] == list(client.query(f"SELECT a FROM {DATASET}.t").result())
    scene.stack.settle(project)
    assert {"spent_usd": "5.00", "held_usd": "0.00"} == scene.budget(project)
