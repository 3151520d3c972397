"""Write and read BigQuery's error body.

Shape (https://cloud.google.com/bigquery/docs/error-messages): ``{"error": {"code", "message", "errors": [{"message",
"domain", "reason", "location"?}], "status"}}``. Clients decide by ``errors[0].reason`` whether to retry, so the
array is always there; ``message`` is what people see.
"""

import json
import re
from typing import Any

from bqgate.wire.json_text import read_answer

# The canonical status of each HTTP code, as google.rpc.Code maps them.
STATUS_BY_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    421: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error_body(code: int, reason: str, message: str, *, location: str | None = None) -> bytes:
    """The JSON text of an error. `location` names the culprit ("query", a field); its kind follows from it."""
    detail: dict[str, Any] = {"message": message, "domain": "global", "reason": reason}
    if location is not None:
        detail |= {"location": location, "locationType": "other" if location == "query" else "parameter"}
    error = {"code": code, "message": message, "errors": [detail], "status": STATUS_BY_CODE.get(code, "UNKNOWN")}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def message_of(body: bytes) -> str | None:
    """What an error body says to people; None where it is not one."""
    error = (read_answer(body) or {}).get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None


def is_about_the_query(status: int, body: bytes, project_id: str) -> bool:
    """Whether an error of jobs.insert blames the query, which then makes a failed job, and not the call.

    Where it says that there is no such project, or that the caller may make no job there, no job is made.
    """
    if status not in {400, 404} and not (status == 403 and reason_of(body) == "accessDenied"):
        return False
    message = message_of(body) or ""
    is_unknown = re.match(rf"(?:Not found: Project|Invalid project ID) '?{re.escape(project_id)}(?![\w:-])", message)
    return is_unknown is None and not ("bigquery.jobs.create" in message and f"Project {project_id}:" in message)


def reason_of(body: bytes) -> str | None:
    """``errors[0].reason`` of an error body; None where it is not one."""
    error = (read_answer(body) or {}).get("error")
    errors = error.get("errors") if isinstance(error, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    reason = first.get("reason") if isinstance(first, dict) else None
    return reason if isinstance(reason, str) else None
