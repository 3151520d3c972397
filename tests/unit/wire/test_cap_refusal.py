import json
from typing import Any

import pytest

from bqgate.wire.cap_refusal import is_refused_by_cap
from bqgate.wire.error_reply import error_body

REASON = "bytesBilledLimitExceeded"
MESSAGE = "Query exceeded limit for bytes billed: 10485760. 20971520 or higher required."


def job(state: str = "DONE", reason: str = REASON, **statistics: Any) -> str:
    """A Job that failed."""
    status = {"state": state, "errorResult": {"reason": reason, "message": MESSAGE}}
    return json.dumps({"kind": "bigquery#job", "status": status, "statistics": statistics})


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, error_body(400, REASON, MESSAGE)),
        (400, error_body(400, REASON, MESSAGE).decode()),
        (200, job()),
        (200, job(query={"statementType": "SELECT", "totalBytesBilled": "0"})),
    ],
)
def test_a_refusal_under_the_cap_is_seen(status: int, text: bytes | str) -> None:
    """As an error of jobs.query, and as a job of jobs.insert or jobs.get."""
    assert is_refused_by_cap(status, text)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param(400, error_body(400, "invalidQuery", MESSAGE), id="another reason"),
        pytest.param(200, job(state="RUNNING"), id="not done"),
        pytest.param(200, job(reason="stopped"), id="stopped"),
        pytest.param(200, error_body(400, REASON, MESSAGE), id="no job"),
        pytest.param(400, job(), id="no error body"),
        pytest.param(200, job(query={"statementType": "SCRIPT"}), id="a script"),
        pytest.param(200, job(numChildJobs="2"), id="children"),
        pytest.param(200, job(query={"totalBytesBilled": "10485760"}), id="billed"),
        *(
            pytest.param(status, text, id=f"{status} {text!r}")
            for status in (200, 400)
            for text in (b"", b"\xff", "[]", "{", '{"error": {"errors": [1]}}', '{"status": 1}', '{"error": []}')
        ),
    ],
)
def test_nothing_else_is_one(status: int, text: bytes | str) -> None:
    """A query that ran, in whole or in part, is not sent again."""
    assert not is_refused_by_cap(status, text)
