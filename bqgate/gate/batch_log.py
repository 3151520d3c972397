"""Write one log line for each call inside a batch, beside the batch's own (http/access_log.py).

Called by dispatch.py once the call's answer is there, in the task that made it.
"""

from bqgate.domain.errors import BqgateError
from bqgate.observe.request_fields import noted_fields
from bqgate.ports import Telemetry
from bqgate.wire.http_message import HttpRequest, HttpResponse

# What an answer's headers say of the decision, by the names that lines have for it.
TOLD_HEADERS = (
    ("request_id", "X-Bqgate-Request-Id"),
    ("decision", "X-Bqgate-Decision"),
    ("reason", "X-Bqgate-Reason"),
    ("cost_usd", "X-Bqgate-Cost-Usd"),
    ("balance_usd", "X-Bqgate-Balance-Usd"),
    ("steps", "Server-Timing"),
)
METHOD_CHARS_MAX = 16
_PATH_CHARS_MAX = 2_048


def shown_path(path: str) -> str:
    """A path for the log: those of BigQuery's methods are shorter, and callers may write longer ones."""
    return path if len(path) <= _PATH_CHARS_MAX else f"{path[:_PATH_CHARS_MAX]}…"


def note_part(
    telemetry: Telemetry,
    batch_request_id: str,
    call: HttpRequest | None,
    answer: HttpResponse,
    error: BqgateError | None,
) -> None:
    """Write the line; a call of None: what was to be one is none."""
    told = {field: value for field, header in TOLD_HEADERS if (value := answer.header(header))}
    if error is not None:
        told["reason"] = type(error).__name__
    asked = {} if call is None else {"method": call.method[:METHOD_CHARS_MAX], "path": shown_path(call.path)}
    telemetry.log("batch_part", batch=batch_request_id, **asked, status=answer.status, **noted_fields(), **told)
