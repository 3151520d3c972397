import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryFilter
from bqgate.sandbox import SandboxSettings
from tests.support.gate_stack import Stack, running_stack

SETTINGS: dict[str, Any] = {
    "tiers": {"standard": {"daily_usd": "1000", "monthly_usd": "30000", "emergency_usd": "2000"}},
    "customers": {"slow": {"tier": "slow"}},
}
SLOW = {"daily_usd": "1", "monthly_usd": "1", "emergency_usd": "1", "throttle_wait_ms": 20_000}
ALWAYS = [{"used_ratio": "0.000001", "action": "throttle"}]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    document = {**SETTINGS, "tiers": {**SETTINGS["tiers"], "slow": {**SLOW, "thresholds": ALWAYS}}}
    tokens = {"good": "ann@example.com"}
    sandbox = SandboxSettings(users=tokens, require_token=True)
    with running_stack(tmp_path_factory.mktemp("bad"), document, sandbox=sandbox) as opened:
        yield opened


def nothing_is_held(stack: Stack, customer: str) -> bool:
    return not any(balance.held_nanos for balance in stack.settle(customer))


NAMES = st.sampled_from(
    ["query", "configuration", "jobReference", "jobId", "projectId", "dryRun", "labels", "maximumBytesBilled", "load"]
)
TEXTS = st.text(max_size=6) | st.sampled_from(["SELECT 1", "x"])
LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=6)
    | st.sampled_from(["SELECT 1", "x", []])
)
INNER = LEAVES | st.dictionaries(NAMES, LEAVES, max_size=3)
DOCUMENTS = st.dictionaries(NAMES, INNER | st.dictionaries(NAMES, INNER, max_size=3), max_size=4)
BODIES = DOCUMENTS.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=40)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, path=st.sampled_from(["jobs", "queries"]))
def test_whatever_is_sent_is_answered_in_bigquerys_format(stack: Stack, body: bytes, path: str) -> None:
    """No body makes the gate fail: it is answered, with a reason where it is an error, and nothing stays held."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer good"}
    answer = requests.post(f"{stack.url}/bigquery/v2/projects/fuzz/{path}", data=body, headers=headers, timeout=30)
    document = answer.json()
    if answer.status_code >= 400:
        assert answer.status_code < 500 or document["error"]["errors"][0]["reason"] == "notImplemented"
        assert document["error"]["code"] == answer.status_code
        assert document["error"]["errors"][0]["reason"]
    assert nothing_is_held(stack, "fuzz")


@pytest.mark.parametrize("path", ["jobs", "queries"])
@pytest.mark.parametrize("authorization", [None, "Bearer bad", "Basic eA==", "nonsense"])
def test_a_wrong_token_gets_bigquerys_401(stack: Stack, path: str, authorization: str | None) -> None:
    """The caller's credential is BigQuery's to judge: 401 passes through, nothing is held or booked."""
    query = {"query": "SELECT 1", "useLegacySql": False}
    body = query if path == "queries" else {"configuration": {"query": query}}
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = requests.post(f"{stack.url}/bigquery/v2/projects/bad/{path}", json=body, headers=headers, timeout=30)
    assert answer.status_code == 401
    assert answer.json()["error"]["errors"][0]["reason"]
    assert nothing_is_held(stack, "bad")
    assert stack.run(stack.gate.ledger.fetch_entries(EntryFilter(customer="bad"))).entries == ()


def connect(stack: Stack) -> socket.socket:
    parts = urlsplit(stack.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def head(path: str, length: int) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: gate", "Authorization: Bearer good", f"Content-Length: {length}")
    return "\r\n".join((*lines, "Content-Type: application/json", "", "")).encode()


def test_a_body_that_is_cut_off_holds_nothing(stack: Stack) -> None:
    """The caller sends half a query and goes; the gate goes on as if it had never come."""
    with connect(stack) as caller:
        caller.sendall(head("/bigquery/v2/projects/cut/queries", 1_000) + b'{"query": "SEL')
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(100).startswith((b"HTTP/1.1 400", b""))
    assert nothing_is_held(stack, "cut")


def test_a_caller_that_leaves_while_it_waits_frees_its_hold(stack: Stack) -> None:
    """A throttled query keeps its hold while it waits; when its caller goes, the hold is void and nothing ran."""
    body = json.dumps({"query": "SELECT 1", "useLegacySql": False}).encode()
    calls_before = len(stack.sandbox.journal.entries(method="jobs.query"))
    with connect(stack) as caller:
        caller.sendall(head("/bigquery/v2/projects/slow/queries", len(body)) + body)
        stack.run(_until_held(stack))
    assert nothing_is_held(stack, "slow")
    assert stack.run(stack.gate.ledger.fetch_open_holds("slow")) == ()
    assert len(stack.sandbox.journal.entries(method="jobs.query")) == calls_before


async def _until_held(stack: Stack) -> None:
    while not any(balance.held_nanos for balance in await stack.fetch_balances("slow")):
        await SystemClock().sleep(0.01)
