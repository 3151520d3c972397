"""Tell that BigQuery refused a query under the cap on its bytes billed, in an error body or in a job that has failed.

Called by the gate with the answer to what it forwarded: the cap is most often its own, made of an estimate that may be
old. Such a query billed nothing and may be sent again; a script may have run statements before, and may not.
Reference: https://cloud.google.com/bigquery/docs/error-messages (bytesBilledLimitExceeded).
"""

from collections.abc import Mapping
from typing import Any

from bqgate.wire.fields import count_at
from bqgate.wire.json_text import read_answer

_REASON = "bytesBilledLimitExceeded"
_MULTI_STATEMENT = frozenset({"SCRIPT", "CALL", "EXECUTE_IMMEDIATE"})


def is_refused_by_cap(status: int, text: bytes | str) -> bool:
    """Whether this answer says that the query would have billed more than maximumBytesBilled, and did not run.

    An error body does not say whether it is of a script: ask only where a dry run has said that it is none.

    Args:
        status: of the HTTP answer.
        text: its body: an error, or a Job, which must be DONE to be refused.
    """
    document = read_answer(text)
    if document is None:
        return False
    if status >= 400:
        errors = _part(document, "error").get("errors")
        first = errors[0] if isinstance(errors, list) and errors else None
        return isinstance(first, dict) and first.get("reason") == _REASON
    job_status = _part(document, "status")
    is_refused = job_status.get("state") == "DONE" and _part(job_status, "errorResult").get("reason") == _REASON
    return is_refused and not _has_run(_part(document, "statistics"))


def _has_run(statistics: Mapping[str, Any]) -> bool:
    """Whether anything of the job ran: statements of a script, or what was billed."""
    query = _part(statistics, "query")
    is_script = query.get("statementType") in _MULTI_STATEMENT
    return is_script or bool(count_at(statistics, "numChildJobs")) or bool(count_at(query, "totalBytesBilled"))


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}
