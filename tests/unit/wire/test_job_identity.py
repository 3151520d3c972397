from typing import Any

import pytest

from bqgate.wire.job_identity import Claim, claim_of
from tests.support.manual_clock import START

MADE_MS = int(START.timestamp()) * 1000


def job(*, created_ms: int | None = MADE_MS, project_id: str = "p", **configuration: Any) -> dict[str, Any]:
    return {
        "jobReference": {"projectId": project_id, "jobId": "j"},
        "configuration": configuration or {"query": {}, "labels": {"bqgate_hold": "01hold"}},
        "statistics": {} if created_ms is None else {"creationTime": str(created_ms)},
    }


@pytest.mark.parametrize(
    ("found", "claim"),
    [
        pytest.param(job(), Claim.LABELLED, id="the hold's"),
        pytest.param(job(query={}), Claim.POSSIBLE, id="without a label"),
        pytest.param(job(query={}, labels={"bqgate_hold": "other"}), Claim.POSSIBLE, id="a label that was changed"),
        pytest.param(job(created_ms=MADE_MS - 120_000), Claim.LABELLED, id="clocks differ"),
        pytest.param(job(created_ms=MADE_MS - 120_001), Claim.FOREIGN, id="older than the hold"),
        pytest.param(job(created_ms=None), Claim.FOREIGN, id="no moment"),
        pytest.param(job(project_id="q"), Claim.FOREIGN, id="another project"),
        pytest.param(job(load={}, labels={"bqgate_hold": "01hold"}), Claim.FOREIGN, id="a load job"),
        pytest.param(job(query={}, copy={}), Claim.FOREIGN, id="two kinds"),
        pytest.param({}, Claim.FOREIGN, id="nothing"),
        pytest.param({"configuration": [], "statistics": None, "jobReference": 1}, Claim.FOREIGN, id="nonsense"),
    ],
)
def test_what_a_job_says_of_whose_it_is(found: dict[str, Any], claim: Claim) -> None:
    """Kind, project and moment decide; the label tells one of several that fit."""
    assert claim_of(found, hold_id="01HOLD", project_id="p", since=START) is claim
