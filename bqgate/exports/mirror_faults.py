"""Say what keeps the mirror from going on, and what an operator can do about it.

Used by mirror; pure.
"""

import json

from bqgate.domain.errors import BqgateError, LedgerUnavailable, UpstreamRefused

_BY_ITSELF = "Nothing has to be done: it is tried again by itself."
_ROLES = (
    "Give the gate's account roles/bigquery.dataEditor on the dataset (roles/bigquery.dataOwner where "
    "ledger.mirror_admins is set) and roles/bigquery.jobUser on the project."
)
_CHARS_MAX = 500


class MirrorRefused(BqgateError):
    """The table is not one to write into. Somebody has to do something, which `remedy` says."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class LoadFailed(BqgateError):
    """A load job ended without loading; `reason` is BigQuery's word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"A load job failed ({reason}): {message[:_CHARS_MAX]}")


def cause_of(error: BqgateError) -> str:
    """One of the few words by which failures are counted."""
    match error:
        case MirrorRefused():
            return "table"
        case LoadFailed():
            return "load"
        case LedgerUnavailable():
            return "ledger"
        case UpstreamRefused():
            return "refused"
        case _:
            return "unavailable"


def said_of(error: BqgateError) -> str:
    """What went wrong, in BigQuery's words where those are known."""
    if not isinstance(error, UpstreamRefused):
        return str(error)
    try:
        message = json.loads(error.body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = "no reason given"
    return f"BigQuery refuses it ({error.status}): {str(message)[:_CHARS_MAX]}"


def remedy_of(error: BqgateError) -> str:
    """What to do."""
    match error:
        case MirrorRefused():
            return error.remedy
        case UpstreamRefused(status=401 | 403):
            return _ROLES
        case UpstreamRefused(status=404):
            return "Make the dataset, or name another in ledger.mirror."
        case _:
            return _BY_ITSELF
