"""Shape what the sandbox answers: a status with JSON, and errors in BigQuery's form.

Handlers return a Reply or raise ApiError; the server turns either into bytes. Clients decide about retries by
`error.errors[0].reason` and people read `error.message`, so both are always there, whatever went wrong.

Source of reasons and codes: https://cloud.google.com/bigquery/docs/error-messages. `status` strings are those of
google.rpc.Code, as Google's newer front end adds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bqgate.sandbox.warehouse import WarehouseError

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# Reasons of a finished job's errorResult and the status with which jobs.query and getQueryResults report them.
STATUS_OF_REASON = {
    "accessDenied": 403,
    "backendError": 503,
    "duplicate": 409,
    "internalError": 500,
    "notFound": 404,
    "notImplemented": 501,
    "quotaExceeded": 403,
    "rateLimitExceeded": 403,
}

PRETTY_ROWS_MAX = 1_000
_PLACE_OF_ROWS = "(rows)"

# How a connection is broken on purpose: in the middle of the body, or before the first byte of the answer.
Break = Literal["", "cut", "lost"]


class ApiError(Exception):
    """A refusal in BigQuery's words, to be sent as the answer of a call."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        location: str = "",
        location_type: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location
        self.location_type = location_type
        self.headers = dict(headers or {})


@dataclass
class Reply:
    """An answer: status, JSON body (None: empty) and extra headers."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    breaks: Break = ""


def error_proto(reason: str, message: str, location: str = "") -> dict[str, str]:
    """Build a job's ErrorProto."""
    proto = {"reason": reason, "message": message}
    return {**proto, "location": location} if location else proto


def error_reply(error: ApiError) -> Reply:
    """Build BigQuery's error body."""
    detail = {"message": error.message, "domain": "global", "reason": error.reason}
    if error.location:
        detail |= {"location": error.location, "locationType": error.location_type or "other"}
    body = {
        "error": {
            "code": error.status,
            "message": error.message,
            "errors": [detail],
            "status": STATUS_NAMES.get(error.status, "UNKNOWN"),
        }
    }
    return Reply(error.status, body, error.headers)


def from_warehouse(error: WarehouseError) -> ApiError:
    """Turn the warehouse's refusal into an answer of the API."""
    return ApiError(error.http_status, error.reason, error.message, location=error.location, location_type="other")


@dataclass(frozen=True)
class RowsText:
    """The rows of a page as JSON text: what stands under `rows`, not to be built and written again row by row."""

    text: str
    count: int

    def parsed(self) -> Any:
        return json.loads(self.text)


def encode(body: Any, *, pretty: bool) -> bytes:
    """Encode JSON as Google does: two blanks of indent unless `prettyPrint=false`.

    Many rows stand on a line each in a pretty answer, since indenting their cells takes seconds.
    """
    if body is None:
        return b""
    rows = body.get("rows") if isinstance(body, dict) else None
    if isinstance(rows, RowsText):
        if pretty and rows.count <= PRETTY_ROWS_MAX:
            body = {**body, "rows": rows.parsed()}
        else:
            text = _dumped({**body, "rows": _PLACE_OF_ROWS}, pretty=pretty)
            shown = rows.text.replace('},{"f":', '},\n    {"f":') if pretty else rows.text
            return text.replace(json.dumps(_PLACE_OF_ROWS), shown, 1).encode()
    return _dumped(body, pretty=pretty).encode()


def _dumped(body: Any, *, pretty: bool) -> str:
    return json.dumps(body, ensure_ascii=False, indent=2 if pretty else None) + "\n"
