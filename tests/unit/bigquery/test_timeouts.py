import json

import pytest

from bqgate.bigquery.timeouts import Operation, Timeouts, is_named_insert, operation_of
from bqgate.wire.http_message import HttpRequest

TIMEOUTS = Timeouts(longest_s=240, slack_s=30, upload_s=200, control_s=60)
API = "/bigquery/v2/projects/p"


def query(**fields: object) -> HttpRequest:
    return HttpRequest("POST", f"{API}/queries", body=json.dumps({"query": "SELECT 1", **fields}).encode())


@pytest.mark.parametrize(
    ("call", "operation", "limit_s"),
    [
        (query(), Operation.QUERY, 40),
        (query(timeoutMs=0), Operation.QUERY, 30),
        (query(timeoutMs=5_500), Operation.QUERY, 35.5),
        (query(timeoutMs="60000"), Operation.QUERY, 90),
        (query(timeoutMs=600_000), Operation.QUERY, 240),
        (query(query="SELECT '\"timeoutMs\": 1'"), Operation.QUERY, 40),
        (HttpRequest("GET", f"{API}/queries/j", "timeoutMs=100000&maxResults=0"), Operation.POLL, 130),
        (HttpRequest("GET", f"{API}/queries/j", "timeoutMs=soon"), Operation.POLL, 40),
        (HttpRequest("GET", f"{API}/queries/j", "timeoutMs=1e4"), Operation.POLL, 40),
        (HttpRequest("GET", f"{API}/queries/j", "timeoutMs=100000.0"), Operation.POLL, 130),
        (HttpRequest("GET", f"{API}/queries/j", f"timeoutMs={'9' * 5_000}"), Operation.POLL, 40),
        (HttpRequest("GET", "/bigquery/v2/projects/example.com:p/queries/j"), Operation.POLL, 40),
        (HttpRequest("POST", f"/upload{API}/jobs", "uploadType=multipart"), Operation.UPLOAD, 200),
        (HttpRequest("PUT", f"/resumable/upload{API}/jobs", "upload_id=1"), Operation.UPLOAD, 200),
        (HttpRequest("POST", f"{API}/jobs"), Operation.CONTROL, 60),
        (HttpRequest("GET", f"{API}/jobs/queries"), Operation.CONTROL, 60),
        (HttpRequest("POST", f"{API}/jobs/j/cancel"), Operation.CONTROL, 60),
        (HttpRequest("GET", f"{API}/datasets/queries/tables"), Operation.CONTROL, 60),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_operation_has_its_limit(call: HttpRequest, operation: Operation, limit_s: float) -> None:
    """Who waits for a query's end waits as long as its request says and a little more; all else has a fixed limit."""
    assert operation_of(call) is operation
    assert TIMEOUTS.read_timeout_s(call) == limit_s


def test_only_waits_may_run_out_without_a_fault() -> None:
    """A query and a poll wait as long as their callers wish; nothing else does."""
    assert [each for each in Operation if each.is_wait] == [Operation.QUERY, Operation.POLL]


@pytest.mark.parametrize(
    ("call", "is_named"),
    [
        (HttpRequest("POST", f"{API}/jobs", body=b'{"jobReference": {"jobId": "mine"}}'), True),
        (HttpRequest("POST", f"{API}/jobs", body=b'{"jobReference": {"jobId": ""}}'), False),
        (HttpRequest("POST", f"{API}/jobs", body=b'{"configuration": {}}'), False),
        (HttpRequest("POST", f"{API}/queries", body=b'{"jobId": "mine"}'), False),
        (HttpRequest("GET", f"{API}/jobs", body=b'{"jobId": "mine"}'), False),
        (HttpRequest("POST", f"{API}/jobs/mine/cancel", body=b'{"jobId": "mine"}'), False),
    ],
)
def test_an_insert_that_names_its_job_is_known(call: HttpRequest, is_named: bool) -> None:
    """Only jobs.insert with a job id of its own could be sent again without running twice."""
    assert is_named_insert(call) is is_named
