"""Say how long BigQuery may take to answer, by what is asked. One table; pure.

Used by upstream.py for callers' calls; the gate's own (dry runs, jobs.get) bring their own limit, which is
upstream.call_timeout_s. A limit is for the head of an answer, and again between bytes.

    operation   which calls                            seconds                                  a timeout is a fault
    query       jobs.query                             its timeoutMs (10 s without) + slack      no
    poll        jobs.getQueryResults                   the same                                  no
    upload      below /upload, or with an uploadType   upload                                    yes
    control     jobs.insert and everything else        control                                   yes

A query and a poll wait as long as their caller wishes, at most about 200 s
(https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults), so a wait that ends without an answer
proves nothing against BigQuery. Each query is preceded by a dry run, which does.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from bqgate.domain.units import MS_PER_S
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.integers import whole_number
from bqgate.wire.query_string import values_of

# BigQuery's default for timeoutMs.
_WAIT_S = 10.0

_QUERIES = re.compile(r".*/projects/[^/]+/queries")
_RESULTS = re.compile(r".*/projects/[^/]+/queries/[^/]+")
_INSERTS = re.compile(r"/bigquery/v2/projects/[^/]+/jobs")
# A quote inside a JSON text is escaped, so this matches keys only. A key of that name elsewhere than at the top
# shortens the limit to no less than the slack.
_TIMEOUT_MS = re.compile(rb'"timeoutMs"\s*:\s*"?(\d{1,9})')
_JOB_ID = re.compile(rb'"jobId"\s*:\s*"[^"]')


class Operation(StrEnum):
    """What a caller's call asks for, as far as time limits go."""

    QUERY = "query"
    POLL = "poll"
    UPLOAD = "upload"
    CONTROL = "control"

    @property
    def is_wait(self) -> bool:
        """Whether the caller chose how long to wait."""
        return self in {Operation.QUERY, Operation.POLL}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The settings behind the table, in seconds. `longest_s` bounds every wait."""

    longest_s: float
    slack_s: float
    upload_s: float
    control_s: float

    def read_timeout_s(self, call: HttpRequest) -> float:
        """How long the answer of a caller's call may let wait."""
        match operation_of(call):
            case Operation.QUERY | Operation.POLL:
                return min(_wished_s(call) + self.slack_s, self.longest_s)
            case Operation.UPLOAD:
                return self.upload_s
            case Operation.CONTROL:
                return self.control_s


def operation_of(call: HttpRequest) -> Operation:
    """The row of the table."""
    if "/upload/" in call.path or values_of(call.query, "uploadType"):
        return Operation.UPLOAD
    if call.method == "POST" and _QUERIES.fullmatch(call.path):
        return Operation.QUERY
    if call.method == "GET" and _RESULTS.fullmatch(call.path):
        return Operation.POLL
    return Operation.CONTROL


def is_named_insert(call: HttpRequest) -> bool:
    """Whether this is a jobs.insert that names its job, so that sending it twice could not run it twice."""
    is_insert = call.method == "POST" and _INSERTS.fullmatch(call.path) is not None
    return is_insert and isinstance(call.body, bytes) and _found(_JOB_ID, b'"jobId"', call.body) is not None


def _found(pattern: re.Pattern[bytes], name: bytes, body: bytes) -> re.Match[bytes] | None:
    """The first match, whose beginning is a name: a plain search for that is many times faster."""
    start = body.find(name)
    return None if start < 0 else pattern.search(body, start)


def _wished_s(call: HttpRequest) -> float:
    """For how long the caller lets BigQuery wait for the end of its job."""
    if call.method == "POST":
        found = _found(_TIMEOUT_MS, b'"timeoutMs"', call.body) if isinstance(call.body, bytes) else None
        text = None if found is None else found.group(1).decode()
    else:
        text = next(iter(values_of(call.query, "timeoutMs")), None)
    wait_ms = None if text is None else whole_number(text)
    return _WAIT_S if wait_ms is None or wait_ms < 0 else wait_ms / MS_PER_S
